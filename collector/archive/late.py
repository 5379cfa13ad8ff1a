"""Notes of what is written into a span whose readings are being copied, or were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.archive.contents import Span
from collector.archive.rows import Ints
from collector.pending import by_day

_NOTE: LiteralString = """
    INSERT INTO archive_late (meter_id, from_at, to_at)
    SELECT meter_id, to_timestamp(from_ms / 1000.0), to_timestamp(to_ms / 1000.0)
    FROM unnest(%s::int4[], %s::int8[], %s::int8[]) AS l(meter_id, from_ms, to_ms)
"""
_NOTES: LiteralString = "SELECT id, meter_id FROM archive_late WHERE from_at < %s AND to_at >= %s"
_FORGET: LiteralString = "DELETE FROM archive_late WHERE id = ANY(%s)"
_ANY: LiteralString = "SELECT EXISTS (SELECT FROM archive_late WHERE from_at < %s AND to_at >= %s)"


def note_late(
    cursor: psycopg.Cursor, meter_id: NDArray[np.int32], at_ms: NDArray[np.int64], frozen_to_ms: int | None
) -> None:
    """Leave a note of readings older than `frozen_to_ms` (Unix milliseconds), in the transaction that stores them.

    Every writer of readings has to, with the `frozen_to` that it read behind the roll-up's gate.
    """
    if frozen_to_ms is None or len(at_ms) == 0:
        return
    late = np.flatnonzero(at_ms < frozen_to_ms)
    if len(late):
        cursor.execute(_NOTE, list(by_day(meter_id[late], at_ms[late])))


def read_notes(connection: psycopg.Connection, span: Span) -> tuple[list[int], Ints]:
    """The numbers of the notes that concern the span, and their meters. What they tell of is seen from here on."""
    rows = connection.execute(_NOTES, [span.end, span.start]).fetchall()
    return [row[0] for row in rows], np.unique(np.array([row[1] for row in rows], dtype=np.int64))


def forget_notes(connection: psycopg.Connection, notes: Sequence[int]) -> None:
    """Take notes off."""
    connection.execute(_FORGET, [list(notes)])


def has_notes(cursor: psycopg.Cursor, span: Span) -> bool:
    """Whether something came into the span that nobody has looked at."""
    return cursor.execute(_ANY, [span.end, span.start]).fetchone() == (True,)
