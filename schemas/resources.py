"""Resources, their units, and how each unit becomes the canonical one.

An allow-list: a unit that is not here is refused when a meter is set up, so nothing has to be parsed or guessed
while readings arrive. Symbols are the ones technicians see on the dial; each stands for one UCUM unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Resource(StrEnum):
    """What a meter measures."""

    ENERGY = "energy"
    WATER = "water"
    MATERIAL = "material"
    WASTE = "waste"
    PRODUCTION = "production"


class MeterKind(StrEnum):
    """How a meter's values add up: a register, a quantity of a stated span, or a power or flow."""

    COUNTER = "counter"
    INTERVAL = "interval"
    RATE = "rate"


class Direction(StrEnum):
    """Which way energy flows through a meter: to whom it is a part of, out of there again, or made there."""

    IMPORT = "import"
    EXPORT = "export"
    GENERATION = "generation"


class Quality(IntEnum):
    """What the source said of a reading. Anything but GOOD makes the consumption behind it estimated."""

    GOOD = 0
    ESTIMATED = 1
    SUSPECT = 2
    MANUAL = 3


class RunState(StrEnum):
    """What a line did during a run."""

    RUNNING = "running"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    DOWN = "down"


PRODUCTION_TYPES = ("good", "scrap", "rework")
"""The carrier or type of a production meter: what became of the output that it counts."""

CANONICAL_UNITS: dict[Resource, str] = {
    Resource.ENERGY: "kWh",
    Resource.WATER: "m3",
    Resource.MATERIAL: "kg",
    Resource.WASTE: "kg",
    Resource.PRODUCTION: "pcs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One allowed unit of a resource.

    `to_canonical` is canonical units per unit; for a rate, canonical units per unit and hour. None where it depends on
    the carrier (a fuel's heating value): the meter then states its own `conversion`.
    """

    symbol: str
    canonical: str
    to_canonical: float | None
    is_rate: bool = False


def _quantities(canonical: str, conversions: dict[str, float | None]) -> dict[str, Unit]:
    return {s: Unit(symbol=s, canonical=canonical, to_canonical=by) for s, by in conversions.items()}


def _rates(canonical: str, conversions: dict[str, float | None]) -> dict[str, Unit]:
    return {s: Unit(symbol=s, canonical=canonical, to_canonical=by, is_rate=True) for s, by in conversions.items()}


_MASS: dict[str, float | None] = {"g": 1e-3, "kg": 1.0, "t": 1000.0}
_MASS_FLOW: dict[str, float | None] = {"g/s": 3.6, "kg/h": 1.0, "t/h": 1000.0}

UNITS: dict[Resource, dict[str, Unit]] = {
    Resource.ENERGY: {
        # 1 kWh = 3.6 MJ by definition.
        **_quantities(
            "kWh",
            {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3, "GWh": 1e6, "MJ": 1 / 3.6, "GJ": 1000 / 3.6},
        ),
        **_quantities("kWh", dict.fromkeys(("m3", "Nm3", "l", "kg", "t"))),
        **_rates("kWh", {"W": 1e-3, "kW": 1.0, "MW": 1e3}),
        **_rates("kWh", dict.fromkeys(("m3/h", "Nm3/h", "l/h", "kg/h"))),
    },
    Resource.WATER: {
        **_quantities("m3", {"m3": 1.0, "l": 1e-3, "hl": 0.1}),
        **_rates("m3", {"m3/h": 1.0, "l/h": 1e-3, "l/min": 0.06, "l/s": 3.6}),
    },
    Resource.MATERIAL: {
        **_quantities("kg", {**_MASS, "m3": None, "Nm3": None, "l": None, "pcs": None}),
        **_rates("kg", _MASS_FLOW),
    },
    Resource.WASTE: {
        **_quantities("kg", {**_MASS, "m3": None, "l": None}),
        **_rates("kg", _MASS_FLOW),
    },
    Resource.PRODUCTION: {
        **_quantities("pcs", {"pcs": 1.0}),
        **_quantities("kg", _MASS),
        **_rates("pcs", {"pcs/h": 1.0}),
        **_rates("kg", _MASS_FLOW),
    },
}


def find_unit(resource: Resource, symbol: str) -> Unit:
    """The allowed unit of that symbol. Raises ValueError that lists the allowed ones."""
    units = UNITS[resource]
    try:
        return units[symbol]
    except KeyError:
        allowed = ", ".join(units)
        raise ValueError(f"{symbol!r} is not a unit for {resource}; use one of: {allowed}") from None
