"""Factors as people give them, by a file or the API: kg CO2e per unit of a carrier, with source and validity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from api.indicators.carbon import HOUR_MS
from api.periods import EARLIEST, LATEST
from schemas.carriers import SCOPES, Area, FactorBasis, Gas, Scope
from schemas.parts import Label
from schemas.topics import Key

UNITS: dict[str, tuple[str, Decimal]] = {
    "kg/kWh": ("kWh", Decimal(1)),
    "g/kWh": ("kWh", Decimal("0.001")),
    "kg/MWh": ("kWh", Decimal("0.001")),
    "t/MWh": ("kWh", Decimal(1)),
    # 1 GJ = 1000/3.6 kWh
    "kg/GJ": ("kWh", Decimal("0.0036")),
    "g/MJ": ("kWh", Decimal("0.0036")),
    "t/TJ": ("kWh", Decimal("0.0036")),
    "kg/m3": ("m3", Decimal(1)),
    "g/m3": ("m3", Decimal("0.001")),
    "kg/kg": ("kg", Decimal(1)),
    "kg/t": ("kg", Decimal("0.001")),
    "t/t": ("kg", Decimal(1)),
}
"""The unit that a meter counts in, and kg per that unit for one of the factor's."""
_MOST = {"kWh": Decimal(10), "m3": Decimal(10_000), "kg": Decimal(100_000)}
"""kg per unit that no carrier exceeds: coal has 0.4 per kWh, the worst gas 25,000 per kg."""

Day = Annotated[date, Field(ge=date(EARLIEST, 1, 1), le=date(LATEST, 12, 31))]


class GivenFactor(BaseModel):
    """A constant factor over whole local days, `to` being the first day after (left out: until another one says so).

    `scope` may be left out for a well-known carrier. Of Scope 2 `basis` says what it speaks of; Scope 1 has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    key: Key
    carrier: Label
    scope: Scope | None = None
    basis: FactorBasis | None = None
    area: Area | None = None
    value: Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=15, allow_inf_nan=False)]
    unit: str
    gas: Gas
    start: Annotated[Day, Field(alias="from")]
    end: Annotated[Day | None, Field(alias="to")] = None
    source: Label
    licence: Label
    remark: Label | None = None

    @field_validator("unit")
    @classmethod
    def _unit_is_known(cls, unit: str) -> str:
        if unit not in UNITS:
            fuel = "; a fuel's meter counts kWh, so divide by its heating value" if unit.endswith("/l") else ""
            raise ValueError(f"{unit!r} is not a unit of a factor; use one of: {', '.join(UNITS)}{fuel}")
        return unit

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        known = SCOPES.get(self.carrier)
        if self.scope is None and known is None:
            raise ValueError(
                f"say the scope of {self.carrier}: scope_1 where the site burns it, scope_2 where it buys it"
            )
        if known is not None and self.scope not in {None, known}:
            raise ValueError(f"{self.carrier} is of {known}; another carrier needs another name")
        if (self.true_scope is Scope.SCOPE_2) != (self.basis is not None):
            wanted = (
                f"a basis: {', '.join(FactorBasis)}" if self.basis is None else "no basis: it counts in both figures"
            )
            raise ValueError(f"a factor of {self.true_scope} has {wanted}")
        if self.end is not None and self.start >= self.end:
            raise ValueError("`to` is the first day after the span and must be after `from`")
        unit, _ = UNITS[self.unit]
        if self.kg_per_unit > _MOST[unit]:
            raise ValueError(
                f"{self.value} {self.unit} is more than any carrier has ({_MOST[unit]} kg/{unit}); check value and unit"
            )
        return self

    @property
    def true_scope(self) -> Scope:
        return self.scope or SCOPES[self.carrier]

    @property
    def kg_per_unit(self) -> Decimal:
        return self.value * UNITS[self.unit][1]

    def columns(self) -> dict[str, Any]:
        """What stands in the table."""
        return {
            "key": self.key,
            "carrier": self.carrier,
            "scope": self.true_scope.value,
            "basis": self.basis and self.basis.value,
            "area": self.area,
            "unit": UNITS[self.unit][0],
            "value": self.kg_per_unit,
            "gas": self.gas.value,
            "from_date": self.start,
            "to_date": self.end,
            "source": self.source,
            "licence": self.licence,
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSeries:
    """An hourly factor of the grid: `hours` are kg/kWh by hour (Unix milliseconds / 3,600,000) of one month in UTC."""

    key: str
    area: str
    source: str
    licence: str
    remark: str | None
    hours: Mapping[int, float]

    def columns(self) -> dict[str, Any]:
        """What stands in the table beside the hours."""
        return {
            "key": self.key,
            "carrier": "electricity",
            "scope": Scope.SCOPE_2.value,
            "basis": FactorBasis.LOCATION.value,
            "area": self.area,
            "unit": "kWh",
            "value": None,
            "gas": Gas.CO2.value,
            "from_date": _day(min(self.hours)),
            "to_date": _day(max(self.hours)) + timedelta(days=1),
            "source": self.source,
            "licence": self.licence,
            "remark": self.remark,
        }


def _day(hour: int) -> date:
    return datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).date()
