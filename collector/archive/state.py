"""How much is hot, how much is archived, and what is due: figures for a person who looks after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from collector.archive.chunks import chunk_interval, edition, has_columnstore, list_chunks
from collector.archive.progress import read_progress

_ARCHIVED: LiteralString = """
    SELECT count(*), coalesce(sum(readings), 0)::int8, coalesce(sum(bytes + manifest_bytes), 0)::int8,
           min(first_at), max(last_at)
    FROM archive_file WHERE restored_at IS NULL
"""
_KEPT: LiteralString = """
    SELECT count(*), coalesce(sum(readings), 0)::int8, max(keep_until)
    FROM archive_file WHERE restored_at IS NOT NULL AND keep_until > %s
"""
_LEFT: LiteralString = "SELECT count(*) FROM archive_leftover"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveState:
    """Hot is what stands in the table: readings as the database estimates them, bytes with the index.

    Chunks wait where they are old but not rolled up yet, and are kept where somebody restored what lies in them.
    """

    url: str | None
    retention_s: float
    chunk_interval_s: float
    edition: str
    columnstore: bool
    frozen_to: datetime | None
    archived_to: datetime | None
    hot_chunks: int
    hot_readings: int
    hot_bytes: int
    hot_bytes_per_reading: float | None
    due_chunks: int
    due_readings: int
    waiting_chunks: int
    kept_chunks: int
    files: int
    archived_readings: int
    archived_bytes: int
    archived_bytes_per_reading: float | None
    archived_from: datetime | None
    archived_until: datetime | None
    restored_files: int
    restored_readings: int
    restored_until: datetime | None
    leftover_files: int


def read_state(connection: psycopg.Connection, *, url: str | None, now: datetime, retention: timedelta) -> ArchiveState:
    """The state as of now. `url` is where the archive is, or would be."""
    progress = read_progress(connection)
    chunks = list_chunks(connection, now=now, retention=retention)
    files, readings, size, first_at, last_at = connection.execute(_ARCHIVED).fetchone() or (0, 0, 0, None, None)
    restored, restored_readings, until = connection.execute(_KEPT, [now]).fetchone() or (0, 0, None)
    left = connection.execute(_LEFT).fetchone()
    counted = [chunk for chunk in chunks if chunk.readings is not None]
    hot_readings = sum(chunk.readings or 0 for chunk in counted)
    return ArchiveState(
        url=progress.url or url,
        retention_s=retention.total_seconds(),
        chunk_interval_s=chunk_interval(connection).total_seconds(),
        edition=edition(connection),
        columnstore=has_columnstore(connection),
        frozen_to=progress.frozen_to,
        archived_to=progress.archived_to,
        hot_chunks=len(chunks),
        hot_readings=hot_readings,
        hot_bytes=sum(chunk.bytes for chunk in chunks),
        hot_bytes_per_reading=_ratio(sum(chunk.bytes for chunk in counted), hot_readings),
        due_chunks=sum(chunk.is_due for chunk in chunks),
        due_readings=sum(chunk.readings or 0 for chunk in chunks if chunk.is_due),
        waiting_chunks=sum(chunk.is_old and (not chunk.is_rolled_up or chunk.has_pending) for chunk in chunks),
        kept_chunks=sum(chunk.is_old and chunk.is_kept for chunk in chunks),
        files=files,
        archived_readings=readings,
        archived_bytes=size,
        archived_bytes_per_reading=_ratio(size, readings),
        archived_from=first_at,
        archived_until=last_at,
        restored_files=restored,
        restored_readings=restored_readings,
        restored_until=until,
        leftover_files=left[0] if left else 0,
    )


def _ratio(size: int, readings: int) -> float | None:
    return round(size / readings, 2) if readings else None
