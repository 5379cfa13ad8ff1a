"""Keeps every message on disk until the collector has said that it is stored.

A broker's acknowledgement is not durability (docs: DESIGN §2), so only `confirm` deletes. `seq` counts without gaps
within an epoch; what is given up at the size limit leaves a hole in the table, which `window` fills with an empty
message of the same seq, so that the collector's ledger still closes while the loss is counted in the status.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import structlog
from ulid import ULID

from edge import outbox_table as table
from edge.batch import Draft
from edge.errors import ForeignConfirmationError, OutboxFullError, OutboxUnavailableError
from edge.messages import encode_readings
from edge.outbox_file import DAMAGED, UNAVAILABLE, Lock, error_code, move_aside, open_database
from edge.outbox_table import Row, State, Waiting
from schemas.topics import Kind
from schemas.wire import OutboxState

log = structlog.get_logger()
Result = TypeVar("Result")

_CONFIRMED_S = 3.0
_CONFIRMED_MESSAGES = 1_000
"""So long, and so many, confirmed messages stay in the file: what is deleted along with the next append costs flash
nothing of its own. After a kill they are published again, which is a no-op further on."""


class WhenFull(StrEnum):
    """What to do at the size limit."""

    DROP_OLDEST = "drop_oldest"
    STOP_READING = "stop_reading"


class Outbox:
    """One SQLite file, one writer. Safe to call from several threads.

    What `append` or `replace` took survives a kill and a loss of power when the call has returned (WAL,
    synchronous=FULL). A confirmation is written with the next append, or by itself when it has waited for long.
    """

    def __init__(self, path: Path, *, max_bytes: int, when_full: WhenFull, now_ms: Callable[[], int]) -> None:
        """Open or create. Raises OutboxHeldError, OutboxUnavailableError; EdgePermanentError for a newer format."""
        self._path = path
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._now_ms = now_ms
        self._mutex = threading.RLock()
        self._closed = False
        self._state: State
        self._saved_seq: int
        self._confirmed_s: float
        self._lock = Lock(path)
        try:
            self._db = self._open()
            self._is_open = True
            self._note_saved(self._guarded(self._load))
        except BaseException:
            self._lock.release()
            raise

    @property
    def epoch(self) -> str:
        """The epoch in use; a new one begins when the file is created or was found damaged."""
        return self._state.epoch

    @property
    def size_bytes(self) -> int:
        """What the unconfirmed messages take, about."""
        return self._state.size_bytes

    @property
    def waiting_readings(self) -> int:
        """Readings in the unconfirmed messages."""
        return self._state.waiting_readings

    @property
    def max_bytes(self) -> int:
        """The limit to `size_bytes`."""
        return self._max_bytes

    @property
    def dropped_messages(self) -> int:
        """Messages given up at the size limit in this epoch."""
        return self._state.dropped_messages

    def state(self) -> OutboxState:
        """How full it is, as the status message tells it."""
        state = self._state
        return OutboxState(
            epoch=state.epoch,
            last_seq=state.last_seq,
            stored_seq=state.stored_seq,
            readings=state.readings,
            waiting=state.last_seq - state.stored_seq,
            dropped_readings=state.dropped_readings,
        )

    def limit(self, *, max_bytes: int, when_full: WhenFull) -> None:
        """From the next append on another limit holds."""
        with self._mutex:
            self._max_bytes, self._when_full = max_bytes, when_full

    def append(self, drafts: Sequence[Draft]) -> list[int]:
        """Number and keep the messages, all or none, in one commit; returns their seqs.

        Raises OutboxFullError (set to stop reading), OutboxUnavailableError (disk). Nothing is kept then.
        """
        return self._guarded(lambda: self._append(drafts))

    def window(self, after_seq: int, limit: int) -> list[Waiting]:
        """At most `limit` unconfirmed messages after `after_seq`, in order, without gaps.

        Raises OutboxUnavailableError.
        """
        return self._guarded(lambda: self._window(after_seq, limit))

    def oldest_s(self) -> float:
        """How old the oldest message is that is kept and not confirmed, in seconds; 0 where there is none."""
        try:
            sent_at_ms = self._guarded(self._oldest_ms)
        except OutboxUnavailableError:
            return 0.0
        return 0.0 if sent_at_ms is None else max(self._now_ms() - sent_at_ms, 0) / 1000

    def messages(self, seqs: Sequence[int]) -> list[Waiting]:
        """Those of these messages that are not confirmed, in this order. Raises OutboxUnavailableError."""
        return self._guarded(lambda: self._messages(seqs))

    def replace(self, waiting: Waiting, drafts: Sequence[Draft]) -> list[int]:
        """What a message holds goes out as these drafts at the end, and an empty message in its place.

        All or none, in one commit; returns the drafts' seqs, none when that message is confirmed or given up by now, or
        was of an epoch before. Raises OutboxUnavailableError.
        """
        return self._guarded(lambda: self._replace(waiting, drafts))

    def confirm(self, epoch: str, seq: int) -> bool:
        """Forget what is stored: everything up to `seq`. False when that was known already.

        Raises ForeignConfirmationError when it is of another epoch or beyond what was ever appended, and
        OutboxUnavailableError.
        """
        return self._guarded(lambda: self._confirm(epoch, seq))

    @property
    def is_confirmation_due(self) -> bool:
        """Whether a confirmation has waited for an append for long."""
        return self._state.stored_seq > self._saved_seq and time.monotonic() - self._confirmed_s > _CONFIRMED_S

    def write_confirmed(self) -> None:
        """Delete from the file what is confirmed, now. Raises OutboxUnavailableError."""
        self._guarded(self._write_confirmed)

    def close(self) -> None:
        """Release the file. Safe twice."""
        with self._mutex:
            if not self._closed:
                with contextlib.suppress(OutboxUnavailableError, sqlite3.DatabaseError):
                    if self._state.stored_seq > self._saved_seq:
                        self._guarded(self._write_confirmed)
                self._closed = True
                self._db.close()
                self._lock.release()

    def _append(self, drafts: Sequence[Draft]) -> list[int]:
        old = self._state
        rows = self._number(drafts)
        added = sum(row.size_bytes for row in rows)
        if self._when_full is WhenFull.STOP_READING and old.size_bytes and old.size_bytes + added > self._max_bytes:
            raise OutboxFullError(
                f"the outbox {self._path} is full ({old.size_bytes} of {self._max_bytes} bytes); reading waits until "
                "the collector has stored some of it"
            )
        with self._transaction():
            table.delete_up_to(self._db, old.stored_seq)
            table.insert(self._db, rows)
            size: int = old.size_bytes + added
            dropped: list[int] = []
            if self._when_full is WhenFull.DROP_OLDEST:
                size, dropped = table.drop_oldest(self._db, size=size, most=self._max_bytes)
            new = replace(
                old,
                last_seq=old.last_seq + len(drafts),
                readings=old.readings + sum(draft.readings for draft in drafts),
                dropped_readings=old.dropped_readings + sum(dropped),
                dropped_messages=old.dropped_messages + len(dropped),
                size_bytes=size,
                waiting_readings=old.waiting_readings + sum(draft.readings for draft in drafts) - sum(dropped),
            )
            table.save_state(self._db, new)
        self._note_saved(new)
        if dropped:
            log.error(
                "the outbox is full: the oldest readings were given up; is the collector or the broker away?",
                action="outbox.dropped",
                readings=sum(dropped),
                messages=len(dropped),
                dropped_readings=new.dropped_readings,
            )
        return [row.seq for row in rows]

    def _number(self, drafts: Sequence[Draft]) -> list[Row]:
        state = self._state
        return [table.row_of(draft, epoch=state.epoch, seq=state.last_seq + 1 + i) for i, draft in enumerate(drafts)]

    def _replace(self, waiting: Waiting, drafts: Sequence[Draft]) -> list[int]:
        old, seq = self._state, waiting.seq
        # In an epoch that has begun meanwhile another message may have that seq.
        if seq <= old.stored_seq or table.find(self._db, [seq]).get(seq) != waiting:
            return []
        rows = self._number(drafts)
        given_up = self._given_up(seq)
        left = table.pack(seq, given_up.kind, 0, given_up.payload)
        # What it takes more than before is little, and nothing is given up for it.
        size, readings = table.held(self._db, seq - 1, seq)
        added = sum(row.size_bytes for row in rows) + left.size_bytes - size
        with self._transaction():
            table.insert(self._db, rows)
            table.replace_one(self._db, left)
            new = replace(
                old,
                last_seq=old.last_seq + len(drafts),
                size_bytes=old.size_bytes + added,
                waiting_readings=old.waiting_readings + sum(row.readings for row in rows) - readings,
            )
            table.save_state(self._db, new)
        self._note_saved(new)
        return [row.seq for row in rows]

    def _window(self, after_seq: int, limit: int) -> list[Waiting]:
        first = max(after_seq, self._state.stored_seq) + 1
        return self._messages(range(first, min(self._state.last_seq, first + limit - 1) + 1))

    def _messages(self, seqs: Sequence[int]) -> list[Waiting]:
        state = self._state
        wanted = [seq for seq in seqs if state.stored_seq < seq <= state.last_seq]
        rows = table.find(self._db, wanted)
        return [rows.get(seq) or self._given_up(seq) for seq in wanted]

    def _oldest_ms(self) -> int | None:
        return table.oldest_sent_ms(self._db, self._state.stored_seq)

    def _given_up(self, seq: int) -> Waiting:
        payload = encode_readings([], epoch=self._state.epoch, seq=seq, sent_at_ms=self._now_ms())
        return Waiting(seq=seq, kind=Kind.READINGS, payload=payload)

    def _confirm(self, epoch: str, seq: int) -> bool:
        old = self._state
        if epoch != old.epoch:
            raise ForeignConfirmationError(f"stored names epoch {epoch}; this outbox has {old.epoch}")
        if seq > old.last_seq:
            raise ForeignConfirmationError(
                f"stored names seq {seq}, but only {old.last_seq} messages exist in epoch {epoch}; is there another "
                "agent with the same organisation, site and agent?"
            )
        if seq <= old.stored_seq:
            return False
        size, readings = table.held(self._db, old.stored_seq, seq)
        self._state = replace(
            old,
            stored_seq=seq,
            size_bytes=old.size_bytes - size,
            waiting_readings=old.waiting_readings - readings,
        )
        if seq - self._saved_seq > _CONFIRMED_MESSAGES:
            self._write_confirmed()
        return True

    def _write_confirmed(self) -> None:
        with self._transaction():
            table.delete_up_to(self._db, self._state.stored_seq)
            table.save_state(self._db, self._state)
        self._note_saved(self._state)

    def _guarded(self, act: Callable[[], Result]) -> Result:
        with self._mutex:
            if self._closed:
                raise OutboxUnavailableError(f"the outbox {self._path} is closed")
            with self._plainly("used", remedy="free some space or check the disk"):
                if not self._is_open:
                    self._begin_with(self._open())
                try:
                    return act()
                except sqlite3.DatabaseError as error:
                    if error_code(error) not in DAMAGED:
                        raise
                    self._is_open = False
                    self._db.close()
                    self._begin_with(self._open_anew(error))
                    return act()

    def _begin_with(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._note_saved(self._load())
        # Until then, as on a disk that is full or can only be read, each use tries anew.
        self._is_open = True

    def _open(self) -> sqlite3.Connection:
        with self._plainly("opened", remedy="check the folder, its permissions and the disk"):
            try:
                return open_database(self._path)
            except sqlite3.DatabaseError as error:
                if error_code(error) not in DAMAGED:
                    raise
                return self._open_anew(error)

    @contextmanager
    def _plainly(self, done: str, *, remedy: str) -> Iterator[None]:
        """What the disk does not let SQLite do is said as that."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error_code(error) not in UNAVAILABLE:
                raise
            raise OutboxUnavailableError(f"the outbox {self._path} cannot be {done}: {error}; {remedy}") from error

    def _open_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        kept = move_aside(self._path, now_ms=self._now_ms())
        log.critical(
            "the outbox file is damaged; it was moved aside and a new epoch begins. Readings in it that were not "
            "stored yet are only there: keep it, and take them back with `afkobling edge outbox --take-back`",
            action="outbox.damaged",
            kept=str(kept),
            error=str(error),
        )
        return open_database(self._path)

    def _load(self) -> State:
        with self._transaction():
            # Within the transaction, so that two first starts cannot make two epochs.
            return table.load_state(self._db, new_epoch=str(ULID()))

    def _note_saved(self, state: State) -> None:
        """Only after its commit, which may fail: the file has come so far."""
        self._state = state
        self._saved_seq, self._confirmed_s = state.stored_seq, time.monotonic()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
