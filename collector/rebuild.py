"""Compute consumption and events from raw readings alone, and tell whether what stands in the tables is the same.

What comes out differently is put in place; it should never happen, and is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import psycopg
from psycopg import sql

from collector.attribution_due import mark_rebuilt
from collector.metering.neighbourhood import Stretch
from collector.metering.sums import finish_quarters
from collector.neighbourhoods import Horizon, compute_stretches
from collector.prefetch import Prefetch
from collector.rollup import RollUp
from collector.rollup_progress import Progress
from collector.rollup_store import Target, clear_quarters, put_quarters, read_rules, replace_events
from schemas.locks import ROLLUP_TURN

_PIECE_MS = 31 * 86_400_000
_REBUILT = Target(consumption=sql.Identifier("rebuilt_consumption"), event=sql.Identifier("rebuilt_event"))

_TAKE_TURN: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_MAKE_TABLES: tuple[LiteralString, ...] = (
    "CREATE TEMPORARY TABLE rebuilt_consumption (LIKE consumption, PRIMARY KEY (meter_id, quarter)) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE rebuilt_event (LIKE meter_event, PRIMARY KEY (meter_id, kind, at)) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE scope (meter_id int, from_ms int8, to_ms int8) ON COMMIT DROP",
)
_DROP_OPEN: LiteralString = "DELETE FROM rebuilt_event WHERE at >= to_timestamp(%s / 1000.0)"
_SCOPE: LiteralString = "INSERT INTO scope SELECT * FROM unnest(%s::int4[], %s::int8[], %s::int8[])"
# A scope's windows may overlap: the later ones were computed from the same readings.
_DIFFERENT: LiteralString = """
    CREATE TEMPORARY TABLE different_quarter ON COMMIT DROP AS
    SELECT coalesce(r.meter_id, c.meter_id) AS meter_id, coalesce(r.quarter, c.quarter) AS quarter
    FROM rebuilt_consumption AS r FULL JOIN (
        SELECT c.* FROM consumption AS c WHERE EXISTS (
            SELECT FROM scope AS s WHERE s.meter_id = c.meter_id
            AND c.quarter >= to_timestamp(s.from_ms / 1000.0) AND c.quarter < to_timestamp(s.to_ms / 1000.0))
    ) AS c ON c.meter_id = r.meter_id AND c.quarter = r.quarter
    WHERE (r.measured, r.estimated, r.covered_ms) IS DISTINCT FROM (c.measured, c.estimated, c.covered_ms)
"""
_PUT_QUARTERS: tuple[LiteralString, ...] = (
    "DELETE FROM consumption AS c USING different_quarter AS d WHERE c.meter_id = d.meter_id AND c.quarter = d.quarter",
    "INSERT INTO consumption SELECT r.* FROM rebuilt_consumption AS r JOIN different_quarter USING (meter_id, quarter)",
)
_DIFFERENT_EVENTS: LiteralString = """
    CREATE TEMPORARY TABLE different_event ON COMMIT DROP AS
    SELECT coalesce(r.meter_id, e.meter_id) AS meter_id, coalesce(r.kind, e.kind) AS kind, coalesce(r.at, e.at) AS at
    FROM rebuilt_event AS r FULL JOIN (
        SELECT e.* FROM meter_event AS e WHERE EXISTS (
            SELECT FROM scope AS s WHERE s.meter_id = e.meter_id
            AND e.until >= to_timestamp(s.from_ms / 1000.0) AND e.at < to_timestamp(s.to_ms / 1000.0))
    ) AS e ON e.meter_id = r.meter_id AND e.kind = r.kind AND e.at = r.at
    WHERE r.* IS DISTINCT FROM e.*
"""
_PUT_EVENTS: tuple[LiteralString, ...] = (
    "DELETE FROM meter_event AS e USING different_event AS d "
    "WHERE e.meter_id = d.meter_id AND e.kind = d.kind AND e.at = d.at",
    "INSERT INTO meter_event SELECT r.* FROM rebuilt_event AS r JOIN different_event USING (meter_id, kind, at)",
)
_METERS: LiteralString = """
    SELECT meter_id, (extract(epoch FROM first_at) * 1000)::int8 FROM rolled_meter
    WHERE %(meters)s::int4[] IS NULL OR meter_id = ANY(%(meters)s) ORDER BY meter_id
"""
_COUNT: LiteralString = """
    SELECT (SELECT count(*) FROM rebuilt_consumption), (SELECT count(*) FROM different_quarter),
           (SELECT count(*) FROM rebuilt_event), (SELECT count(*) FROM different_event)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """Rows of consumption and events that were computed anew, and how many of them differed from what stood there."""

    meters: int
    quarters: int
    different_quarters: int
    events: int
    different_events: int

    @property
    def is_identical(self) -> bool:
        """Whether everything was as it should be."""
        return self.different_quarters == self.different_events == 0


def rebuild(
    connection: psycopg.Connection,
    *,
    meter_ids: Sequence[int] | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    prefetch: Prefetch | None = None,
) -> Rebuilt:
    """Compute complete quarters anew, of all meters or some, for all time or some, in one transaction.

    What is pending is computed first. The roll-up waits meanwhile; readings are stored as ever.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_TAKE_TURN, [ROLLUP_TURN])
        for statement in _MAKE_TABLES:
            cursor.execute(statement)
        progress = RollUp(prefetch=prefetch).catch_up(cursor)
        ids = None if meter_ids is None else list(meter_ids)
        meters: list[tuple[int, int]] = cursor.execute(_METERS, {"meters": ids}).fetchall()
        if ids is None and from_ms is None and to_ms is None:
            RollUp(target=_REBUILT, prefetch=prefetch).compute_all(cursor, progress=progress)
            cursor.execute(_DROP_OPEN, [progress.computed_to or 0])
            _add_scope(cursor, [(meter, 0, progress.computed_to or 0) for meter, _ in meters])
        else:
            _compute_some(cursor, meters, progress, from_ms=from_ms, to_ms=to_ms)
        cursor.execute("ANALYZE rebuilt_consumption")
        cursor.execute(_DIFFERENT)
        mark_rebuilt(cursor)
        cursor.execute(_DIFFERENT_EVENTS)
        counts = cursor.execute(_COUNT).fetchone() or (0, 0, 0, 0)
        for statement in (*_PUT_QUARTERS, *_PUT_EVENTS):
            cursor.execute(statement)
    return Rebuilt(
        meters=len(meters),
        quarters=counts[0],
        different_quarters=counts[1],
        events=counts[2],
        different_events=counts[3],
    )


def _compute_some(
    cursor: psycopg.Cursor,
    meters: list[tuple[int, int]],
    progress: Progress,
    *,
    from_ms: int | None,
    to_ms: int | None,
) -> None:
    rules = read_rules(cursor)
    first_at = np.full(len(rules.kind), 2**62, dtype=np.int64)
    for meter, at in meters:
        first_at[meter] = at
    horizon = Horizon(known_to=progress.closed_to, first_at=first_at)
    computed_to = progress.computed_to or 0
    for meter, at in meters:
        for stretch in _pieces(meter, max(at, from_ms or at), min(computed_to, to_ms or computed_to)):
            # Nothing that was computed before is believed, so a judgement must come from the readings around.
            found = compute_stretches(cursor, [stretch], rules, horizon, target=None)[0]
            end = min(found.end, computed_to)
            window = (np.array([meter]), np.array([found.start]), np.array([end]))
            clear_quarters(cursor, _REBUILT, *window)
            put_quarters(cursor, _REBUILT, finish_quarters(found.sums.select(found.sums.quarter < end)))
            replace_events(cursor, _REBUILT, *window, [event for event in found.events if event.at < end])
            _add_scope(cursor, [(meter, found.start, end)])


def _pieces(meter: int, from_ms: int, to_ms: int) -> Iterator[Stretch]:
    at = from_ms
    while at < to_ms:
        end = min(at + _PIECE_MS, to_ms)
        yield Stretch(meter=meter, from_ms=at, to_ms=end - 1)
        at = end


def _add_scope(cursor: psycopg.Cursor, windows: Sequence[tuple[int, int, int]]) -> None:
    cursor.execute(_SCOPE, [list(column) for column in zip(*windows, strict=True)] if windows else [[], [], []])
