"""Consumption by bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from api import consumption_store, site_store
from api.calendar.buckets import Bucket, By, buckets, edges
from api.calendar.clock import Period, hour_end, stretches
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Connection, Database
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio, reply
from api.open_quarters import OpenQuarters, read_open_quarters
from api.periods import parse_period
from api.problems import bad_value
from api.series import Series
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["consumption"], route_class=TableRoute)

_EDGE = "an instant with its offset, or a date: the site's midnight"


def _period(
    site: OwnSite,
    start: Annotated[str, Query(alias="from", max_length=40, description=f"first instant: {_EDGE}")],
    end: Annotated[str, Query(alias="to", max_length=40, description=f"first instant after: {_EDGE}")],
) -> Period:
    return parse_period(start, end, site.zone)


AskedPeriod = Annotated[Period, Depends(_period)]
MeterKeys = Annotated[list[str] | None, Query(max_length=1000, description="repeat it for more; none: all")]


class Consumption(Answer):
    """One meter over one bucket, cut to the period, in the canonical unit. Without any rows `total` is null."""

    meter: str
    resource: Resource
    unit: str
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    total: Number | None
    measured: Number | None
    estimated: Number | None
    coverage: Annotated[Ratio, Field(description="share of the bucket that measured readings stand behind, 0 to 1")]
    estimated_share: Annotated[Ratio | None, Field(description="share of the total that is estimated, 0 to 1")]
    provisional: Annotated[
        bool, Field(description="reaches into quarters that are not complete yet, of which raw readings tell so far")
    ]


class ShiftConsumption(Consumption):
    """The same over one shift, or over the time of one local day between two shifts."""

    shift: Annotated[str, Field(description="the shift's id, or `none` for time outside of all shifts")]
    shift_name: str | None
    working_day: Annotated[date, Field(description="the local day on which it began")]


@router.get("/consumption", response_model=Page[ShiftConsumption | Consumption])
async def consumption(
    *,
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    by: By = By.DAY,
    meter: Annotated[
        list[str] | None,
        Query(max_length=1000, description="also a virtual meter; repeat it for more; none: all that are not virtual"),
    ] = None,
    resource: Resource | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Sums of quarters of an hour in the site's own time zone, ordered by bucket and meter.

    Quarters and hours are told where there are rows; days and longer always, with a total of null where there are none.
    The time outside of shifts is told too, cut at midnights, so that any buckets sum up to the whole period.

    A virtual meter is the signed sum of those quarters of which every term is known; in another quarter it is unknown.
    Its coverage is that of its worst term, quarter by quarter: all figures of a bucket are of the same quarters, and
    the coverage tells how much of the bucket they are. Its estimated share is told of the gross amounts, in which
    estimates of opposite signs don't cancel each other out.

    A provisional figure tells of quarters that are not complete what has been read so far, of 500 meters at most.
    """
    if by is By.SHIFT and not site.shifts:
        raise bad_value("by", "this site has no shifts; give them in its model, as `site.shifts`")
    found = await site_store.series_named(connection, site, meter)
    series = [s for s in found if resource is None or s.resource == resource]
    after = tuple(decode_cursor(cursor, datetime, str)) if cursor else None
    numbers = [term.number for s in series for term in s.terms]
    asked = _Asked(
        series=series,
        period=period,
        by=by,
        after=after,
        limit=limit + 1,
        open_quarters=await read_open_quarters(connection, numbers, period),
    )
    if by in {By.QUARTER, By.HOUR}:
        items = await _by_instant(connection, asked)
    else:
        items = await _by_bucket(connection, site, asked)
    # An item's `from` is cut to the period; so are the keys that a cursor is compared with.
    return reply(page_of(items, limit, lambda item: (item.start, item.meter)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Which items a page holds: `limit` of them after the key `after`."""

    series: Sequence[Series]
    period: Period
    by: By
    after: tuple[datetime, str] | None
    limit: int
    open_quarters: OpenQuarters


async def _by_instant(connection: Connection, asked: _Asked) -> list[Consumption]:
    period, after = asked.period, asked.after
    rest = period if after is None else replace(period, start=max(period.start, after[0]))
    if rest.start >= rest.end:
        return []
    clock = list(stretches(rest)) if asked.by is By.HOUR else None
    rows = await consumption_store.sums_by_instant(
        connection,
        asked.series,
        period=period,
        clock=clock,
        open_quarters=asked.open_quarters,
        after=after,
        limit=asked.limit,
    )
    by_key = {s.id: s for s in asked.series}
    found = []
    for row in rows:
        end = row["whole"] + timedelta(minutes=15) if clock is None else hour_end(row["whole"], clock)
        found.append(Consumption(**_figures(by_key[row["meter"]], row, row["whole"], end, asked)))
    return found


async def _by_bucket(connection: Connection, site: SiteRow, asked: _Asked) -> list[Consumption]:
    # First which buckets stand on this page, then only their rows.
    calendar = site.calendar
    period, after = asked.period, asked.after
    start = period.start if after is None else max(period.start, after[0])
    if not asked.series or start >= period.end:
        return []
    found = buckets(replace(period, start=start), asked.by, calendar)
    series = sorted(asked.series, key=lambda s: s.id)
    wanted = list(islice(_keys(found, series, start=period.start, after=after), asked.limit))
    if not wanted:
        return []
    places = {bucket: i for i, bucket in enumerate(dict.fromkeys(bucket for bucket, _ in wanted))}
    sums = await consumption_store.sums_by_bucket(
        connection, series, edges(list(places), period), open_quarters=asked.open_quarters
    )
    names = {shift.id: shift.name or shift.id for shift in calendar.shifts}
    items = []
    for bucket, one in wanted:
        figures = _figures(one, sums.get((places[bucket], one.id)), bucket.start, bucket.end, asked)
        if bucket.shift is None:
            items.append(Consumption(**figures))
        else:
            about = {"shift": bucket.shift, "shift_name": names.get(bucket.shift), "working_day": bucket.day}
            items.append(ShiftConsumption(**figures, **about))
    return items


def _keys(
    found: Iterator[Bucket], series: Sequence[Series], *, start: datetime, after: tuple[datetime, str] | None
) -> Iterator[tuple[Bucket, Series]]:
    """Each bucket and each meter, in the order of cursors: by when the bucket begins in the period, then by key.

    The order is Python's for texts, never the database's: that depends on its collation.
    """
    for bucket in found:
        begins = max(bucket.start, start)
        for one in series:
            if after is None or (begins, one.id) > after:
                yield bucket, one


def _figures(
    series: Series, row: dict[str, Any] | None, start: datetime, end: datetime, asked: _Asked
) -> dict[str, Any]:
    """The fields of an item, whose bucket is cut to the period."""
    period = asked.period
    start, end = max(start, period.start).astimezone(UTC), min(end, period.end).astimezone(UTC)
    length_ms = (end - start) // timedelta(milliseconds=1)
    share = None
    if row and (size := row["gross_measured"] + row["gross_estimated"]):
        share = ratio(float(row["gross_estimated"] / size))
    return {
        "meter": series.id,
        "resource": series.resource,
        "unit": series.unit,
        "start": start,
        "end": end,
        "total": quantity(row["measured"] + row["estimated"]) if row else None,
        "measured": quantity(row["measured"]) if row else None,
        "estimated": quantity(row["estimated"]) if row else None,
        "coverage": (ratio(min(float(row["covered_ms"]) / length_ms, 1.0)) if row else None) or Decimal(0),
        "estimated_share": share,
        "provisional": asked.open_quarters.is_provisional(end),
    }
