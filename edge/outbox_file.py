"""The outbox's file: its lock, its tables, and what SQLite's error codes mean for it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from edge.errors import EdgePermanentError, OutboxHeldError, OutboxUnavailableError
from edge.outbox_table import ROW_BYTES, unpack

FORMAT = 2
"""1: the first; 2: payloads may be packed, and what waits is counted, so that a week's backlog is not read through at
each start. A file of format 1 is brought to 2 when it is opened."""
_TABLES = """
CREATE TABLE outbox (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    stored_seq INTEGER NOT NULL DEFAULT 0,
    readings INTEGER NOT NULL DEFAULT 0,
    dropped_readings INTEGER NOT NULL DEFAULT 0,
    dropped_messages INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    waiting_readings INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    readings INTEGER NOT NULL,
    payload BLOB NOT NULL,
    packed INTEGER NOT NULL DEFAULT 0
);
"""
_TO_FORMAT_2 = f"""
ALTER TABLE message ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN waiting_readings INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET
    size_bytes = (SELECT coalesce(sum(length(payload) + {ROW_BYTES}), 0) FROM message WHERE seq > stored_seq),
    waiting_readings = (SELECT coalesce(sum(readings), 0) FROM message WHERE seq > stored_seq);
"""
_CHECKED_BELOW_BYTES = 64_000_000
"""A larger file is not read through at each start, which would take a small machine half a minute."""
_TO_FORMAT_1 = """
UPDATE message SET payload = unpacked(payload, packed) WHERE packed;
ALTER TABLE message DROP COLUMN packed;
ALTER TABLE outbox DROP COLUMN size_bytes;
ALTER TABLE outbox DROP COLUMN waiting_readings;
"""
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)


class Lock:
    """Keeps a second agent from the same outbox while this process lives. Beside the file, as that may move."""

    def __init__(self, path: Path) -> None:
        """Raises OutboxHeldError when another process has it, OutboxUnavailableError when it cannot be made."""
        place = path.with_name(path.name + ".lock")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutboxUnavailableError(
                f"{place} cannot be made: {error.strerror}; check the folder, its permissions and the disk"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise OutboxHeldError(
                f"another agent uses the outbox {path}; stop it, or give this one an outbox.path of its own"
            ) from error

    def release(self) -> None:
        """Let others have it. The file stays, as deleting it would let two agents lock two different ones."""
        os.close(self._file)


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create, checked. Raises sqlite3.DatabaseError, and EdgePermanentError for a newer version's file."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_size_limit = 8000000")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        _refuse_newer(path, version)
        if version < FORMAT:
            change = _TO_FORMAT_2 if version else _TABLES
            database.executescript(f"BEGIN IMMEDIATE; {change} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif path.stat().st_size < _CHECKED_BELOW_BYTES:
            _refuse_damaged(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except BaseException:
        database.close()
        raise
    return database


def to_format(path: Path, version: int) -> None:
    """Bring the file to an older format, or to this one, for the version of Afkobling that knows it; all or nothing.

    Raises EdgePermanentError for a format that there is not, or a file; OutboxHeldError while an agent uses it;
    OutboxUnavailableError for a disk that is full, and for a file that is damaged.
    """
    if not 1 <= version <= FORMAT:
        raise EdgePermanentError(f"there are the formats 1 to {FORMAT} of the outbox, not {version}")
    if not path.is_file():
        raise EdgePermanentError(f"there is no outbox {path}; check the path")
    lock = Lock(path)
    try:
        with closing(open_database(path)) as database:
            database.create_function("unpacked", 2, unpack, deterministic=True)
            if version < FORMAT:
                database.executescript(f"BEGIN IMMEDIATE; {_TO_FORMAT_1} PRAGMA user_version = 1; COMMIT;")
    except sqlite3.DatabaseError as error:
        raise OutboxUnavailableError(
            f"the outbox {path} stays as it was, as it can't be brought to format {version}: {error}. In format 1 "
            "messages take several times the space: free some, and try again. If it is damaged, an agent of this "
            "version moves it aside when it comes upon that, and begins another"
        ) from error
    finally:
        lock.release()


def move_aside(path: Path, *, now_ms: int) -> Path:
    """Rename the file and what belongs to it, out of the way; returns its new place. Nothing is deleted."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    try:
        path.rename(kept)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    except OSError as error:
        raise OutboxUnavailableError(
            f"the damaged outbox {path} cannot be moved aside: {error.strerror}; move it by hand"
        ) from error
    return kept


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, without the extension that tells variants apart; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _refuse_newer(path: Path, version: int) -> None:
    if version > FORMAT:
        raise EdgePermanentError(
            f"the outbox {path} was made by a newer version of Afkobling (format {version}, this one knows "
            f"{FORMAT}); install that version and run `afkobling edge outbox --to-format {FORMAT}` with it, or give "
            "another outbox.path"
        )


def _refuse_damaged(verdict: str) -> None:
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
