"""The messages in the outbox's file: plain SQL, within whatever transaction the caller holds."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from edge.batch import Draft
from schemas.topics import Kind

ROW_BYTES = 64
"""What SQLite needs for a row besides the payload, roughly."""
_LEVEL = 6
"""Of 100 meters at one instant 66 bytes a reading become 14, in a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class State:
    """The table of one row, whose columns have these names: numbers and counts of this epoch, and what waits."""

    epoch: str
    last_seq: int
    stored_seq: int
    readings: int
    dropped_readings: int
    dropped_messages: int
    size_bytes: int
    waiting_readings: int


_COLUMNS = ", ".join(field.name for field in fields(State))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that is not confirmed yet."""

    seq: int
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A message as it stands in the file; packed where that makes it smaller."""

    seq: int
    kind: Kind
    readings: int
    payload: bytes
    is_packed: bool

    @property
    def size_bytes(self) -> int:
        """What it takes, about."""
        return len(self.payload) + ROW_BYTES


def load_state(database: sqlite3.Connection, *, new_epoch: str) -> State:
    """How it stands; a table that is new begins with `new_epoch`."""
    database.execute("INSERT OR IGNORE INTO outbox (one, epoch) VALUES (1, ?)", (new_epoch,))
    return State(*database.execute(f"SELECT {_COLUMNS} FROM outbox").fetchone())


def save_state(database: sqlite3.Connection, state: State) -> None:
    """Write it."""
    values = astuple(state)
    places = ", ".join("?" * len(values))
    database.execute(f"UPDATE outbox SET ({_COLUMNS}) = ({places})", values)


def row_of(draft: Draft, *, epoch: str, seq: int) -> Row:
    """A draft with its number, ready to be written."""
    return pack(seq, draft.kind, draft.readings, draft.encode(epoch, seq))


def pack(seq: int, kind: Kind, readings: int, payload: bytes) -> Row:
    """A message ready to be written."""
    packed = zlib.compress(payload, _LEVEL)
    is_smaller = len(packed) < len(payload)
    return Row(seq=seq, kind=kind, readings=readings, payload=packed if is_smaller else payload, is_packed=is_smaller)


def unpack(payload: bytes, is_packed: int) -> bytes:
    """What was packed. Raises sqlite3.DatabaseError, as for any other damage, when it can't be had back."""
    if not is_packed:
        return payload
    try:
        return zlib.decompress(payload)
    except (zlib.error, TypeError) as error:
        raise _damage(f"a message cannot be unpacked: {error}") from error


def _waiting(seq: int, kind: str, payload: bytes, is_packed: int) -> Waiting:
    """Raises sqlite3.DatabaseError when it can't be what was written.

    What is packed has a checksum. Of what is not, as in a file of format 1, the collector could not tell the seq: it
    would never be confirmed, nor anything behind it.
    """
    whole = unpack(payload, is_packed)
    try:
        if not is_packed:
            json.loads(whole)
        return Waiting(seq=seq, kind=Kind(kind), payload=whole)
    except (ValueError, TypeError) as error:
        raise _damage(f"message {seq} is damaged: {error}") from error


def _damage(words: str) -> sqlite3.DatabaseError:
    damage = sqlite3.DatabaseError(words)
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damage


def insert(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write new messages."""
    database.executemany(
        "INSERT INTO message (seq, kind, readings, payload, packed) VALUES (?, ?, ?, ?, ?)",
        [(row.seq, row.kind, row.readings, row.payload, row.is_packed) for row in rows],
    )


def replace_one(database: sqlite3.Connection, row: Row) -> None:
    """Put another payload in a message's place."""
    database.execute(
        "UPDATE message SET kind = ?, readings = ?, payload = ?, packed = ? WHERE seq = ?",
        (row.kind, row.readings, row.payload, row.is_packed, row.seq),
    )


def find(database: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, Waiting]:
    """Those of these messages that are there. Raises sqlite3.DatabaseError for one that is damaged."""
    places = ",".join("?" * len(seqs))
    return {
        seq: _waiting(seq, kind, payload, packed)
        for seq, kind, payload, packed in database.execute(
            f"SELECT seq, kind, payload, packed FROM message WHERE seq IN ({places})", list(seqs)
        )
    }


def held(database: sqlite3.Connection, after_seq: int, last_seq: int) -> tuple[int, int]:
    """What the messages after one, up to another, take, about, and the readings in them."""
    size, readings = database.execute(
        "SELECT coalesce(sum(length(payload) + ?), 0), coalesce(sum(readings), 0) FROM message "
        "WHERE seq > ? AND seq <= ?",
        (ROW_BYTES, after_seq, last_seq),
    ).fetchone()
    return int(size), int(readings)


def oldest_sent_ms(database: sqlite3.Connection, seq: int) -> int | None:
    """When the first message that is there after `seq` was put together; None for none, and where it can't be told."""
    row = database.execute("SELECT payload, packed FROM message WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
    try:
        sent_at = json.loads(unpack(*row)).get("sent_at") if row else None
    except (ValueError, TypeError, AttributeError):
        return None
    return sent_at if isinstance(sent_at, int) else None


def delete_up_to(database: sqlite3.Connection, seq: int) -> None:
    """Forget messages."""
    database.execute("DELETE FROM message WHERE seq <= ?", (seq,))


def drop_oldest(database: sqlite3.Connection, *, size: int, most: int) -> tuple[int, list[int]]:
    """Delete from the oldest on while `size` is above `most`; the size then, and the readings of each deleted one."""
    dropped: list[int] = []
    while size > most:
        row = database.execute(
            "DELETE FROM message WHERE seq = (SELECT min(seq) FROM message) RETURNING readings, length(payload)"
        ).fetchone()
        if row is None:
            break
        dropped.append(row[0])
        size -= row[1] + ROW_BYTES
    return size, dropped
