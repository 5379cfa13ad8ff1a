"""A figure taken apart by what its meters measure: carrier, origin, waste code, treatment, scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from api.indicators.figures import MeterFacts
from api.indicators.flows import Amount
from api.indicators.pressures import Indicator
from api.indicators.tallies import Tally, of_indicator
from schemas.carriers import Scope
from schemas.resources import Resource


class Facet(StrEnum):
    """By what a figure is taken apart."""

    CARRIER = "carrier"
    ORIGIN = "origin"
    WASTE_CODE = "waste_code"
    TREATMENT = "treatment"
    SCOPE = "scope"


_FACETS = {
    Indicator.ENERGY: (Facet.CARRIER,),
    Indicator.WATER: (Facet.CARRIER,),
    Indicator.MATERIAL: (Facet.CARRIER, Facet.ORIGIN),
    Indicator.WASTE: (Facet.CARRIER, Facet.WASTE_CODE, Facet.TREATMENT),
    Indicator.CO2_LOCATION: (Facet.SCOPE, Facet.CARRIER),
    Indicator.CO2_MARKET: (Facet.SCOPE, Facet.CARRIER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one value of a facet is of a figure. `name` is None where the site model does not say."""

    facet: Facet
    name: str | None
    marginal: Amount
    idle: Amount


def slices(
    marginal: Mapping[str, Tally],
    idle: Mapping[str, Tally],
    indicator: Indicator,
    *,
    meters: Mapping[str, MeterFacts],
    resources: Mapping[str, Resource],
    scopes: Mapping[str, Scope],
) -> Iterator[Slice]:
    """The figure by every facet that its indicator has; the slices of one facet sum to it."""
    amounts = [
        (i, meter, tally.of(indicator))
        for i, tallies in enumerate((marginal, idle))
        for meter, tally in of_indicator(tallies, indicator, resources)
    ]
    for facet in _FACETS[indicator]:
        name_of = _namer(facet, meters, scopes)
        sums: dict[str | None, list[Amount]] = {}
        for i, meter, amount in amounts:
            of = sums.setdefault(name_of(meter), [Amount(), Amount()])
            of[i] += amount
        for name in sorted(sums, key=lambda name: (name is None, name or "")):
            yield Slice(facet=facet, name=name, marginal=sums[name][0], idle=sums[name][1])


def _namer(facet: Facet, meters: Mapping[str, MeterFacts], scopes: Mapping[str, Scope]) -> Callable[[str], str | None]:
    def name(meter: str) -> str | None:
        if facet is Facet.SCOPE:
            return scopes.get(meter)
        found: str | None = getattr(meters[meter], facet.value) if meter in meters else None
        return found

    return name
