"""Where material comes from, and where waste goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.asked_periods import NamedPeriod
from api.database import Database
from api.exact_json import reply
from api.indicators.takings import Whose
from api.intensity import circularity as circularity_answers
from api.intensity.circularity import CircularityAnswer
from api.intensity.loader import Every
from api.site_store import OwnSite
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"], route_class=TableRoute)


class CircularityBy(StrEnum):
    PRODUCT = "product"
    LINE = "line"
    SITE = "site"


@router.get("/circularity", response_model=CircularityAnswer)
async def circularity(
    *,
    site: OwnSite,
    period: NamedPeriod,
    connection: Database,
    by: Annotated[CircularityBy, Query(description="what is told apart")] = CircularityBy.PRODUCT,
    bucket: Annotated[Every | None, Query(description="a series of these; none: the whole period")] = None,
) -> Response:
    """Virgin and circular input, yield, and waste by code, hazard and route; what a meter does not say is unknown."""
    found = await circularity_answers.circularity_answer(connection, site, period, by=Whose(by.value), every=bucket)
    return reply(found)
