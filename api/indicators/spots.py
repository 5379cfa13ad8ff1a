"""An attribution summed by where it went and of which carrier, for one indicator: fewer numbers than by meter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from api.indicators.carbon import Carbon
from api.indicators.flows import Amount
from api.indicators.lines import Phase, Slot
from api.indicators.parts import NO_CARBON, Part
from api.indicators.pressures import Indicator
from api.indicators.sharing import Rule
from schemas.resources import Resource


class Where(NamedTuple):
    """Where something of a carrier went."""

    carrier: str
    line: str | None
    phase: Phase
    product: str | None

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.IDLE


@dataclass(frozen=True, slots=True)
class Sum:
    """What was used, and what of the indicator that is: the same, or what it emitted. Billionths, as `known` is.

    `known` is how much of what was used had a CO2 factor.
    """

    amount: Amount
    told: Amount
    known: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.amount + other.amount, self.told + other.told, self.known + other.known)


def sum_up(parts: Iterable[Part], indicator: Indicator, carriers: Mapping[str, str]) -> dict[Where, Sum]:
    """Parts of the indicator's resource by where they went; `carriers` by meter."""
    numbers: dict[Where, list[int]] = {}
    for part in parts:
        where = Where(carriers.get(part.meter, ""), part.line, part.slot.phase, part.slot.product)
        its = numbers.get(where)
        if its is None:
            its = numbers[where] = [0, 0, 0, 0, 0]
        its[0] += part.amount.measured
        its[1] += part.amount.estimated
        if indicator is Indicator.CO2_LOCATION:
            its[2] += part.carbon.location_measured
            its[3] += part.carbon.location_estimated
            its[4] += part.carbon.location_known
        elif indicator is Indicator.CO2_MARKET:
            its[2] += part.carbon.market_measured
            its[3] += part.carbon.market_estimated
            its[4] += part.carbon.market_known
    found = {}
    for where, (measured, estimated, *emitted) in numbers.items():
        amount = Amount(measured, estimated)
        found[where] = Sum(amount, Amount(*emitted[:2]) if indicator.is_carbon else amount, emitted[2])
    return found


def to_parts(sums: Mapping[Where, Sum], indicator: Indicator) -> Iterator[Part]:
    """The sums as parts, each carrier being the meter: what shares out parts shares out these."""
    for where, told in sums.items():
        carbon = NO_CARBON
        if indicator is Indicator.CO2_LOCATION:
            carbon = Carbon(location_measured=told.told.measured, location_estimated=told.told.estimated)
        elif indicator is Indicator.CO2_MARKET:
            carbon = Carbon(market_measured=told.told.measured, market_estimated=told.told.estimated)
        yield Part(
            meter=where.carrier,
            resource=Resource.ENERGY if indicator.is_carbon else Resource(indicator.value),
            unit="",
            carrier=where.carrier,
            line=where.line,
            slot=Slot(where.phase, where.product),
            rule=Rule.NO_SHARE,
            amount=told.amount,
            otherwise=told.amount.total,
            carbon=carbon,
        )
