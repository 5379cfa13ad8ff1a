"""What the data quality is judged by, in few statements for all meters of a site at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow

from api.archived import beside, over
from api.calendar.clock import Period
from api.database import Connection, fetch_all, fetch_one
from api.site_store import SiteRow
from schemas.archive_reader import NOTHING

_CLOCK: LiteralString = "SELECT now() AS now, (SELECT computed_to FROM rollup_progress) AS computed_to"
_SUMS: LiteralString = """
SELECT meter_id, sum(covered_ms)::int8 AS covered_ms, sum(abs(measured)) AS measured, sum(abs(estimated)) AS estimated,
       min(quarter) AS began
FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
GROUP BY meter_id
"""
# A minute, a quarter of an hour, two hours: the table's index begins with time, and a longer span would be a scan of
# everybody's readings. What speaks more seldom is known by its gaps.
WINDOWS_MINUTES = (1, 15, 120)
_DISTANCES: LiteralString = """
SELECT meter_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY distance_ms) AS seen_ms
FROM (
    SELECT meter_id,
           extract(epoch FROM at - lag(at) OVER (PARTITION BY meter_id ORDER BY at)) * 1000 AS distance_ms
    FROM reading
    WHERE at > now() - %(minutes)s * interval '1 minute' AND at <= now() + interval '1 day'
      AND meter_id = ANY (%(meters)s)
) AS d
WHERE distance_ms IS NOT NULL GROUP BY meter_id HAVING count(*) >= 4
"""
_ARCHIVED_SPAN: LiteralString = """
SELECT now() - %(minutes)s * interval '1 minute' AS start, archived_to AS end FROM archive_progress
WHERE now() - %(minutes)s * interval '1 minute' < archived_to
"""
_GAPS: LiteralString = """
SELECT m.meter_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM g.until - g.at) * 1000) AS gap_ms
FROM unnest(%(meters)s::int[]) AS m (meter_id)
CROSS JOIN LATERAL (
    SELECT at, until FROM meter_event AS e
    WHERE e.meter_id = m.meter_id AND e.kind = 'gap' ORDER BY at DESC LIMIT 10
) AS g
GROUP BY m.meter_id HAVING count(*) >= 3
"""
_AGENTS: LiteralString = """
SELECT agent.key AS agent, r.status ->> 'state' AS state, coalesce(r.heard_at, r.status_at) AS heard_at,
       r.clock_ahead_ms,
       coalesce((r.status -> 'outbox' ->> 'dropped_readings')::int8, 0) AS dropped,
       ARRAY (
           SELECT DISTINCT offer ->> 'meter' FROM jsonb_array_elements(r.offered_meters -> 'meters') AS offer
           WHERE NOT EXISTS (
               SELECT FROM meter WHERE meter.site_id = %(site)s AND meter.agent_id = agent.id
                                   AND meter.key = offer ->> 'meter')
           ORDER BY 1
       ) AS unknown_meters
FROM agent LEFT JOIN agent_report AS r
  ON r.organisation = %(organisation)s AND r.site = %(site_key)s AND r.agent = agent.key
WHERE agent.site_id = %(site)s ORDER BY agent.key
"""
_LEDGER: LiteralString = """
SELECT * FROM (
    SELECT l.agent, l.epoch, l.stored_seq + 1 AS first_seq, l.last_at,
           greatest(l.highest_seq, coalesce(r.last_seq, 0)) - l.stored_seq - (
               SELECT count(*) FROM ledger_ahead AS a
               WHERE (a.organisation, a.site, a.agent, a.epoch) = (l.organisation, l.site, l.agent, l.epoch)
           ) AS missing
    FROM ledger AS l JOIN agent ON agent.site_id = %(site)s AND agent.key = l.agent
    LEFT JOIN LATERAL (
        SELECT (status -> 'outbox' ->> 'last_seq')::int8 AS last_seq FROM agent_report AS r
        WHERE (r.organisation, r.site, r.agent) = (l.organisation, l.site, l.agent)
          AND r.status -> 'outbox' ->> 'epoch' = l.epoch
    ) AS r ON true
    WHERE l.organisation = %(organisation)s AND l.site = %(site_key)s
) AS counted
WHERE missing > 0 ORDER BY agent, epoch
"""
_QUARANTINE: LiteralString = """
SELECT agent, reason, count(*) AS messages, sum(readings)::int8 AS readings, min(received_at) AS first_at,
       max(received_at) AS last_at, (array_agg(detail ORDER BY id DESC))[1] AS detail
FROM quarantine
WHERE organisation = %(organisation)s AND site = %(site_key)s AND replayed_at IS NULL AND dropped_at IS NULL
  AND received_at >= %(start)s AND received_at < %(end)s
GROUP BY agent, reason ORDER BY agent, reason
"""
_HELD: LiteralString = """
SELECT q.agent, m.meter, sum(m.readings)::int8 AS readings, min(q.received_at) AS first_at
FROM quarantine AS q JOIN quarantine_meter AS m ON m.entry_id = q.id
WHERE q.organisation = %(organisation)s AND q.site = %(site_key)s AND q.replayed_at IS NULL
  AND q.dropped_at IS NULL AND q.reason = 'unknown meter'
GROUP BY q.agent, m.meter
"""
# The lowest four whole and measured quarters from midnight to four, and what the day holds all told.
_NIGHTS: LiteralString = """
SELECT meter_id, day, (array_agg(measured ORDER BY measured) FILTER (WHERE is_night AND is_whole))[1:4] AS lowest,
       count(*) FILTER (WHERE is_night AND is_whole) AS known, sum(total) AS total, count(*) AS quarters
FROM (
    SELECT meter_id, measured, measured + estimated AS total, estimated = 0 AND covered_ms = 900000 AS is_whole,
           (quarter AT TIME ZONE %(zone)s)::date AS day,
           extract(hour FROM quarter AT TIME ZONE %(zone)s) < %(hours)s AS is_night
    FROM consumption WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
) AS q
GROUP BY meter_id, day ORDER BY meter_id, day
"""

# The usual quarter of each meter while its line is idle and while it runs; only quarters wholly within count.
_LEVELS: LiteralString = """
SELECT s.meter AS meter_id, s.is_running, percentile_cont(0.5) WITHIN GROUP (ORDER BY c.measured) AS level
FROM unnest(%(meters)s::int[], %(running)s::bool[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS s (meter, is_running, start_at, end_at)
JOIN consumption AS c ON c.meter_id = s.meter AND c.quarter >= s.start_at AND c.quarter <= s.end_at - interval '15 min'
                     AND c.estimated = 0 AND c.covered_ms = 900000
GROUP BY s.meter, s.is_running HAVING count(*) >= %(fewest)s
"""
# Of each stretch of a line how many quarters there were in which one of its meters counted more than `above`.
_WORKED: LiteralString = """
SELECT s.line, s.start_at, min(c.quarter) AS first_at, max(c.quarter) + interval '15 min' AS last_at,
       count(DISTINCT c.quarter) AS quarters
FROM unnest(%(lines)s::text[], %(meters)s::int[], %(above)s::int8[], %(starts)s::timestamptz[],
            %(ends)s::timestamptz[]) AS s (line, meter, above, start_at, end_at)
JOIN consumption AS c ON c.meter_id = s.meter AND c.quarter >= s.start_at AND c.quarter < s.end_at
                     AND c.measured > s.above
GROUP BY s.line, s.start_at ORDER BY s.line, s.start_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of time of a meter on a line; `above` is in billionths a quarter of an hour."""

    line: str
    meter: int
    start: datetime
    end: datetime
    above: int = 0
    is_running: bool = False


async def clock(connection: Connection) -> tuple[datetime, datetime | None]:
    """The database's time, and up to when consumption has been computed."""
    row = await fetch_one(connection, _CLOCK)
    if row is None:
        raise AssertionError("a statement without FROM gives one row")
    return row["now"], row["computed_to"]


async def sums(
    connection: Connection, meters: Sequence[int], *, start: datetime, end: datetime
) -> Mapping[int, DictRow]:
    """What is known of each meter in the period: `covered_ms`, amounts without sign, and the first quarter."""
    values = {"meters": list(meters), "start": start, "end": end}
    return {row["meter_id"]: row for row in await fetch_all(connection, _SUMS, values)}


async def distances(connection: Connection, meters: Sequence[int]) -> Mapping[int, float]:
    """The median distance (ms) of each meter's newest readings, of those that spoke five times in two hours."""
    found: dict[int, float] = {}
    for minutes in WINDOWS_MINUTES:
        left = [meter for meter in meters if meter not in found]
        if left:
            rows = await _distances(connection, left, minutes)
            found |= {row["meter_id"]: float(row["seen_ms"]) for row in rows}
    return found


async def _distances(connection: Connection, meters: Sequence[int], minutes: int) -> list[DictRow]:
    values = {"meters": list(meters), "minutes": minutes}
    async with beside(connection) as archive:
        span = await fetch_one(connection, _ARCHIVED_SPAN, values)
        archived = await archive.page(meters, span["start"], span["end"]) if span else NOTHING
        return await fetch_all(connection, *over(_DISTANCES, values, archived))


async def gaps(connection: Connection, meters: Sequence[int]) -> Mapping[int, float]:
    """The median length (ms) of each meter's newest ten gaps, of those that have three."""
    rows = await fetch_all(connection, _GAPS, {"meters": list(meters)})
    return {row["meter_id"]: float(row["gap_ms"]) for row in rows}


async def agents(connection: Connection, site: SiteRow) -> list[DictRow]:
    """What the site's agents last said of themselves, and which meters they offer that the model has not."""
    return await fetch_all(connection, _AGENTS, _of(site))


async def ledger(connection: Connection, site: SiteRow) -> list[DictRow]:
    """Epochs of which messages are missing."""
    return await fetch_all(connection, _LEDGER, _of(site))


async def quarantine(connection: Connection, site: SiteRow, *, start: datetime, end: datetime) -> list[DictRow]:
    """What came into quarantine in the period and is there still, by agent and reason."""
    return await fetch_all(connection, _QUARANTINE, {**_of(site), "start": start, "end": end})


async def held(connection: Connection, site: SiteRow) -> Mapping[tuple[str, str], DictRow]:
    """What waits in quarantine for unknown meters: `readings` and `first_at`, by agent and meter."""
    rows = await fetch_all(connection, _HELD, _of(site))
    return {(row["agent"], row["meter"]): row for row in rows}


async def nights(connection: Connection, meters: Sequence[int], period: Period, *, hours: int) -> list[DictRow]:
    """By meter and local day: the `lowest` four quarters of its first hours, how many are `known`, its `total`."""
    values = {
        "meters": list(meters),
        "start": period.start,
        "end": period.end,
        "zone": period.zone.key,
        "hours": hours,
    }
    return await fetch_all(connection, _NIGHTS, values)


async def levels(connection: Connection, stretches: Sequence[Stretch], *, fewest: int) -> dict[tuple[int, bool], float]:
    """By meter, and whether its line runs: its median quarter, of those with at least `fewest` measured ones."""
    values = {
        "meters": [stretch.meter for stretch in stretches],
        "running": [stretch.is_running for stretch in stretches],
        "starts": [stretch.start for stretch in stretches],
        "ends": [stretch.end for stretch in stretches],
        "fewest": fewest,
    }
    return {
        (row["meter_id"], row["is_running"]): float(row["level"])
        for row in await fetch_all(connection, _LEVELS, values)
    }


async def worked(connection: Connection, stretches: Sequence[Stretch]) -> list[DictRow]:
    """Where a line worked: of each of its stretches `quarters`, from `first_at` to `last_at`."""
    values = {
        "lines": [stretch.line for stretch in stretches],
        "meters": [stretch.meter for stretch in stretches],
        "above": [stretch.above for stretch in stretches],
        "starts": [stretch.start for stretch in stretches],
        "ends": [stretch.end for stretch in stretches],
    }
    return await fetch_all(connection, _WORKED, values) if stretches else []


def _of(site: SiteRow) -> dict[str, object]:
    return {"site": site.id, "site_key": site.key, "organisation": site.organisation}
