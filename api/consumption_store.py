"""Consumption by quarter of an hour: sums by bucket, days that are usable, and whole columns for the maths."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import DictRow

from api.binary_rows import fetch_packed, packed_type, unix_ms
from api.calendar.buckets import By, Calendar, buckets, edges
from api.calendar.clock import Period, Stretch
from api.database import Connection, fetch_all
from api.open_quarters import COMPLETE, OpenQuarters
from api.series import Series
from schemas.quantities import QUARTER_MS

# What the roll-up has written, and what raw readings say of the quarters after that.
_STORED: LiteralString = """
    SELECT meter_id, quarter, measured, estimated, covered_ms FROM consumption
    WHERE meter_id = ANY (%(meters)s) AND quarter >= %(from_at)s AND quarter < %(stored_to)s
"""
_OPEN: LiteralString = """
    UNION ALL
    SELECT meter_id, to_timestamp(quarter_ms / 1000), measured, estimated, covered_ms
    FROM unnest(%(open_meter)s::int[], %(open_quarter)s::int8[], %(open_measured)s::int8[], %(open_estimated)s::int8[],
                %(open_covered_ms)s::int[]) AS o (meter_id, quarter_ms, measured, estimated, covered_ms)
    WHERE meter_id = ANY (%(meters)s) AND quarter_ms >= extract(epoch FROM %(from_at)s::timestamptz) * 1000
      AND quarter_ms < extract(epoch FROM %(end)s::timestamptz) * 1000
"""
# Real meters have a row where something is known. A virtual meter has one where all of its terms have: a sum without
# one of them would be another sum. It is covered as far as the worst of them. What is estimated of it is told of the
# gross sums, where estimates of opposite signs don't cancel each other out.
_METERS: tuple[LiteralString, LiteralString] = (
    """
SELECT meter.key, quarter, measured, estimated, covered_ms, NULL::numeric AS gross_measured,
       NULL::numeric AS gross_estimated
FROM (""",
    """) AS known JOIN meter ON meter.id = meter_id
""",
)
_VIRTUAL_METERS: tuple[LiteralString, LiteralString] = (
    """
SELECT t.key, quarter, sum(round(measured * t.coefficient)) AS measured,
       sum(round(estimated * t.coefficient)) AS estimated,
       min(covered_ms) AS covered_ms, sum(abs(round(measured * t.coefficient))) AS gross_measured,
       sum(abs(round(estimated * t.coefficient))) AS gross_estimated
FROM (""",
    """) AS known JOIN unnest(%(keys)s::text[], %(meters)s::int[], %(coefficients)s::numeric[], %(terms)s::int[])
     AS t (key, meter_id, coefficient, terms) USING (meter_id)
GROUP BY t.key, quarter HAVING count(*) = min(t.terms)
""",
)
_SUMS: LiteralString = """
       sum(measured) AS measured, sum(estimated) AS estimated, sum(covered_ms) AS covered_ms,
       coalesce(sum(gross_measured), abs(sum(measured))) AS gross_measured,
       coalesce(sum(gross_estimated), abs(sum(estimated))) AS gross_estimated
"""
# An hour begins when the clock on the wall shows it full, or where the clock is changed. `since` are the instants at
# which it is, `anchor` full hours of the clock that runs from there.
_BY_INSTANT: tuple[LiteralString, LiteralString] = (
    f"""
SELECT key AS meter, whole, greatest(whole, %(start)s) AS bucket, {_SUMS}
FROM (
    SELECT q.*, CASE WHEN NOT %(is_hour)s THEN quarter ELSE greatest(
               date_bin('1 hour', quarter, (%(anchor)s::timestamptz[])[width_bucket(quarter, %(since)s)]),
               (%(since)s::timestamptz[])[width_bucket(quarter, %(since)s)]) END AS whole
    FROM (""",
    """) AS q
) AS c
WHERE %(after_at)s::timestamptz IS NULL
   OR (greatest(whole, %(start)s), key COLLATE "C") > (%(after_at)s, %(after_meter)s)
GROUP BY whole, key ORDER BY whole, key COLLATE "C" LIMIT %(limit)s
""",
)
# Where buckets begin is told by the site's calendar here alone: the database's zones may be of another year.
_BY_BUCKET: tuple[LiteralString, LiteralString] = (
    f"SELECT key AS meter, width_bucket(quarter, %(edges)s::timestamptz[]) - 1 AS bucket, {_SUMS} FROM (",
    ") AS q GROUP BY 1, 2",
)
_USABLE_DAYS: LiteralString = """
SELECT meter_id, count(*) FILTER (WHERE covered_ms * 2 > length_ms) AS usable
FROM (
    SELECT meter_id, sum(covered_ms) AS covered_ms,
           extract(epoch FROM (%(edges)s::timestamptz[])[day + 1] - (%(edges)s::timestamptz[])[day]) * 1000
           AS length_ms
    FROM (
        SELECT meter_id, covered_ms, width_bucket(quarter, %(edges)s::timestamptz[]) AS day
        FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
    ) AS quarters
    GROUP BY meter_id, day
) AS days
GROUP BY meter_id
"""
# In the order of `_ROW`.
_COLUMNS: LiteralString = """
SELECT string_agg(int4send(meter_id) || timestamptz_send(quarter) || int8send(measured) || int8send(estimated)
                  || int4send(covered_ms), ''::bytea) AS rows
FROM consumption WHERE meter_id = ANY (%s) AND quarter >= %s AND quarter < %s
"""
_ROW = packed_type(meter_id="i4", quarter="i8", measured="i8", estimated="i8", covered_ms="i4")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Columns = Mapping[str, NDArray[np.int64]]


async def sums_by_instant(
    connection: Connection,
    series: Sequence[Series],
    *,
    period: Period,
    clock: Sequence[Stretch] | None,
    open_quarters: OpenQuarters,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[DictRow]:
    """Sums by quarter, or by hour of the `clock`, of buckets with rows, ordered by bucket and meter, after a key.

    `whole` is when the bucket begins, `bucket` the same or when the period does.
    """
    after_at, after_meter = after or (None, None)
    values = {
        "start": period.start,
        "from_at": max(period.start, after_at) if after_at else period.start,
        "end": period.end,
        "is_hour": clock is not None,
        "since": [stretch.start for stretch in clock or ()],
        "anchor": [_EPOCH - stretch.offset for stretch in clock or ()],
        "after_at": after_at,
        "after_meter": after_meter,
        "limit": limit,
    }
    pages = await _fetch(connection, _BY_INSTANT, series, open_quarters, values)
    return list(islice(heapq.merge(*pages, key=lambda row: (row["bucket"], row["meter"])), limit))


async def sums_by_bucket(
    connection: Connection,
    series: Sequence[Series],
    edges: Sequence[datetime],
    *,
    open_quarters: OpenQuarters = COMPLETE,
) -> dict[tuple[int, str], DictRow]:
    """Sums between each edge and the next; the key is the number of the bucket, from 0, and the meter."""
    values = {"edges": list(edges), "from_at": edges[0], "end": edges[-1]}
    pages = await _fetch(connection, _BY_BUCKET, series, open_quarters, values)
    return {(row["bucket"], row["meter"]): row for rows in pages for row in rows}


async def _fetch(
    connection: Connection,
    around: tuple[LiteralString, LiteralString],
    series: Sequence[Series],
    open_quarters: OpenQuarters,
    values: Mapping[str, Any],
) -> list[list[DictRow]]:
    """The rows of the real meters, and those of the virtual ones."""
    values = {**values, "stored_to": open_quarters.stored_to(values["end"])}
    known = _STORED
    if len(open_quarters.table.meter):
        known += _OPEN
        columns = ("meter", "quarter", "measured", "estimated", "covered_ms")
        values |= {f"open_{name}": getattr(open_quarters.table, name).tolist() for name in columns}

    async def fetch(rows: tuple[LiteralString, LiteralString], of: Mapping[str, Any]) -> list[DictRow]:
        return await fetch_all(connection, around[0] + rows[0] + known + rows[1] + around[1], {**values, **of})

    found = []
    numbers = [s.terms[0].number for s in series if not s.is_virtual]
    if numbers:
        found.append(await fetch(_METERS, {"meters": numbers}))
    terms = [(s.id, term.number, term.coefficient, len(s.terms)) for s in series if s.is_virtual for term in s.terms]
    if terms:
        of = dict(zip(("keys", "meters", "coefficients", "terms"), map(list, zip(*terms, strict=True)), strict=True))
        found.append(await fetch(_VIRTUAL_METERS, of))
    return found


async def usable_days(connection: Connection, meters: Sequence[int], period: Period) -> dict[int, int]:
    """Days of which measured readings cover more than half [METHODS §1], by meter. The period is of whole days."""
    days = edges(list(buckets(period, By.DAY, Calendar())), period)
    values = {"meters": list(meters), "edges": days, "start": period.start, "end": period.end}
    return {row["meter_id"]: row["usable"] for row in await fetch_all(connection, _USABLE_DAYS, values)}


async def columns(connection: Connection, meters: Sequence[int], period: Period) -> Columns:
    """All quarters of the meters as arrays: `meter_id`, `quarter` (Unix ms / 900,000), `measured`, `estimated`,
    `covered_ms`. A year of a meter is 35,040 rows; they come as one value.
    """
    rows = await fetch_packed(connection, _COLUMNS, [list(meters), period.start, period.end], _ROW)
    quarter = unix_ms(rows["quarter"]) // QUARTER_MS
    names = ("meter_id", "measured", "estimated", "covered_ms")
    return {"quarter": quarter} | {name: rows[name].astype(np.int64) for name in names}
