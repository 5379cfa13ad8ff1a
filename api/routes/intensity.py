"""What a good unit takes; the best run and why; regressions beside ratios."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.asked_periods import NamedPeriod
from api.database import Database
from api.exact_json import reply
from api.indicators.best_run import Rank
from api.indicators.outputs import Per
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.intensity import answers as intensity_answers
from api.intensity import best_run as best_run_answers
from api.intensity.answers import AskedIntensity, IntensityAnswer
from api.intensity.best_run import REGRESSED, AskedRuns, BestRunAnswer, RegressionAnswer
from api.intensity.loader import Every
from api.periods import NAMED, parse_named
from api.problems import bad_value
from api.site_store import OwnSite
from api.tables.formats import TableRoute
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"], route_class=TableRoute)

AskedIndicators = Annotated[list[Indicator] | None, Query(description="repeat it for more; none: all")]


@router.get("/intensity", response_model=IntensityAnswer)
async def intensity(
    *,
    site: OwnSite,
    period: NamedPeriod,
    connection: Database,
    by: Annotated[Whose, Query(description="what figures are told of")] = Whose.PRODUCT,
    per: Annotated[Per, Query(description="good units, or kilograms of them by the product's mass")] = Per.UNIT,
    bucket: Annotated[Every | None, Query(description="a series of these; none: the whole period")] = None,
    against: Annotated[str | None, Query(max_length=40, description=f"compared with this one: {NAMED}")] = None,
    indicator: AskedIndicators = None,
) -> Response:
    """What a good unit takes of each resource, and of CO2e, with its interval and what it rests on.

    Marginal (processing, changeover and shares of utilities) and fully loaded (that and idle by occupied hours).
    """
    asked = AskedIntensity(
        period=period,
        by=by,
        per=per,
        every=bucket,
        against=None if against is None else parse_named(against, site.calendar, place="against").within(site.zone),
        indicators=indicator or tuple(Indicator),
    )
    return reply(await intensity_answers.intensity_answer(connection, site, asked))


@router.get("/intensity/best", response_model=BestRunAnswer)
async def best(
    *,
    site: OwnSite,
    period: NamedPeriod,
    connection: Database,
    product: Annotated[str, Query(max_length=63)],
    indicator: Indicator = Indicator.ENERGY,
    rank: Rank = Rank.FULLY_LOADED,
    per: Per = Per.UNIT,
    least_good: Annotated[
        Decimal | None, Query(ge=0, le=10**12, description="runs with less don't count; none: half of the median run's")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> Response:
    """The runs of a product by what a good unit took, and what sets the best apart from the one in the middle."""
    asked = AskedRuns(
        product=product,
        period=period,
        indicator=indicator,
        rank=rank,
        per=per,
        least_good=None if least_good is None else Fraction(least_good),
        limit=limit,
    )
    return reply(await best_run_answers.best_run_answer(connection, site, asked))


@router.get("/intensity/regression", response_model=RegressionAnswer)
async def regression(
    site: OwnSite, period: NamedPeriod, connection: Database, resource: Resource | None = None
) -> Response:
    """E = a + b·Q of each line and the site by the day: a base load makes a ratio fall as output grows."""
    if resource is not None and resource not in REGRESSED:
        raise bad_value("resource", f"{resource} is what is made; take one of {', '.join(REGRESSED)}")
    return reply(await best_run_answers.regression_answer(connection, site, period, resource))
