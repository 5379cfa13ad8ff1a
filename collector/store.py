"""One transaction: readings, ledger, quarantine, runs, reports, and what the roll-up has to recompute.

After it is committed the batch may be acknowledged; before that nothing of it is visible to anybody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import errors

from collector.archive.late import note_late
from collector.archived import enter as enter_archive
from collector.archived import look_up_old
from collector.batch import Batch, Checked, Place, ReadingRows, encode_readings
from collector.counting import Came, Refusal, Settlement, count_message
from collector.decode import ReadingsMessage, ReportMessage, RunsMessage
from collector.ledger import Ledger, LedgerKey, lock_ledger, write_ledger
from collector.pending import by_week
from collector.quarantine import QuarantineEntry, quarantine_rows
from collector.quarantine_store import settle, take_back, write_refusals
from collector.runs import is_news, write_reports, write_runs
from schemas.locks import ROLLUP_GATE
from schemas.quarantine import Reason
from schemas.wire import Status

# Taken before anything is written: the roll-up moves closed_to only when no transaction that saw the old one is open.
_ENTER: LiteralString = "SELECT pg_advisory_xact_lock_shared(%s)"
_STATE: LiteralString = """
    SELECT (SELECT version FROM model_version),
           (SELECT (extract(epoch FROM closed_to) * 1000)::int8 FROM rollup_progress),
           (SELECT (extract(epoch FROM archived_to) * 1000)::int8 FROM archive_progress),
           (SELECT (extract(epoch FROM frozen_to) * 1000)::int8 FROM archive_progress)
"""
_COPY: LiteralString = "COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)"
_STAGE: LiteralString = """
    CREATE TEMPORARY TABLE IF NOT EXISTS stage (meter_id int, at timestamptz, value float8, quality int2)
    ON COMMIT DELETE ROWS
"""
_COPY_STAGE: LiteralString = "COPY stage (meter_id, at, value, quality) FROM STDIN (FORMAT binary)"
_INSERT_STAGED: LiteralString = """
    INSERT INTO reading (meter_id, at, value, quality) SELECT meter_id, at, value, quality FROM stage
    ON CONFLICT DO NOTHING
    RETURNING meter_id, (extract(epoch FROM at) * 1000)::int8
"""
_FIND_STAGED: LiteralString = """
    SELECT meter_id, (extract(epoch FROM at) * 1000)::int8, reading.value
    FROM stage JOIN reading USING (at, meter_id)
"""
_PENDING: LiteralString = """
    INSERT INTO pending (meter_id, from_at, to_at)
    SELECT meter_id, to_timestamp(from_ms / 1000.0), to_timestamp(to_ms / 1000.0)
    FROM unnest(%s::int4[], %s::int8[], %s::int8[]) AS p(meter_id, from_ms, to_ms)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a committed batch came to. `stored_seq` holds every ledger entry that it touched."""

    stored: int
    repeated: int
    quarantined: Counter[str]
    redelivered: int
    late: int
    stored_seq: dict[LedgerKey, int]


def add_up(first: Written, second: Written) -> Written:
    """What two batches came to, one written after the other."""
    return Written(
        stored=first.stored + second.stored,
        repeated=first.repeated + second.repeated,
        quarantined=first.quarantined + second.quarantined,
        redelivered=first.redelivered + second.redelivered,
        late=first.late + second.late,
        stored_seq=first.stored_seq | second.stored_seq,
    )


class StaleModelError(Exception):
    """The site model has moved since the batch was checked; check it again with the new one."""


class _OldReadingsError(Exception):
    """Some of the batch may stand in the archive already, whose gate comes before the roll-up's: begin again."""


def write_batch(
    connection: psycopg.Connection, batch: Batch, *, model_version: int, needs_archive: bool = False
) -> Written:
    """Write all of a batch or nothing of it. Raises StaleModelError, or what the database says.

    Readings that the archive may hold are looked up there. While it can't be read they go to quarantine, and the rest
    is stored; with `needs_archive` ArchiveError is raised instead.
    """
    try:
        return _write(connection, batch, model_version=model_version, looks=None)
    except _OldReadingsError:
        looks = _Looks(must_see=needs_archive)
        return _write(connection, batch, model_version=model_version, looks=looks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    """Old readings are looked up in the archive. `must_see`: rather fail than set aside what can't be."""

    must_see: bool


def _write(connection: psycopg.Connection, batch: Batch, *, model_version: int, looks: _Looks | None) -> Written:
    with connection.transaction(), connection.cursor() as cursor:
        if looks is not None:
            enter_archive(cursor)
        # Sent together, as each answer that is waited for costs more than the question.
        with connection.pipeline():
            connection.execute(_ENTER, [ROLLUP_GATE])
            asked = connection.execute(_STATE)
        state = asked.fetchone() or (0, None, None, None)
        version, closed_to_ms, archived_to_ms, frozen_to_ms = state
        if version != model_version:
            raise StaleModelError
        if looks is None and archived_to_ms is not None and len(batch.rows) and batch.rows.at.min() < archived_to_ms:
            raise _OldReadingsError
        claims = _claims(batch.messages)
        places = (_key(message.place) for message in batch.messages if message.place is not None)
        ledger = lock_ledger(cursor, places, only_known=claims)
        for key, seq in claims.items():
            # A status that the broker kept may be of an epoch long gone: it opens no entry by itself.
            if key in ledger.entries:
                ledger.entries[key].adopt(seq)
        is_new = np.array([_is_new(message, ledger) for message in batch.messages], dtype=np.bool_)
        # A redelivered message is written again all the same: that is a no-op, unless its number was used twice.
        outcome, rows = _write_new(connection, cursor, batch, archived_to_ms, looks)
        refused = [(i, entry) for i, message in enumerate(batch.messages) for entry in message.quarantined]
        refused += outcome.refused
        heard = [(i, m) for i, m in enumerate(batch.messages) if is_new[i] or m.origin is not None]
        refused += write_runs(cursor, [(i, m.message) for i, m in heard if isinstance(m.message, RunsMessage)])
        _write_quarantine(cursor, ledger, batch, is_new, outcome, refused)
        write_reports(cursor, _reports(cursor, [message for _, message in heard]))
        late = _write_pending(cursor, rows, closed_to_ms)
        note_late(cursor, rows.meter_id, rows.at, frozen_to_ms)
        write_ledger(cursor, ledger)
    reasons: Counter[str] = Counter()
    for _, entry in refused:
        reasons[entry.reason] += max(entry.readings, 1)
    return Written(
        stored=int(outcome.is_stored.sum()),
        repeated=int(outcome.is_repeated.sum()),
        quarantined=reasons,
        redelivered=int((~is_new).sum()),
        late=late,
        stored_seq={key: entry.stored_seq for key, entry in ledger.entries.items() if key[1]},
    )


def _key(place: Place) -> LedgerKey:
    return place.address, place.epoch


def _claims(messages: Sequence[Checked]) -> dict[LedgerKey, int]:
    """Up to which seq each agent says, in its status, that everything was confirmed to it."""
    claims: dict[LedgerKey, int] = {}
    for checked in messages:
        if isinstance(checked.message, ReportMessage) and isinstance(checked.message.report, Status):
            outbox = checked.message.report.outbox
            if outbox is not None:
                key = (checked.message.address, outbox.epoch)
                claims[key] = max(claims.get(key, 0), outbox.stored_seq)
    return claims


def _is_new(message: Checked, ledger: Ledger) -> bool:
    if message.place is None:
        return True
    # What was counted when it came is not entered again, although a plain reading has no seq to tell it by.
    was_counted = message.origin is not None and message.origin.counted > 0
    return not was_counted and ledger.entry(message.place).take(message.place.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of each row: stored, repeated (already there with that value), or refused.

    `refused` stand beside the number of the message that they came with.
    """

    is_stored: NDArray[np.bool_]
    is_repeated: NDArray[np.bool_]
    refused: list[tuple[int, QuarantineEntry]]

    def tally(self, batch: Batch) -> tuple[list[int], list[int]]:
        """Readings stored and readings repeated, a number for each message."""
        source, count = batch.rows.source, len(batch.messages)
        stored, repeated = (np.bincount(source[rows], minlength=count) for rows in (self.is_stored, self.is_repeated))
        return stored.tolist(), repeated.tolist()


def _write_new(
    connection: psycopg.Connection,
    cursor: psycopg.Cursor,
    batch: Batch,
    archived_to_ms: int | None,
    looks: _Looks | None,
) -> tuple[_Outcome, ReadingRows]:
    """Write what the archive does not hold. Returns what became of all, and the rows that the table then holds."""
    rows, messages = batch.rows, batch.messages
    if looks is None or archived_to_ms is None:
        return _write_rows(connection, cursor, batch), rows
    found = look_up_old(cursor, rows.meter_id, rows.at, older_than_ms=archived_to_ms)
    if found.problem is not None and looks.must_see and found.is_open.any():
        raise found.problem
    is_new = ~found.is_known & ~found.is_open
    new = rows.select(is_new)
    written = _write_rows(connection, cursor, replace(batch, rows=new, stream=encode_readings(new)))
    is_stored, is_repeated = np.zeros(len(rows), np.bool_), found.is_known & (rows.value == found.value)
    conflicting = np.flatnonzero(found.is_known & ~is_repeated)
    held = {(int(rows.meter_id[i]), int(rows.at[i])): float(found.value[i]) for i in conflicting}
    is_stored[is_new], is_repeated[is_new] = written.is_stored, written.is_repeated
    refused = [*written.refused, *_conflicts(rows, conflicting, messages, held)]
    for source in np.unique(rows.source[found.is_open]).tolist():
        mine = rows.row[found.is_open & (rows.source == source)].astype(np.intp)
        detail = f"these may be archived already, and nobody can look: {found.problem}; then replay them"
        refused.append(
            (int(source), quarantine_rows(_readings_of(messages, source), mine, Reason.ARCHIVE_AWAY, detail))
        )
    return _Outcome(is_stored=is_stored, is_repeated=is_repeated, refused=refused), new


def _write_rows(connection: psycopg.Connection, cursor: psycopg.Cursor, batch: Batch) -> _Outcome:
    """Plain COPY, which has no ON CONFLICT; only when a reading is there already, through a staging table."""
    rows = batch.rows
    if len(rows) == 0:
        nothing = np.zeros(0, dtype=np.bool_)
        return _Outcome(is_stored=nothing, is_repeated=nothing, refused=[])
    try:
        with connection.transaction():
            _copy(cursor, _COPY, batch.stream)
    except errors.UniqueViolation:
        return _write_staged(cursor, rows, batch.messages)
    everything = np.ones(len(rows), dtype=np.bool_)
    return _Outcome(is_stored=everything, is_repeated=~everything, refused=[])


def _write_staged(cursor: psycopg.Cursor, rows: ReadingRows, messages: Sequence[Checked]) -> _Outcome:
    # Stable sort: of several readings for one instant the one that came first is tried first.
    order = np.lexsort((rows.at, rows.meter_id))
    meter_id, at = rows.meter_id[order], rows.at[order]
    starts = np.r_[True, (meter_id[1:] != meter_id[:-1]) | (at[1:] != at[:-1])]
    first = order[starts]
    cursor.execute(_STAGE)
    _copy(cursor, _COPY_STAGE, encode_readings(rows.select(first)))
    inserted = set(cursor.execute(_INSERT_STAGED).fetchall())
    found = {(m, a): value for m, a, value in cursor.execute(_FIND_STAGED).fetchall()}
    # What the retention dropped in this very moment is neither the same nor another value; it is told as a conflict.
    held = defaultdict(lambda: float("nan"), found)
    cursor.execute("DELETE FROM stage")

    keys = list(zip(rows.meter_id.tolist(), rows.at.tolist(), strict=True))
    is_first = np.zeros(len(rows), dtype=np.bool_)
    is_first[first] = True
    is_stored = is_first & np.array([key in inserted for key in keys])
    is_same = rows.value == np.array([held[key] for key in keys])
    is_conflict = ~is_stored & ~is_same
    return _Outcome(
        is_stored=is_stored,
        is_repeated=~is_stored & is_same,
        refused=_conflicts(rows, np.flatnonzero(is_conflict), messages, held),
    )


def _conflicts(
    rows: ReadingRows, conflicting: NDArray[np.intp], messages: Sequence[Checked], held: Mapping[tuple[int, int], float]
) -> list[tuple[int, QuarantineEntry]]:
    entries = []
    for source in np.unique(rows.source[conflicting]).tolist():
        message = _readings_of(messages, source)
        mine = conflicting[rows.source[conflicting] == source]
        picked = rows.row[mine]
        key = (int(rows.meter_id[mine[0]]), int(rows.at[mine[0]]))
        detail = (
            f"meter {message.meters[message.meter[picked[0]]]}: {rows.value[mine[0]]:g} came for an instant "
            f"that already holds {held[key]:g}; what is stored stays"
        )
        entries.append((int(source), quarantine_rows(message, picked.astype(np.intp), Reason.CONFLICT, detail)))
    return entries


def _readings_of(messages: Sequence[Checked], source: int) -> ReadingsMessage:
    message = messages[int(source)].message
    if not isinstance(message, ReadingsMessage):
        raise TypeError(f"row {source} came from a message without readings")
    return message


def _copy(cursor: psycopg.Cursor, statement: LiteralString, stream: bytes) -> None:
    with cursor.copy(statement) as copy:
        copy.write(stream)


def _write_quarantine(
    cursor: psycopg.Cursor,
    ledger: Ledger,
    batch: Batch,
    is_new: NDArray[np.bool_],
    outcome: _Outcome,
    refused: Sequence[tuple[int, QuarantineEntry]],
) -> None:
    """Enter every message into the ledger, what was refused into the quarantine, and mark what was replayed."""
    by_message: defaultdict[int, list[QuarantineEntry]] = defaultdict(list)
    for i, entry in refused:
        by_message[i].append(entry)
    stored, repeated = outcome.tally(batch)
    refusals: list[Refusal] = []
    settlements: list[Settlement] = []
    for i, message in enumerate(batch.messages):
        if is_new[i] and message.place is not None and message.origin is None and i not in by_message:
            # Nearly all messages: worth a way of its own.
            account = ledger.entry(message.place)
            account.stored += stored[i]
            account.repeated += repeated[i]
            continue
        came = Came(is_new=bool(is_new[i]), stored=stored[i], repeated=repeated[i], refused=tuple(by_message[i]))
        counts = count_message(message, came)
        taken_back = 0
        if message.place is not None:
            if not came.is_new and message.origin is None and came.stored:
                taken_back = take_back(cursor, message.place, came.stored)
            account = ledger.entry(message.place)
            account.stored += counts.stored
            account.repeated += counts.repeated
            account.quarantined += counts.quarantined - taken_back
        refusals += counts.refusals
        if counts.settlement is not None:
            settlements.append(counts.settlement)
    settle(cursor, settlements)
    write_refusals(cursor, refusals)


def _reports(cursor: psycopg.Cursor, messages: Sequence[Checked]) -> list[ReportMessage]:
    """What agents say of themselves; of what was replayed only what is newer than what is known."""
    return [
        message.message
        for message in messages
        if isinstance(message.message, ReportMessage) and (message.origin is None or is_news(cursor, message.message))
    ]


def _write_pending(cursor: psycopg.Cursor, rows: ReadingRows, closed_to_ms: int | None) -> int:
    """Note which closed quarters the late readings touch: one row a meter and week, so that far ones stay apart."""
    if closed_to_ms is None or len(rows) == 0:
        return 0
    late = np.flatnonzero(rows.at < closed_to_ms)
    if len(late) == 0:
        return 0
    cursor.execute(_PENDING, list(by_week(rows.meter_id[late], rows.at[late])))
    return len(late)
