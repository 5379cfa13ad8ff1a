"""The ledger, which proves completeness, and the quarantine, which holds what could not be stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all, fetch_one

MOST_RANGES = 1000
"""Ranges of missing numbers that are listed for one epoch."""

_LEDGER: LiteralString = """
SELECT l.site, l.agent, l.epoch, l.messages, l.readings, l.stored, l.repeated, l.quarantined, l.stored_seq,
       l.highest_seq, l.first_at, l.last_at, r.status ->> 'state' AS state, r.status_at,
       CASE WHEN r.status -> 'outbox' ->> 'epoch' = l.epoch THEN r.status -> 'outbox' END AS outbox
FROM ledger AS l LEFT JOIN agent_report AS r
  ON r.organisation = l.organisation AND r.site = l.site AND r.agent = l.agent
WHERE l.organisation = %(organisation)s
  AND (%(site)s::text IS NULL OR (l.site = %(site)s AND l.agent = %(agent)s))
  AND (%(after_site)s::text IS NULL
       OR (l.site, l.agent, l.epoch) > (%(after_site)s, %(after_agent)s, %(after_epoch)s))
ORDER BY l.site, l.agent, l.epoch LIMIT %(limit)s
"""
# Between what is stored without gaps and the highest number seen: all but those in ledger_ahead are missing.
_MISSING: LiteralString = """
SELECT site, agent, epoch, before + 1 AS first, seq - 1 AS last
FROM (
    SELECT site, agent, epoch, seq, stored_seq,
           greatest(stored_seq, lag(seq, 1, stored_seq) OVER (PARTITION BY site, agent, epoch ORDER BY seq)) AS before
    FROM (
        SELECT a.site, a.agent, a.epoch, a.seq, l.stored_seq
        FROM ledger_ahead AS a JOIN ledger AS l USING (organisation, site, agent, epoch)
        WHERE organisation = %(organisation)s AND (site, agent, epoch) = (%(site)s, %(agent)s, %(epoch)s)
        UNION ALL
        SELECT site, agent, epoch, highest_seq + 1, stored_seq FROM ledger
        WHERE organisation = %(organisation)s AND (site, agent, epoch) = (%(site)s, %(agent)s, %(epoch)s)
    ) AS known
) AS steps
WHERE seq > before + 1 ORDER BY first LIMIT %(limit)s
"""
_QUARANTINE: LiteralString = """
SELECT id, received_at, reason, detail, topic, site, agent, epoch, seq, readings, content_type,
       octet_length(payload) AS payload_bytes, times
FROM quarantine
WHERE organisation = %(organisation)s AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_QUARANTINED: LiteralString = """
SELECT id, received_at, reason, detail, topic, site, agent, epoch, seq, readings, content_type,
       octet_length(payload) AS payload_bytes, times, payload
FROM quarantine WHERE organisation = %(organisation)s AND id = %(id)s
"""


async def ledger(
    connection: Connection,
    organisation: str,
    *,
    agent: tuple[str, str] | None = None,
    after: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[DictRow]:
    """Agents and epochs, all or those of one (site, agent), beginning after a (site, agent, epoch).

    `outbox` is what the agent says of this epoch. `missing` lists (first, last) numbers not arrived yet.
    """
    site, key = agent or (None, None)
    after_site, after_agent, after_epoch = after or (None, None, None)
    rows = await fetch_all(
        connection,
        _LEDGER,
        {
            "organisation": organisation,
            "site": site,
            "agent": key,
            "after_site": after_site,
            "after_agent": after_agent,
            "after_epoch": after_epoch,
            "limit": limit,
        },
    )
    for row in rows:
        row["missing"] = []
        if row["highest_seq"] > row["stored_seq"]:
            values = {
                "organisation": organisation,
                "limit": MOST_RANGES,
                **{name: row[name] for name in ("site", "agent", "epoch")},
            }
            row["missing"] = [(gap["first"], gap["last"]) for gap in await fetch_all(connection, _MISSING, values)]
    return rows


async def quarantine(
    connection: Connection, organisation: str, *, reason: str | None, before: int | None, limit: int
) -> list[DictRow]:
    """Entries of the organisation, newest first, without their payloads."""
    values = {"organisation": organisation, "reason": reason, "before": before, "limit": limit}
    return await fetch_all(connection, _QUARANTINE, values)


async def quarantined(connection: Connection, organisation: str, entry: int) -> DictRow | None:
    """One entry with its payload; None when it is not there or not theirs."""
    return await fetch_one(connection, _QUARANTINED, {"organisation": organisation, "id": entry})
