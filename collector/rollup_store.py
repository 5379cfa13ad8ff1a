"""What the roll-up reads and writes, in few statements for many meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from collector.binary_copy import CONSUMPTION_TYPES, READING_TYPES, decode_rows, encode_rows
from collector.metering.consumption import KindCode, MeterRules, QuarterTable

Ints = NDArray[np.int64]

_RULES: LiteralString = """
    SELECT id, kind, canonical_factor, max_gap_ms, coalesce(interval_ms, 0) FROM meter WHERE id = ANY(%s) ORDER BY id
"""
_WINDOW: LiteralString = """
    COPY (SELECT meter_id, at, value, quality FROM reading
          WHERE at >= to_timestamp({from_ms} / 1000.0) AND at < to_timestamp({to_ms} / 1000.0)
          ORDER BY meter_id, at)
    TO STDOUT (FORMAT binary)
"""
_STRETCH: LiteralString = """
    COPY (SELECT meter_id, at, value, quality FROM reading
          WHERE meter_id = {meter_id}
            AND at >= to_timestamp({from_ms} / 1000.0) AND at <= to_timestamp({to_ms} / 1000.0)
          ORDER BY at)
    TO STDOUT (FORMAT binary)
"""
# The table's index begins with time, so a neighbour is looked for in steps that grow, nearest first.
_BEFORE: LiteralString = """
    SELECT (extract(epoch FROM max(at)) * 1000)::int8 FROM reading
    WHERE meter_id = %(meter)s AND at < to_timestamp(%(at)s / 1000.0) AND at >= to_timestamp(%(limit)s / 1000.0)
"""
_AFTER: LiteralString = """
    SELECT (extract(epoch FROM min(at)) * 1000)::int8 FROM reading
    WHERE meter_id = %(meter)s AND at > to_timestamp(%(at)s / 1000.0) AND at <= to_timestamp(%(limit)s / 1000.0)
"""
_BOUNDS: LiteralString = """
    SELECT (extract(epoch FROM min(at)) * 1000)::int8, (extract(epoch FROM max(at)) * 1000)::int8 FROM reading
"""
_CLEAR: LiteralString = """
    DELETE FROM consumption c
    USING unnest(%s::int4[], %s::int8[], %s::int8[]) AS w(meter_id, from_ms, to_ms)
    WHERE c.meter_id = w.meter_id
      AND c.quarter >= to_timestamp(w.from_ms / 1000.0) AND c.quarter < to_timestamp(w.to_ms / 1000.0)
"""
_COPY: LiteralString = (
    "COPY consumption (meter_id, quarter, measured, estimated, covered_ms) FROM STDIN (FORMAT binary)"
)

_MINUTE_MS, _DAY_MS = 60_000, 86_400_000
_STEPS_MS = (15 * _MINUTE_MS, 6 * 60 * _MINUTE_MS, 7 * _DAY_MS, 100 * _DAY_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Readings as they stand in the table, sorted by meter and instant (Unix milliseconds)."""

    meter_id: Ints
    at: Ints
    value: NDArray[np.float64]
    quality: NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The oldest and the newest instant (Unix milliseconds) of any meter's readings."""

    oldest: int
    newest: int


def read_rules(cursor: psycopg.Cursor, meter_ids: Ints) -> MeterRules:
    """Rules of these meters, which must all exist, in the order of their ids."""
    rows = cursor.execute(_RULES, [meter_ids.tolist()]).fetchall()
    return MeterRules(
        kind=np.array([KindCode.of(kind) for _, kind, *_ in rows], dtype=np.int8),
        factor=np.array([factor for _, _, factor, *_ in rows], dtype=np.float64),
        max_gap_ms=np.array([gap for *_, gap, _ in rows], dtype=np.int64),
        interval_ms=np.array([interval for *_, interval in rows], dtype=np.int64),
    )


def read_window(cursor: psycopg.Cursor, from_ms: int, to_ms: int) -> Rows:
    """All meters' readings with from_ms ≤ at < to_ms."""
    return _rows(cursor, sql.SQL(_WINDOW).format(from_ms=from_ms, to_ms=to_ms))


def read_stretch(cursor: psycopg.Cursor, meter_id: int, from_ms: int, to_ms: int) -> Rows:
    """One meter's readings with from_ms ≤ at ≤ to_ms."""
    return _rows(cursor, sql.SQL(_STRETCH).format(meter_id=meter_id, from_ms=from_ms, to_ms=to_ms))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """All rows, sorted by meter and instant. No reading may stand in two parts."""
    meter_id, at, value, quality = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("meter_id", "at", "value", "quality")
    )
    order = np.lexsort((at, meter_id))
    return Rows(meter_id=meter_id[order], at=at[order], value=value[order], quality=quality[order])


def reading_bounds(cursor: psycopg.Cursor) -> Bounds | None:
    """Instants of the oldest and the newest reading; None when there is none."""
    oldest, newest = cursor.execute(_BOUNDS).fetchone() or (None, None)
    return None if oldest is None or newest is None else Bounds(oldest=oldest, newest=newest)


def instant_before(cursor: psycopg.Cursor, meter_id: int, at: int, *, bounds: Bounds) -> int | None:
    """When the meter last spoke before `at`; None when it never did."""
    for step in (*_STEPS_MS, at - bounds.oldest):
        limit = max(at - step, bounds.oldest)
        row = cursor.execute(_BEFORE, {"meter": meter_id, "at": at, "limit": limit}).fetchone()
        if row and row[0] is not None:
            return int(row[0])
        if limit == bounds.oldest:
            break
    return None


def instant_after(cursor: psycopg.Cursor, meter_id: int, at: int, *, bounds: Bounds) -> int | None:
    """When the meter next spoke after `at`; None when it has not yet."""
    for step in (*_STEPS_MS, bounds.newest - at):
        limit = min(at + step, bounds.newest)
        row = cursor.execute(_AFTER, {"meter": meter_id, "at": at, "limit": limit}).fetchone()
        if row and row[0] is not None:
            return int(row[0])
        if limit == bounds.newest:
            break
    return None


def replace_quarters(cursor: psycopg.Cursor, meter_ids: Ints, from_ms: Ints, to_ms: Ints, table: QuarterTable) -> None:
    """Put `table` in place of all that stands in each meter's window [from_ms, to_ms)."""
    cursor.execute(_CLEAR, [meter_ids.tolist(), from_ms.tolist(), to_ms.tolist()])
    if len(table.meter):
        columns = (meter_ids[table.meter], table.quarter, table.measured, table.estimated, table.covered_ms)
        with cursor.copy(_COPY) as copy:
            copy.write(encode_rows(CONSUMPTION_TYPES, columns))


def _rows(cursor: psycopg.Cursor, statement: sql.Composed) -> Rows:
    with cursor.copy(statement) as copy:
        stream = b"".join(bytes(part) for part in copy)
    meter_id, at, value, quality = decode_rows(READING_TYPES, stream)
    return Rows(meter_id=meter_id.astype(np.int64), at=at, value=value, quality=quality)
