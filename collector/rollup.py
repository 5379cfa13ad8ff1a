"""The roll-up: close each quarter once, and recompute what late readings touch.

`closed_to` divides time. A reading newer than it needs no note: its quarter is still to be closed. An older one left
a row in `pending` in the transaction that stored it. A crash at any point loses nothing: progress and notes are taken
off in the transaction that writes the consumption behind them.

A meter's consumption in a quarter hangs on its readings there and on their neighbours (`collector.metering`), so
every window is read with one reading more on either side. The neighbour after the edge may change: one that comes
later may lie before it. So each slice begins a quarter back, and does that last quarter again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.metering.consumption import KindCode, MeterRules, ReadingTable, roll_up
from collector.rollup_store import (
    Bounds,
    Rows,
    instant_after,
    instant_before,
    join_rows,
    read_rules,
    read_stretch,
    read_window,
    reading_bounds,
    replace_quarters,
)
from collector.store import ROLLUP_GATE
from schemas.quantities import QUARTER_MS

Ints = NDArray[np.int64]
_Instants = TypeVar("_Instants", int, Ints)

ROLLUP_TURN = 0x41464B_02
"""Advisory lock: one roll-up at a time."""

_SLICE_MS = 7 * 86_400_000
"""A long history is closed in slices, each committed, so that memory stays bounded and a stop loses little."""
_LOOK_MS = 120_000
"""How far around a slice readings are read in bulk; most meters' neighbours are that near."""
_MOST_PENDING = 5_000
_DAY_MS = 86_400_000

_PROGRESS: LiteralString = """
    SELECT (extract(epoch FROM closed_to) * 1000)::int8, (extract(epoch FROM computed_to) * 1000)::int8
    FROM rollup_progress
"""
_GATE: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_TURN: LiteralString = "SELECT pg_try_advisory_xact_lock(%s)"
_MOVE_CLOSED: LiteralString = """
    UPDATE rollup_progress SET closed_to = greatest(closed_to, to_timestamp(%s / 1000.0))
"""
_MOVE_COMPUTED: LiteralString = "UPDATE rollup_progress SET computed_to = to_timestamp(%s / 1000.0)"
_OPEN_ENDS: LiteralString = """
    SELECT meter_id, (extract(epoch FROM final_to) * 1000)::int8 FROM open_end WHERE meter_id = ANY(%s)
"""
# An end never moves forward here: beginning too early only repeats work, beginning too late would lose some.
_KEEP_ENDS: LiteralString = """
    INSERT INTO open_end (meter_id, final_to)
    SELECT meter_id, to_timestamp(final_ms / 1000.0) FROM unnest(%s::int4[], %s::int8[]) AS e(meter_id, final_ms)
    ON CONFLICT (meter_id) DO UPDATE SET final_to = least(open_end.final_to, excluded.final_to)
"""
_DROP_ENDS: LiteralString = "DELETE FROM open_end WHERE meter_id = ANY(%s)"
_PENDING: LiteralString = """
    SELECT id, meter_id, (extract(epoch FROM from_at) * 1000)::int8, (extract(epoch FROM to_at) * 1000)::int8
    FROM pending ORDER BY meter_id, from_at LIMIT %s
"""
_DROP_PENDING: LiteralString = "DELETE FROM pending WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did: rows of consumption written, late stretches recomputed, and whether more is due now."""

    closed_to_ms: int
    quarters: int
    recomputed: int
    is_behind: bool


def roll_up_once(connection: psycopg.Connection, *, due_ms: int) -> Step:
    """Close what ended by `due_ms` (a slice at most), then recompute what is pending (some thousands at most).

    `due_ms` is Unix milliseconds: the present less the grace that readings get to arrive.
    """
    closed_to = _close(connection, due_ms // QUARTER_MS * QUARTER_MS)
    with connection.transaction(), connection.cursor() as cursor:
        if not _has_turn(cursor):
            return Step(closed_to_ms=closed_to, quarters=0, recomputed=0, is_behind=False)
        closed_to, computed_to = _progress(cursor)
        bounds = reading_bounds(cursor)
        quarters = 0
        if computed_to is None or computed_to < closed_to:
            quarters, computed_to = _compute_slice(cursor, bounds, computed_to, closed_to)
        recomputed = 0
        if computed_to == closed_to and bounds is not None:
            recomputed, rows = _recompute_pending(cursor, bounds, computed_to)
            quarters += rows
    return Step(
        closed_to_ms=closed_to,
        quarters=quarters,
        recomputed=recomputed,
        is_behind=computed_to < closed_to or recomputed > 0,
    )


def _has_turn(cursor: psycopg.Cursor) -> bool:
    return cursor.execute(_TURN, [ROLLUP_TURN]).fetchone() == (True,)


def _progress(cursor: psycopg.Cursor) -> tuple[int, int | None]:
    closed_to, computed_to = cursor.execute(_PROGRESS).fetchone() or (None, None)
    return closed_to or 0, computed_to


def _close(connection: psycopg.Connection, due_ms: int) -> int:
    """Declare everything before `due_ms` closed: from here on a reading older than that leaves a note.

    The gate is held alone for this one update. Whoever wrote under the old `closed_to` has committed by then, so
    what they stored is seen when the slice is computed; whoever comes later sees the new one.
    """
    with connection.transaction(), connection.cursor() as cursor:
        closed_to, _ = _progress(cursor)
        # Whoever holds the turn also holds the row to be updated: waiting for that with the gate closed would stop
        # every writer.
        if closed_to >= due_ms or not _has_turn(cursor):
            return closed_to
        cursor.execute(_GATE, [ROLLUP_GATE])
        cursor.execute(_MOVE_CLOSED, [due_ms])
    return due_ms


def _compute_slice(
    cursor: psycopg.Cursor, bounds: Bounds | None, computed_to: int | None, closed_to: int
) -> tuple[int, int]:
    """Roll up the next slice of closed time. Returns the rows written and the new `computed_to`."""
    if bounds is None or bounds.oldest >= closed_to:
        cursor.execute(_MOVE_COMPUTED, [closed_to])
        return 0, closed_to
    from_ms = bounds.oldest // QUARTER_MS * QUARTER_MS if computed_to is None else computed_to
    to_ms = min(closed_to, from_ms + _SLICE_MS)
    looked_from = from_ms - QUARTER_MS - _LOOK_MS
    rows = read_window(cursor, looked_from, to_ms + _LOOK_MS)
    written = 0
    meter_ids = np.unique(rows.meter_id[(rows.at >= from_ms) & (rows.at < to_ms)])
    if len(meter_ids):
        rules = read_rules(cursor, meter_ids)
        starts = _starts(cursor, meter_ids, rules, from_ms)
        rows = _with_predecessors(cursor, rows, meter_ids, starts, looked_from=looked_from, bounds=bounds)
        written = _replace(
            cursor, rows, meter_ids=meter_ids, rules=rules, starts=starts, ends=np.full(len(meter_ids), to_ms)
        )
        _note_ends(cursor, rows, meter_ids, to_ms)
    cursor.execute(_MOVE_COMPUTED, [to_ms])
    return written, to_ms


def _starts(cursor: psycopg.Cursor, meter_ids: Ints, rules: MeterRules, from_ms: int) -> Ints:
    """Where each meter goes on: a quarter before the slice, or earlier where its last readings left it open.

    An interval reading speaks of the time before its instant, which is closed already when it comes.
    """
    ends: dict[int, int] = dict(cursor.execute(_OPEN_ENDS, [meter_ids.tolist()]).fetchall())
    last_quarter = from_ms - QUARTER_MS
    starts = [min(ends.get(meter_id, last_quarter), last_quarter) for meter_id in meter_ids.tolist()]
    return _floor(np.minimum(np.array(starts, dtype=np.int64), from_ms - _reach(rules)))


def _with_predecessors(
    cursor: psycopg.Cursor, rows: Rows, meter_ids: Ints, starts: Ints, *, looked_from: int, bounds: Bounds
) -> Rows:
    """Add, for each meter whose window begins with no reading before it, what lies between that one and `rows`."""
    first = rows.at[np.searchsorted(rows.meter_id, meter_ids, side="left")]
    parts = [rows]
    for i in np.flatnonzero(first >= starts).tolist():
        meter_id, start = int(meter_ids[i]), int(starts[i])
        before = instant_before(cursor, meter_id, start, bounds=bounds)
        parts.append(read_stretch(cursor, meter_id, start if before is None else before, looked_from - 1))
    return join_rows(parts)


def _note_ends(cursor: psycopg.Cursor, rows: Rows, meter_ids: Ints, to_ms: int) -> None:
    """Remember where each meter goes on, unless the next slice is sure to begin early enough for it.

    It is when the meter has spoken after this slice, so that the next one takes it up, and in this slice's last
    quarter, to which the next one looks back.
    """
    inside = rows.at < to_ms
    last = rows.at[inside][np.searchsorted(rows.meter_id[inside], meter_ids, side="right") - 1]
    newest = rows.at[np.searchsorted(rows.meter_id, meter_ids, side="right") - 1]
    is_open = (newest < to_ms) | (last < to_ms - QUARTER_MS)
    cursor.execute(_DROP_ENDS, [meter_ids.tolist()])
    if is_open.any():
        cursor.execute(_KEEP_ENDS, [meter_ids[is_open].tolist(), _floor(last[is_open]).tolist()])


def _recompute_pending(cursor: psycopg.Cursor, bounds: Bounds, computed_to: int) -> tuple[int, int]:
    """Recompute around late readings. Returns how many stretches, and the rows written."""
    notes = cursor.execute(_PENDING, [_MOST_PENDING]).fetchall()
    if not notes:
        return 0, 0
    # Notes first, then readings: whoever adds a reading from here on adds a note of its own.
    cursor.execute(_DROP_PENDING, [[note[0] for note in notes]])
    # A noted reading may have come after the bounds were read, and lie beyond them.
    bounds = reading_bounds(cursor) or bounds
    stretches = _merge([(meter_id, from_at, to_at) for _, meter_id, from_at, to_at in notes])
    written = sum(
        _recompute(cursor, meter_id, from_at, to_at, bounds=bounds, computed_to=computed_to)
        for meter_id, from_at, to_at in stretches
    )
    return len(stretches), written


def _merge(notes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join a meter's neighbouring notes, up to a slice in length; `notes` are sorted by meter and start."""
    merged: list[tuple[int, int, int]] = []
    for meter_id, from_at, to_at in notes:
        if merged:
            last_meter, last_from, last_to = merged[-1]
            end = max(last_to, to_at)
            if meter_id == last_meter and from_at <= last_to + _DAY_MS and end - last_from <= _SLICE_MS:
                merged[-1] = (meter_id, last_from, end)
                continue
        merged.append((meter_id, from_at, to_at))
    return merged


def _recompute(
    cursor: psycopg.Cursor, meter_id: int, from_at: int, to_at: int, *, bounds: Bounds, computed_to: int
) -> int:
    meter_ids = np.array([meter_id], dtype=np.int64)
    rules = read_rules(cursor, meter_ids)
    reach = int(_reach(rules)[0])
    before = instant_before(cursor, meter_id, from_at, bounds=bounds)
    after = instant_after(cursor, meter_id, to_at, bounds=bounds)
    start = _floor(min(from_at - reach, from_at if before is None or reach else before))
    end = min(-_floor(-(to_at if after is None or reach else after)), computed_to)
    if after is None or after >= computed_to:
        # The neighbour may still change, or has yet to come: the next slice begins where the late readings ended.
        cursor.execute(_KEEP_ENDS, [[meter_id], [_floor(to_at)]])
    if start >= end:
        return 0
    # One reading more on either side of the window makes its outermost quarters exact.
    first = instant_before(cursor, meter_id, start, bounds=bounds)
    last = instant_after(cursor, meter_id, max(end, to_at) - 1 + reach, bounds=bounds)
    rows = read_stretch(cursor, meter_id, start if first is None else first, bounds.newest if last is None else last)
    return _replace(cursor, rows, meter_ids=meter_ids, rules=rules, starts=np.array([start]), ends=np.array([end]))


def _replace(
    cursor: psycopg.Cursor, rows: Rows, *, meter_ids: Ints, rules: MeterRules, starts: Ints, ends: Ints
) -> int:
    """Compute each meter's window [start, end) from `rows` and put it in place. Returns the rows written."""
    is_known = np.isin(rows.meter_id, meter_ids)
    table = ReadingTable(
        meter=np.searchsorted(meter_ids, rows.meter_id[is_known]).astype(np.int64),
        at=rows.at[is_known],
        value=rows.value[is_known],
        quality=rows.quality[is_known],
    )
    quarters = roll_up(table, rules, from_ms=starts, to_ms=ends)
    replace_quarters(cursor, meter_ids, starts, ends, quarters)
    return len(quarters.meter)


def _reach(rules: MeterRules) -> Ints:
    """How far back a reading speaks."""
    return np.where(rules.kind == KindCode.INTERVAL, rules.interval_ms, 0)


def _floor(at: _Instants) -> _Instants:
    return at // QUARTER_MS * QUARTER_MS
