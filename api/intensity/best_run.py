"""The best run of a product and why, and regressions beside ratios, as the API and the command line tell them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from api.calendar.clock import Period
from api.database import Connection
from api.exact_json import Answer, Number, Ratio, exact, quantity, ratio
from api.indicators.best_run import Effect, Rank, Ranking, RunFigure, rank_runs
from api.indicators.outputs import Per
from api.indicators.pressures import Indicator
from api.indicators.regression import Unfit
from api.intensity.loader import PlaceRegression, regressions, share_out
from api.intensity.parts import ByUnit
from api.problems import not_found
from api.site_store import SiteRow
from schemas.resources import Resource

REGRESSED = (Resource.ENERGY, Resource.WATER, Resource.MATERIAL, Resource.WASTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRuns:
    """Which runs are ranked, and how. `least_good` in units of the product; None: half of the median run's."""

    product: str
    period: Period
    indicator: Indicator = Indicator.ENERGY
    rank: Rank = Rank.FULLY_LOADED
    per: Per = Per.UNIT
    least_good: Fraction | None = None
    limit: int = 10


class RunItem(Answer):
    """One run; `value` is by the good unit, idle with it where runs are ranked fully loaded."""

    line: str | None
    run: str | None
    order: str | None
    value: ByUnit
    unit: str
    good: Number
    good_unit: str
    hours: Annotated[Ratio, Field(description="of running, within the period")]
    rate: Annotated[Ratio | None, Field(description="pieces or kg in an hour of running, scrap with them")]
    idle_share: Ratio | None
    changeover_share: Ratio | None
    shared_share: Annotated[Ratio | None, Field(description="of what utilities brought while it ran")]
    scrap_ratio: Ratio | None
    estimated_share: Ratio | None


class EffectItem(Answer):
    """What one thing adds to the difference of two runs by the good unit; negative: the best run is better by it."""

    effect: Effect
    value: ByUnit
    unit: str


class BestRunAnswer(Answer):
    """The best runs first. `effects` sum to `difference`, which is `best` − `median`."""

    product: str
    indicator: Indicator
    rank: Rank
    items: list[RunItem]
    best: RunItem | None
    median: RunItem | None
    difference: Ratio | None
    effects: list[EffectItem]
    runs: Annotated[int, Field(description="how many made enough good units")]
    passed_over: Annotated[int, Field(description="how many made too few")]
    least_good: Number
    next: None = None


class RegressionItem(Answer):
    """E = a + b·Q by the local day: `base` a, in `unit` a day, and `slope` b, by the good unit.

    Null where nothing can be fitted; `unfit` says why a fit should not be relied on, `problem` why there is none.
    """

    line: Annotated[str | None, Field(description="null for the whole site")]
    resource: Resource
    unit: str
    good_unit: str | None
    days: int
    left_out: Annotated[int, Field(description="days measured less than half")]
    base: Ratio | None
    slope: Ratio | None
    base_error: Annotated[Ratio | None, Field(description="standard error of the base")]
    slope_error: Annotated[Ratio | None, Field(description="standard error of the slope")]
    r2: Ratio | None
    base_share: Annotated[Ratio | None, Field(description="the base's share of all that was used on these days")]
    unfit: list[Unfit]
    problem: str | None
    meters: list[str]


class RegressionAnswer(Answer):
    items: list[RegressionItem]
    next: None = None


async def best_run_answer(connection: Connection, site: SiteRow, asked: AskedRuns) -> BestRunAnswer:
    """The runs of a product, ranked. Raises a 404 or 422 problem."""
    (shared,) = await share_out(connection, site, asked.period, by_run=True)
    if asked.product not in shared.facts.products:
        raise not_found(f"there is no such product at {site.key}; GET /v1/sites/{site.key}/products lists them")
    ranking = rank_runs(
        shared.attribution,
        shared.facts,
        product=asked.product,
        indicator=asked.indicator,
        rank=asked.rank,
        per=asked.per,
        least_good=asked.least_good,
    )
    best, median = ranking.best, ranking.median
    return BestRunAnswer(
        product=asked.product,
        indicator=asked.indicator,
        rank=asked.rank,
        items=[_run(run) for run in ranking.runs[: asked.limit]],
        best=_run(best) if best else None,
        median=_run(median) if median else None,
        difference=ratio(best.value - median.value) if best and median else None,
        effects=_effects(ranking),
        runs=len(ranking.runs),
        passed_over=ranking.passed_over,
        least_good=exact(ranking.least_good),
    )


def _effects(ranking: Ranking) -> list[EffectItem]:
    if ranking.best is None:
        return []
    unit = _unit(ranking.best)
    told = sorted(ranking.effects.items(), key=lambda item: (-abs(item[1]), item[0]))
    return [EffectItem(effect=effect, value=ratio(value), unit=unit) for effect, value in told]


def _run(run: RunFigure) -> RunItem:
    made = run.intensity.made
    figure = run.intensity.loaded
    return RunItem(
        line=run.owner.line,
        run=run.owner.run,
        order=run.owner.order,
        value=ratio(run.value),
        unit=_unit(run),
        good=quantity(run.good),
        good_unit=made.unit or "",
        hours=ratio(run.hours) or Decimal(0),
        rate=ratio(run.rate),
        idle_share=ratio(run.idle_share),
        changeover_share=ratio(run.changeover_share),
        shared_share=ratio(run.shared_share),
        scrap_ratio=ratio(made.scrap_ratio),
        estimated_share=ratio(figure.estimated_share),
    )


def _unit(run: RunFigure) -> str:
    return f"{run.intensity.unit}/{run.intensity.made.unit}"


async def regression_answer(
    connection: Connection, site: SiteRow, period: Period, resource: Resource | None = None
) -> RegressionAnswer:
    """Of each line and the site, each resource that it has meters for. Raises a 422 problem."""
    wanted = REGRESSED if resource is None else (resource,)
    return RegressionAnswer(items=[_regression(one) for one in await regressions(connection, site, period, wanted)])


def _regression(one: PlaceRegression) -> RegressionItem:
    found = one.regression
    return RegressionItem(
        line=one.line,
        resource=one.resource,
        unit=one.unit,
        good_unit=one.good_unit,
        days=found.n,
        left_out=one.left_out,
        base=ratio(found.base),
        slope=ratio(found.slope),
        base_error=ratio(found.se_base),
        slope_error=ratio(found.se_slope),
        r2=ratio(found.r2),
        base_share=ratio(found.base_share),
        unfit=[] if one.problem else list(found.unfit),
        problem=one.problem,
        meters=list(one.meters),
    )
