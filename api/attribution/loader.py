"""An attribution of any period: what is kept of its days and months, and the rest computed from quarters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow

from api import quality_store
from api.attribution import store
from api.attribution.compute import compute, days_of
from api.attribution.model import Model, load_model
from api.attribution.reading import Grain, Kept, name_runs, read
from api.calendar.buckets import By, next_bucket_day
from api.calendar.clock import Period, local_day, midnight
from api.database import Connection
from api.indicators.flows import Amount, Finding
from api.indicators.lines import Grid
from api.indicators.parts import Attribution, LineHours, Metered
from api.indicators.products import ProductUnit
from api.problems import bad_value
from api.site_store import SiteRow
from schemas.quantities import QUARTER_MS
from schemas.resources import Resource

LONGEST_DAYS = 1100
"""So many days may be computed for one request; more of them are read once they are kept."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """An attribution and what it is about: products, the lines with where their output goes on to, meters by key."""

    attribution: Attribution
    units: Mapping[str, ProductUnit]
    onward: Mapping[str, str | None]
    meters: Mapping[str, DictRow]


async def attribute_period(
    connection: Connection, site: SiteRow, period: Period, *, by_run: bool = False
) -> Attributed:
    """Share out what the site used in the period: its quarters that begin in it. Raises a 422 problem."""
    (found,) = await attribute_buckets(connection, site, [period.start, period.end], by_run=by_run)
    return found


async def attribute_buckets(
    connection: Connection, site: SiteRow, edges: Sequence[datetime], *, by_run: bool = False, of_site: bool = False
) -> list[Attributed]:
    """Share out what the site used between each edge and the next. `by_run` tells parts and hours of runs apart.

    `of_site` is for figures of the site as a whole: where parts went, hours and findings need not be told.
    All of it is of one moment, whatever is written meanwhile. Raises a 422 problem.
    """
    grain = Grain.RUN if by_run else Grain.SITE if of_site else Grain.PLACE
    async with _one_moment(connection):
        model = await load_model(connection, site)
        plan = await _plan(connection, model, edges, by_run=by_run)
        buckets = len(edges) - 1
        kept = await read(connection, model, plan.spans, buckets, grain=grain)
        pieces: list[list[Attribution]] = [[] for _ in range(buckets)]
        for stretch in plan.stretches:
            found = await compute(connection, model, [at for at, _ in stretch], by_run=by_run)
            for (_, bucket), attribution in zip(stretch, found, strict=False):
                if attribution is not None:
                    pieces[bucket].append(attribution)
        grids = [_grid(start, end) for start, end in pairwise(edges)]
        joined = [_join(grid, model, kept[i], pieces[i]) for i, grid in enumerate(grids)]
        if by_run:
            joined = await name_runs(connection, joined)
    onward = {key: row["next"] for key, row in model.lines.items()}
    units = model.units
    return [Attributed(attribution=one, units=units, onward=onward, meters=model.meters) for one in joined]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """`spans` are kept: (first day, is a month, bucket). A stretch is its edges, with the bucket after each."""

    spans: list[tuple[date, bool, int]]
    stretches: list[list[tuple[datetime, int]]]


async def _plan(connection: Connection, model: Model, edges: Sequence[datetime], *, by_run: bool) -> _Plan:
    zone = model.site.zone
    first, last = local_day(edges[0], zone), local_day(edges[-1] - timedelta(microseconds=1), zone)
    began = await store.first_day(connection, model)
    now, _ = await quality_store.clock(connection)
    # Before the first reading and after today nothing is known, and nothing need be asked.
    known_from, known_to = began or date.max, local_day(now, zone) + _DAY
    standing = await store.standing(connection, model, first, last + _DAY)
    spans: list[tuple[date, bool, int]] = []
    missing: list[tuple[datetime, datetime, int]] = []
    for bucket, (start, end) in enumerate(pairwise(edges)):
        day = local_day(start, zone)
        while (begins := midnight(day, zone)) < end:
            month_end = next_bucket_day(day, By.MONTH)
            if not by_run and day in standing.months and start <= begins and midnight(month_end, zone) <= end:
                spans.append((day, True, bucket))
                day = month_end
                continue
            ends = midnight(day + _DAY, zone)
            if day in standing.days and start <= begins and ends <= end:
                spans.append((day, False, bucket))
            elif known_from <= day < known_to:
                missing.append((max(start, begins), min(end, ends), bucket))
            day += _DAY
    if len(missing) > LONGEST_DAYS:
        raise bad_value(
            "to",
            f"{len(missing)} days of this period are not shared out yet, and {LONGEST_DAYS} at most are at once; "
            "ask year by year, or let `afkobling attribute run` keep them",
        )
    return _Plan(spans=spans, stretches=list(_stretches(missing)))


def _stretches(missing: Sequence[tuple[datetime, datetime, int]]) -> Iterator[list[tuple[datetime, int]]]:
    """What lies side by side, as one. Days stay spans of their own, as they are where they are kept."""
    stretch: list[tuple[datetime, int]] = []
    reached: datetime | None = None
    for start, end, bucket in missing:
        if reached is not None and start != reached:
            yield [*stretch, (reached, -1)]
            stretch = []
        stretch.append((start, bucket))
        reached = end
    if reached is not None:
        yield [*stretch, (reached, -1)]


def _join(grid: Grid, model: Model, kept: Kept, pieces: Sequence[Attribution]) -> Attribution:
    """Sums of the same in one; a meter of which nothing is known has counted nothing in no time."""
    metered: dict[str, Metered] = {}
    for one in (*kept.metered, *(m for piece in pieces for m in days_of(piece))):
        before = metered.get(one.meter)
        metered[one.meter] = one if before is None else _add(before, one)
    hours: dict[tuple[object, ...], LineHours] = {}
    for of in (*kept.hours, *(h for piece in pieces for h in piece.hours)):
        key = (of.line, of.slot)
        earlier = hours.get(key)
        hours[key] = of if earlier is None else replace(of, milliseconds=of.milliseconds + earlier.milliseconds)
    findings: dict[tuple[str, str], Finding] = {}
    for found in (*kept.findings, *(f for piece in pieces for f in piece.findings)):
        same = findings.get((found.kind, found.meter))
        findings[found.kind, found.meter] = (
            found
            if same is None
            else replace(found, quarters=found.quarters + same.quarters, amount=found.amount + same.amount)
        )
    return Attribution(
        grid=grid,
        parts=(*kept.parts, *(part for piece in pieces for part in piece.parts)),
        production=(*kept.production, *(part for piece in pieces for part in piece.production)),
        metered=tuple(metered.get(key) or _silent(row) for key, row in model.meters.items()),
        hours=tuple(hours.values()),
        findings=tuple(findings.values()),
    )


def _silent(meter: Mapping[str, Any]) -> Metered:
    resource, unit = Resource(meter["resource"]), meter["canonical_unit"]
    return Metered(meter=meter["id"], resource=resource, unit=unit, counted=Amount(), used=Amount(), covered_ms=0)


def _add(one: Metered, other: Metered) -> Metered:
    return replace(
        one,
        counted=one.counted + other.counted,
        used=one.used + other.used,
        covered_ms=one.covered_ms + other.covered_ms,
        quarters=one.quarters + other.quarters,
        usable_days=one.usable_days + other.usable_days,
    )


def _grid(start: datetime, end: datetime) -> Grid:
    first, after = (-(-round(at.timestamp() * 1000) // QUARTER_MS) for at in (start, end))
    if after <= first:
        raise bad_value("to", "the period holds no whole quarter of an hour; make it longer")
    return Grid(first=first, count=after - first)


@asynccontextmanager
async def _one_moment(connection: Connection) -> AsyncIterator[None]:
    """All that is read in it is of one moment. Inside of another transaction it is of that one's."""
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        yield
        return
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Years of months are summed in memory; with PostgreSQL's 4 MB they would go by the disk.
        await connection.execute("SET LOCAL work_mem = '32MB'")
        yield
