"""How far the archive is, whose turn it is, and which files don't count."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg import errors

from collector.archive.errors import ArchiveBusyError
from collector.archive.store import ArchiveStore
from schemas.locks import ARCHIVE_GATE, ARCHIVE_TURN, ROLLUP_GATE

_PROGRESS: LiteralString = "SELECT id::text, url, frozen_to, archived_to, version FROM archive_progress"
_FILE_EXISTS: LiteralString = "SELECT EXISTS (SELECT FROM archive_file)"
_CLAIM: LiteralString = "UPDATE archive_progress SET id = coalesce(id, %s), url = %s"
_TURN: LiteralString = "SELECT pg_try_advisory_lock(%s)"
_END_TURN: LiteralString = "SELECT pg_advisory_unlock(%s)"
_PATIENCE: LiteralString = "SET LOCAL lock_timeout = '2s'"
_GATE: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_FREEZE: LiteralString = "UPDATE archive_progress SET frozen_to = greatest(frozen_to, %s)"
_ARCHIVED: LiteralString = "UPDATE archive_progress SET archived_to = greatest(archived_to, %s)"
_FORGET_ALL_LATE: LiteralString = "DELETE FROM archive_late"
_BEGIN: LiteralString = "INSERT INTO archive_leftover (path) SELECT unnest(%s::text[])"
_LEFTOVERS: LiteralString = """
    SELECT path FROM archive_leftover AS l WHERE remove_after <= now() AND path > %s
        AND NOT EXISTS (SELECT FROM archive_file AS f WHERE f.path = l.path AND f.restored_at IS NULL)
    ORDER BY path LIMIT 1000
"""
# Kept for a day more: whoever lost the turn with its connection may just be about to write the last of them.
_FORGET: LiteralString = """
    DELETE FROM archive_leftover WHERE path = ANY(%s) AND remove_after <= now() - interval '1 day'
"""
_FORGET_RESTORED: LiteralString = "DELETE FROM archive_file WHERE restored_at IS NOT NULL AND keep_until <= now()"
_RETIRE: LiteralString = """
    INSERT INTO archive_leftover (path, remove_after) SELECT unnest(%s::text[]), now() + %s
"""
_FREE: LiteralString = "DELETE FROM archive_leftover WHERE path = ANY(%s)"
_NEXT_VERSION: LiteralString = "UPDATE archive_progress SET version = version + 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProgress:
    """Whose archive it is and where it stands; before what writers leave notes, and look into the archive."""

    id: str | None
    url: str | None
    frozen_to: datetime | None
    archived_to: datetime | None
    version: int


def read_progress(connection: psycopg.Connection) -> ArchiveProgress:
    """How far the archive is."""
    row = connection.execute(_PROGRESS).fetchone() or (None, None, None, None, 0)
    return ArchiveProgress(id=row[0], url=row[1], frozen_to=row[2], archived_to=row[3], version=row[4])


def has_files(connection: psycopg.Connection) -> bool:
    """Whether any file ever came to count."""
    return connection.execute(_FILE_EXISTS).fetchone() == (True,)


@contextlib.contextmanager
def archive_turn(connection: psycopg.Connection, *, patience_s: float = 0) -> Iterator[None]:
    """Be the one who moves readings, for the time of the block. Raises ArchiveBusyError when somebody else is.

    It belongs to the session: where the connection is lost the turn is, too.
    """
    deadline = time.monotonic() + patience_s
    while connection.execute(_TURN, [ARCHIVE_TURN]).fetchone() != (True,):
        if time.monotonic() >= deadline:
            raise ArchiveBusyError(
                "somebody else moves readings into the archive or out of it just now; try again when they are done"
            )
        time.sleep(0.2)
    try:
        yield
    finally:
        if not connection.closed:
            with contextlib.suppress(psycopg.OperationalError):
                connection.execute(_END_TURN, [ARCHIVE_TURN])


def claim_store(connection: psycopg.Connection, url: str) -> ArchiveStore:
    """The archive at that address, which is this database's from now on; whoever calls has the turn.

    Raises what `ArchiveStore.claim` raises.
    """
    store = ArchiveStore(url)
    progress = read_progress(connection)
    is_new = not has_files(connection)
    owner = progress.id or str(uuid.uuid4())
    if progress.id is not None or store.is_marked():
        store.claim(owner, is_new=is_new)
    # Noted before the marker is written: one that its own database does not know would keep that out.
    connection.execute(_CLAIM, [owner, url])
    store.claim(owner, is_new=is_new)
    return store


def freeze(connection: psycopg.Connection, to: datetime) -> None:
    """From here on whoever writes a reading older than `to` leaves a note; whoever did not has committed by then.

    Notes of before are taken off: what they tell of is seen by whoever reads after this.
    """
    connection.execute(_FORGET_ALL_LATE)
    frozen_to = read_progress(connection).frozen_to
    if frozen_to is None or frozen_to < to:
        _move(connection, _FREEZE, to)


def announce(connection: psycopg.Connection, to: datetime) -> None:
    """From here on whoever writes a reading older than `to` looks into the archive first, behind its gate."""
    archived_to = read_progress(connection).archived_to
    if archived_to is None or archived_to < to:
        _move(connection, _ARCHIVED, to)


def _move(connection: psycopg.Connection, statement: LiteralString, to: datetime) -> None:
    """Behind the roll-up's gate alone, for one update, as in collector/rollup_progress.py."""
    for attempt in range(30):
        try:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute(_PATIENCE)
                cursor.execute(_GATE, [ROLLUP_GATE])
                cursor.execute(statement, [to])
                return
        except errors.LockNotAvailable:
            # Whoever waits for the gate alone holds up all who come after.
            time.sleep(min(0.2 * 2**attempt, 10))
    raise ArchiveBusyError("a transaction has been writing readings for minutes; tried again later")


def enter_alone(cursor: psycopg.Cursor) -> None:
    """Take the archive's gate alone until the transaction ends. Raises LockNotAvailable after a short wait."""
    cursor.execute(_PATIENCE)
    cursor.execute(_GATE, [ARCHIVE_GATE])


def begin_files(connection: psycopg.Connection, paths: Sequence[str]) -> None:
    """Note files before they are written, so that none is forgotten if we are stopped."""
    connection.execute(_BEGIN, [list(paths)])


def keep_files(cursor: psycopg.Cursor, paths: Sequence[str]) -> None:
    """These count now: nobody removes them. The archive is another from here on."""
    cursor.execute(_FREE, [list(paths)])
    cursor.execute(_NEXT_VERSION)


def retire_files(cursor: psycopg.Cursor, paths: Sequence[str], grace: timedelta) -> None:
    """These don't count any more; they are removed after the grace. The archive is another from here on."""
    cursor.execute(_RETIRE, [list(paths), grace])
    cursor.execute(_NEXT_VERSION)


def remove_leftovers(connection: psycopg.Connection, store: ArchiveStore) -> int:
    """Remove files that don't count and are not wanted any more; whoever calls has the turn. Returns how many."""
    removed, path = 0, ""
    while paths := [row[0] for row in connection.execute(_LEFTOVERS, [path]).fetchall()]:
        for path in paths:
            removed += store.size(path) is not None
            store.remove(path)
        connection.execute(_FORGET, [paths])
    connection.execute(_FORGET_RESTORED)
    return removed
