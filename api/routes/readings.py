"""Readings, as meters and people said them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from api import readings_store, site_store
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import Answer, Instant, reply
from api.fact_answers import MeterSaid
from api.readings_store import quality_name
from api.routes.consumption import AskedPeriod, MeterKeys
from api.site_store import OwnSite
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/sites/{site}", tags=["readings"], route_class=TableRoute)


class Reading(Answer):
    """What the meter said, in its own unit; or what a person read there (quality `manual`), which then counts."""

    meter: str
    at: Instant
    value: float
    quality: str
    author: Annotated[str | None, Field(description="who read it; null: the meter itself")]
    reason: str | None
    meter_said: Annotated[MeterSaid | None, Field(description="what a person corrected; null: nothing was")]


@router.get("/readings", response_model=Page[Reading])
async def readings(
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    meter: MeterKeys = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Raw readings by instant, and the readings of people among them."""
    names = {m["number"]: m["id"] for m in await site_store.meters_named(connection, site, meter)}
    after = tuple(decode_cursor(cursor, datetime, int)) if cursor else None
    rows = await readings_store.readings(
        connection, list(names), start=period.start, end=period.end, after=after, limit=limit + 1
    )
    page = page_of(rows, limit, lambda row: (row["at"], row["meter_id"]))
    items = [
        Reading(
            meter=names[row["meter_id"]],
            at=row["at"],
            value=row["value"],
            quality=quality_name(row["quality"]),
            author=row["author"],
            reason=row["reason"],
            meter_said=None
            if row["said_value"] is None
            else MeterSaid(value=row["said_value"], quality=quality_name(row["said_quality"])),
        )
        for row in page.items
    ]
    return reply(Page(items=items, next=page.next))
