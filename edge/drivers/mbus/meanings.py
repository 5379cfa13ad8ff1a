"""What a value information field means (EN 13757-3, tables of the VIF and its extensions): pure.

Only what a resource can be made of has a measure; anything else is told apart (`OTHER`), kept, and never taken for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction


class Measure(StrEnum):
    """What a record measures."""

    ENERGY = "energy"
    VOLUME = "volume"
    MASS = "mass"
    POWER = "power"
    VOLUME_FLOW = "volume_flow"
    MASS_FLOW = "mass_flow"
    COUNT = "count"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """The measure, the base unit and the power of ten that the number is to be multiplied by."""

    measure: Measure
    unit: str
    exponent: int = 0


_OTHER = Meaning(measure=Measure.OTHER, unit="")
# From the first code of each range: codes in it, measure, unit, exponent of the first.
_PRIMARY: dict[int, tuple[int, Measure, str, int]] = {
    0x00: (8, Measure.ENERGY, "Wh", -3),
    0x08: (8, Measure.ENERGY, "J", 0),
    0x10: (8, Measure.VOLUME, "m3", -6),
    0x18: (8, Measure.MASS, "kg", -3),
    0x28: (8, Measure.POWER, "W", -3),
    0x30: (8, Measure.POWER, "J/h", 0),
    0x38: (8, Measure.VOLUME_FLOW, "m3/h", -6),
    0x40: (8, Measure.VOLUME_FLOW, "m3/min", -7),
    0x48: (8, Measure.VOLUME_FLOW, "m3/s", -9),
    0x50: (8, Measure.MASS_FLOW, "kg/h", -3),
    0x58: (4, Measure.OTHER, "°C", -3),
    0x5C: (4, Measure.OTHER, "°C", -3),
    0x60: (4, Measure.OTHER, "K", -3),
    0x64: (4, Measure.OTHER, "°C", -3),
    0x68: (4, Measure.OTHER, "bar", -3),
}
_FIRST: dict[int, tuple[int, Measure, str, int]] = {
    0x00: (2, Measure.ENERGY, "Wh", 5),
    0x08: (2, Measure.ENERGY, "J", 8),
    0x10: (2, Measure.VOLUME, "m3", 2),
    0x18: (2, Measure.MASS, "kg", 5),
    0x28: (2, Measure.POWER, "W", 5),
    0x30: (2, Measure.POWER, "J/h", 8),
}
_SECOND: dict[int, tuple[int, Measure, str, int]] = {
    0x3A: (1, Measure.COUNT, "", 0),
    0x40: (16, Measure.OTHER, "V", -9),
    0x50: (16, Measure.OTHER, "A", -12),
    0x61: (1, Measure.COUNT, "", 0),
}
FIRST_EXTENSION, SECOND_EXTENSION = 0xFB, 0xFD
PLAIN_TEXT = 0x7C
SECOND_TABLE, MAKERS_OWN = 0x7C, 0x7F
"""VIFE behind which the next one is of a table of its own (0x01 to 0x03: of that phase), and all others the maker's."""
_TABLES = {FIRST_EXTENSION: _FIRST, SECOND_EXTENSION: _SECOND}


def meaning_of(code: int, *, extension: int | None = None) -> Meaning:
    """Of a VIF, or of the code behind the extension 0xFB or 0xFD; the extension bit is left aside."""
    code &= 0x7F
    for first, (codes, measure, unit, exponent) in (_TABLES[extension] if extension else _PRIMARY).items():
        if first <= code < first + codes:
            return Meaning(measure=measure, unit=unit, exponent=exponent + code - first)
    return _OTHER


def code_of(meaning: Meaning) -> bytes:
    """The value information field that says just this, without extension bit at its end. Raises ValueError."""
    for lead, table in ((b"", _PRIMARY), *((bytes((code,)), table) for code, table in _TABLES.items())):
        for first, (codes, measure, unit, exponent) in table.items():
            step = meaning.exponent - exponent
            if (measure, unit) == (meaning.measure, meaning.unit) and 0 <= step < codes:
                return lead + bytes((first + step,))
    raise ValueError(f"M-Bus has no code for {meaning.measure} in 10^{meaning.exponent} {meaning.unit}")


def correction_of(vife: int) -> int | None:
    """The power of ten by which a combinable VIFE multiplies; None for one that does something else."""
    code = vife & 0x7F
    if 0x70 <= code <= 0x77:
        return code - 0x76
    return 3 if code == 0x7D else None


def is_record_error(vife: int) -> bool:
    """The meter says with it that this record's value is none: not there, overflown, wrong."""
    return 0x01 <= vife & 0x7F <= 0x1F


_HOUR = Fraction(3600)
# Each unit in the base unit of its measure: J, m3, kg, W, m3/h, kg/h.
_UNITS: dict[Measure, dict[str, Fraction]] = {
    Measure.ENERGY: {
        "J": Fraction(1),
        "MJ": Fraction(10**6),
        "GJ": Fraction(10**9),
        "Wh": _HOUR,
        "kWh": _HOUR * 10**3,
        "MWh": _HOUR * 10**6,
        "GWh": _HOUR * 10**9,
    },
    # A norm cubic metre is what the meter's own corrector makes of it: to M-Bus it is a cubic metre too.
    Measure.VOLUME: {"m3": Fraction(1), "Nm3": Fraction(1), "l": Fraction(1, 1000), "hl": Fraction(1, 10)},
    Measure.MASS: {"kg": Fraction(1), "g": Fraction(1, 1000), "t": Fraction(1000)},
    Measure.POWER: {"W": Fraction(1), "kW": Fraction(10**3), "MW": Fraction(10**6), "J/h": 1 / _HOUR},
    Measure.VOLUME_FLOW: {
        "m3/h": Fraction(1),
        "Nm3/h": Fraction(1),
        "m3/min": Fraction(60),
        "m3/s": _HOUR,
        "l/h": Fraction(1, 1000),
        "l/min": Fraction(60, 1000),
        "l/s": _HOUR / 1000,
    },
    Measure.MASS_FLOW: {"kg/h": Fraction(1), "t/h": Fraction(1000), "g/s": _HOUR / 1000},
}


def units_of(measure: Measure) -> tuple[str, ...]:
    """The units in which that measure can be told; none for one that has no unit."""
    return tuple(_UNITS.get(measure, ()))


def in_unit(value: Decimal, *, measure: Measure, unit: str, wanted: str, scale: Decimal = Decimal(1)) -> float:
    """`value` in another unit of its measure, times `scale`: exact up to the last rounding. Raises KeyError.

    A count has no unit: there `scale` says what one is.
    """
    exact = Fraction(value) * Fraction(scale)
    if measure is not Measure.COUNT:
        exact *= _UNITS[measure][unit] / _UNITS[measure][wanted]
    return float(exact)
