"""Consumption by quarter of an hour: sums by bucket, days that are usable, and whole columns for the maths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import DictRow

from api.database import Connection, fetch_all
from api.periods import By, Period
from schemas.quantities import QUARTER_MS

_SUMS_BY_INSTANT: LiteralString = """
SELECT meter.key AS meter, meter_id, whole, greatest(whole, %(start)s) AS bucket, sum(measured) AS measured,
       sum(estimated) AS estimated, sum(covered_ms) AS covered_ms
FROM (
    SELECT meter_id, measured, estimated, covered_ms,
           CASE WHEN %(by)s = 'hour' THEN date_trunc('hour', quarter, %(zone)s) ELSE quarter END AS whole
    FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(from_at)s AND quarter < %(end)s
) AS c JOIN meter ON meter.id = meter_id
WHERE %(after_at)s::timestamptz IS NULL
   OR (greatest(whole, %(start)s), meter.key COLLATE "C") > (%(after_at)s, %(after_meter)s)
GROUP BY whole, meter_id, meter.key ORDER BY whole, meter.key COLLATE "C" LIMIT %(limit)s
"""
# The bucket is a local date, so that no instant has to be compared with one computed elsewhere.
_SUMS_BY_DAY: LiteralString = """
SELECT meter_id, date_trunc(%(by)s, quarter AT TIME ZONE %(zone)s)::date AS bucket, sum(measured) AS measured,
       sum(estimated) AS estimated, sum(covered_ms) AS covered_ms
FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
GROUP BY meter_id, bucket
"""
_USABLE_DAYS: LiteralString = """
SELECT meter_id, count(*) FILTER (WHERE covered_ms * 2 > length_ms) AS usable
FROM (
    SELECT meter_id, day, sum(covered_ms) AS covered_ms,
           extract(epoch FROM (day + interval '1 day') AT TIME ZONE %(zone)s - day AT TIME ZONE %(zone)s) * 1000
           AS length_ms
    FROM (
        SELECT meter_id, covered_ms, date_trunc('day', quarter AT TIME ZONE %(zone)s) AS day
        FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
    ) AS quarters
    GROUP BY meter_id, day
) AS days
GROUP BY meter_id
"""
_COLUMNS: LiteralString = """
COPY (
    SELECT meter_id, quarter, measured, estimated, covered_ms FROM consumption
    WHERE meter_id = ANY (%s) AND quarter >= %s AND quarter < %s
) TO STDOUT (FORMAT binary)
"""
# One row of that copy: a count of fields, then length and value of each, all big-endian.
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("n1", ">i4"),
        ("meter_id", ">i4"),
        ("n2", ">i4"),
        ("quarter", ">i8"),
        ("n3", ">i4"),
        ("measured", ">i8"),
        ("n4", ">i4"),
        ("estimated", ">i8"),
        ("n5", ">i4"),
        ("covered_ms", ">i4"),
    ]
)
_HEADER_BYTES, _TRAILER_BYTES = 19, 2
_POSTGRES_EPOCH_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)

Columns = Mapping[str, NDArray[np.int64]]


async def sums_by_instant(
    connection: Connection,
    meters: Sequence[int],
    *,
    period: Period,
    by: By,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[DictRow]:
    """Sums by quarter or hour, of buckets that have rows, ordered by bucket and meter, beginning after a key.

    `whole` is when the bucket begins, `bucket` the same or when the period does.
    """
    after_at, after_meter = after or (None, None)
    values = {
        "meters": list(meters),
        "start": period.start,
        "from_at": max(period.start, after_at) if after_at else period.start,
        "end": period.end,
        "by": by,
        "zone": period.zone.key,
        "after_at": after_at,
        "after_meter": after_meter,
        "limit": limit,
    }
    return await fetch_all(connection, _SUMS_BY_INSTANT, values)


async def sums_by_day(
    connection: Connection, meters: Sequence[int], *, period: Period, by: By
) -> dict[tuple[date, int], DictRow]:
    """Sums by day, week, month or year in the site's own calendar; the key is the bucket's first day and the meter."""
    values = {
        "meters": list(meters),
        "start": period.start,
        "end": period.end,
        "by": by,
        "zone": period.zone.key,
    }
    return {(row["bucket"], row["meter_id"]): row for row in await fetch_all(connection, _SUMS_BY_DAY, values)}


async def usable_days(connection: Connection, meters: Sequence[int], period: Period) -> dict[int, int]:
    """Days of which measured readings cover more than half [METHODS §1], by meter. The period is of whole days."""
    values = {"meters": list(meters), "start": period.start, "end": period.end, "zone": period.zone.key}
    return {row["meter_id"]: row["usable"] for row in await fetch_all(connection, _USABLE_DAYS, values)}


async def columns(connection: Connection, meters: Sequence[int], period: Period) -> Columns:
    """All quarters of the meters as arrays: `meter_id`, `quarter` (Unix ms / 900,000), `measured`, `estimated`,
    `covered_ms`. A year of a meter is 35,040 rows; they come as one binary copy.
    """
    chunks: list[bytes] = []
    async with (
        connection.cursor() as cursor,
        cursor.copy(_COLUMNS, [list(meters), period.start, period.end]) as copy,
    ):
        async for chunk in copy:
            chunks.append(bytes(chunk))  # noqa: PERF401 - `async for` in a comprehension would hide the copy
    body = b"".join(chunks)[_HEADER_BYTES:-_TRAILER_BYTES]
    rows = np.frombuffer(body, _ROW)
    quarter = (rows["quarter"] // 1000 + _POSTGRES_EPOCH_MS) // QUARTER_MS
    names = ("meter_id", "measured", "estimated", "covered_ms")
    return {"quarter": quarter.astype(np.int64)} | {name: rows[name].astype(np.int64) for name in names}
