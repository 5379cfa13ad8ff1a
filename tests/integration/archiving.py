"""Moves readings into the archive by the contract of `schemas/archive.py`, at boundaries that a test chooses."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.archive import ARCHIVE_SCHEMA, ROW_GROUP_READINGS, file_path
from schemas.archive_store import footer_digest
from schemas.locks import ARCHIVE_GATE, ROLLUP_GATE

_FREEZE: LiteralString = """
    UPDATE archive_progress SET url = %(url)s, frozen_to = greatest(frozen_to, %(to)s),
                                archived_to = greatest(archived_to, %(to)s)
"""
_ROWS: LiteralString = """
    SELECT s.id, o.key, s.key, to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM'), r.meter_id, m.key,
           (extract(epoch FROM r.at) * 1000000)::int8, r.value, r.quality, r.at
    FROM reading AS r JOIN meter AS m ON m.id = r.meter_id JOIN site AS s ON s.id = m.site_id
    JOIN organisation AS o ON o.id = s.organisation_id
    WHERE r.at >= %(start)s AND r.at < %(to)s ORDER BY s.id, 4, r.meter_id, r.at
"""
_LIST: LiteralString = """
    INSERT INTO archive_file (site_id, path, month, first_at, last_at, readings, bytes, sha256, footer_sha256)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
BEGINNING = datetime.fromisoformat("2000-01-01T00:00:00Z")


def archive(
    connection: psycopg.Connection[Any],
    folder: Path,
    *,
    to: datetime,
    start: datetime = BEGINNING,
    group_readings: int = ROW_GROUP_READINGS,
) -> int:
    """Move what the table has of [start, to) into the archive. Returns how many readings."""
    with moving(connection, folder, to=to, start=start, group_readings=group_readings) as moved:
        pass
    return moved


@contextmanager
def moving(
    connection: psycopg.Connection[Any],
    folder: Path,
    *,
    to: datetime,
    start: datetime = BEGINNING,
    group_readings: int = ROW_GROUP_READINGS,
) -> Iterator[int]:
    """The same; what is within stands before the end of the transaction that moves them."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_GATE])
        connection.execute(_FREEZE, {"url": folder.as_uri(), "to": to})
    rows = connection.execute(_ROWS, {"start": start, "to": to}).fetchall()
    files = [_write(folder, list(some), group_readings) for _, some in groupby(rows, lambda row: (row[0], row[3]))]
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ARCHIVE_GATE])
        for file in files:
            connection.execute(_LIST, file)
        gone = connection.execute("DELETE FROM reading WHERE at >= %s AND at < %s", [start, to])
        assert gone.rowcount == len(rows), "somebody wrote meanwhile"
        connection.execute("UPDATE archive_progress SET version = version + 1")
        yield len(rows)


def _write(folder: Path, rows: list[Any], group_readings: int) -> tuple[Any, ...]:
    site_id, organisation, site, month = rows[0][:4]
    meter_id, meter, at, value, quality, instants = zip(*(row[4:] for row in rows), strict=True)
    first, last = min(instants), max(instants)
    path = file_path(
        organisation=organisation,
        site=site,
        from_ms=int(first.timestamp() * 1000),
        to_ms=int(last.timestamp() * 1000) + 1,
        serial=uuid.uuid4().hex[:8],
    )
    columns = [
        pa.array(meter_id, pa.int32()),
        pa.array(meter).dictionary_encode(),
        pa.array(at, pa.timestamp("us", tz="UTC")),
        pa.array(value, pa.float64()),
        pa.array(quality, pa.int16()),
    ]
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns, schema=ARCHIVE_SCHEMA),
        target,
        compression="zstd",
        row_group_size=group_readings,
        write_page_checksum=True,
    )
    content = target.read_bytes()
    return (
        site_id,
        path,
        f"{month}-01",
        first,
        last,
        len(rows),
        len(content),
        hashlib.sha256(content).digest(),
        footer_digest(pa.BufferReader(content)),
    )


def files_of(folder: Path) -> list[Path]:
    """The Parquet files below a folder."""
    return sorted(folder.rglob("*.parquet"))
