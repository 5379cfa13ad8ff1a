"""Readings from the archive back into the table: the same ones, so consumption stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import errors

from collector.archive.checking import check_file
from collector.archive.chunks import chunk_interval
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
_TOUCH: LiteralString = """
    INSERT INTO reading (meter_id, at, value, quality)
    SELECT meter_id, timestamptz 'epoch' + at_us * interval '1 microsecond', 0, 0
    FROM unnest(%s::int4[], %s::int8[]) AS t(meter_id, at_us)
    ON CONFLICT DO NOTHING RETURNING meter_id, at
"""
_UNTOUCH: LiteralString = """
    DELETE FROM reading AS r USING unnest(%s::int4[], %s::timestamptz[]) AS t(meter_id, at)
    WHERE r.meter_id = t.meter_id AND r.at = t.at
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
        _make_chunks(connection, store, file)
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
    except errors.DeadlockDetected:
        return f"{file.path}: somebody wrote late readings there at the same moment; nothing was restored, try again"
    except (pa.ArrowInvalid, NotVerifiedError, OSError) as error:
        return f"{file.path} can't be read: {error}; nothing of it was restored"
    return None


def _make_chunks(connection: psycopg.Connection, store: ArchiveStore, file: ListedFile) -> None:
    """See that the table has the chunks that the file's readings go into, all of them empty as far as they are new.

    In a transaction of its own: whoever makes a chunk holds up everybody who needs another one, to the end. Of those
    some write late readings, and hold the gate that a restore waits for.
    """
    length_us = max(chunk_interval(connection) // timedelta(microseconds=1), 1)
    made: set[int] = set()
    for rows in rows_of_file(store, file.path, file.sha256):
        slots, firsts = np.unique(rows.at_us // length_us, return_index=True)
        new = [first for slot, first in zip(slots.tolist(), firsts.tolist(), strict=True) if slot not in made]
        if not new:
            continue
        made.update(slots.tolist())
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_TOUCH, [rows.meter_id[new].tolist(), rows.at_us[new].tolist()])
            touched = cursor.fetchall()
            cursor.execute(_UNTOUCH, [[row[0] for row in touched], [row[1] for row in touched]])


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
