"""One part of a figure followed down: its days, the quarters of a day, and the readings around a quarter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

from psycopg.rows import DictRow

from api import consumption_store, event_store, readings_store, site_store
from api.archived import beside, over
from api.attribution.answers import QUARTER, PartsBy, cuts
from api.attribution.balances import amount_answer, share_answer
from api.attribution.loader import attribute_buckets
from api.calendar.buckets import By, buckets, edges
from api.calendar.clock import Period, local_day, midnight
from api.database import Connection, fetch_one
from api.event_answers import event_answer
from api.event_evidence import with_evidence
from api.explain.answers import DayAnswer, Depth, QuarterAnswer, ReadingAnswer, TakenOff, WalkAnswer
from api.explain.found import Traced, amount_of, place_of
from api.indicators.flows import Amount
from api.indicators.pressures import Indicator
from api.problems import bad_value
from api.site_store import SiteRow
from schemas.archive_reader import join
from schemas.quantities import QUARTER_MS

MOST_DAYS = 800
MOST_READINGS = 200
_MOST_EVENTS = 50
_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A bounded span, as the table's key begins with time. Further away than a day, a reading tells nothing of a quarter.
_NEIGHBOURS: LiteralString = """
SELECT (SELECT at FROM reading WHERE meter_id = %(meter)s AND at <= %(start)s AND at > %(start)s - interval '1 day'
        ORDER BY at DESC LIMIT 1) AS before,
       (SELECT at FROM reading WHERE meter_id = %(meter)s AND at >= %(end)s AND at < %(end)s + interval '1 day'
        ORDER BY at LIMIT 1) AS after
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How far down, and along which meter (its largest part), local day and quarter; None: the largest."""

    depth: Depth = Depth.READINGS
    meter: str | None = None
    day: date | None = None
    quarter: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What is followed."""

    site: SiteRow
    traced: Traced
    indicator: Indicator
    meters: Mapping[str, DictRow]

    @property
    def meter(self) -> DictRow:
        return self.meters[self.traced.one.part.meter]


async def walk(
    connection: Connection, site: SiteRow, traced: Sequence[Traced], indicator: Indicator, asked: Asked
) -> WalkAnswer | None:
    """Follow one part as far as it is asked for; None of a figure without parts. Raises a 422 problem."""
    chosen = _choose(traced, asked)
    if chosen is None:
        return None
    number, one = chosen
    meters = {meter["id"]: meter for meter in await site_store.meters(connection, site)}
    way = _Way(site=site, traced=one, indicator=indicator, meters=meters)
    days = await _days(connection, way)
    day = _chosen_day(way, days, asked)
    quarters: list[QuarterAnswer] = []
    at = None
    if day is not None and asked.depth.reaches(Depth.QUARTERS):
        quarters = await _quarters(connection, way, day)
        at = _chosen_quarter(quarters, asked)
    below: dict[str, Any] = {"readings": [], "readings_left_out": 0, "events": [], "taken_off": [], "note": None}
    if at is not None and asked.depth.reaches(Depth.READINGS):
        below = await _readings(connection, way, at)
        below["taken_off"] = await _taken_off(connection, way, at)
    return WalkAnswer(
        part=number,
        meter=way.meter["id"],
        meter_unit=way.meter["unit"],
        kind=way.meter["kind"],
        days=days,
        day=day,
        quarters=quarters,
        quarter=at,
        **below,
    )


def _choose(traced: Sequence[Traced], asked: Asked) -> tuple[int, Traced] | None:
    for number, one in enumerate(traced, 1):
        period, zone = one.span.period, one.span.period.zone
        is_then = asked.day is None or local_day(period.start, zone) <= asked.day < _day_after(period)
        if asked.meter in {None, one.one.part.meter} and is_then:
            return number, one
    if traced and asked.meter is not None and all(one.one.part.meter != asked.meter for one in traced):
        there = ", ".join(sorted({one.one.part.meter for one in traced}))
        raise bad_value("meter", f"{asked.meter} has no part in this figure; these have: {there}")
    if traced and asked.day is not None:
        raise bad_value("day", f"{asked.day} is not in the figure's period")
    return None


def _day_after(period: Period) -> date:
    return local_day(period.end - timedelta(microseconds=1), period.zone) + timedelta(days=1)


async def _days(connection: Connection, way: _Way) -> list[DayAnswer]:
    period = way.traced.span.period
    found = list(buckets(period, By.DAY, way.site.calendar))
    if len(found) > MOST_DAYS:
        raise bad_value(
            "depth", f"the figure is of more than {MOST_DAYS} days; ask for `parts`, or of a shorter period"
        )
    amounts = await _amounts(connection, way, edges(found, period))
    return [
        DayAnswer(day=bucket.day, quantity=amount_answer(amount))
        for bucket, amount in zip(found, amounts, strict=True)
        if amount.measured or amount.estimated
    ]


async def _amounts(connection: Connection, way: _Way, at: Sequence[datetime]) -> list[Amount]:
    """What the part's place got between each edge and the next."""
    part = way.traced.one.part
    by_run = part.run is not None or part.order is not None
    sums = []
    for attributed in await attribute_buckets(connection, way.site, at, by_run=by_run):
        same = [one for one in attributed.attribution.parts if _is_same(place_of(one), place_of(part), by_run=by_run)]
        sums.append(sum((amount_of(one, way.indicator) for one in same), Amount()))
    return sums


def _is_same(one: tuple[object, ...], other: tuple[object, ...], *, by_run: bool) -> bool:
    # Idle has no run, but what is shared of it for a run has.
    return one == other if by_run else one[:6] == other[:6]


def _chosen_day(way: _Way, days: Sequence[DayAnswer], asked: Asked) -> date | None:
    if asked.day is not None:
        return asked.day
    if asked.quarter is not None:
        return local_day(asked.quarter, way.site.zone)
    return max(days, key=lambda day: abs(day.quantity.total)).day if days else None


async def _quarters(connection: Connection, way: _Way, day: date) -> list[QuarterAnswer]:
    period, zone = way.traced.span.period, way.site.zone
    start, end = max(midnight(day, zone), period.start), min(midnight(day + timedelta(days=1), zone), period.end)
    if start >= end:
        raise bad_value("quarter", f"{day} is not in the figure's period")
    within = Period(start=start, end=end, zone=zone)
    at = cuts(within, PartsBy.QUARTER, way.site)
    amounts = await _amounts(connection, way, at)
    counted = await _counted(connection, [way.meter], within)
    answers = []
    for begins, amount in zip(at, amounts, strict=False):
        row = counted.get((way.meter["number"], begins))
        if row is None and not (amount.measured or amount.estimated):
            continue
        answers.append(
            QuarterAnswer(
                at=begins,
                counted=None if row is None else amount_answer(row[0]),
                coverage=share_answer(0.0 if row is None else min(row[1] / QUARTER_MS, 1.0)),
                quantity=amount_answer(amount),
            )
        )
    return answers


async def _counted(
    connection: Connection, meters: Sequence[DictRow], period: Period
) -> dict[tuple[int, datetime], tuple[Amount, int]]:
    """What meters counted, and for how long they measured, by their number and quarter."""
    columns = await consumption_store.columns(connection, [meter["number"] for meter in meters], period)
    names = ("meter_id", "quarter", "measured", "estimated", "covered_ms")
    return {
        (meter, _EPOCH + quarter * QUARTER): (Amount(measured, estimated), covered)
        for meter, quarter, measured, estimated, covered in zip(
            *(columns[name].tolist() for name in names), strict=True
        )
    }


def _chosen_quarter(quarters: Sequence[QuarterAnswer], asked: Asked) -> datetime | None:
    if asked.quarter is None:
        return max(quarters, key=lambda one: abs(one.quantity.total)).at if quarters else None
    for one in quarters:
        if one.at <= asked.quarter < one.at + QUARTER:
            return one.at
    raise bad_value("quarter", "nothing is known of the chosen meter then; leave it out, or take one of `quarters`")


async def _readings(connection: Connection, way: _Way, at: datetime) -> dict[str, Any]:
    number = way.meter["number"]
    end = at + QUARTER
    near = await _neighbours(connection, number, at, end)
    first, last = near.get("before") or at, near.get("after") or end
    rows = await readings_store.readings(
        connection, [number], start=first, end=last + timedelta(microseconds=1), after=None, limit=100_000
    )
    kept = rows if len(rows) <= MOST_READINGS else [*rows[: MOST_READINGS // 2], *rows[-MOST_READINGS // 2 :]]
    asked = event_store.Asked(meters=[number], start=first, end=last + timedelta(microseconds=1))
    events = await event_store.events(connection, asked, after=None, limit=_MOST_EVENTS)
    note = None if rows else "no raw readings of this time are stored, in the database or in the archive"
    return {
        "readings": [
            ReadingAnswer(
                at=row["at"],
                value=row["value"],
                quality=readings_store.quality_name(row["quality"]),
                author=row["author"],
            )
            for row in kept
        ],
        "readings_left_out": len(rows) - len(kept),
        "events": [event_answer(event, way.site) for event in await with_evidence(connection, events)],
        "note": note,
    }


async def _neighbours(connection: Connection, number: int, start: datetime, end: datetime) -> DictRow:
    values = {"meter": number, "start": start, "end": end}
    async with beside(connection) as archive:
        before = await archive.lasts([(number, start - _DAY + _MICROSECOND, start + _MICROSECOND)])
        after = await archive.firsts([(number, end, end + _DAY)])
        return await fetch_one(connection, *over(_NEIGHBOURS, values, join([before, after]))) or {}


async def _taken_off(connection: Connection, way: _Way, at: datetime) -> list[TakenOff]:
    """Its direct parts: what they counted is theirs."""
    children = [meter for meter in way.meters.values() if meter["parent"] == way.meter["id"]]
    if not children:
        return []
    counted = await _counted(connection, children, Period(start=at, end=at + QUARTER, zone=way.site.zone))
    return [
        TakenOff(
            meter=child["id"],
            counted=amount_answer(row[0]) if (row := counted.get((child["number"], at))) is not None else None,
        )
        for child in children
    ]
