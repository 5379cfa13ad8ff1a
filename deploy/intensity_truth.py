"""The simulator's truth beside intensities, where a demo simulated the site."""

from __future__ import annotations

from decimal import Decimal

from api.exact_json import Answer, Ratio, ratio
from api.indicators.pressures import Indicator
from api.intensity.answers import IntensityAnswer, IntensityItem
from api.intensity.parts import ByUnit
from deploy.demo.truth_file import TruthSource
from edge.simulation.truth import Taken, Truth
from schemas.resources import Resource


class TrueIntensity(Answer):
    """What really was taken by the good piece; `within`: whether the fully loaded one lies in the interval."""

    value: ByUnit
    fully_loaded: ByUnit
    off: Ratio | None
    within: bool | None


class TrueItem(IntensityItem):
    """An intensity, and what the simulator knows of it; null where it knows nothing."""

    truth: TrueIntensity | None


class TrueAnswer(IntensityAnswer):
    """Intensities with the simulator's truth beside them."""

    items: list[TrueItem]  # type: ignore[assignment]


def with_truth(answer: IntensityAnswer, source: TruthSource) -> TrueAnswer:
    """The answer with what the simulator knows of each product's pieces."""
    known: dict[tuple[object, object], Truth | None] = {}
    items = []
    for item in answer.items:
        span = item.start, item.end
        if span not in known:
            known[span] = source.between(*span)
        items.append(TrueItem(**dict(item), truth=_truth_of(item, known[span])))
    return TrueAnswer(items=items, balance=answer.balance, findings=answer.findings)


def _truth_of(item: IntensityItem, truth: Truth | None) -> TrueIntensity | None:
    others = (item.family, item.line, item.run, item.order)
    if truth is None or item.product is None or item.good_unit != "pcs" or any(other is not None for other in others):
        return None
    true = _product(item.product, item.indicator, truth)
    if true is None:
        return None
    full, low, high = true.fully_loaded_intensity, item.fully_loaded_low, item.fully_loaded_high
    told = item.fully_loaded
    return TrueIntensity(
        value=ratio(true.marginal_intensity),
        fully_loaded=ratio(full),
        off=ratio(float(told) / full - 1) if told is not None and full else None,
        within=None
        if full is None or low is None
        else low <= Decimal(full) and (high is None or Decimal(full) <= high),
    )


def _product(product: str, indicator: Indicator, truth: Truth) -> Taken | None:
    if indicator is Indicator.CO2_LOCATION:
        return truth.co2["location"].products.get(product)
    if indicator is Indicator.CO2_MARKET:
        return truth.co2["market"].products.get(product)
    return truth.products.get((product, Resource(indicator.value)))
