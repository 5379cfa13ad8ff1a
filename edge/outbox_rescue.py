"""Takes back what can still be read of an outbox file that was damaged and moved aside."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge import outbox_table as table
from edge.batch import Draft, split_message
from edge.errors import EdgePermanentError
from edge.outbox import Outbox

_MESSAGE_BYTES = 256_000
_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """Messages and readings that were taken back, and messages that are gone: damaged, or given up before that."""

    messages: int
    readings: int
    gone: int


def take_back(damaged: Path, outbox: Outbox, *, now_ms: Callable[[], int]) -> Rescued:
    """Append to `outbox` what waited in the damaged file; the file is left as it is.

    Whatever was stored already is a no-op further on, so that doing it twice does no harm. Raises EdgePermanentError
    when nothing of the file can be read; OutboxFullError, OutboxUnavailableError with what came before kept.
    """
    if not damaged.is_file():
        raise EdgePermanentError(f"there is no file {damaged}; it stands beside the outbox, as …damaged-DATE")
    messages = readings = gone = 0
    waiting: list[Draft] = []
    try:
        with closing(sqlite3.connect(f"file:{damaged.absolute().as_posix()}?mode=ro", uri=True)) as database:
            for seq in _seqs(database):
                drafts = _drafts(database, seq, now_ms)
                if drafts is None:
                    gone += 1
                    continue
                messages += 1
                readings += sum(draft.readings for draft in drafts)
                waiting += drafts
                if len(waiting) >= _AT_ONCE:
                    outbox.append(waiting)
                    waiting = []
    except sqlite3.DatabaseError as error:
        raise EdgePermanentError(f"nothing of {damaged} can be read: {error}; keep it, and tell us") from error
    if waiting:
        outbox.append(waiting)
    return Rescued(messages=messages, readings=readings, gone=gone)


def _seqs(database: sqlite3.Connection) -> range:
    """The numbers that waited; where the file does not tell any more, those between the first and the last found."""
    if database.execute("PRAGMA user_version").fetchone()[0] == 1:
        database.execute("CREATE TEMP VIEW message AS SELECT *, 0 AS packed FROM main.message")
    with contextlib.suppress(sqlite3.DatabaseError, TypeError):
        stored, last = database.execute("SELECT stored_seq, last_seq FROM outbox").fetchone()
        return range(int(stored) + 1, int(last) + 1)
    first, last = (_end(database, order) for order in ("ASC", "DESC"))
    return range(first, last + 1)


def _end(database: sqlite3.Connection, order: str) -> int:
    row = database.execute(f"SELECT seq FROM message ORDER BY seq {order} LIMIT 1").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("there are no messages in it")
    return int(row[0])


def _drafts(database: sqlite3.Connection, seq: int, now_ms: Callable[[], int]) -> list[Draft] | None:
    """What the message holds, as messages anew; None when it is gone or can't be read."""
    try:
        found = table.find(database, [seq]).get(seq)
        if found is None:
            return None
        return split_message(found.kind, found.payload, max_bytes=_MESSAGE_BYTES, now_ms=now_ms)
    except (sqlite3.DatabaseError, ValueError, LookupError, TypeError):
        # Whatever the damage made of it; each message stands for itself.
        return None
