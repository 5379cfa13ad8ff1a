"""Balances: meters against the sum of their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api import balance_store
from api.balance import Place
from api.balance_store import Told
from api.calendar.buckets import Bucket, By, buckets, edges
from api.calendar.clock import Period
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio, reply
from api.problems import bad_value
from api.routes.consumption import AskedPeriod
from api.site_store import OwnSite
from api.tables.formats import TableRoute
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["consumption"], route_class=TableRoute)


class PlaceBalance(Answer):
    """One meter with parts over one bucket, cut to the period: whole = parts + rest.

    `total` is the meter with what is generated behind it and without what is exported from there, in those quarters in
    which it and all of its parts are known; all figures are null where there are none.
    """

    parent: str
    children: list[str]
    resource: Resource
    unit: str
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    shift: str | None
    working_day: date | None
    total: Number | None
    children_total: Number | None
    rest: Number | None
    tolerance: Annotated[Number | None, Field(description="what the meters' accuracy explains, up or down")]
    estimated: Annotated[Number | None, Field(description="what of the rest may come from estimates, up or down")]
    negative_rest: Annotated[bool, Field(description="a finding: below zero by more than tolerance and estimates")]
    coverage: Annotated[Ratio, Field(description="share of the bucket of which all meters involved are measured")]
    without_class: Annotated[list[str], Field(description="meters without an accuracy class, taken as 2 %")]


@router.get("/balance", response_model=Page[PlaceBalance])
async def balance(
    *,
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    by: Annotated[By, Query(description="a day or longer, or a shift")] = By.DAY,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Each meter that has parts against their sum, ordered by bucket and meter.

    The tolerance is the root of the sum of squares of each meter's accuracy class × quantity.
    """
    if by in {By.QUARTER, By.HOUR}:
        raise bad_value("by", "meters are read at different moments; balance them by the day or longer, or by shift")
    if by is By.SHIFT and not site.shifts:
        raise bad_value("by", "this site has no shifts; give them in its model, as `site.shifts`")
    places = await balance_store.site_places(connection, site)
    after = tuple(decode_cursor(cursor, datetime, str)) if cursor else None
    start = period.start if after is None else max(period.start, after[0])
    if not places or start >= period.end:
        return reply(Page(items=[], next=None))
    found = buckets(replace(period, start=start), by, site.calendar)
    wanted = list(islice(_keys(found, places, start=period.start, after=after), limit + 1))
    numbers = {bucket: i for i, bucket in enumerate(dict.fromkeys(bucket for bucket, _ in wanted))}
    told = await balance_store.balances(connection, places, edges(list(numbers), period)) if wanted else {}
    items = [_item(place, bucket, told.get((numbers[bucket], place.parent)), period) for bucket, place in wanted]
    return reply(page_of(items, limit, lambda item: (item.start, item.parent)))


def _keys(
    found: Iterator[Bucket], places: Sequence[Place], *, start: datetime, after: tuple[datetime, str] | None
) -> Iterator[tuple[Bucket, Place]]:
    for bucket in found:
        begins = max(bucket.start, start)
        for place in places:
            if after is None or (begins, place.parent) > after:
                yield bucket, place


def _item(place: Place, bucket: Bucket, told: Told | None, period: Period) -> PlaceBalance:
    start, end = max(bucket.start, period.start), min(bucket.end, period.end)
    length_ms = (end - start) // timedelta(milliseconds=1)
    found = told.balance if told else None
    return PlaceBalance(
        parent=place.parent,
        children=list(place.parts),
        resource=Resource(place.resource),
        unit=place.unit,
        start=start,
        end=end,
        shift=bucket.shift,
        working_day=None if bucket.shift is None else bucket.day,
        total=quantity(found.whole) if found else None,
        children_total=quantity(found.parts) if found else None,
        rest=quantity(found.rest) if found else None,
        tolerance=quantity(found.tolerance) if found else None,
        estimated=quantity(found.doubt) if found else None,
        negative_rest=found is not None and found.is_finding,
        coverage=(ratio(min(told.covered_ms / length_ms, 1.0)) if told else None) or Decimal(0),
        without_class=place.without_class,
    )
