"""What lines made: runs and production."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api import runs_store
from api.attribution.loader import attribute_period
from api.calendar.clock import Period
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Connection, Database
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio, reply
from api.indicators.outputs import Output, outputs
from api.routes.consumption import AskedPeriod
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.resources import RunState

router = APIRouter(prefix="/v1/sites/{site}", tags=["consumption"], route_class=TableRoute)


class RunAnswer(Answer):
    """A span of one state of a line; `to` is null while it goes on."""

    line: str
    run: str
    state: RunState
    product: str | None
    order: str | None
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant | None, Field(alias="to")]


class ProductionBy(StrEnum):
    LINE = "line"
    PRODUCT = "product"


class Production(Answer):
    """What came out of a line as one product; `product` is null for what was made in no run."""

    line: str | None
    product: str | None
    unit: str
    good: Number
    scrap: Number
    scrap_ratio: Annotated[Ratio | None, Field(description="scrap / (good + scrap) [ISO 22400-2]")]


@router.get("/runs", response_model=Page[RunAnswer])
async def runs(
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    line: Annotated[str | None, Query(max_length=63)] = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Runs that touch the period, by start."""
    return reply(await run_page(connection, site, period, line=line, limit=limit, cursor=cursor))


async def run_page(
    connection: Connection, site: SiteRow, period: Period, *, line: str | None, limit: int, cursor: str | None = None
) -> Page[RunAnswer]:
    """A page of runs that touch the period, by start."""
    after = tuple(decode_cursor(cursor, datetime, int)) if cursor else None
    rows = await runs_store.runs(connection, site.id, period, line=line, after=after, limit=limit + 1)
    page = page_of(rows, limit, lambda row: (row["start_at"], row["id"]))
    items = [
        RunAnswer(
            line=row["line"],
            run=row["run"],
            state=row["state"],
            product=row["product"],
            order=row["order"],
            start=row["start_at"],
            end=row["end_at"],
        )
        for row in page.items
    ]
    return Page(items=items, next=page.next)


@router.get("/production", response_model=Page[Production])
async def production(
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    by: Annotated[ProductionBy, Query(description="what is told apart")] = ProductionBy.LINE,
) -> Response:
    """Good and scrap by line and product: what the production meters counted, given to the runs of their time."""
    found = await attribute_period(connection, site, period)
    made: dict[tuple[str, str, str], list[Output]] = {}
    for output in outputs(found.attribution, found.units):
        line = output.line if by is ProductionBy.LINE else None
        made.setdefault((line or "", output.product or "", output.unit), []).append(output)
    return reply(Page(items=[_production(key, made[key]) for key in sorted(made)], next=None))


def _production(key: tuple[str, str, str], made: list[Output]) -> Production:
    line, product, unit = key
    good, scrap = sum(output.good.total for output in made), sum(output.scrap.total for output in made)
    return Production(
        line=line or None,
        product=product or None,
        unit=unit,
        good=quantity(good),
        scrap=quantity(scrap),
        scrap_ratio=ratio(Fraction(scrap, good + scrap)) if good + scrap > 0 else None,
    )
