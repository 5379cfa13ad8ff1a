"""Notes of late readings and of what people stated: which stretches are to be computed again."""

from __future__ import annotations

from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.metering.neighbourhood import Stretch

LONGEST_STRETCH_MS = 7 * 86_400_000
_DAY_MS = 86_400_000
_MOST_NOTES = 5_000
"""Taken off at once: notes of a meter and day."""

# One statement has one view of the table: what is added meanwhile is neither told nor deleted.
_TAKE: LiteralString = """
    WITH noted AS MATERIALIZED (
        SELECT meter_id, date_bin('1 day', from_at, '2000-01-01Z') AS day, min(from_at) AS first, max(to_at) AS last
        FROM pending GROUP BY meter_id, day ORDER BY meter_id, day LIMIT %s
    ), taken AS (
        DELETE FROM pending AS p USING noted AS n
        WHERE p.meter_id = n.meter_id AND date_bin('1 day', p.from_at, '2000-01-01Z') = n.day
    )
    SELECT meter_id, (extract(epoch FROM first) * 1000)::int8, (extract(epoch FROM last) * 1000)::int8
    FROM noted ORDER BY meter_id, first
"""


def by_day(meter_id: NDArray[np.int32], at_ms: NDArray[np.int64]) -> tuple[list[int], list[int], list[int]]:
    """Meter, first and last instant of each meter's readings of each day (UTC), so that far ones stay apart."""
    return _spans(meter_id, at_ms, most_ms=_DAY_MS)


def by_week(meter_id: NDArray[np.int32], at_ms: NDArray[np.int64]) -> tuple[list[int], list[int], list[int]]:
    """The same of each week, but apart where nothing was said for a day: what `merge_notes` would join.

    Years of history leave a seventh of the notes so.
    """
    return _spans(meter_id, at_ms, most_ms=LONGEST_STRETCH_MS)


def _spans(
    meter_id: NDArray[np.int32], at_ms: NDArray[np.int64], *, most_ms: int
) -> tuple[list[int], list[int], list[int]]:
    order = np.lexsort((at_ms, meter_id))
    meter_id, at_ms = meter_id[order], at_ms[order]
    span = at_ms // most_ms
    is_apart = (meter_id[1:] != meter_id[:-1]) | (span[1:] != span[:-1]) | (np.diff(at_ms) > _DAY_MS)
    begins = np.flatnonzero(np.r_[True, is_apart])
    ends = np.r_[begins[1:], len(at_ms)] - 1
    return meter_id[begins].tolist(), at_ms[begins].tolist(), at_ms[ends].tolist()


def take_pending(cursor: psycopg.Cursor) -> list[tuple[int, int, int]]:
    """Take notes off, some at most: meter, first and last instant (Unix milliseconds), sorted by meter and time.

    Those of a meter that begin on one day (UTC) come as one, however many batches left them: after an outage each
    message did. Notes first, then readings: whoever adds a reading from here on adds a note of its own.
    """
    return cursor.execute(_TAKE, [_MOST_NOTES]).fetchall()


def merge_notes(notes: list[tuple[int, int, int]], followed_to: int) -> list[list[Stretch]]:
    """Notes sorted by meter and start as stretches: neighbouring ones joined, up to a length, and in rounds in which
    no meter stands twice.
    """
    rounds: list[list[Stretch]] = []
    last: Stretch | None = None
    nth = 0
    for meter, from_at, noted_to in notes:
        to_at = max(from_at, min(noted_to, followed_to - 1))
        if last is not None and meter == last.meter:
            end = max(last.to_ms, to_at)
            if from_at <= last.to_ms + _DAY_MS and end - last.from_ms <= LONGEST_STRETCH_MS:
                last = rounds[nth][-1] = Stretch(meter=meter, from_ms=last.from_ms, to_ms=end)
                continue
            nth += 1
        else:
            nth = 0
        last = Stretch(meter=meter, from_ms=from_at, to_ms=to_at)
        if nth == len(rounds):
            rounds.append([])
        rounds[nth].append(last)
    return rounds
