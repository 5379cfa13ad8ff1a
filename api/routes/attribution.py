"""Where every meter's consumption went, and by which rule."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.attribution.answers import AskedParts, AttributionAnswer, PartsBy, attribution_answer
from api.database import Database
from api.exact_json import reply
from api.routes.consumption import AskedPeriod
from api.site_store import OwnSite
from api.tables.formats import TableRoute
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"], route_class=TableRoute)

Key = Annotated[str | None, Query(max_length=63)]
Name = Annotated[str | None, Query(max_length=200)]


@router.get("/attribution", response_model=AttributionAnswer)
async def attribution(
    *,
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    by: Annotated[PartsBy, Query(description="into which spans the ledger is cut")] = PartsBy.NONE,
    product: Key = None,
    line: Key = None,
    resource: Resource | None = None,
    meter: Key = None,
    run: Name = None,
    order: Name = None,
) -> Response:
    """Where every meter's consumption went, and by which rule.

    Of a product, run or order it is all that they carry fully loaded: their share of their lines' idle is told too.
    """
    asked = AskedParts(by=by, product=product, line=line, resource=resource, meter=meter, run=run, order=order)
    return reply(await attribution_answer(connection, site, period, asked))
