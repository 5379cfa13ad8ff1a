"""The effect indicators, and what was used or emitted of one in a period."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from api.indicators.decoupling import Pressure
from schemas.quantities import SCALE


class Indicator(StrEnum):
    """The effect indicators; CO2 by both of its bases."""

    ENERGY = "energy"
    WATER = "water"
    MATERIAL = "material"
    WASTE = "waste"
    CO2_LOCATION = "co2_location"
    CO2_MARKET = "co2_market"

    @property
    def is_carbon(self) -> bool:
        return self in {Indicator.CO2_LOCATION, Indicator.CO2_MARKET}


CO2_UNIT = "kg CO2e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What was used of one indicator, in billionths. `spread` is how much more the other admissible rule would give.

    `counts` is how much of it hangs on what each meter counted: off by a percent, a meter moves the total by a percent
    of that. Of CO2e, `known` is how much of the energy behind it had a factor, `asked` all of it.
    """

    measured: int = 0
    estimated: int = 0
    spread: Fraction = Fraction(0)
    counts: Mapping[str, Fraction] = field(default_factory=dict)
    known: int = 0
    asked: int = 0

    @property
    def total(self) -> int:
        return self.measured + self.estimated

    @property
    def pressure(self) -> Pressure:
        """In the canonical unit."""
        return Pressure(
            measured=Fraction(self.measured, SCALE),
            estimated=Fraction(self.estimated, SCALE),
            spread=self.spread / SCALE,
        )

    @property
    def is_unknown(self) -> bool:
        """Whether nothing of it had the factor that it needed: the total is zero then, and means nothing."""
        return self.asked > 0 and self.known == 0

    @property
    def known_share(self) -> Fraction:
        """0 to 1; 1 where no factor was needed."""
        return min(Fraction(self.known, self.asked), Fraction(1)) if self.asked > 0 else Fraction(1)


def add_up(uses: Iterable[Use]) -> Use:
    """All of them together. The sharing of each may be off in its own direction."""
    found = list(uses)
    counts: dict[str, Fraction] = {}
    for use in found:
        for meter, count in use.counts.items():
            counts[meter] = counts.get(meter, Fraction(0)) + count
    return Use(
        measured=sum(use.measured for use in found),
        estimated=sum(use.estimated for use in found),
        spread=sum((use.spread for use in found), Fraction(0)),
        counts=counts,
        known=sum(use.known for use in found),
        asked=sum(use.asked for use in found),
    )
