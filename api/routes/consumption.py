"""What meters said and what that makes: readings, consumption by bucket, runs and production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from api import consumption_store, readings_store, runs_store, site_store
from api.attribution_loader import attribute_period
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Connection, Database
from api.exact_json import Answer, Instant, Number, quantity, ratio, reply
from api.indicators.intensity import Output, outputs
from api.periods import By, Period, bucket_days, midnight, next_bucket_day, parse_period
from api.routes.site import quality_name
from api.site_store import OwnSite
from schemas.resources import Resource, RunState

router = APIRouter(prefix="/v1/sites/{site}", tags=["consumption"])

_EDGE = "an instant with its offset, or a date: the site's midnight"


def _period(
    site: OwnSite,
    start: Annotated[str, Query(alias="from", max_length=40, description=f"first instant: {_EDGE}")],
    end: Annotated[str, Query(alias="to", max_length=40, description=f"first instant after: {_EDGE}")],
) -> Period:
    return parse_period(start, end, site.zone)


AskedPeriod = Annotated[Period, Depends(_period)]
MeterKeys = Annotated[list[str] | None, Query(max_length=1000, description="repeat it for more; none: all")]


class Reading(Answer):
    """What the meter said, in its own unit."""

    meter: str
    at: Instant
    value: float
    quality: str


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
    coverage: Annotated[Number, Field(description="share of the bucket that measured readings stand behind, 0 to 1")]
    estimated_share: Annotated[Number | None, Field(description="share of the total that is estimated, 0 to 1")]


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
    scrap_ratio: Annotated[Number | None, Field(description="scrap / (good + scrap) [ISO 22400-2]")]


@router.get("/readings", response_model=Page[Reading])
async def readings(
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    meter: MeterKeys = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Raw readings by instant."""
    names = {m["number"]: m["id"] for m in await site_store.meters_named(connection, site, meter)}
    after = tuple(decode_cursor(cursor, datetime, int)) if cursor else None
    rows = await readings_store.readings(
        connection, list(names), start=period.start, end=period.end, after=after, limit=limit + 1
    )
    page = page_of(rows, limit, lambda row: (row["at"], row["meter_id"]))
    items = [
        Reading(meter=names[r["meter_id"]], at=r["at"], value=r["value"], quality=quality_name(r["quality"]))
        for r in page.items
    ]
    return reply(Page(items=items, next=page.next))


@router.get("/consumption", response_model=Page[Consumption])
async def consumption(
    *,
    site: OwnSite,
    period: AskedPeriod,
    connection: Database,
    by: By = By.DAY,
    meter: MeterKeys = None,
    resource: Resource | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Sums of quarters of an hour in the site's own time zone, ordered by bucket and meter.

    Quarters and hours are told where there are rows; days and longer always, with a total of null where there are none.
    """
    found = await site_store.meters_named(connection, site, meter)
    meters = {m["id"]: m for m in found if resource is None or m["resource"] == resource}
    after = tuple(decode_cursor(cursor, datetime, str)) if cursor else None
    if by in {By.QUARTER, By.HOUR}:
        items = await _by_instant(connection, meters, period=period, by=by, after=after, limit=limit + 1)
    else:
        items = await _by_day(connection, meters, period=period, by=by, after=after, limit=limit + 1)
    # An item's `from` is cut to the period; so are the keys that a cursor is compared with.
    return reply(page_of(items, limit, lambda item: (item.start, item.meter)))


async def _by_instant(
    connection: Connection,
    meters: dict[str, Any],
    *,
    period: Period,
    by: By,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Consumption]:
    numbers = [m["number"] for m in meters.values()]
    rows = await consumption_store.sums_by_instant(connection, numbers, period=period, by=by, after=after, limit=limit)
    length = timedelta(hours=1) if by is By.HOUR else timedelta(minutes=15)
    return [_item(meters[row["meter"]], row, row["whole"], row["whole"] + length, period) for row in rows]


async def _by_day(
    connection: Connection,
    meters: dict[str, Any],
    *,
    period: Period,
    by: By,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Consumption]:
    # First which buckets stand on this page, then only their rows.
    wanted = list(islice(_keys(sorted(meters), period=period, by=by, after=after), limit))
    if not wanted:
        return []
    end = min(midnight(next_bucket_day(wanted[-1][1], by), period.zone), period.end)
    asked = Period(start=wanted[0][0], end=end, zone=period.zone)
    numbers = [m["number"] for m in meters.values()]
    sums = await consumption_store.sums_by_day(connection, numbers, period=asked, by=by)
    return [
        _item(
            meters[key],
            sums.get((day, meters[key]["number"])),
            midnight(day, period.zone),
            midnight(next_bucket_day(day, by), period.zone),
            period,
        )
        for _, day, key in wanted
    ]


def _keys(
    meters: Sequence[str], *, period: Period, by: By, after: tuple[datetime, str] | None
) -> Iterator[tuple[datetime, date, str]]:
    """When each bucket begins within the period, its first day, and each meter, in the order of cursors.

    The order is Python's for texts, never the database's: that depends on its collation.
    """
    start = period.start if after is None else max(period.start, after[0])
    if not meters or start >= period.end:
        return
    for day in bucket_days(replace(period, start=start), by):
        begins = max(midnight(day, period.zone), period.start)
        for key in meters:
            if after is None or (begins, key) > after:
                yield begins, day, key


def _item(
    meter: dict[str, Any], row: dict[str, Any] | None, start: datetime, end: datetime, period: Period
) -> Consumption:
    start, end = max(start, period.start).astimezone(UTC), min(end, period.end).astimezone(UTC)
    length_ms = (end - start) // timedelta(milliseconds=1)
    measured, estimated = (row["measured"], row["estimated"]) if row else (None, None)
    share = None
    if row and (size := abs(row["measured"]) + abs(row["estimated"])):
        share = ratio(float(abs(row["estimated"]) / size))
    return Consumption(
        meter=meter["id"],
        resource=meter["resource"],
        unit=meter["canonical_unit"],
        start=start,
        end=end,
        total=quantity(row["measured"] + row["estimated"]) if row else None,
        measured=None if measured is None else quantity(measured),
        estimated=None if estimated is None else quantity(estimated),
        coverage=(ratio(min(float(row["covered_ms"]) / length_ms, 1.0)) if row else None) or Decimal(0),
        estimated_share=share,
    )


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
    return reply(Page(items=items, next=page.next))


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
