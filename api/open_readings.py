"""What open quarters are computed from: meters with their rules, raw readings, and what people said of them.

Readings and facts are those that `collector.rollup_store` reads, of some meters and of a short time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import numpy as np
from psycopg.rows import DictRow

from api import said
from api.archived import beside, over, unix_us
from api.binary_rows import copy_rows, row_type, unix_ms
from api.database import Connection, fetch_all, fetch_one
from collector.metering.neighbourhood import CHAIN_KINDS
from collector.metering.tables import Exchange, Facts, Ints, KindCode, MeterRules, ReadingTable, Told, make_rules
from schemas.archive_reader import Columns
from schemas.events import Decision, EventKind

_PATIENCE_MS = 2_000
"""How long the database may look for readings. Its index begins with time, so it passes over those of all meters."""

_CLOCK: LiteralString = "SELECT now() AS now, (SELECT computed_to FROM rollup_progress) AS computed_to"
# Where a meter stands still is told elsewhere; it counts the same.
_METERS: LiteralString = """
SELECT m.id, m.kind, m.to_canonical, m.max_gap_ms, coalesce(m.interval_ms, 0) AS interval_ms,
       coalesce(m.register_width, 0) AS register_width, coalesce(m.rated_maximum, 'infinity') AS rated_maximum,
       m.dip_window_ms, 0 AS frozen_after_ms, (extract(epoch FROM r.first_at) * 1000)::int8 AS first_at
FROM meter AS m LEFT JOIN rolled_meter AS r ON r.meter_id = m.id WHERE m.id = ANY (%s) ORDER BY m.id
"""
_PATIENCE: LiteralString = "SELECT set_config('statement_timeout', %s, true)"
_READINGS: LiteralString = """
COPY (
    WITH given AS MATERIALIZED (
        SELECT meter_id, at, value FROM current_manual_reading
        WHERE meter_id = ANY (%(meters)s) AND at >= %(start)s AND at < %(end)s
    )
    SELECT meter_id, at, value, quality FROM reading
    WHERE at >= %(start)s AND at < %(end)s AND meter_id = ANY (%(meters)s)
      AND (meter_id, at) NOT IN (SELECT meter_id, at FROM given)
    UNION ALL SELECT meter_id, at, value, 3::int2 FROM given
    ORDER BY meter_id, at
) TO STDOUT (FORMAT binary)
"""
_GIVEN: LiteralString = """
SELECT meter_id, at FROM current_manual_reading
WHERE meter_id = ANY (%(meters)s) AND at >= %(start)s AND at < %(end)s
"""
_ROW = row_type(meter_id="i4", at="i8", value="f8", quality="i2")
_EXCHANGES: LiteralString = """
SELECT meter_id, (extract(epoch FROM e.at) * 1000)::int8 AS at, last_old, first_new FROM current_exchange AS e
WHERE meter_id = ANY (%(meters)s) AND e.at >= %(start)s AND e.at < %(end)s ORDER BY meter_id, e.at
"""
_TOLD: LiteralString = """
SELECT meter_id, kind, (extract(epoch FROM at) * 1000)::int8 AS at, (extract(epoch FROM until) * 1000)::int8 AS until,
       decision
FROM current_decision
WHERE meter_id = ANY (%(meters)s) AND until >= %(start)s AND at < %(end)s
"""
_JUDGED: LiteralString = """
SELECT DISTINCT e.meter_id FROM meter_event AS e JOIN meter AS m ON m.id = e.meter_id
WHERE e.meter_id = ANY (%(meters)s) AND e.kind = ANY (%(kinds)s)
  AND (e.decision = 'undecided' OR e.until >= %(start)s - m.dip_window_ms * interval '1 millisecond')
"""
# Of the meter: the last reading of the last quarter that the roll-up has (or at its end), else its first of all. Of
# people: their last one.
_LAST: LiteralString = """
SELECT DISTINCT ON (m.id) m.id, r.at, r.value, r.quality
FROM unnest(%(meters)s::int[]) AS m (id)
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT quarter FROM consumption AS c
         WHERE c.meter_id = m.id AND c.quarter < %(end)s AND c.quarter > %(end)s - interval '400 days'
         ORDER BY quarter DESC LIMIT 1),
        (SELECT first_at FROM rolled_meter AS s WHERE s.meter_id = m.id)) AS began
) AS last
CROSS JOIN LATERAL (
    (SELECT at, value, quality FROM reading
     WHERE at >= last.began AND at <= last.began + interval '15 minutes' AND at < %(end)s AND meter_id = m.id
     ORDER BY at DESC LIMIT 1)
    UNION ALL
    (SELECT at, value, 3 FROM current_manual_reading
     WHERE meter_id = m.id AND at < %(end)s ORDER BY at DESC LIMIT 1)
) AS r
ORDER BY m.id, r.at DESC, r.quality = 3 DESC
"""
# Where that looks for readings of meters, as far as they may be archived.
_LAST_SPANS: LiteralString = """
SELECT id, began, least(began + interval '15 minutes 0.000001 seconds', %(end)s::timestamptz) AS ends
FROM (
    SELECT m.id, coalesce(
        (SELECT quarter FROM consumption AS c
         WHERE c.meter_id = m.id AND c.quarter < %(end)s AND c.quarter > %(end)s - interval '400 days'
         ORDER BY quarter DESC LIMIT 1),
        (SELECT first_at FROM rolled_meter AS s WHERE s.meter_id = m.id)) AS began
    FROM unnest(%(meters)s::int[]) AS m (id)
) AS last
WHERE began < (SELECT archived_to FROM archive_progress)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMeters:
    """Meters by number, sorted, with their rules in the same order, and when each first spoke (0: not known)."""

    numbers: list[int]
    rules: MeterRules
    firsts: Ints

    def rules_of(self, number: int) -> MeterRules:
        """The rules of one meter, which is 0 there."""
        return self.rules.select(np.array([bisect_left(self.numbers, number)]))

    def first_at(self, number: int) -> int | None:
        """When the meter first spoke, in Unix milliseconds; None: it has not, as far as the roll-up knows."""
        return int(self.firsts[bisect_left(self.numbers, number)]) or None

    def only(self, numbers: Sequence[int]) -> OpenMeters:
        """These of them."""
        rows = np.searchsorted(self.numbers, numbers)
        return OpenMeters(numbers=list(numbers), rules=self.rules.select(rows), firsts=self.firsts[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Readings and facts of some meters from `from_ms` on, by their numbers.

    Of those in `judged` a stored event that decided which readings count reaches that far, or stands as near as a
    judgement looks.
    """

    from_ms: int
    readings: ReadingTable
    facts: Facts
    judged: frozenset[int]


async def clock(connection: Connection) -> tuple[datetime, datetime | None]:
    """The database's time, and from when on quarters are open; None: the roll-up has written none."""
    row = await fetch_one(connection, _CLOCK)
    if row is None:
        raise AssertionError("a statement without FROM gives one row")
    return row["now"], row["computed_to"]


async def read_meters(connection: Connection, numbers: Sequence[int]) -> OpenMeters:
    """These meters and how their readings are judged."""
    rows = await fetch_all(connection, _METERS, [list(numbers)])
    names = ("max_gap_ms", "interval_ms", "register_width", "rated_maximum", "dip_window_ms", "frozen_after_ms")
    return OpenMeters(
        numbers=[row["id"] for row in rows],
        rules=make_rules(
            kind=np.array([KindCode.of(row["kind"]) for row in rows], dtype=np.int8),
            to_canonical=np.array([row["to_canonical"] for row in rows], dtype=np.float64),
            **{name: np.array([row[name] for row in rows], dtype=np.float64) for name in names},
        ),
        firsts=np.array([row["first_at"] or 0 for row in rows], dtype=np.int64),
    )


async def read_raw(connection: Connection, numbers: Sequence[int], *, from_ms: int, to_ms: int) -> Raw:
    """What is known of these meters in [from_ms, to_ms). Raises QueryCanceled or TimeoutError where it takes long."""
    values = {"meters": list(numbers), "start": _instant(from_ms), "end": _instant(to_ms), "kinds": list(CHAIN_KINDS)}
    facts = await read_facts(connection, numbers, from_ms=from_ms, to_ms=to_ms)
    judged = frozenset(row["meter_id"] for row in await fetch_all(connection, _JUDGED, values))
    async with beside(connection) as archive:
        await connection.execute(_PATIENCE, [f"{_PATIENCE_MS}ms"])
        rows = await copy_rows(connection, _READINGS, values, _ROW)
        async with asyncio.timeout(_PATIENCE_MS / 1000):
            archived = await archive.page(numbers, _instant(from_ms), _instant(to_ms))
        given = await fetch_all(connection, _GIVEN, values) if len(archived) else []
    readings = ReadingTable(
        meter=rows["meter_id"].astype(np.int64),
        at=unix_ms(rows["at"]),
        value=rows["value"].astype(np.float64),
        quality=rows["quality"].astype(np.int16),
    )
    if len(archived):
        readings = _together(readings, _without(archived, given))
    return Raw(from_ms=from_ms, readings=readings, facts=facts, judged=judged)


def _without(archived: Columns, given: Sequence[DictRow]) -> ReadingTable:
    """Archived readings, less those in whose place a person gave another."""
    corrected = {(row["meter_id"], unix_us(row["at"])) for row in given}
    is_own = np.ones(len(archived), dtype=np.bool_)
    for row in np.flatnonzero(np.isin(archived.at, [at for _, at in corrected])).tolist():
        is_own[row] = (int(archived.meter_id[row]), int(archived.at[row])) not in corrected
    own = archived.select(is_own)
    return ReadingTable(
        meter=own.meter_id.astype(np.int64), at=own.at // 1000, value=own.value, quality=own.quality.astype(np.int16)
    )


def _together(one: ReadingTable, other: ReadingTable) -> ReadingTable:
    both = ReadingTable(
        **{
            name: np.concatenate((getattr(one, name), getattr(other, name)))
            for name in ReadingTable.__dataclass_fields__
        }
    )
    return both.select(np.lexsort((both.at, both.meter)))


async def read_facts(connection: Connection, numbers: Sequence[int], *, from_ms: int, to_ms: int) -> Facts:
    """What people recorded of these meters for [from_ms, to_ms)."""
    values = {"meters": list(numbers), "start": _instant(from_ms), "end": _instant(to_ms)}
    return Facts(
        exchanges=[
            Exchange(meter=row["meter_id"], at=row["at"], last_old=row["last_old"], first_new=row["first_new"])
            for row in await fetch_all(connection, _EXCHANGES, values)
        ],
        told=[
            Told(
                meter=row["meter_id"],
                kind=EventKind(row["kind"]),
                at=row["at"],
                until=row["until"],
                decision=Decision(row["decision"]),
            )
            for row in await fetch_all(connection, _TOLD, values)
        ],
    )


async def last_before(connection: Connection, numbers: Sequence[int], before_ms: int) -> ReadingTable:
    """The last reading before an instant, of those of these meters that have one."""
    values = {"meters": list(numbers), "end": _instant(before_ms)}
    async with beside(connection) as archive:
        spans = [(row["id"], row["began"], row["ends"]) for row in await fetch_all(connection, _LAST_SPANS, values)]
        rows = await fetch_all(connection, *over(_LAST, values, await archive.lasts(spans)))
    return ReadingTable(
        meter=np.array([row["id"] for row in rows], dtype=np.int64),
        at=np.array([said.unix_ms(row["at"]) for row in rows], dtype=np.int64),
        value=np.array([row["value"] for row in rows], dtype=np.float64),
        quality=np.array([row["quality"] for row in rows], dtype=np.int16),
    )


def _instant(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unix_ms)
