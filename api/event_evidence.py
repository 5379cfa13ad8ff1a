"""The readings behind an event, where the roll-up has not put them down, and those around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from api.archived import Archive, beside, over
from api.database import Connection, fetch_all
from api.event_store import Event
from schemas.archive_reader import Columns, join

# Of a meter that keeps its `max_gap` a neighbour is never further away than that, and nothing else has to be read.
_EVIDENCE: LiteralString = """
SELECT n.nth, first.value, last.value AS until_value, before.at AS before_at, before.value AS before_value,
       after.at AS after_at, after.value AS after_value
FROM jsonb_to_recordset(%(events)s) AS n (nth int, meter_id int, at timestamptz, until timestamptz)
JOIN meter AS m ON m.id = n.meter_id
LEFT JOIN reading AS first ON first.meter_id = n.meter_id AND first.at = n.at
LEFT JOIN reading AS last ON last.meter_id = n.meter_id AND last.at = n.until
LEFT JOIN LATERAL (
    SELECT at, value FROM reading AS r
    WHERE r.meter_id = n.meter_id AND r.at < n.at AND r.at >= n.at - m.max_gap_ms * interval '1 millisecond'
    ORDER BY at DESC LIMIT 1
) AS before ON true
LEFT JOIN LATERAL (
    SELECT at, value FROM reading AS r
    WHERE r.meter_id = n.meter_id AND r.at > n.until AND r.at <= n.until + m.max_gap_ms * interval '1 millisecond'
    ORDER BY at LIMIT 1
) AS after ON true
"""
# At either end of the event, and its own readings by name: of a long one the middle is left out.
_AROUND: LiteralString = """
SELECT at, value, quality FROM (
    (SELECT at, value, quality FROM reading
     WHERE meter_id = %(meter)s AND at >= %(from_at)s AND at <= %(to_at)s AND at <= %(from_at)s + %(look)s
     ORDER BY at LIMIT %(most)s)
    UNION
    (SELECT at, value, quality FROM reading
     WHERE meter_id = %(meter)s AND at >= %(from_at)s AND at <= %(to_at)s AND at >= %(to_at)s - %(look)s
     ORDER BY at DESC LIMIT %(most)s)
    UNION
    (SELECT at, value, quality FROM reading WHERE meter_id = %(meter)s AND at = ANY (%(named)s))
) AS r ORDER BY at
"""
_LOOK: LiteralString = "SELECT 4 * max_gap_ms * interval '1 millisecond' AS look FROM meter WHERE id = %(meter)s"
_GAPS: LiteralString = """
SELECT id, max_gap_ms * interval '1 millisecond' AS max_gap FROM meter WHERE id = ANY (%(meters)s)
"""
_MOST = 50
_MICROSECOND = timedelta(microseconds=1)


async def with_evidence(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """The same events; those that the roll-up does not find (any more) with what the meter said then."""
    gone = [
        {"nth": nth, "meter_id": event.meter_id, "at": event.at.isoformat(), "until": event.until.isoformat()}
        for nth, event in enumerate(events)
        if event.applied is None
    ]
    found = list(events)
    if gone:
        async with beside(connection) as archive:
            archived = await _near(connection, archive, [event for event in events if event.applied is None])
            rows = await fetch_all(connection, *over(_EVIDENCE, {"events": Jsonb(gone)}, archived))
        for row in rows:
            nth = row.pop("nth")
            found[nth] = replace(found[nth], **row)
    return found


async def readings_around(connection: Connection, event: Event) -> list[DictRow]:
    """What the meter itself said from the reading before the event to the one after it, by time.

    At most 50 readings at either end, within four times the meter's `max_gap`; the middle of a long event is left out.
    """
    (row,) = await fetch_all(connection, _LOOK, {"meter": event.meter_id})
    look = row["look"]
    named = [at for at in (event.before_at, event.at, event.until, event.after_at) if at is not None]
    values = {
        "meter": event.meter_id,
        "from_at": event.begins,
        "to_at": event.ends,
        "look": look,
        "most": _MOST,
        "named": named,
    }
    head, tail = event.begins, event.ends + _MICROSECOND
    async with beside(connection) as archive:
        first = await archive.page([event.meter_id], head, min(tail, head + look + _MICROSECOND), limit=_MOST)
        last = await archive.page([event.meter_id], max(head, event.ends - look), tail, limit=_MOST, is_last=True)
        archived = join([first, last, await archive.at([(event.meter_id, at) for at in named])])
        return await fetch_all(connection, *over(_AROUND, values, archived))


async def _near(connection: Connection, archive: Archive, events: Sequence[Event]) -> Columns:
    """What the archive has of the events' first and last readings, and of their neighbours."""
    meters = sorted({event.meter_id for event in events})
    gaps = {row["id"]: row["max_gap"] for row in await fetch_all(connection, _GAPS, {"meters": meters})}
    before = [(e.meter_id, e.at - gaps[e.meter_id], e.at) for e in events]
    after = [(e.meter_id, e.until + _MICROSECOND, e.until + gaps[e.meter_id] + _MICROSECOND) for e in events]
    own = [(e.meter_id, at) for e in events for at in (e.at, e.until)]
    return join([await archive.lasts(before), await archive.firsts(after), await archive.at(own)])
