"""The quarantine in the database: entries on their way in, and those that were replayed on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from collector.batch import Place
from collector.counting import Refusal, Settlement

# What was replayed and is refused again waits again: its payload may have been given to what was left of it. What was
# dropped stays dropped, however often it comes.
_INSERT: LiteralString = """
    INSERT INTO quarantine (reason, detail, topic, organisation, site, agent, epoch, seq, readings, content_type,
                            payload, digest, counted, left_of)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (digest) DO UPDATE SET
        times = quarantine.times + 1, counted = quarantine.counted + excluded.counted, replayed_at = NULL,
        payload = CASE WHEN octet_length(quarantine.payload) = 0 THEN excluded.payload ELSE quarantine.payload END
"""
_INSERT_METERS: LiteralString = """
    INSERT INTO quarantine_meter (entry_id, meter, unit, readings, first_at, last_at, last_value)
    SELECT quarantine.id, m.meter, m.unit, m.readings, to_timestamp(m.first_ms / 1000.0),
           to_timestamp(m.last_ms / 1000.0), m.last_value
    FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::int4[], %s::int8[], %s::int8[], %s::float8[])
        AS m(digest, meter, unit, readings, first_ms, last_ms, last_value)
    JOIN quarantine USING (digest)
    ON CONFLICT DO NOTHING
"""
# In the order in which entries are inserted, so that nobody waits for whoever waits for them.
_LOCK: LiteralString = "SELECT id FROM quarantine WHERE id = ANY(%s) ORDER BY digest FOR UPDATE"
_KEEP: LiteralString = "UPDATE quarantine SET tried_at = now(), detail = %s WHERE id = %s"
_RELEASE: LiteralString = """
    UPDATE quarantine AS q
    SET tried_at = now(), replayed_at = now(), dropped_at = NULL, counted = 0, stored = q.stored + r.stored,
        repeated = q.repeated + r.repeated,
        -- what was left of it holds what is not stored
        payload = CASE WHEN r.is_partial THEN ''::bytea ELSE q.payload END
    FROM unnest(%s::int8[], %s::int8[], %s::int8[], %s::bool[]) AS r(id, stored, repeated, is_partial)
    WHERE q.id = r.id
"""
_RELEASE_METERS: LiteralString = "DELETE FROM quarantine_meter WHERE entry_id = ANY(%s)"
_COUNTED: LiteralString = """
    SELECT id, counted FROM quarantine
    WHERE epoch = %(epoch)s AND seq = %(seq)s AND counted > 0
      AND (organisation, site, agent) = (%(organisation)s, %(site)s, %(agent)s)
    ORDER BY digest FOR UPDATE
"""
_COUNT_LESS: LiteralString = "UPDATE quarantine SET counted = counted - %s WHERE id = %s"


def settle(cursor: psycopg.Cursor, settlements: Sequence[Settlement]) -> None:
    """Mark what was replayed. To be called before what is left over of it is written."""
    if not settlements:
        return
    cursor.execute(_LOCK, [[settlement.origin.id for settlement in settlements]])
    kept = [(_text(s.kept.detail), s.origin.id) for s in settlements if s.kept is not None]
    if kept:
        cursor.executemany(_KEEP, kept)
    released = [settlement for settlement in settlements if settlement.kept is None]
    if released:
        ids = [settlement.origin.id for settlement in released]
        stored, repeated = [s.stored for s in released], [s.repeated for s in released]
        cursor.execute(_RELEASE, [ids, stored, repeated, [s.is_partial for s in released]])
        cursor.execute(_RELEASE_METERS, [ids])


def write_refusals(cursor: psycopg.Cursor, refusals: Sequence[Refusal]) -> None:
    """Put entries into quarantine. What waits there already is counted once more."""
    if not refusals:
        return
    # In one order for every collector, so that two of them never wait for each other.
    refusals = sorted(refusals, key=lambda refusal: refusal.entry.digest)
    cursor.executemany(_INSERT, [_row(refusal) for refusal in refusals])
    waiting = [(refusal.entry.digest, meter) for refusal in refusals for meter in refusal.entry.meters]
    if waiting:
        cursor.execute(
            _INSERT_METERS,
            [
                [digest for digest, _ in waiting],
                [part.meter for _, part in waiting],
                [part.unit for _, part in waiting],
                [part.readings for _, part in waiting],
                [part.first_at for _, part in waiting],
                [part.last_at for _, part in waiting],
                [part.last_value for _, part in waiting],
            ],
        )


def take_back(cursor: psycopg.Cursor, place: Place, stored: int) -> int:
    """How many of the readings just stored had gone to quarantine when their message came first.

    So many are no longer counted there: a redelivered message whose meter is known by now counts once.
    """
    address, left = place.address, stored
    key = {"organisation": address.organisation, "site": address.site, "agent": address.agent}
    rows = cursor.execute(_COUNTED, {**key, "epoch": place.epoch, "seq": place.seq}).fetchall()
    for entry, counted in rows:
        fewer = min(left, counted)
        if fewer:
            cursor.execute(_COUNT_LESS, [fewer, entry])
            left -= fewer
    return stored - left


def _row(refusal: Refusal) -> tuple[object, ...]:
    entry = refusal.entry
    return (
        entry.reason,
        _text(entry.detail),
        entry.topic,
        entry.address.organisation if entry.address else None,
        entry.address.site if entry.address else None,
        entry.address.agent if entry.address else None,
        entry.epoch,
        entry.seq,
        entry.readings,
        _text(entry.content_type),
        entry.payload,
        entry.digest,
        refusal.counted,
        refusal.left_of,
    )


def _text(text: str) -> str:
    # PostgreSQL's text holds no NUL; the payload beside it is kept byte for byte.
    return text.replace("\0", "␀")
