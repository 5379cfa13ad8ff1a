"""Keeps every message on disk until the collector has said that it is stored.

A broker's acknowledgement is not durability (docs: DESIGN §2), so only `confirm` deletes. `seq` counts without gaps
within an epoch; what is given up at the size limit leaves a hole in the table, which `window` fills with an empty
message of the same seq, so that the collector's ledger still closes while the loss is counted in the status.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import structlog
from ulid import ULID

from edge.batch import Draft
from edge.errors import ForeignConfirmationError, OutboxFullError, OutboxUnavailableError
from edge.messages import encode_readings
from edge.outbox_file import DAMAGED, UNAVAILABLE, Lock, error_code, move_aside, open_database
from schemas.topics import Kind
from schemas.wire import OutboxState

log = structlog.get_logger()
Result = TypeVar("Result")

_ROW_BYTES = 64
"""What SQLite needs for a row besides the payload, roughly."""


class WhenFull(StrEnum):
    """What to do at the size limit."""

    DROP_OLDEST = "drop_oldest"
    STOP_READING = "stop_reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that is not confirmed yet."""

    seq: int
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    epoch: str
    last_seq: int
    stored_seq: int
    readings: int
    dropped_readings: int
    dropped_messages: int
    size_bytes: int


class Outbox:
    """One SQLite file, one writer. Safe to call from several threads; each call is one durable transaction.

    After a call has returned, its effect survives a kill and a loss of power (WAL, synchronous=FULL).
    """

    def __init__(self, path: Path, *, max_bytes: int, when_full: WhenFull, now_ms: Callable[[], int]) -> None:
        """Open or create. Raises OutboxHeldError, OutboxUnavailableError; EdgePermanentError for a newer format."""
        self._path = path
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._now_ms = now_ms
        self._mutex = threading.RLock()
        self._closed = False
        self._lock = Lock(path)
        try:
            self._db = self._open()
            self._state = self._guarded(self._load)
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

    def close(self) -> None:
        """Release the file. Safe twice."""
        with self._mutex:
            if not self._closed:
                self._closed = True
                self._db.close()
                self._lock.release()

    def _append(self, drafts: Sequence[Draft]) -> list[int]:
        old = self._state
        seqs = [old.last_seq + 1 + i for i in range(len(drafts))]
        payloads = [draft.encode(old.epoch, seq) for draft, seq in zip(drafts, seqs, strict=True)]
        added = sum(len(payload) + _ROW_BYTES for payload in payloads)
        if self._when_full is WhenFull.STOP_READING and old.size_bytes and old.size_bytes + added > self._max_bytes:
            raise OutboxFullError(
                f"the outbox {self._path} is full ({old.size_bytes} of {self._max_bytes} bytes); reading waits until "
                "the collector has stored some of it"
            )
        with self._transaction():
            self._insert(seqs, drafts, payloads)
            size, dropped = self._drop_oldest(old.size_bytes + added)
            new = replace(
                old,
                last_seq=old.last_seq + len(drafts),
                readings=old.readings + sum(draft.readings for draft in drafts),
                dropped_readings=old.dropped_readings + sum(dropped),
                dropped_messages=old.dropped_messages + len(dropped),
                size_bytes=size,
            )
            self._save(new)
        self._state = new
        if dropped:
            log.error(
                "the outbox is full: the oldest readings were given up; is the collector or the broker away?",
                action="outbox.dropped",
                readings=sum(dropped),
                messages=len(dropped),
                dropped_readings=new.dropped_readings,
            )
        return seqs

    def _drop_oldest(self, size: int) -> tuple[int, list[int]]:
        """The size after dropping until within the limit, and the readings of each message dropped."""
        dropped: list[int] = []
        while size > self._max_bytes:
            row = self._db.execute(
                "DELETE FROM message WHERE seq = (SELECT min(seq) FROM message) RETURNING readings, length(payload)"
            ).fetchone()
            if row is None:
                break
            dropped.append(row[0])
            size -= row[1] + _ROW_BYTES
        return size, dropped

    def _insert(self, seqs: Sequence[int], drafts: Sequence[Draft], payloads: Sequence[bytes]) -> None:
        self._db.executemany(
            "INSERT INTO message (seq, kind, readings, payload) VALUES (?, ?, ?, ?)",
            [
                (seq, draft.kind, draft.readings, payload)
                for draft, seq, payload in zip(drafts, seqs, payloads, strict=True)
            ],
        )

    def _replace(self, waiting: Waiting, drafts: Sequence[Draft]) -> list[int]:
        old, seq = self._state, waiting.seq
        row = self._db.execute("SELECT payload FROM message WHERE seq = ?", (seq,)).fetchone()
        # In an epoch that has begun meanwhile another message may have that seq.
        if row is None or row[0] != waiting.payload:
            return []
        seqs = [old.last_seq + 1 + i for i in range(len(drafts))]
        payloads = [draft.encode(old.epoch, one) for draft, one in zip(drafts, seqs, strict=True)]
        left = self._given_up(seq)
        with self._transaction():
            self._insert(seqs, drafts, payloads)
            self._db.execute(
                "UPDATE message SET kind = ?, readings = 0, payload = ? WHERE seq = ?", (left.kind, left.payload, seq)
            )
            # What it takes more than before is little, and nothing is given up for it.
            added = sum(len(payload) + _ROW_BYTES for payload in payloads)
            size = old.size_bytes + added + len(left.payload) - len(row[0])
            new = replace(old, last_seq=old.last_seq + len(drafts), size_bytes=size)
            self._save(new)
        self._state = new
        return seqs

    def _window(self, after_seq: int, limit: int) -> list[Waiting]:
        first = max(after_seq, self._state.stored_seq) + 1
        return self._messages(range(first, min(self._state.last_seq, first + limit - 1) + 1))

    def _messages(self, seqs: Sequence[int]) -> list[Waiting]:
        state = self._state
        wanted = [seq for seq in seqs if state.stored_seq < seq <= state.last_seq]
        places = ",".join("?" * len(wanted))
        rows = {
            seq: Waiting(seq=seq, kind=Kind(kind), payload=payload)
            for seq, kind, payload in self._db.execute(
                f"SELECT seq, kind, payload FROM message WHERE seq IN ({places})", wanted
            )
        }
        return [rows.get(seq) or self._given_up(seq) for seq in wanted]

    def _oldest_ms(self) -> int | None:
        row = self._db.execute("SELECT payload FROM message ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else json.loads(row[0]).get("sent_at")

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
        with self._transaction():
            freed = self._db.execute(
                "SELECT coalesce(sum(length(payload) + ?), 0) FROM message WHERE seq <= ?", (_ROW_BYTES, seq)
            ).fetchone()[0]
            self._db.execute("DELETE FROM message WHERE seq <= ?", (seq,))
            new = replace(old, stored_seq=seq, size_bytes=old.size_bytes - freed)
            self._save(new)
        self._state = new
        return True

    def _guarded(self, act: Callable[[], Result]) -> Result:
        with self._mutex:
            if self._closed:
                raise OutboxUnavailableError(f"the outbox {self._path} is closed")
            try:
                return act()
            except sqlite3.DatabaseError as error:
                if error_code(error) in DAMAGED:
                    self._begin_anew(error)
                    return act()
                if error_code(error) in UNAVAILABLE:
                    raise OutboxUnavailableError(
                        f"the outbox {self._path} cannot be used: {error}; free some space or check the disk"
                    ) from error
                raise

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        self._db.close()
        self._db = self._open_anew(error)
        self._state = self._load()

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self._path)
        except sqlite3.DatabaseError as error:
            if error_code(error) in UNAVAILABLE:
                raise OutboxUnavailableError(
                    f"the outbox {self._path} cannot be opened: {error}; check the folder, its permissions and the disk"
                ) from error
            if error_code(error) not in DAMAGED:
                raise
            return self._open_anew(error)

    def _open_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        kept = move_aside(self._path, now_ms=self._now_ms())
        log.critical(
            "the outbox file is damaged; it was moved aside and a new epoch begins. Readings in it that were not "
            "stored yet are only there: keep it",
            action="outbox.damaged",
            kept=str(kept),
            error=str(error),
        )
        return open_database(self._path)

    def _load(self) -> _State:
        with self._transaction():
            # Within the transaction, so that two first starts cannot make two epochs.
            self._db.execute("INSERT OR IGNORE INTO outbox (one, epoch) VALUES (1, ?)", (str(ULID()),))
            row = self._db.execute(
                "SELECT epoch, last_seq, stored_seq, readings, dropped_readings, dropped_messages FROM outbox"
            ).fetchone()
            size = self._db.execute(
                "SELECT coalesce(sum(length(payload) + ?), 0) FROM message", (_ROW_BYTES,)
            ).fetchone()[0]
        return _State(
            epoch=row[0],
            last_seq=row[1],
            stored_seq=row[2],
            readings=row[3],
            dropped_readings=row[4],
            dropped_messages=row[5],
            size_bytes=size,
        )

    def _save(self, state: _State) -> None:
        self._db.execute(
            "UPDATE outbox SET last_seq = ?, stored_seq = ?, readings = ?, dropped_readings = ?, dropped_messages = ?",
            (state.last_seq, state.stored_seq, state.readings, state.dropped_readings, state.dropped_messages),
        )

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
