"""What drove a change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.database import Database
from api.decomposition.answers import DecompositionAnswer, answer_decomposition
from api.decomposition.asked import BY_NAMES, INDICATOR_NAMES, parse_asked
from api.decomposition.loader import Chain
from api.exact_json import reply
from api.indicators.drivers import Driver
from api.periods import NAMED
from api.site_store import OwnSite
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"], route_class=TableRoute)

_DAY = "a date, 2026-01-31"


@router.get("/decomposition", response_model=DecompositionAnswer)
async def decomposition(
    *,
    site: OwnSite,
    connection: Database,
    base: Annotated[str | None, Query(max_length=40, description=f"the base period: {NAMED}")] = None,
    base_from: Annotated[str | None, Query(max_length=40, description=f"or its first day: {_DAY}")] = None,
    base_to: Annotated[str | None, Query(max_length=40, description="and the first day after it")] = None,
    period: Annotated[str | None, Query(max_length=40, description=f"the period: {NAMED}")] = None,
    start: Annotated[str | None, Query(alias="from", max_length=40, description=f"or its first day: {_DAY}")] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40, description="and the first day after it")] = None,
    indicator: Annotated[str, Query(max_length=40, description=f"{INDICATOR_NAMES}; co2 is co2_location")] = "energy",
    by: Annotated[str, Query(max_length=40, description=BY_NAMES)] = "product",
    chain: Annotated[Chain, Query(description="month: in steps of a month")] = Chain.NONE,
    activity: Annotated[
        Driver, Query(description="output, or money given for each product, family or line")
    ] = Driver.PRODUCTION_VOLUME,
    price_index: Annotated[str | None, Query(max_length=100, description="deflates money of several years")] = None,
) -> Response:
    """What drove the change of an indicator: activity, mix, intensity, for CO2 factors, and what nobody carries."""
    asked = parse_asked(
        site,
        base=(base, base_from, base_to),
        period=(period, start, end),
        indicator=indicator,
        by=by,
        chain=chain,
        activity=activity,
        price_index=price_index,
    )
    return reply(await answer_decomposition(connection, site, asked))
