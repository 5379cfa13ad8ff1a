"""Readings from the archive back into the table: the same ones, so consumption stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
import pyarrow as pa
from psycopg import errors

from collector.archive.checking import check_file
from collector.archive.contents import UNIX_2000_US
from collector.archive.errors import NotVerifiedError
from collector.archive.files import ListedFile, enter_within, list_files
from collector.archive.parquet import rows_of_file
from collector.archive.progress import archive_turn, retire_files
from collector.archive.rows import Rows
from collector.archive.store import ArchiveStore
from collector.binary_copy import encode_rows

_COPY: LiteralString = "COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)"
_MARK: LiteralString = """
    UPDATE archive_file SET restored_at = now(), keep_until = now() + %s WHERE id = %s AND restored_at IS NULL
"""
_PATIENCE_S = 60.0


@dataclass(slots=True, kw_only=True)
class Restored:
    """What came back. `problems`: files that were left where they are, and why."""

    files: int = 0
    readings: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    problems: list[str] = field(default_factory=list)


def restore(
    connection: psycopg.Connection,
    store: ArchiveStore,
    *,
    start: datetime,
    end: datetime,
    site_id: int | None,
    keep: timedelta,
    grace: timedelta,
    report: Callable[[ListedFile], None] = lambda _: None,
) -> Restored:
    """Put the readings of all files that reach into start ≤ at < end back into the table, each file whole or not.

    They are not archived again before `keep` is over; the files stay for the grace. Raises ArchiveBusyError where an
    archiver is at work for longer than a minute.
    """
    done = Restored()
    with archive_turn(connection, patience_s=_PATIENCE_S):
        for file in list(list_files(connection, site_id=site_id, start=start, end=end)):
            problem = _restore_file(connection, store, file, keep, grace)
            if problem is not None:
                done.problems.append(problem)
                continue
            done.files += 1
            done.readings += file.readings
            done.first_at = min(done.first_at or file.first_at, file.first_at)
            done.last_at = max(done.last_at or file.last_at, file.last_at)
            report(file)
    return done


def _restore_file(
    connection: psycopg.Connection, store: ArchiveStore, file: ListedFile, keep: timedelta, grace: timedelta
) -> str | None:
    """What kept the file from being restored, None where it was."""
    damaged = [damage for damage in check_file(store, file) if damage.path == file.path]
    if damaged:
        return f"{file.path} {damaged[0].problem}; nothing of it was restored"
    try:
        with connection.transaction(), connection.cursor() as cursor:
            _copy_file(cursor, store, file)
            # Only now, as readers wait for it: they have seen the file so far, and see the table from here on.
            enter_within(connection, cursor, threading.Event(), f"{file.path} is restored")
            cursor.execute(_MARK, [keep, file.id])
            retire_files(cursor, [file.path], grace)
    except errors.UniqueViolation as error:
        return (
            f"{file.path} holds a reading that stands in the table, too ({error.diag.message_detail}); nothing of it "
            "was restored. That must never be: please report it"
        )
    except (pa.ArrowInvalid, NotVerifiedError, OSError) as error:
        return f"{file.path} can't be read: {error}; nothing of it was restored"
    return None


def _copy_file(cursor: psycopg.Cursor, store: ArchiveStore, file: ListedFile) -> None:
    copied = sum(_copy(cursor, rows) for rows in rows_of_file(store, file.path, file.sha256))
    if copied != file.readings:
        raise NotVerifiedError(f"it holds {copied:,} readings, not {file.readings:,}")


def _copy(cursor: psycopg.Cursor, rows: Rows) -> int:
    # Instants as whole numbers, so that they come back as fine as they were.
    columns = (rows.meter_id, rows.at_us - UNIX_2000_US, rows.value, rows.quality)
    with cursor.copy(_COPY) as copy:
        copy.write(encode_rows(("int4", "int8", "float8", "int2"), columns))
    return cursor.rowcount
