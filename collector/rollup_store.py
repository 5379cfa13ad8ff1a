"""What the roll-up reads and writes, in few statements for many meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from collector.archived import enter, read_archived
from collector.binary_copy import CONSUMPTION_TYPES, decode_array, encode_rows
from collector.metering.neighbourhood import CHAIN_KINDS
from collector.metering.sums import QuarterTable
from collector.metering.tables import (
    Event,
    Exchange,
    Facts,
    Floats,
    Ints,
    KindCode,
    MeterRules,
    ReadingTable,
    Told,
    make_rules,
)
from schemas.events import Decision, EventKind
from schemas.resources import Quality

_UNKNOWN_KIND = -1

_RULES: LiteralString = """
    SELECT id, kind, to_canonical, max_gap_ms, coalesce(interval_ms, 0), coalesce(register_width, 0),
           coalesce(rated_maximum, 'infinity'), dip_window_ms, coalesce(frozen_after_ms, 0)
    FROM meter
"""
# Whole columns as arrays: a row at a time would cost more to receive than to compute. Meter and quality share one, as
# each element costs the server as much as reading it from the table.
_READINGS: LiteralString = """
    SELECT array_agg(meter_id::int8 * 65536 + quality + 32768), array_agg(at), array_agg(value)
    FROM reading WHERE at >= to_timestamp(%(from)s / 1000.0) AND at < to_timestamp(%(to)s / 1000.0)
"""
_OF_METERS: LiteralString = " AND meter_id = ANY(%(meters)s)"
# Of an archived file, what its part of the span comes to.
_COUNT: LiteralString = """
    SELECT (SELECT count(*) FROM (
                SELECT FROM reading WHERE at >= span.first AND at < span.last LIMIT %(most)s) AS r)
         + (SELECT coalesce(sum(ceil(readings * extract(epoch FROM least(last_at, span.last)
                                                                    - greatest(first_at, span.first))
                                     / greatest(extract(epoch FROM last_at - first_at), 0.001))), 0)
            FROM archive_file WHERE restored_at IS NULL AND last_at >= span.first AND first_at < span.last)
    FROM (SELECT to_timestamp(%(from)s / 1000.0) AS first, to_timestamp(%(to)s / 1000.0) AS last) AS span
"""
_MANUAL: LiteralString = """
    SELECT meter_id, (extract(epoch FROM at) * 1000)::int8, value FROM current_manual_reading
    WHERE (%(meters)s::int4[] IS NULL OR meter_id = ANY(%(meters)s))
      AND at >= to_timestamp(%(from)s / 1000.0) AND at < to_timestamp(%(to)s / 1000.0)
    ORDER BY meter_id, at
"""
_EXCHANGES: LiteralString = """
    SELECT meter_id, (extract(epoch FROM at) * 1000)::int8, last_old, first_new FROM current_exchange
    WHERE (%(meters)s::int4[] IS NULL OR meter_id = ANY(%(meters)s))
      AND at >= to_timestamp(%(from)s / 1000.0) AND at < to_timestamp(%(to)s / 1000.0)
    ORDER BY meter_id, at
"""
_TOLD: LiteralString = """
    SELECT meter_id, kind, (extract(epoch FROM at) * 1000)::int8, (extract(epoch FROM until) * 1000)::int8, decision
    FROM current_decision
    WHERE (%(meters)s::int4[] IS NULL OR meter_id = ANY(%(meters)s))
      AND until >= to_timestamp(%(from)s / 1000.0) AND at < to_timestamp(%(to)s / 1000.0)
"""
_NEAR_EVENTS: LiteralString = """
    SELECT meter_id, (extract(epoch FROM at) * 1000)::int8, (extract(epoch FROM until) * 1000)::int8, decision
    FROM {event} WHERE meter_id = ANY(%s) AND kind = ANY(%s)
"""
_CLEAR: LiteralString = """
    DELETE FROM {consumption} c
    USING unnest(%s::int4[], %s::int8[], %s::int8[]) AS w(meter_id, from_ms, to_ms)
    WHERE c.meter_id = w.meter_id
      AND c.quarter >= to_timestamp(w.from_ms / 1000.0) AND c.quarter < to_timestamp(w.to_ms / 1000.0)
"""
_COPY: LiteralString = """
    COPY {consumption} (meter_id, quarter, measured, estimated, covered_ms) FROM STDIN (FORMAT binary)
"""
_CLEAR_EVENTS: LiteralString = """
    DELETE FROM {event} e
    USING unnest(%s::int4[], %s::int8[], %s::int8[]) AS w(meter_id, from_ms, to_ms)
    WHERE e.meter_id = w.meter_id
      AND e.until >= to_timestamp(w.from_ms / 1000.0) AND e.at < to_timestamp(w.to_ms / 1000.0)
"""
_PUT_EVENT: LiteralString = """
    INSERT INTO {event} (meter_id, kind, at, until, decision, readings, value, until_value, before_at, before_value,
                         after_at, after_value, quantity)
    VALUES (%s, %s, to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0), %s, %s, %s, %s,
            to_timestamp(%s / 1000.0), %s, to_timestamp(%s / 1000.0), %s, %s)
    ON CONFLICT (meter_id, kind, at) DO UPDATE SET
        until = excluded.until, decision = excluded.decision, readings = excluded.readings, value = excluded.value,
        until_value = excluded.until_value, before_at = excluded.before_at, before_value = excluded.before_value,
        after_at = excluded.after_at, after_value = excluded.after_value, quantity = excluded.quantity
"""
_BOUNDS: LiteralString = """
    SELECT (extract(epoch FROM least(r.first, m.first, e.first)) * 1000)::int8,
           (extract(epoch FROM r.last) * 1000)::int8
    FROM (SELECT min(first) AS first, max(last) AS last FROM (
              SELECT min(at) AS first, max(at) AS last FROM reading
              UNION ALL SELECT min(first_at), max(last_at) FROM archive_file WHERE restored_at IS NULL) AS everywhere
         ) AS r,
         (SELECT min(at) AS first FROM manual_reading) AS m,
         (SELECT min(at) AS first FROM meter_exchange WHERE last_old IS NOT NULL) AS e
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where results go: the tables that everybody reads, or others of the same shape."""

    consumption: sql.Identifier
    event: sql.Identifier

    def fill(self, statement: LiteralString) -> sql.Composed:
        """The statement about these tables."""
        return sql.SQL(statement).format(consumption=self.consumption, event=self.event)


LIVE = Target(consumption=sql.Identifier("consumption"), event=sql.Identifier("meter_event"))


def read_rules(cursor: psycopg.Cursor) -> MeterRules:
    """The rules of all meters, each at the place of its id."""
    rows = cursor.execute(_RULES).fetchall()
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    count = int(ids.max()) + 1 if len(ids) else 1

    def column(nth: int, default: float = 0.0) -> Floats:
        values = np.full(count, default)
        values[ids] = [row[nth] for row in rows]
        return values

    kind = np.full(count, _UNKNOWN_KIND, dtype=np.int8)
    kind[ids] = [KindCode.of(row[1]) for row in rows]
    return make_rules(
        kind=kind,
        to_canonical=column(2, 1.0),
        max_gap_ms=column(3),
        interval_ms=column(4),
        register_width=column(5),
        rated_maximum=column(6, np.inf),
        dip_window_ms=column(7),
        frozen_after_ms=column(8),
    )


def read_readings(cursor: psycopg.Cursor, from_ms: int, to_ms: int, meter_ids: Ints | None = None) -> ReadingTable:
    """Readings with from_ms ≤ at < to_ms, of all meters or of some, sorted by meter and instant, archived ones too.

    Those that a person gave stand among them, in place of what the meter said for the same instant. Until the
    transaction ends none of them moves into the archive or out of it. Raises ArchiveError where it can't be read.
    """
    enter(cursor)
    values = {"from": from_ms, "to": to_ms, "meters": None if meter_ids is None else meter_ids.tolist()}
    statement = _READINGS if meter_ids is None else _READINGS + _OF_METERS
    cursor.execute(statement, values, binary=True)
    result = cursor.pgresult
    columns = [b"" if result is None else result.get_value(0, i) or b"" for i in range(3)]
    packed, at, value = (
        decode_array(kind, column) for kind, column in zip(("int8", "timestamptz", "float8"), columns, strict=True)
    )
    meter, quality = packed >> 16, (packed & 0xFFFF) - 0x8000
    archived = read_archived(cursor, from_ms, to_ms, meter_ids)
    if archived:
        meter = np.concatenate([meter, *(part.meter_id for part in archived)])
        at = np.concatenate([at, *(part.at // 1000 for part in archived)])
        value = np.concatenate([value, *(part.value for part in archived)])
        quality = np.concatenate([quality, *(part.quality for part in archived)])
    manual = cursor.execute(_MANUAL, values).fetchall()
    if manual:
        given = {(row[0], row[1]) for row in manual}
        mine = np.isin(meter, [row[0] for row in manual])
        for i in np.flatnonzero(mine).tolist():
            mine[i] = (int(meter[i]), int(at[i])) in given
        meter = np.r_[meter[~mine], [row[0] for row in manual]]
        at = np.r_[at[~mine], [row[1] for row in manual]]
        value = np.r_[value[~mine], [row[2] for row in manual]]
        quality = np.r_[quality[~mine], np.full(len(manual), Quality.MANUAL)]
    order = _order(meter, at - from_ms)
    return ReadingTable(
        meter=meter[order].astype(np.int64),
        at=at[order].astype(np.int64),
        value=value[order].astype(np.float64),
        quality=quality[order].astype(np.int16),
    )


def count_readings(cursor: psycopg.Cursor, from_ms: int, to_ms: int, most: int) -> int:
    """How many readings lie in [from_ms, to_ms), or `most`; of archived ones about."""
    row = cursor.execute(_COUNT, {"from": from_ms, "to": to_ms, "most": most}).fetchone()
    return min(int(row[0]), most) if row else 0


def read_facts(cursor: psycopg.Cursor, from_ms: int, to_ms: int, meter_ids: Ints | None = None) -> Facts:
    """What people recorded for [from_ms, to_ms), of all meters or of some; `meter` is the meter's id."""
    values = {"from": from_ms, "to": to_ms, "meters": None if meter_ids is None else meter_ids.tolist()}
    return Facts(
        exchanges=[
            Exchange(meter=meter, at=at, last_old=last_old, first_new=first_new)
            for meter, at, last_old, first_new in cursor.execute(_EXCHANGES, values).fetchall()
        ],
        told=[
            Told(meter=meter, kind=EventKind(kind), at=at, until=until, decision=Decision(decision))
            for meter, kind, at, until, decision in cursor.execute(_TOLD, values).fetchall()
        ],
    )


def manual_meters(cursor: psycopg.Cursor, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """Meters and instants of readings that people gave for [from_ms, to_ms)."""
    values = {"from": from_ms, "to": to_ms, "meters": None}
    return [(meter, at) for meter, at, _ in cursor.execute(_MANUAL, values).fetchall()]


def read_chain_events(
    cursor: psycopg.Cursor, target: Target, meter_ids: Ints
) -> dict[int, list[tuple[int, int, bool]]]:
    """Stored events that decided which readings count: (at, until, is undecided) by meter."""
    found: dict[int, list[tuple[int, int, bool]]] = {}
    statement = target.fill(_NEAR_EVENTS)
    for meter, at, until, decision in cursor.execute(statement, [meter_ids.tolist(), list(CHAIN_KINDS)]).fetchall():
        found.setdefault(meter, []).append((at, until, decision == Decision.UNDECIDED))
    return found


def reading_bounds(cursor: psycopg.Cursor) -> tuple[int, int] | None:
    """Instants of the oldest and the newest reading, exchanges among the old ones; None when there is none."""
    enter(cursor)
    oldest, newest = cursor.execute(_BOUNDS).fetchone() or (None, None)
    if oldest is None:
        return None
    return oldest, oldest if newest is None else newest


def clear_quarters(cursor: psycopg.Cursor, target: Target, meter: Ints, from_ms: Ints, to_ms: Ints) -> None:
    """Take away what stands in each meter's window [from_ms, to_ms)."""
    cursor.execute(target.fill(_CLEAR), [meter.tolist(), from_ms.tolist(), to_ms.tolist()])


def put_quarters(cursor: psycopg.Cursor, target: Target, table: QuarterTable) -> None:
    """Add rows of quarters that have none; `meter` is the meter's id."""
    if len(table.meter):
        columns = (table.meter, table.quarter, table.measured, table.estimated, table.covered_ms)
        with cursor.copy(target.fill(_COPY)) as copy:
            copy.write(encode_rows(CONSUMPTION_TYPES, columns))


def replace_events(
    cursor: psycopg.Cursor, target: Target, meter: Ints, from_ms: Ints, to_ms: Ints, events: Sequence[Event]
) -> None:
    """Put `events` in place of all that reach into each meter's window [from_ms, to_ms)."""
    cursor.execute(target.fill(_CLEAR_EVENTS), [meter.tolist(), from_ms.tolist(), to_ms.tolist()])
    put_events(cursor, target, events)


def put_events(cursor: psycopg.Cursor, target: Target, events: Sequence[Event]) -> None:
    """Add events, or bring them up to date."""
    if events:
        cursor.executemany(target.fill(_PUT_EVENT), [_event_row(event) for event in events])


def _order(meter: Ints, offset: Ints) -> NDArray[np.intp]:
    """Rows by meter and instant. One sort key is far faster than two, and nearly always holds both."""
    if len(meter) and int(meter.max()) < 2**24 and int(offset.max()) < 2**38:
        return np.argsort((meter << 38) + offset, kind="stable")
    return np.lexsort((offset, meter))


def _event_row(event: Event) -> tuple[object, ...]:
    before_at, before_value = event.before or (None, None)
    after_at, after_value = event.after or (None, None)
    return (
        event.meter,
        event.kind,
        event.at,
        event.until,
        event.decision,
        event.readings,
        event.value,
        event.until_value,
        before_at,
        before_value,
        after_at,
        after_value,
        event.quantity,
    )
