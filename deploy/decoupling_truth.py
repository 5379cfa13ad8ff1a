"""What the simulator knows to be true, beside the verdicts on a demo's site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pydantic import Field

from api.decoupling.answers import DecouplingAnswer, IndicatorAnswer
from api.decoupling.places import Level
from api.exact_json import Answer, Ratio, ratio
from api.indicators.comparison import State
from api.indicators.drivers import Driver
from api.indicators.pressures import Indicator
from api.periods import Days
from deploy.demo.truth_file import TruthSource
from edge.simulation.truth import Truth, state_of
from schemas.resources import Resource

_STEPS = 1e-6
"""Registers show whole steps, which the interval does not know; between two years they make less than this."""


class TruthAnswer(Answer):
    """What really happened. Null where the simulator does not know, as of a product's revenue."""

    pressure_growth: Ratio | None
    driver_growth: Ratio | None
    state: State | None
    is_within: bool | None = Field(description="whether the true growth lies in the interval that was told")


class TrueItem(IndicatorAnswer):
    """An indicator judged, and the truth where there is one."""

    truth: TruthAnswer | None


class TrueAnswer(DecouplingAnswer):
    items: list[TrueItem]  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueProduct:
    """A product as the site model has it."""

    unit: str
    mass_kg: float | None
    family: str | None


def with_truth(
    found: DecouplingAnswer, source: TruthSource | None, zone: ZoneInfo, products: Mapping[str, TrueProduct]
) -> TrueAnswer:
    """The answer with the truth of the same periods. `products` are those of the site, by key."""
    truths: dict[Days, Truth | None] = {}
    items = []
    for item in found.items:
        periods = [Days(first=one.start, end=one.end) for one in (item.driver.base, item.driver.period)]
        for days in periods:
            if days not in truths:
                within = days.within(zone)
                truths[days] = source.between(within.start, within.end) if source else None
        base, period = (truths[days] for days in periods)
        told = None if base is None or period is None else _truth(item, base, period, products)
        items.append(TrueItem(**_fields(item), truth=told))
    return TrueAnswer(**{**_fields(found), "items": items})


def _fields(answer: Answer) -> dict[str, object]:
    return {name: getattr(answer, name) for name in type(answer).model_fields}


def _truth(item: IndicatorAnswer, base: Truth, period: Truth, products: Mapping[str, TrueProduct]) -> TruthAnswer:
    own = _own(item, products)
    p = _growth(_pressure(base, item, own), _pressure(period, item, own))
    d = _growth(_driver(base, item, own, products), _driver(period, item, own, products))
    told, low, high = item.growth, item.growth.low, item.growth.high
    return TruthAnswer(
        pressure_growth=ratio(p),
        driver_growth=ratio(d),
        state=None if p is None or d is None else State(state_of(p, d)),
        is_within=None
        if p is None or told.pressure is None
        else (low is None or float(low) - _STEPS <= p) and (high is None or p <= float(high) + _STEPS),
    )


def _own(item: IndicatorAnswer, products: Mapping[str, TrueProduct]) -> Sequence[str] | None:
    """The products that an item is of; None of a whole site, nothing where the simulator does not tell."""
    match item.level:
        case Level.SITE:
            return None
        case Level.PRODUCT:
            return [item.key or ""]
        case Level.FAMILY:
            return [key for key, product in products.items() if product.family == item.key]
        case _:
            return []


def _pressure(truth: Truth, item: IndicatorAnswer, own: Sequence[str] | None) -> float | None:
    if own is not None and not own:
        return None
    if item.indicator.is_carbon:
        co2 = truth.co2["location" if item.indicator is Indicator.CO2_LOCATION else "market"]
        return co2.total if own is None else sum(co2.products[key].fully_loaded for key in own if key in co2.products)
    resource = Resource(item.indicator.value)
    if own is None:
        return truth.totals.get(resource)
    return sum(truth.products[key, resource].fully_loaded for key in own if (key, resource) in truth.products)


def _driver(
    truth: Truth, item: IndicatorAnswer, own: Sequence[str] | None, products: Mapping[str, TrueProduct]
) -> float | None:
    if item.driver.name is Driver.REVENUE:
        return truth.revenue_dkk if own is None else None
    if item.driver.name is not Driver.PRODUCTION_VOLUME or (own is not None and not own):
        return None
    good = {key: product.good_pcs for (key, _), product in truth.products.items() if own is None or key in own}
    if item.driver.base.unit == "pcs":
        return sum(good.values())
    masses = {key: products[key].mass_kg for key in good if key in products}
    found = [count * mass for key, count in good.items() if (mass := masses.get(key)) is not None]
    return sum(found) if len(found) == len(good) else None


def _growth(before: float | None, after: float | None) -> float | None:
    return after / before - 1 if before is not None and after is not None and before > 0 else None
