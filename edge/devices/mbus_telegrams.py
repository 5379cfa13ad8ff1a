"""Telegrams as a meter would make them: the way back from `edge.drivers.mbus.telegram`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from edge.drivers.mbus.frames import Frame, long_frame
from edge.drivers.mbus.meanings import code_of
from edge.drivers.mbus.numbers import REAL, encode_number
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import Function, Record

INTEGER_32, BCD_8, BCD_12 = 0x4, 0xC, 0xE
_MORE_FOLLOWS = b"\x1f"
_FUNCTIONS = tuple(Function)


def encode_record(record: Record, *, field: int = INTEGER_32) -> bytes:
    """The bytes of one record. Raises ValueError where they can't hold its value exactly."""
    if record.value is None:
        raise ValueError("a record without a value has no one form")
    dif = field | _FUNCTIONS.index(record.function) << 4 | (record.storage & 1) << 6
    return _extended(bytes((dif,)), _places(record)) + _value_information(record) + _number(record, field)


def _number(record: Record, field: int) -> bytes:
    value = record.value or Decimal(0)
    raw = value.scaleb(-record.meaning.exponent)
    return encode_number(field, float(raw) if field == REAL else raw)


def _places(record: Record) -> bytes:
    """The DIFE: four bits of the storage number, two of the tariff, one of the subunit in each."""
    storage, tariff, subunit = record.storage >> 1, record.tariff, record.subunit
    found = b""
    while storage or tariff or subunit:
        found += bytes(((storage & 0x0F) | (tariff & 0x03) << 4 | (subunit & 0x01) << 6,))
        storage, tariff, subunit = storage >> 4, tariff >> 2, subunit >> 1
    return found


def _value_information(record: Record) -> bytes:
    code = code_of(record.meaning)
    return code[:-1] + _extended(code[-1:], bytes(record.vife))


def _extended(first: bytes, more: bytes) -> bytes:
    """Each byte but the last says with its highest bit that another follows."""
    whole = first + more
    return bytes(byte | 0x80 for byte in whole[:-1]) + whole[-1:]


def encode_telegram(
    records: Sequence[bytes],
    *,
    identity: SecondaryAddress,
    address: int = 1,
    access: int = 1,
    status: int = 0,
    more_follows: bool = False,
) -> bytes:
    """The frame of a telegram with long header. Raises FrameError when it gets too long."""
    head = identity.encode() + bytes((access & 0xFF, status, 0, 0))
    data = head + b"".join(records) + (_MORE_FOLLOWS if more_follows else b"")
    return long_frame(Frame(control=0x08, address=address, information=0x72, data=data))
