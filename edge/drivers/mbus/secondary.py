"""Secondary addresses: what a meter is called from the factory on (EN 13757-3, 8 bytes), with wildcards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

MEDIA = {
    0x00: "other",
    0x01: "oil",
    0x02: "electricity",
    0x03: "gas",
    0x04: "heat (return)",
    0x05: "steam",
    0x06: "warm water",
    0x07: "water",
    0x08: "heat cost allocator",
    0x09: "compressed air",
    0x0A: "cooling (return)",
    0x0B: "cooling (inlet)",
    0x0C: "heat (inlet)",
    0x0D: "heat and cooling",
    0x0E: "bus or system",
    0x15: "hot water",
    0x16: "cold water",
    0x17: "hot and cold water",
    0x18: "pressure",
    0x19: "analogue to digital converter",
    0x1B: "room sensor",
    0x20: "breaker",
    0x21: "valve",
    0x25: "customer unit",
    0x28: "waste water",
    0x29: "garbage",
    0x31: "communication controller",
    0x36: "radio converter",
    0x37: "radio converter",
}

_FORM = "write it like 12345678-KAM-1B-04: number, maker, version and medium, with F for any digit and * for any part"
_NUMBER = re.compile(r"[0-9A-F]{8}")
_MAKER = re.compile(r"[A-Z]{3}|[0-9A-F]{4}")
_BYTE = re.compile(r"[0-9A-F]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondaryAddress:
    """Of one meter, or with wildcards of several.

    `number` has eight digits, F standing for any; `maker` is three letters, or four hexadecimal digits where the code
    gives no letters; None stands for any maker, version or medium.
    """

    number: str = "FFFFFFFF"
    maker: str | None = None
    version: int | None = None
    medium: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `12345678-KAM-1B-04`; parts may be left out from the end. Raises ValueError that shows the form."""
        parts = text.strip().upper().split("-")
        number, maker, version, medium = [*parts, *["*"] * (4 - len(parts))][:4]
        if number == "*":
            number = "F" * 8
        if (
            len(parts) > 4
            or not _NUMBER.fullmatch(number)
            or not (maker == "*" or _MAKER.fullmatch(maker))
            or not all(part == "*" or _BYTE.fullmatch(part) for part in (version, medium))
        ):
            raise ValueError(f"{text!r} is not a secondary address; {_FORM}")
        return cls(
            number=number,
            maker=None if maker in {"*", "FFFF"} else maker,
            version=_byte(version),
            medium=_byte(medium),
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the eight bytes that lead a telegram, and a selection. Raises ValueError when they are not eight."""
        if len(data) != 8:
            raise ValueError(f"a secondary address has 8 bytes, not {len(data)}")
        maker = int.from_bytes(data[4:6], "little")
        return cls(
            number=data[3::-1].hex().upper(),
            maker=None if maker == 0xFFFF else _letters(maker),
            version=None if data[6] == 0xFF else data[6],
            medium=None if data[7] == 0xFF else data[7],
        )

    def encode(self) -> bytes:
        """The eight bytes."""
        maker = 0xFFFF if self.maker is None else _code(self.maker)
        ends = (0xFF if part is None else part for part in (self.version, self.medium))
        return bytes.fromhex(self.number)[::-1] + maker.to_bytes(2, "little") + bytes(ends)

    @property
    def is_certain(self) -> bool:
        """No wildcard in it. (The number of a meter may be anything but F.)"""
        return "F" not in self.number and None not in {self.maker, self.version, self.medium}

    def covers(self, other: SecondaryAddress) -> bool:
        """Whether `other`, an address without wildcards, is one of those that this stands for."""
        return (
            all(mine in {"F", theirs} for mine, theirs in zip(self.number, other.number, strict=True))
            and self.maker in {None, other.maker}
            and self.version in {None, other.version}
            and self.medium in {None, other.medium}
        )

    @property
    def medium_name(self) -> str:
        """What the meter measures, in words."""
        return "any" if self.medium is None else MEDIA.get(self.medium, f"medium {self.medium:02X}")

    def __str__(self) -> str:
        parts = ("*" if part is None else f"{part:02X}" for part in (self.version, self.medium))
        return "-".join((self.number, self.maker or "*", *parts))


def _byte(text: str) -> int | None:
    return None if text in {"*", "FF"} else int(text, 16)


def _letters(code: int) -> str:
    """Three letters of five bits each, A being 1; the plain code where that gives no letters."""
    text = "".join(chr(64 + (code >> shift & 0x1F)) for shift in (10, 5, 0))
    return text if code < 0x8000 and re.fullmatch(r"[A-Z]{3}", text) else f"{code:04X}"


def _code(maker: str) -> int:
    if len(maker) == 4:
        return int(maker, 16)
    return sum((ord(letter) - 64) << shift for letter, shift in zip(maker, (10, 5, 0), strict=True))
