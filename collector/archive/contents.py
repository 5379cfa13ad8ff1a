"""What the database says a span of the table holds: readings and their checksum, meter by meter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.archive.checksum import HASH, PROBE, Hashes, probe_hashes
from collector.archive.errors import ArchiveRefusedError
from collector.archive.rows import Ints, Rows, instant
from collector.binary_copy import decode_array

PAGE_READINGS = 500_000
UNIX_2000_US = 946_684_800_000_000
_NO_SITE = -1

# A hash table of all the meters of a country takes about as much.
_MEMORY: LiteralString = "SELECT set_config('work_mem', '192MB', true)"
_OF_METERS: LiteralString = " AND meter_id = ANY(%(meters)s)"
_COUNT: LiteralString = (
    """
    SELECT array_agg(site_id), array_agg(meter_id), array_agg(readings), array_agg(checksum) FROM (
        SELECT coalesce(m.site_id, -1) AS site_id, r.meter_id, r.readings, r.checksum FROM (
            SELECT meter_id, count(*) AS readings, bit_xor("""
    + HASH
    + """) AS checksum
            FROM reading WHERE at >= %(from)s AND at < %(to)s"""
)
_COUNT_END: LiteralString = """
            GROUP BY meter_id
        ) AS r LEFT JOIN meter AS m ON m.id = r.meter_id ORDER BY 1, 2
    ) AS s
"""
# Page after page by key: whatever else is written meanwhile, a page is never larger, and nothing is read twice. Whole
# columns as arrays, as in collector/rollup_store.py.
_PAGE: LiteralString = """
    SELECT array_agg(meter_id::int8 * 65536 + quality + 32768), array_agg(at), array_agg(value) FROM (
        SELECT meter_id, at, value, quality FROM reading
        WHERE at >= %(from)s AND at < %(to)s AND (at, meter_id) > (%(from)s, %(after)s)"""
_PAGE_END: LiteralString = """
        ORDER BY at, meter_id LIMIT %(most)s
    ) AS r
"""
# A sort of what is sorted in the index already would be spilled to the disk page after page.
_BY_INDEX: LiteralString = "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Instants from ≤ at < to."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"the readings from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Meters sorted by site and id, with the number and the checksum of the readings of each."""

    site_id: NDArray[np.int32]
    meter_id: NDArray[np.int32]
    readings: Ints
    checksum: Hashes

    def __len__(self) -> int:
        return len(self.meter_id)

    def select(self, rows: NDArray[Any] | slice) -> Contents:
        """Some of the meters."""
        return Contents(
            site_id=self.site_id[rows],
            meter_id=self.meter_id[rows],
            readings=self.readings[rows],
            checksum=self.checksum[rows],
        )


def require_known_hash(cursor: psycopg.Cursor) -> None:
    """Raise ArchiveRefusedError for a server that hashes otherwise than we do: nothing could be verified."""
    found = [row[0] for row in cursor.execute(PROBE).fetchall()]
    if found != probe_hashes():
        raise ArchiveRefusedError(
            "this database server computes hashfloat8extended otherwise than known servers do (a new version of "
            "PostgreSQL, or a big-endian machine?), so nothing could be verified; nothing was moved"
        )


def count_contents(connection: psycopg.Connection, span: Span, meters: NDArray[Any] | None = None) -> Contents:
    """What the table holds in the span, of all meters or of some.

    Raises ArchiveRefusedError for readings of a meter that the site model does not know.
    """
    statement = _COUNT + (_OF_METERS if meters is not None else "") + _COUNT_END
    values = {"from": span.start, "to": span.end, "meters": None if meters is None else meters.tolist()}
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_MEMORY)
        cursor.execute(statement, values, binary=True, prepare=False)
        site_id, meter_id, readings, checksum = _columns(cursor, ("int4", "int4", "int8", "int8"))
    contents = Contents(
        site_id=site_id.astype(np.int32),
        meter_id=meter_id.astype(np.int32),
        readings=readings.astype(np.int64),
        checksum=checksum.astype(np.int64).view(np.uint64),
    )
    if len(contents) and contents.site_id[0] == _NO_SITE:
        raise ArchiveRefusedError(
            f"{span} can't be archived: meter {contents.meter_id[0]} among them is not in the site model, so nobody "
            "knows whose they are"
        )
    return contents


def read_pages(
    connection: psycopg.Connection, span: Span, meters: NDArray[Any] | None = None, *, most: int = PAGE_READINGS
) -> Iterator[Rows]:
    """Readings of the span sorted by instant and meter, at most so many at once."""
    start, after = span.start, -(2**31)
    while True:
        statement = _PAGE + (_OF_METERS if meters is not None else "") + _PAGE_END
        values = {"from": start, "to": span.end, "after": after, "most": most}
        if meters is not None:
            values["meters"] = meters.tolist()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_BY_INDEX)
            cursor.execute(statement, values, binary=True, prepare=False)
            packed, at, value = _columns(cursor, ("int8", "int8", "float8"))
        if len(at) == 0:
            return
        rows = Rows(
            meter_id=(packed >> 16).astype(np.int32),
            at_us=at + UNIX_2000_US,
            value=value.astype(np.float64),
            quality=((packed & 0xFFFF) - 0x8000).astype(np.int16),
        )
        yield rows
        if len(rows) < most:
            return
        start, after = instant(int(rows.at_us[-1])), int(rows.meter_id[-1])


def _columns(cursor: psycopg.Cursor, kinds: tuple[str, ...]) -> tuple[NDArray[Any], ...]:
    """Columns of one row of arrays. An instant is read as int8: microseconds since 2000, with nothing cut off."""
    result = cursor.pgresult
    fields = [b"" if result is None else result.get_value(0, i) or b"" for i in range(len(kinds))]
    return tuple(decode_array(kind, field) for kind, field in zip(kinds, fields, strict=True))
