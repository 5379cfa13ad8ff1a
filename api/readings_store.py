"""Readings, always by a bounded span of time: the table's key begins with it. A person's stands before the meter's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow

from api.archived import beside, over
from api.database import Connection, fetch_all
from schemas.resources import Quality

# Of both tables one page: whatever stands on the page of the two together is on a page of one of them.
_READINGS: LiteralString = """
SELECT meter_id, at, coalesce(p.value, r.value) AS value,
       CASE WHEN p.value IS NULL THEN r.quality ELSE 3 END AS quality, p.author, p.reason,
       CASE WHEN p.value IS NOT NULL THEN r.value END AS said_value,
       CASE WHEN p.value IS NOT NULL THEN r.quality END AS said_quality
FROM (
    SELECT meter_id, at, value, quality FROM reading
    WHERE at >= %(start)s AND at < %(end)s AND meter_id = ANY (%(meters)s)
      AND (%(after_at)s::timestamptz IS NULL OR (at, meter_id) > (%(after_at)s, %(after_meter)s))
    ORDER BY at, meter_id LIMIT %(limit)s
) AS r FULL JOIN (
    SELECT meter_id, at, value, author, reason FROM current_manual_reading
    WHERE at >= %(start)s AND at < %(end)s AND meter_id = ANY (%(meters)s)
      AND (%(after_at)s::timestamptz IS NULL OR (at, meter_id) > (%(after_at)s, %(after_meter)s))
    ORDER BY at, meter_id LIMIT %(limit)s
) AS p USING (meter_id, at)
ORDER BY at, meter_id LIMIT %(limit)s
"""
# A clock that runs ahead is no reason to hide a reading, but a day is where we stop looking. Minute by minute, as the
# index begins with time: of a longer span the database might rather read the whole table, everybody's readings.
_LATEST_SINCE: LiteralString = """
SELECT DISTINCT ON (meter_id) meter_id, at, value, quality, extract(epoch FROM now() - at) AS age_s
FROM generate_series(1, %(minutes)s) AS minute CROSS JOIN LATERAL (
    SELECT DISTINCT ON (meter_id) meter_id, at, value, quality FROM reading
    WHERE at > now() - minute * interval '1 minute'
      AND at <= now() + CASE minute WHEN 1 THEN interval '1 day' ELSE (1 - minute) * interval '1 minute' END
      AND meter_id = ANY (%(meters)s)
    ORDER BY meter_id, at DESC
) AS r
ORDER BY meter_id, at DESC
"""
# Where the roll-up last saw each silent meter, and the last reading of that quarter (or at its end).
_LATEST_ROLLED_UP: LiteralString = """
SELECT m.meter_id, r.at, r.value, r.quality, extract(epoch FROM now() - r.at) AS age_s
FROM unnest(%(meters)s::int[]) AS m (meter_id)
CROSS JOIN LATERAL (
    SELECT quarter FROM consumption AS c
    WHERE c.meter_id = m.meter_id AND c.quarter > now() - interval '30 days'
    ORDER BY quarter DESC LIMIT 1
) AS last
CROSS JOIN LATERAL (
    SELECT at, value, quality FROM reading
    WHERE at >= last.quarter AND at <= last.quarter + interval '15 minutes' AND reading.meter_id = m.meter_id
    ORDER BY at DESC LIMIT 1
) AS r
"""

# The spans that these two look at, as far as they may be archived.
_SINCE_SPANS: LiteralString = """
SELECT m.meter_id, now() - %(minutes)s * interval '1 minute' AS start, now() AS end
FROM unnest(%(meters)s::int[]) AS m (meter_id)
WHERE now() - %(minutes)s * interval '1 minute' < (SELECT archived_to FROM archive_progress)
"""
_ROLLED_UP_SPANS: LiteralString = """
SELECT m.meter_id, last.quarter AS start, last.quarter + interval '15 minutes 0.000001 seconds' AS end
FROM unnest(%(meters)s::int[]) AS m (meter_id)
CROSS JOIN LATERAL (
    SELECT quarter FROM consumption AS c
    WHERE c.meter_id = m.meter_id AND c.quarter > now() - interval '30 days'
    ORDER BY quarter DESC LIMIT 1
) AS last
WHERE last.quarter < (SELECT archived_to FROM archive_progress)
"""
# Only what is newer than what the meter said last.
_LATEST_MANUAL: LiteralString = """
SELECT DISTINCT ON (meter_id) meter_id, at, value, 3 AS quality, extract(epoch FROM now() - at) AS age_s
FROM current_manual_reading
WHERE meter_id = ANY (%(meters)s) AND at > now() - interval '30 days' ORDER BY meter_id, at DESC
"""


def quality_name(quality: int) -> str:
    """What the source said of a reading; a number that is not ours is shown as it is."""
    return Quality(quality).name.lower() if quality in set(Quality) else str(quality)


async def readings(
    connection: Connection,
    meters: Sequence[int],
    *,
    start: datetime,
    end: datetime,
    after: tuple[datetime, int] | None,
    limit: int,
) -> list[DictRow]:
    """Readings in [start, end) by instant and meter, beginning after a key.

    A manual reading has an author and a reason, and `said_value` where the meter itself said something else.
    """
    after_at, after_meter = after or (None, None)
    values = {
        "meters": list(meters),
        "start": start,
        "end": end,
        "after_at": after_at,
        "after_meter": after_meter,
        "limit": limit,
    }
    async with beside(connection) as archive:
        archived = await archive.page(meters, start, end, after=after, limit=limit)
        return await fetch_all(connection, *over(_READINGS, values, archived))


async def latest_readings(connection: Connection, meters: Sequence[int]) -> Mapping[int, DictRow]:
    """The last reading of each meter, by meter, a person's too; meters silent for 30 days are left out.

    Never a scan of the table: first the last minute, in which most have spoken, then a quarter of an hour, then the
    quarter in which the roll-up last saw a meter, and for those that it never saw the last two hours.
    """
    found: dict[int, DictRow] = {}
    async with beside(connection) as archive:
        for statement, minutes in (
            (_LATEST_SINCE, 1),
            (_LATEST_SINCE, 15),
            (_LATEST_ROLLED_UP, None),
            (_LATEST_SINCE, 120),
        ):
            silent = [meter for meter in meters if meter not in found]
            if silent:
                values = {"meters": silent, "minutes": minutes}
                spans = [
                    (row["meter_id"], row["start"], row["end"])
                    for row in await fetch_all(
                        connection, _ROLLED_UP_SPANS if minutes is None else _SINCE_SPANS, values
                    )
                ]
                rows = await fetch_all(connection, *over(statement, values, await archive.lasts(spans)))
                found |= {row["meter_id"]: row for row in rows}
    for row in await fetch_all(connection, _LATEST_MANUAL, {"meters": list(meters)}):
        known = found.get(row["meter_id"])
        if known is None or known["at"] <= row["at"]:
            found[row["meter_id"]] = row
    return found
