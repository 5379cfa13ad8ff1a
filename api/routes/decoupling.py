"""Whether the site decouples."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api import decoupling_report
from api.database import Database
from api.decoupling_report import Made, Used
from api.driver_store import Driver
from api.exact_json import Answer, Number, exact, ratio, reply
from api.indicators.decoupling import ElasticityState, State, Verdict
from api.indicators.flows import Amount
from api.indicators.intensity import estimated_share
from api.periods import parse_days
from api.routes.indicators import QuantityAnswer, amount_answer, share_answer
from api.site_store import OwnSite
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"])

IndicatorName = Literal["energy", "water", "material", "waste"]


class DriverPeriod(Answer):
    """One driver over one period; `value` is null when `problem` says why."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    value: Number | None
    unit: str | None
    price_year: int | None
    problem: str | None


class DriverAnswer(Answer):
    name: Driver
    base: DriverPeriod
    period: DriverPeriod


class PressurePeriod(Answer):
    """What was used in one period. `usable_days`: share of days more than half measured, of the worst meter."""

    quantity: QuantityAnswer | None
    coverage: Number
    usable_days: Number
    estimated_share: Number | None


class MonthAnswer(Answer):
    """A whole month. Indices: quantity a day, the base period's being 100; null where there is no value."""

    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to")]
    pressure: Number | None
    driver: Number | None


class Growth(Answer):
    """Of the whole, 0.05 being 5 %. `low`, `high`: the estimated part may be off by half, in the worst combination."""

    pressure: Number | None
    driver: Number | None
    low: Number | None
    high: Number | None


class IndicatorAnswer(Answer):
    """One indicator judged. What can't be told is null, and `reason` or `sentence` says why."""

    indicator: Resource
    unit: str
    meters: list[str]
    base: PressurePeriod
    period: PressurePeriod
    growth: Growth
    state: State
    reason: str | None
    possible_states: list[State]
    elasticity: Number | None
    elasticity_state: ElasticityState | None
    oecd_factor: Number | None
    coverage: Annotated[Number, Field(description="that of the worse period")]
    estimated_share: Number | None
    verdict: Verdict | None
    would_settle: list[str]
    sentence: str
    sentence_da: str
    series: list[MonthAnswer]


class DecouplingAnswer(Answer):
    driver: DriverAnswer
    items: list[IndicatorAnswer]
    next: None = None


_DAY = "a date, 2026-01-31"


@router.get("/decoupling", response_model=DecouplingAnswer)
async def decoupling(
    *,
    site: OwnSite,
    connection: Database,
    base_from: Annotated[str, Query(max_length=40, description=f"first day of the base period: {_DAY}")],
    base_to: Annotated[str, Query(max_length=40, description="first day after it")],
    start: Annotated[str, Query(alias="from", max_length=40, description=f"first day of the period: {_DAY}")],
    end: Annotated[str, Query(alias="to", max_length=40, description="first day after it")],
    driver: Driver = Driver.REVENUE,
    indicator: Annotated[list[IndicatorName] | None, Query(max_length=4, description="none: all")] = None,
) -> Response:
    """Whether the site makes more while using less, by indicator, against a base period."""
    found = await decoupling_report.report(
        connection,
        site,
        base=parse_days("base_", base_from, base_to),
        period=parse_days("", start, end),
        driver=driver,
        indicators=[r for r in decoupling_report.INDICATORS if not indicator or r.value in indicator],
    )
    return reply(
        DecouplingAnswer(
            driver=DriverAnswer(name=driver, base=_made(found.base), period=_made(found.period)),
            items=[_indicator(item) for item in found.indicators],
        )
    )


def _indicator(item: decoupling_report.Indicator) -> IndicatorAnswer:
    judgement = item.judgement
    comparison = judgement.comparison if judgement else None
    reason = item.reason.en if item.reason else comparison.reason if comparison else None
    both = Amount(item.base.measured + item.period.measured, item.base.estimated + item.period.estimated)
    return IndicatorAnswer(
        indicator=item.resource,
        unit=item.unit,
        meters=item.meters,
        base=_used(item.base),
        period=_used(item.period),
        growth=Growth(
            pressure=ratio(comparison.pressure_growth) if comparison else None,
            driver=ratio(comparison.driver_growth) if comparison else None,
            low=ratio(judgement.growth_low) if judgement else None,
            high=ratio(judgement.growth_high) if judgement else None,
        ),
        state=comparison.state if comparison else State.NOT_ASSESSABLE,
        reason=reason,
        possible_states=list(dict.fromkeys((*judgement.states, *judgement.daily_states))) if judgement else [],
        elasticity=ratio(comparison.elasticity) if comparison else None,
        elasticity_state=comparison.elasticity_state if comparison else None,
        oecd_factor=ratio(comparison.oecd_factor) if comparison else None,
        coverage=share_answer(min(item.base.coverage, item.period.coverage)),
        estimated_share=ratio(estimated_share(both)),
        verdict=judgement.verdict if judgement else None,
        would_settle=[doubt.en for doubt in item.doubts],
        sentence=item.sentence.en,
        sentence_da=item.sentence.da,
        series=[
            MonthAnswer(start=m.first, end=m.end, pressure=ratio(m.pressure), driver=ratio(m.driver))
            for m in item.series
        ],
    )


def _used(used: Used) -> PressurePeriod:
    amount = Amount(used.measured, used.estimated)
    return PressurePeriod(
        quantity=amount_answer(amount) if used.rows else None,
        coverage=share_answer(used.coverage),
        usable_days=share_answer(used.usable),
        estimated_share=ratio(estimated_share(amount)),
    )


def _made(made: Made) -> DriverPeriod:
    return DriverPeriod(
        start=made.days.first,
        end=made.days.end,
        value=None if made.value is None else exact(made.value),
        unit=made.unit,
        price_year=made.price_year,
        problem=made.problem.en if made.problem else None,
    )
