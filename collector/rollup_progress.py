"""How far the roll-up is, who has the turn, and the edge between what is followed and what comes late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from schemas.locks import ROLLUP_GATE, ROLLUP_TURN

_PROGRESS: LiteralString = """
    SELECT (extract(epoch FROM closed_to) * 1000)::int8, (extract(epoch FROM computed_to) * 1000)::int8, steps,
           (SELECT version FROM model_version)
    FROM rollup_progress
"""
_GATE: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_TURN: LiteralString = "SELECT pg_try_advisory_xact_lock(%s)"
_MOVE_CLOSED: LiteralString = """
    UPDATE rollup_progress SET closed_to = greatest(closed_to, to_timestamp(%s / 1000.0))
"""
_MOVE_COMPUTED: LiteralString = """
    UPDATE rollup_progress SET computed_to = to_timestamp(%s / 1000.0), steps = steps + 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the roll-up is (Unix milliseconds), how many steps it made, and by which site model."""

    closed_to: int
    computed_to: int | None
    steps: int
    model_version: int


def read_progress(cursor: psycopg.Cursor) -> Progress:
    """How far the roll-up is."""
    closed_to, computed_to, steps, version = cursor.execute(_PROGRESS).fetchone() or (None, None, 0, 0)
    return Progress(closed_to=closed_to or 0, computed_to=computed_to, steps=steps, model_version=version)


def move_computed(cursor: psycopg.Cursor, computed_to: int) -> None:
    """Note that quarters before that instant stand in the table, and that a step was made."""
    cursor.execute(_MOVE_COMPUTED, [computed_to])


def has_turn(cursor: psycopg.Cursor) -> bool:
    """Take the turn until the transaction ends, if nobody has it."""
    return cursor.execute(_TURN, [ROLLUP_TURN]).fetchone() == (True,)


def close(connection: psycopg.Connection, to_ms: int) -> None:
    """Declare that all before `to_ms` is to be followed: from here on a reading older than that leaves a note.

    The gate is held alone for this one update. Whoever wrote under the old `closed_to` has committed by then, so
    what they stored is seen when it is followed; whoever comes later sees the new one.
    """
    with connection.transaction(), connection.cursor() as cursor:
        # Whoever holds the turn also holds the row to be updated: waiting for that with the gate closed would stop
        # every writer.
        if read_progress(cursor).closed_to >= to_ms or not has_turn(cursor):
            return
        cursor.execute(_GATE, [ROLLUP_GATE])
        cursor.execute(_MOVE_CLOSED, [to_ms])
