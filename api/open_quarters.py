"""Quarters that the roll-up has not written yet: what raw readings say of them so far.

The maths is the roll-up's own, so are the whole numbers: what is told here is what it will write, unless more is heard
of the meter. Nothing of it is remembered; what it costs is bounded (docs/adr/0006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import psycopg
from starlette.concurrency import run_in_threadpool

from api import open_readings
from api.calendar.clock import Period
from api.database import Connection
from api.open_readings import OpenMeters, Raw
from api.said import unix_ms
from collector.metering.neighbourhood import Loaded
from collector.metering.onwards import is_enough, sum_onwards
from collector.metering.sums import QuarterTable, Sums, finish_quarters, merge_sums, no_sums
from collector.metering.tables import Facts, ReadingTable

MOST_METERS = 500
"""Meters of one request whose open quarters are told; those of others are unknown until the roll-up has them."""
_LONGEST_MS = 86_400_000
"""How far the roll-up may be behind: what lies further ahead of it stays unknown until it has caught up."""
_MINUTE_MS = 60_000
_LOOKS_MS = (2 * _MINUTE_MS, 45 * _MINUTE_MS, 6 * 60 * _MINUTE_MS, 25 * 60 * _MINUTE_MS)
"""How far back readings are looked for, step after step, until the judgement of a meter hangs on no earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuarters:
    """Quarters from `since` on, which the roll-up has not written; None: it has written none.

    In `table` a meter is the number that its rows carry.
    """

    since: datetime | None
    table: QuarterTable

    def stored_to(self, end: datetime) -> datetime:
        """Up to where a period that ends then is to be read from the store."""
        return end if self.since is None else min(end, self.since)

    def is_provisional(self, end: datetime) -> bool:
        """Whether figures of a time up to `end` reach into these quarters."""
        return self.since is None or end > self.since


COMPLETE = OpenQuarters(since=None, table=finish_quarters(no_sums()))
"""Nothing but what the roll-up has written."""


async def read_open_quarters(connection: Connection, meters: Sequence[int], period: Period) -> OpenQuarters:
    """What is known of the meters' open quarters, if any lie in the period; of another no reading is looked at."""
    now, since = await open_readings.clock(connection)
    found: list[Sums] = []
    if since is not None and since < period.end and period.start < now:
        since_ms = unix_ms(since)
        known_to = min(unix_ms(now), since_ms + _LONGEST_MS)
        found = await _sums(connection, sorted(set(meters))[:MOST_METERS], since_ms=since_ms, known_to=known_to)
    return OpenQuarters(since=since, table=finish_quarters(merge_sums(no_sums(), *found)))


async def _sums(connection: Connection, meters: Sequence[int], *, since_ms: int, known_to: int) -> list[Sums]:
    if known_to <= since_ms or not meters:
        return []
    asked = await open_readings.read_meters(connection, meters)
    found: list[Sums] = []
    raw: Raw | None = None
    for look in _LOOKS_MS:
        try:
            raw = await open_readings.read_raw(connection, asked.numbers, from_ms=since_ms - look, to_ms=known_to)
        except (psycopg.errors.QueryCanceled, TimeoutError):
            # Too many readings lie there, of others perhaps. What has been seen already must do.
            break
        exact, missed = await run_in_threadpool(_compute, asked, raw, since_ms=since_ms, known_to=known_to)
        found += exact
        asked = asked.only(missed)
        if not missed:
            return found
    return (
        found if raw is None else found + await _estimate(connection, asked, raw, since_ms=since_ms, known_to=known_to)
    )


def _compute(asked: OpenMeters, raw: Raw, *, since_ms: int, known_to: int) -> tuple[list[Sums], list[int]]:
    """The open quarters of meters of which enough is there to be exact, and the other meters that have news."""
    found: list[Sums] = []
    missed: list[int] = []
    for number in asked.numbers:
        readings, facts = raw.readings.alone(number), raw.facts.alone(number)
        if not _has_news(readings, facts, since_ms):
            continue
        first_at = asked.first_at(number)
        loaded = Loaded(
            readings=readings,
            from_ms=raw.from_ms,
            to_ms=known_to,
            begins=first_at is None or raw.from_ms <= first_at,
            ends=True,
            was_judged=number in raw.judged,
            facts=facts,
        )
        rules = asked.rules_of(number)
        if is_enough(since_ms, loaded, rules):
            found.append(_named(sum_onwards(since_ms, loaded, rules), number))
        else:
            missed.append(number)
    return found, missed


async def _estimate(connection: Connection, asked: OpenMeters, raw: Raw, *, since_ms: int, known_to: int) -> list[Sums]:
    """The open quarters of meters as far as what was read tells, and the last reading of those that were silent."""
    silent = [number for number in asked.numbers if not (raw.readings.alone(number).at < since_ms).any()]
    before = await open_readings.last_before(connection, silent, since_ms)
    from_ms, facts = raw.from_ms, raw.facts
    if len(before.at):
        from_ms = int(before.at.min())
        facts = await open_readings.read_facts(connection, asked.numbers, from_ms=from_ms, to_ms=known_to)

    def judge(number: int) -> Sums:
        loaded = Loaded(
            readings=_join(before.alone(number), raw.readings.alone(number)),
            from_ms=from_ms,
            to_ms=known_to,
            begins=False,
            ends=True,
            was_judged=number in raw.judged,
            facts=facts.alone(number),
        )
        return _named(sum_onwards(since_ms, loaded, asked.rules_of(number)), number)

    return await run_in_threadpool(lambda: [judge(number) for number in asked.numbers])


def _named(sums: Sums, number: int) -> Sums:
    return replace(sums, meter=np.full(len(sums.meter), number, dtype=np.int64))


def _join(first: ReadingTable, second: ReadingTable) -> ReadingTable:
    columns = ReadingTable.__dataclass_fields__
    return ReadingTable(**{name: np.concatenate((getattr(first, name), getattr(second, name))) for name in columns})


def _has_news(readings: ReadingTable, facts: Facts, since_ms: int) -> bool:
    """Whether anything is known of the meter in the open quarters."""
    return bool(len(readings.at) and readings.at[-1] >= since_ms) or any(e.at >= since_ms for e in facts.exchanges)
