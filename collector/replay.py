"""Replay of what is in quarantine: the same checks and the same transaction as when it came.

Somebody asks (a row in `quarantine_replay`), and a collector takes that up between batches, or a command does at once.
Each step is one transaction over some entries: their readings are stored, they are marked, what is refused again waits
again, and the request remembers how far it came. So a step is done whole or not at all, whatever dies in between, and
one advisory lock keeps two of them from the same entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from collector.batch import Origin, assemble, unstorable
from collector.counting import Settlement
from collector.decode import Decoded, Ignored, Incoming, decode
from collector.meter_index import MeterIndex, load_meter_index
from collector.quarantine_store import settle
from collector.store import StaleModelError, Written, write_batch
from schemas.locks import ROLLUP_GATE
from schemas.quarantine import Reason
from schemas.wire import MAX_PAYLOAD_BYTES

_LOG = structlog.get_logger(__name__)

REPLAY_TURN = 0x41464B_03
"""Advisory lock: one replay at a time."""
_MOST_ENTRIES = 500
_MOST_BYTES = 4_000_000

_TRY_TURN: LiteralString = "SELECT pg_try_advisory_xact_lock(%s)"
_TURN: LiteralString = "SELECT true FROM pg_advisory_xact_lock(%s)"
_GATE: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_WAITING: LiteralString = "SELECT EXISTS (SELECT FROM quarantine_replay WHERE finished_at IS NULL)"
_NEXT: LiteralString = """
    SELECT id, organisation, site, agent, meters, reason, entry, up_to, done_to
    FROM quarantine_replay WHERE finished_at IS NULL AND (%(request)s::int8 IS NULL OR id = %(request)s)
    ORDER BY id LIMIT 1
"""
_BEGIN: LiteralString = """
    UPDATE quarantine_replay SET up_to = (SELECT coalesce(max(id), 0) FROM quarantine) WHERE id = %s AND up_to IS NULL
"""
_ENTRIES: LiteralString = """
    SELECT id, octet_length(payload) FROM quarantine
    WHERE replayed_at IS NULL AND id > %(done_to)s AND id <= %(up_to)s
      -- what somebody dropped is tried only when asked for by its number
      AND (dropped_at IS NULL OR %(entry)s::int8 IS NOT NULL)
      AND (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
      AND (%(site)s::text IS NULL OR site = %(site)s)
      AND (%(agent)s::text IS NULL OR agent = %(agent)s)
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(entry)s::int8 IS NULL OR id = %(entry)s)
      AND (%(meters)s::text[] IS NULL
           OR EXISTS (SELECT FROM quarantine_meter WHERE entry_id = quarantine.id AND meter = ANY (%(meters)s)))
    ORDER BY id LIMIT %(most)s
"""
_PAYLOADS: LiteralString = """
    SELECT id, digest, reason, topic, content_type, payload, counted FROM quarantine WHERE id = ANY(%s) ORDER BY id
"""
_ADVANCE: LiteralString = """
    UPDATE quarantine_replay
    SET done_to = %(done_to)s, tried = tried + %(tried)s, stored = stored + %(stored)s,
        repeated = repeated + %(repeated)s,
        refused = (
            SELECT coalesce(jsonb_object_agg(reason, count), '{}')
            FROM (SELECT key AS reason, sum(value::int8) AS count
                  FROM (SELECT * FROM jsonb_each_text(refused) UNION ALL SELECT * FROM jsonb_each_text(%(refused)s))
                       AS both_parts
                  GROUP BY key) AS sums)
    WHERE id = %(id)s
"""
_NOTE: LiteralString = """
    INSERT INTO quarantine_history (entry_id, act, author, because, replay)
    SELECT q.id, CASE WHEN q.replayed_at IS NULL THEN 'refused again' ELSE 'replayed' END, r.author, r.because, r.id
    FROM quarantine AS q, quarantine_replay AS r WHERE q.id = ANY(%s) AND r.id = %s ORDER BY q.id
"""
_FINISH: LiteralString = "UPDATE quarantine_replay SET finished_at = now() WHERE id = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    id: int
    organisation: str | None
    site: str | None
    agent: str | None
    meters: list[str] | None
    reason: str | None
    entry: int | None
    up_to: int | None
    done_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A row of `quarantine`, whole."""

    id: int
    digest: bytes
    reason: str
    topic: str
    content_type: str
    payload: bytes
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """What one step came to: how many entries it tried, what became of them, and whether its request is done."""

    request: int
    tried: int
    written: Written | None
    is_finished: bool


def is_replay_asked_for(connection: psycopg.Connection) -> bool:
    """Whether any request is not finished."""
    return connection.execute(_WAITING).fetchone() == (True,)


def replay_all(
    connection: psycopg.Connection,
    request: int | None = None,
    *,
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    future_tolerance_ms: int = 300_000,
) -> None:
    """Do all of that request (or of all that are not finished) here and now, beside whatever collector is at it.

    Raises what the database says; what is committed by then stays, and the request with what is left.
    """
    index: MeterIndex | None = None
    while True:
        try:
            index = index or load_meter_index(connection)
            step = replay_step(
                connection,
                index,
                now_ms=clock_ms(),
                future_tolerance_ms=future_tolerance_ms,
                request=request,
                is_patient=True,
            )
        except StaleModelError:
            index = None
        else:
            if step is None or (step.is_finished and request is not None):
                return


def replay_step(
    connection: psycopg.Connection,
    index: MeterIndex,
    *,
    now_ms: int,
    future_tolerance_ms: int,
    request: int | None = None,
    is_patient: bool = False,
) -> ReplayStep | None:
    """The next step of that request, or of the oldest; None when there is none or somebody else has the turn.

    `is_patient` waits for the turn. Raises StaleModelError when the site model moved (load the index anew), or what
    the database says; nothing was changed then.
    """
    found = _begin(connection, request=request, is_patient=is_patient)
    if found is None:
        return None
    check = _Check(index=index, now_ms=now_ms, future_tolerance_ms=future_tolerance_ms)
    most, refusal = _MOST_ENTRIES, None
    while True:
        try:
            return _step(connection, found, check, most=most, refusal=refusal, is_patient=is_patient)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # One of these entries can't be stored at all: it is found by halving, as in a batch that just came.
            if refusal is not None:
                raise
            if most == 1:
                refusal = str(error)
                _LOG.exception("the database refuses a replayed message", action="replay.refused", request=found)
            most = max(most // 2, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """What entries are checked against."""

    index: MeterIndex
    now_ms: int
    future_tolerance_ms: int


def _begin(connection: psycopg.Connection, *, request: int | None, is_patient: bool) -> int | None:
    """The request whose turn it is. Its last entry is settled once no batch checked by an older model is open."""
    with connection.transaction(), connection.cursor() as cursor:
        if not _has_turn(cursor, is_patient=is_patient):
            return None
        found = _next(cursor, request)
        if found is None:
            return None
        if found.up_to is None:
            # Whoever looked at the model before the request was made has committed when the gate opens.
            cursor.execute(_GATE, [ROLLUP_GATE])
            cursor.execute(_BEGIN, [found.id])
        return found.id


def _step(
    connection: psycopg.Connection,
    request: int,
    check: _Check,
    *,
    most: int,
    refusal: str | None,
    is_patient: bool,
) -> ReplayStep | None:
    with connection.transaction(), connection.cursor() as cursor:
        found = _next(cursor, request) if _has_turn(cursor, is_patient=is_patient) else None
        if found is None:
            return None
        entries = _entries(cursor, found, most=most)
        if not entries:
            cursor.execute(_FINISH, [found.id])
            return ReplayStep(request=found.id, tried=0, written=None, is_finished=True)
        written = _write(connection, entries, check, refusal=refusal)
        values = {
            "id": found.id,
            "done_to": entries[-1].id,
            "tried": len(entries),
            "stored": written.stored,
            "repeated": written.repeated,
            "refused": Jsonb(dict(written.quarantined)),
        }
        cursor.execute(_ADVANCE, values)
        cursor.execute(_NOTE, [[entry.id for entry in entries], found.id])
    return ReplayStep(request=found.id, tried=len(entries), written=written, is_finished=False)


def _write(connection: psycopg.Connection, entries: Sequence[_Entry], check: _Check, *, refusal: str | None) -> Written:
    decoded: list[Decoded] = []
    origins: list[Origin] = []
    empty: list[Settlement] = []
    for entry in entries:
        item = _decode(entry)
        origin = Origin(id=entry.id, digest=entry.digest, counted=entry.counted)
        if isinstance(item, Ignored):
            # By now there is nothing in it to be kept.
            empty.append(Settlement(origin=origin, stored=0, repeated=0, kept=None, is_partial=False))
        else:
            decoded.append(item if refusal is None else unstorable(item, refusal))
            origins.append(origin)
    batch = assemble(decoded, check.index, now_ms=check.now_ms, future_tolerance_ms=check.future_tolerance_ms)
    messages = tuple(replace(message, origin=origin) for message, origin in zip(batch.messages, origins, strict=True))
    written = write_batch(connection, replace(batch, messages=messages), model_version=check.index.version)
    with connection.cursor() as cursor:
        settle(cursor, empty)
    return written


def _decode(entry: _Entry) -> Decoded:
    """The message of an entry. What was cut from an Arrow stream may be larger as JSON than a message may be."""
    was_too_large = entry.reason == Reason.OVERSIZED
    most = MAX_PAYLOAD_BYTES if was_too_large else max(MAX_PAYLOAD_BYTES, len(entry.payload))
    incoming = Incoming(topic=entry.topic, payload=entry.payload, content_type=entry.content_type)
    return decode(incoming, most_bytes=most)


def _has_turn(cursor: psycopg.Cursor, *, is_patient: bool) -> bool:
    return cursor.execute(_TURN if is_patient else _TRY_TURN, [REPLAY_TURN]).fetchone() == (True,)


def _next(cursor: psycopg.Cursor, request: int | None) -> _Request | None:
    with cursor.connection.cursor(row_factory=class_row(_Request)) as rows:
        return rows.execute(_NEXT, {"request": request}).fetchone()


def _entries(cursor: psycopg.Cursor, request: _Request, *, most: int) -> list[_Entry]:
    """The next entries: few enough, and of few enough bytes, to be held in memory; one at least."""
    filters = {name: getattr(request, name) for name in _Request.__dataclass_fields__}
    sizes = cursor.execute(_ENTRIES, {**filters, "most": most}).fetchall()
    chosen: list[int] = []
    total = 0
    for number, size in sizes:
        total += size
        if chosen and total > _MOST_BYTES:
            break
        chosen.append(number)
    with cursor.connection.cursor(row_factory=class_row(_Entry)) as rows:
        return rows.execute(_PAYLOADS, [chosen]).fetchall() if chosen else []
