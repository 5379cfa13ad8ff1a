"""From the database to a site's facts and its findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.rows import DictRow

from api import balance_store, consumption_store, event_store, quality_store, readings_store, runs_store, site_store
from api.calendar.clock import Period, local_day, midnight
from api.database import Connection
from api.event_sentences import tell_event
from api.periods import Days
from api.problems import bad_value
from api.quality.facts import (
    AgentFacts,
    LedgerFacts,
    MeterFacts,
    NegativeRest,
    NightLoad,
    OpenEvent,
    QuarantineFacts,
    SiteFacts,
    UnknownMeter,
)
from api.quality.finding import Finding
from api.quality.findings import find
from api.quality.nights import NORM_NIGHTS
from api.runs.facts import load_runs, load_worked_gaps
from api.site_store import SiteRow
from schemas.events import EventState
from schemas.quantities import SCALE, to_canonical
from schemas.resources import Direction, MeterKind, Resource, RunState

LONGEST_DAYS = 400
"""A period longer than a year with its leap day and a month is asked for in parts."""
USUAL_DAYS = 30
NIGHT_HOURS = 4
_FEWEST_QUARTERS = 8
"""Of the sixteen of a night; fewer tell nothing of its base load."""
_EVENTS_A_PAGE = 5_000
_WORKING = frozenset({RunState.RUNNING, RunState.CHANGEOVER})


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteQuality:
    """A site's facts and findings, and the instant of the database's clock that they hold for."""

    facts: SiteFacts
    findings: Sequence[Finding]
    now: datetime


def usual_period(site: SiteRow, now: datetime) -> Period:
    """The last thirty whole local days, and today up to now."""
    first = local_day(now, site.zone) - timedelta(days=USUAL_DAYS)
    return Period(start=midnight(first, site.zone), end=now, zone=site.zone)


async def load_quality(connection: Connection, site: SiteRow, period: Period | None = None) -> SiteQuality:
    """Judge the site's data in the period, by default the usual one. Raises a 422 problem when it is too long."""
    now, computed_to = await quality_store.clock(connection)
    period = period or usual_period(site, now)
    if period.end - period.start > timedelta(days=LONGEST_DAYS):
        raise bad_value("to", f"a period of data quality has at most {LONGEST_DAYS} days; ask year by year")
    facts = await _facts(connection, site, period, known_to=min(computed_to or period.start, period.end))
    return SiteQuality(facts=facts, findings=find(facts, now=now), now=now)


async def _facts(connection: Connection, site: SiteRow, period: Period, *, known_to: datetime) -> SiteFacts:
    rows = await site_store.meters(connection, site)
    keys = {row["number"]: row["id"] for row in rows}
    known = Period(start=period.start, end=max(known_to, period.start), zone=period.zone)
    days = _whole_days(known)
    meters = await _meters(connection, rows, known, days)
    runs = await load_runs(connection, site, period)
    return SiteFacts(
        start=period.start,
        end=period.end,
        known_to=known.end,
        zone=period.zone,
        first_day=days.first,
        end_day=max(days.first, days.end),
        meters=meters,
        agents=await _agents(connection, site),
        events=await _events(connection, list(keys), period),
        ledger=[LedgerFacts(**row) for row in await quality_store.ledger(connection, site)],
        quarantine=[
            QuarantineFacts(**row)
            for row in await quality_store.quarantine(connection, site, start=period.start, end=period.end)
        ],
        rests=await _rests(connection, site, known),
        runs=runs,
        worked_gaps=await load_worked_gaps(connection, rows, runs, known),
        nights=await _nights(connection, site, rows, known),
    )


async def _meters(connection: Connection, rows: Sequence[DictRow], known: Period, days: Days) -> list[MeterFacts]:
    numbers = [row["number"] for row in rows]
    sums = await quality_store.sums(connection, numbers, start=known.start, end=known.end)
    usable: Mapping[int, int] = {}
    if days.count > 0:
        usable = await consumption_store.usable_days(connection, numbers, days.within(known.zone))
    seen = await quality_store.distances(connection, numbers)
    gaps = await quality_store.gaps(connection, [number for number in numbers if number not in seen])
    latest = await readings_store.latest_readings(connection, numbers)
    return [
        _meter(
            row,
            sums.get(row["number"]),
            usable_days=usable.get(row["number"], 0),
            seen_ms=seen.get(row["number"]),
            gap_ms=gaps.get(row["number"]),
            last_at=latest[row["number"]]["at"] if row["number"] in latest else None,
        )
        for row in rows
    ]


def _meter(row: DictRow, sums: DictRow | None, **others: Any) -> MeterFacts:
    known = (
        {}
        if sums is None
        else {
            "covered_ms": sums["covered_ms"],
            "measured": int(sums["measured"]),
            "estimated": int(sums["estimated"]),
            "began": sums["began"],
        }
    )
    return MeterFacts(
        meter=row["id"],
        name=row["name"],
        agent=row["agent"],
        resource=Resource(row["resource"]),
        kind=MeterKind(row["kind"]),
        unit=row["unit"],
        max_gap_ms=row["max_gap"],
        line=row["line"],
        parent=row["parent"],
        interval_ms=row["interval"],
        cadence_ms=row["cadence"],
        **known,
        **others,
    )


async def _agents(connection: Connection, site: SiteRow) -> list[AgentFacts]:
    held = await quality_store.held(connection, site)
    return [_agent(row, held) for row in await quality_store.agents(connection, site)]


def _agent(row: DictRow, held: Mapping[tuple[str, str], DictRow]) -> AgentFacts:
    def unknown(meter: str) -> UnknownMeter:
        waits = held.get((row["agent"], meter))
        if waits is None:
            return UnknownMeter(meter=meter)
        return UnknownMeter(meter=meter, readings=waits["readings"], first_at=waits["first_at"])

    return AgentFacts(
        agent=row["agent"],
        is_offline=row["state"] == "offline",
        heard_at=row["heard_at"],
        clock_ahead_ms=row["clock_ahead_ms"],
        dropped=row["dropped"],
        unknown=[unknown(meter) for meter in row["unknown_meters"]],
    )


async def _events(connection: Connection, meters: Sequence[int], period: Period) -> list[OpenEvent]:
    """Every open event that touches the period."""
    asked = event_store.Asked(meters=meters, start=period.start, end=period.end, states=[EventState.PROPOSED])
    found: list[OpenEvent] = []
    after: tuple[datetime, int, str] | None = None
    while True:
        page = await event_store.events(connection, asked, after=after, limit=_EVENTS_A_PAGE)
        found += [
            OpenEvent(
                key=str(event.key),
                meter=event.meter,
                kind=event.kind,
                at=event.at,
                until=event.until,
                sentence=tell_event(event, period.zone).en,
            )
            for event in page
        ]
        if len(page) < _EVENTS_A_PAGE:
            return found
        after = (page[-1].at, page[-1].meter_id, page[-1].kind)


async def _rests(connection: Connection, site: SiteRow, known: Period) -> list[NegativeRest]:
    if known.end <= known.start:
        return []
    return [
        NegativeRest(
            meter=found.parent,
            parts=found.parts,
            start=midnight(found.first, known.zone),
            end=min(midnight(found.last + timedelta(days=1), known.zone), known.end),
            excess=to_canonical(-found.balance.rest),
            unit=found.unit,
        )
        for found in await balance_store.balance_findings(connection, site, known)
    ]


async def _nights(
    connection: Connection, site: SiteRow, rows: Sequence[DictRow], known: Period
) -> dict[str, list[NightLoad]]:
    """Nights of the meters that are watched, from four weeks before the period on, in which their line made nothing."""
    counted = {
        row["number"]: row
        for row in rows
        if row["watch_nights"]
        and (row["kind"], row["direction"]) == (MeterKind.COUNTER, Direction.IMPORT)
        and row["resource"] in {Resource.ENERGY, Resource.WATER}
    }
    zone = known.zone
    first = local_day(known.start, zone) - timedelta(days=NORM_NIGHTS + 1)
    asked = Period(start=midnight(first, zone), end=known.end, zone=zone)
    loads = await quality_store.nights(connection, list(counted), asked, hours=NIGHT_HOURS)
    working = [
        (run["line"], run["start_at"], run["until"])
        for run in await runs_store.runs(connection, site.id, asked)
        if run["state"] in _WORKING
    ]
    busy = _busy_nights(working, zone_period=asked)
    found: dict[str, list[NightLoad]] = {}
    for row in loads:
        meter = counted[row["meter_id"]]
        # A meter of the whole site rests when every line does.
        is_busy = (row["day"], meter["line"]) in busy if meter["line"] else row["day"] in busy
        if row["known"] >= _FEWEST_QUARTERS and not is_busy:
            found.setdefault(meter["id"], []).append(_night(row, zone_period=asked))
    return found


def _night(row: DictRow, *, zone_period: Period) -> NightLoad:
    start, end = _night_of(row["day"], zone_period)
    lowest = row["lowest"]
    return NightLoad(
        night=row["day"],
        start=start,
        end=end,
        base=float(sum(lowest)) / len(lowest) * 4 / SCALE,
        mean=float(row["total"]) / row["quarters"] * 4 / SCALE,
    )


def _night_of(day: date, period: Period) -> tuple[datetime, datetime]:
    start = midnight(day, period.zone)
    return start, start + timedelta(hours=NIGHT_HOURS)


def _busy_nights(
    working: Sequence[tuple[str, datetime, datetime]], *, zone_period: Period
) -> set[date | tuple[date, str]]:
    """Nights in which a line worked, and with which line it was."""
    busy: set[date | tuple[date, str]] = set()
    for line, start, end in working:
        day = local_day(max(start, zone_period.start), zone_period.zone)
        while (night := _night_of(day, zone_period))[0] < min(end, zone_period.end):
            if start < night[1]:
                busy |= {day, (day, line)}
            day += timedelta(days=1)
    return busy


def _whole_days(period: Period) -> Days:
    """The whole local days within the period; none where `end` is not after `first`."""
    first, end = local_day(period.start, period.zone), local_day(period.end, period.zone)
    if midnight(first, period.zone) < period.start:
        first += timedelta(days=1)
    return Days(first=first, end=end)
