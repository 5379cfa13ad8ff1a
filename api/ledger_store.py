"""The ledger, which proves completeness: by agent and epoch what was sent, what is stored, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all

MOST_RANGES = 1000
"""Ranges of missing numbers that are listed for one epoch."""

_LEDGER: LiteralString = """
SELECT l.organisation, l.site, l.agent, l.epoch, l.messages, l.readings, l.stored, l.repeated, l.quarantined,
       l.adopted, l.stored_seq, l.highest_seq, l.first_at, l.last_at, l.missing_since,
       r.status ->> 'state' AS state, r.status_at,
       CASE WHEN r.status -> 'outbox' ->> 'epoch' = l.epoch THEN r.status -> 'outbox' END AS outbox,
       l.highest_seq - l.stored_seq - CASE WHEN l.highest_seq > l.stored_seq THEN (
           SELECT count(*) FROM ledger_ahead AS a
           WHERE (a.organisation, a.site, a.agent, a.epoch) = (l.organisation, l.site, l.agent, l.epoch)
       ) ELSE 0 END AS missing_messages,
       now() AS asked_at
FROM ledger AS l LEFT JOIN agent_report AS r
  ON r.organisation = l.organisation AND r.site = l.site AND r.agent = l.agent
WHERE (%(organisation)s::text IS NULL OR l.organisation = %(organisation)s)
  AND (%(site)s::text IS NULL OR l.site = %(site)s)
  AND (%(agent)s::text IS NULL OR l.agent = %(agent)s)
  AND (%(after_site)s::text IS NULL
       OR (l.site, l.agent, l.epoch) > (%(after_site)s, %(after_agent)s, %(after_epoch)s))
ORDER BY l.organisation, l.site, l.agent, l.epoch LIMIT %(limit)s
"""
# Between what is stored without gaps and the highest number seen: all but those in ledger_ahead are missing.
_MISSING: LiteralString = """
SELECT before + 1 AS first, seq - 1 AS last
FROM (
    SELECT seq, greatest(stored_seq, lag(seq, 1, stored_seq) OVER (ORDER BY seq)) AS before
    FROM (
        SELECT a.seq, l.stored_seq
        FROM ledger_ahead AS a JOIN ledger AS l USING (organisation, site, agent, epoch)
        WHERE (organisation, site, agent, epoch) = (%(organisation)s, %(site)s, %(agent)s, %(epoch)s)
        UNION ALL
        SELECT highest_seq + 1, stored_seq FROM ledger
        WHERE (organisation, site, agent, epoch) = (%(organisation)s, %(site)s, %(agent)s, %(epoch)s)
    ) AS known
) AS steps
WHERE seq > before + 1 ORDER BY first LIMIT %(limit)s
"""


async def ledger(
    connection: Connection,
    organisation: str | None,
    *,
    site: str | None = None,
    agent: str | None = None,
    after: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[DictRow]:
    """Agents and epochs that fit, beginning after a (site, agent, epoch). `organisation` None is for operators.

    `outbox` is what the agent says of this epoch. `missing` lists (first, last) numbers not arrived yet though later
    ones did, the first MOST_RANGES; `missing_messages` counts them all.
    """
    after_site, after_agent, after_epoch = after or (None, None, None)
    values = {
        "organisation": organisation,
        "site": site,
        "agent": agent,
        "after_site": after_site,
        "after_agent": after_agent,
        "after_epoch": after_epoch,
        "limit": limit,
    }
    rows = await fetch_all(connection, _LEDGER, values)
    for row in rows:
        row["missing"] = []
        if row["highest_seq"] > row["stored_seq"]:
            which = {name: row[name] for name in ("organisation", "site", "agent", "epoch")}
            gaps = await fetch_all(connection, _MISSING, {**which, "limit": MOST_RANGES})
            row["missing"] = [(gap["first"], gap["last"]) for gap in gaps]
    return rows
