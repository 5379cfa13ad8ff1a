"""What is behind a figure."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.database import Database
from api.exact_json import reply
from api.explain.answers import Depth, Explanation
from api.explain.explain import explain
from api.explain.walk import Asked
from api.periods import parse_day, parse_instant
from api.site_store import OwnSite
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"], route_class=TableRoute)


@router.get("/figures/{figure}", response_model=Explanation)
async def one_figure(
    *,
    site: OwnSite,
    figure: str,
    connection: Database,
    depth: Annotated[Depth, Query(description="how far down")] = Depth.READINGS,
    meter: Annotated[
        str | None, Query(max_length=63, description="which to follow down; none: the largest part")
    ] = None,
    day: Annotated[str | None, Query(max_length=40, description="a local day; none: the largest")] = None,
    quarter: Annotated[str | None, Query(max_length=40, description="an instant in it; none: the largest")] = None,
) -> Response:
    """What is behind a figure: its formula, its parts, and the largest or a chosen one down to single readings.

    A figure's name is in the field `figure` of the answers of `/intensity`, `/decoupling`, `/decomposition` and
    `/circularity`. Its last part (`v=`) may be left out; with it, `has_changed` tells whether the figure is another
    one by now.
    """
    asked = Asked(
        depth=depth,
        meter=meter,
        day=None if day is None else parse_day("day", day),
        quarter=None if quarter is None else parse_instant("quarter", quarter, site.zone),
    )
    return reply(await explain(connection, site, figure, asked))
