"""Many small files of a site and month into one: short chunks, or late readings, would leave hundreds of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import LiteralString

import numpy as np
import psycopg
from psycopg import errors

from collector.archive.contents import Contents, Span
from collector.archive.errors import NotVerifiedError
from collector.archive.files import ListedFile, add_files, waits
from collector.archive.moving import differing_meters
from collector.archive.parquet import Held, read_back, rows_of_file
from collector.archive.progress import enter_alone, keep_files, retire_files
from collector.archive.rows import Rows, join
from collector.archive.site_files import write_site_files
from collector.archive.store import ArchiveStore

SMALL_READINGS = 500_000
_MERGED_READINGS = 2_000_000

_GROUPS: LiteralString = """
    SELECT site_id, month FROM archive_file WHERE restored_at IS NULL AND readings < %s
    GROUP BY 1, 2 HAVING count(*) >= %s ORDER BY 2, 1
"""
_FILES: LiteralString = """
    SELECT id, path, first_at, last_at, readings, bytes, sha256 FROM archive_file
    WHERE site_id = %s AND month = %s AND restored_at IS NULL AND readings < %s ORDER BY first_at, id
"""
_DELETE: LiteralString = "DELETE FROM archive_file WHERE id = ANY(%s) AND restored_at IS NULL"


def find_groups(connection: psycopg.Connection, *, least: int) -> list[tuple[int, datetime]]:
    """Sites and months with so many small files or more."""
    return [(row[0], row[1]) for row in connection.execute(_GROUPS, [SMALL_READINGS, max(least, 2)]).fetchall()]


def merge_group(
    connection: psycopg.Connection,
    store: ArchiveStore,
    site_id: int,
    month: datetime,
    *,
    grace: timedelta,
    stopping: threading.Event,
) -> int:
    """Merge small files of a site and month, the oldest first; returns how many became one. Whoever calls has the turn.

    The new file counts in the same transaction in which the old ones cease to. Raises NotVerifiedError where a file is
    not what was written, or the merged one does not hold just what they did.
    """
    files = _choose(connection, site_id, month)
    if len(files) < 2:
        return 0
    parts, held = [], []
    for file in files:
        held.append(read_back(store, file.path, file.sha256))
        parts += list(rows_of_file(store, file.path, file.sha256))
    rows = join(parts).by_meter()
    merged = list(
        write_site_files(
            connection, store, _one(site_id, rows), span=_span(files), sites=np.array([site_id], dtype=np.int64)
        )
    )
    if len(merged) != 1 or len(differing_meters(_total(site_id, held), merged)):
        raise NotVerifiedError(f"{merged[0].path} does not hold what {len(files)} files did; they were not merged")
    for _ in waits(stopping, "files are merged"):
        try:
            with connection.transaction(), connection.cursor() as cursor:
                enter_alone(cursor)
                deleted = cursor.execute(_DELETE, [[file.id for file in files]]).rowcount
                if deleted != len(files):
                    raise NotVerifiedError("the files to be merged changed meanwhile; they were not merged")
                add_files(cursor, merged)
                keep_files(cursor, [merged[0].path])
                retire_files(cursor, [file.path for file in files], grace)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            continue
        return len(files)
    return 0


def _choose(connection: psycopg.Connection, site_id: int, month: datetime) -> list[ListedFile]:
    rows = connection.execute(_FILES, [site_id, month, SMALL_READINGS]).fetchall()
    chosen: list[ListedFile] = []
    for number, path, first_at, last_at, readings, size, sha256 in rows:
        if sum(file.readings for file in chosen) + readings > _MERGED_READINGS:
            break
        chosen.append(
            ListedFile(
                id=number,
                site_id=site_id,
                path=path,
                first_at=first_at,
                last_at=last_at,
                readings=readings,
                size=size,
                sha256=bytes(sha256),
            )
        )
    return chosen


def _one(site_id: int, rows: Rows) -> Iterator[tuple[int, Rows]]:
    yield site_id, rows


def _span(files: list[ListedFile]) -> Span:
    start = min(file.first_at for file in files).replace(microsecond=0)
    last = max(file.last_at for file in files)
    following = (last.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Span(start=start, end=min(last.replace(microsecond=0) + timedelta(seconds=1), following))


def _total(site_id: int, held: list[Held]) -> Contents:
    meter_id = np.concatenate([one.meter_id for one in held])
    order = np.argsort(meter_id, kind="stable")
    begins = np.flatnonzero(np.r_[True, np.diff(meter_id[order]) != 0])
    meters = meter_id[order][begins]
    return Contents(
        site_id=np.full(len(meters), site_id, dtype=np.int32),
        meter_id=meters,
        readings=np.add.reduceat(np.concatenate([one.readings for one in held])[order], begins),
        checksum=np.bitwise_xor.reduceat(np.concatenate([one.checksum for one in held])[order], begins),
    )
