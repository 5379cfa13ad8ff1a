"""What a line, a product family, a product or a whole site used and emitted, from what attribution gave it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from api.balance import Place
from api.indicators.accuracy import through_rests
from api.indicators.pressures import Indicator, Use
from api.indicators.tallies import Tally, of_indicator
from schemas.resources import Resource


def use_of(
    tallies: Mapping[str, Tally],
    indicator: Indicator,
    *,
    resources: Mapping[str, Resource],
    places: Mapping[str, Place],
    counted: Mapping[str, int],
) -> Use | None:
    """The sum over the meters of that indicator; None where no meter gave anything.

    `places` are the meters with parts, by key, and `counted` is what each meter counted, in billionths.
    """
    measured = estimated = known = asked = 0
    spread = Fraction(0)
    given: dict[str, Fraction] = {}
    for meter, tally in of_indicator(tallies, indicator, resources):
        told, whole = tally.of(indicator), tally.amount.total
        measured += told.measured
        estimated += told.estimated
        given[meter] = Fraction(told.total)
        # Shared out otherwise, the energy would take its emissions along.
        part = (Fraction(told.total, whole) if whole else Fraction(0)) if indicator.is_carbon else Fraction(1)
        spread += (tally["otherwise"] - whole) * part
        if indicator.is_carbon:
            asked += abs(whole)
            known += abs(tally[f"{indicator.removeprefix('co2_')}_known"])
    if not given:
        return None
    counts = through_rests(given, places=places, counted=counted)
    return Use(measured=measured, estimated=estimated, spread=spread, counts=counts, known=known, asked=asked)
