"""What agents offer, and what waits in quarantine for meters that nobody has set up yet."""

from __future__ import annotations

from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all
from api.site_store import SiteRow

OFFERS: LiteralString = """
SELECT agent, offered_meters, offered_at FROM agent_report
WHERE organisation = %(organisation)s AND site = %(site)s AND offered_meters IS NOT NULL ORDER BY agent
"""
_WAITING: LiteralString = """
SELECT q.agent, w.meter, count(DISTINCT q.id) AS entries, sum(w.readings)::int8 AS readings,
       min(w.first_at) AS first_at, max(w.last_at) AS last_at,
       (array_agg(w.last_value ORDER BY w.last_at DESC NULLS LAST, q.id DESC))[1] AS last_value,
       (array_agg(w.unit ORDER BY w.last_at DESC NULLS LAST, q.id DESC))[1] AS unit,
       array_agg(DISTINCT q.reason) AS reasons
FROM quarantine AS q JOIN quarantine_meter AS w ON w.entry_id = q.id
WHERE q.replayed_at IS NULL AND q.dropped_at IS NULL AND q.organisation = %(organisation)s AND q.site = %(site)s
  AND (%(agent)s::text IS NULL OR q.agent = %(agent)s)
GROUP BY q.agent, w.meter ORDER BY q.agent, w.meter
"""
_LOCK_SITE: LiteralString = "SELECT FROM site WHERE id = %s FOR UPDATE"


async def reports(connection: Connection, organisation: str, site: str) -> list[DictRow]:
    """What each agent that calls itself one of this site's offers: agent, offered_meters, offered_at."""
    return await fetch_all(connection, OFFERS, {"organisation": organisation, "site": site})


async def waiting(connection: Connection, site: SiteRow, *, agent: str | None = None) -> list[DictRow]:
    """By agent and meter: how many readings wait in quarantine, of which span, the latest value, and why."""
    return await fetch_all(connection, _WAITING, {"organisation": site.organisation, "site": site.key, "agent": agent})


async def lock_site(connection: Connection, site: SiteRow) -> None:
    """Until the transaction ends nobody else changes this site's model."""
    await connection.execute(_LOCK_SITE, [site.id])
