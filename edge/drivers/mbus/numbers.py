"""How a record's value lies in its bytes (EN 13757-3, data field): pure, exact, both ways."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

REAL = 0x5
VARIABLE = 0xD
_INTEGERS = {0x1: 1, 0x2: 2, 0x3: 3, 0x4: 4, 0x6: 6, 0x7: 8}
_BCD = {0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
WIDTHS = {0x0: 0, 0x8: 0, REAL: 4, **_INTEGERS, **_BCD}
"""Bytes by data field. 0xD says its width itself, 0xF is no data."""


def variable_width(first: int) -> int:
    """Bytes that follow the first one of a value of variable length. Raises ValueError for a reserved one."""
    if first <= 0xBF:
        return first
    if first <= 0xEF:
        return first & 0x0F
    widths = {**{0xF0 + n: 16 + 4 * n for n in range(5)}, 0xF5: 48, 0xF6: 64}
    if first not in widths:
        raise ValueError(f"a value of a length that does not exist ({first:#04x})")
    return widths[first]


def decode_number(field: int, data: bytes) -> Decimal | None:
    """The number; None where the meter says that it has none, or where it is none (text, error codes).

    Signed integers are in two's complement, their lowest value meaning "invalid". BCD has its least digits first, and
    F in place of its first digit is a minus; any other digit above 9 is an error code (a broken sensor, an overflow).
    """
    if field in _INTEGERS:
        number = int.from_bytes(data, "little", signed=True)
        return None if number == -(1 << (8 * len(data) - 1)) else Decimal(number)
    if field in _BCD:
        return _decode_bcd(data)
    if field == REAL:
        (real,) = struct.unpack("<f", data)
        return Decimal(real) if math.isfinite(real) else None
    if field == VARIABLE and data[0] >= 0xC0:
        return _decode_variable(data[0], data[1:])
    return None


def _decode_variable(first: int, data: bytes) -> Decimal | None:
    if not 0 < len(data) <= 8:
        return None
    if first >= 0xE0:
        return decode_number(0x7, data) if len(data) == 8 else Decimal(int.from_bytes(data, "little", signed=True))
    digits = _decode_bcd(data)
    return digits.copy_negate() if digits and first >= 0xD0 else digits


def _decode_bcd(data: bytes) -> Decimal | None:
    digits = data[::-1].hex()
    sign = "-" if digits.startswith("f") else ""
    digits = digits.removeprefix("f")
    return Decimal(sign + digits) if digits.isdecimal() else None


def encode_number(field: int, number: Decimal | float) -> bytes:
    """The bytes of a whole number, or of any for REAL: what a meter does. Raises ValueError when it does not fit."""
    if field == REAL:
        return struct.pack("<f", number)
    if number != int(number):
        raise ValueError(f"{number} is no whole number; choose another exponent or a real field")
    whole = int(number)
    if field in _INTEGERS:
        try:
            return whole.to_bytes(_INTEGERS[field], "little", signed=True)
        except OverflowError as error:
            raise ValueError(f"{whole} does not fit into {_INTEGERS[field]} bytes") from error
    if field in _BCD:
        digits = f"{abs(whole):0{2 * _BCD[field]}d}"
        if whole < 0:
            digits = "f" + digits[1:] if digits.startswith("0") else ""
        if len(digits) != 2 * _BCD[field]:
            raise ValueError(f"{whole} does not fit into {2 * _BCD[field]} digits")
        return bytes.fromhex(digits)[::-1]
    raise ValueError(f"no number is written with data field {field:#x}")
