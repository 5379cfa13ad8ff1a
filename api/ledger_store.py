"""The ledger, which proves completeness, and the quarantine, which holds what could not be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
_ENTRY: LiteralString = """
SELECT id, received_at, reason, detail, topic, site, agent, epoch, seq, readings, content_type,
       octet_length(payload) AS payload_bytes, times, tried_at, replayed_at, stored, repeated, left_of
"""
_QUARANTINE: LiteralString = f"""
{_ENTRY} FROM quarantine
WHERE (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
  AND (%(is_replayed)s::bool IS NULL OR (replayed_at IS NOT NULL) = %(is_replayed)s)
  AND (%(site)s::text IS NULL OR site = %(site)s) AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(meter)s::text IS NULL
       OR EXISTS (SELECT FROM quarantine_meter WHERE entry_id = quarantine.id AND meter = %(meter)s))
  AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_QUARANTINED: LiteralString = f"""
{_ENTRY}, payload FROM quarantine
WHERE id = %(id)s AND (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which entries are meant: those that fit all that is not None. `organisation` None is for operators."""

    organisation: str | None
    is_replayed: bool | None = False
    site: str | None = None
    agent: str | None = None
    meter: str | None = None
    reason: str | None = None


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
    connection: Connection, filters: Filters, *, before: int | None = None, limit: int = 100
) -> list[DictRow]:
    """Entries, newest first, without their payloads."""
    return await fetch_all(connection, _QUARANTINE, {**asdict(filters), "before": before, "limit": limit})


async def quarantined(connection: Connection, organisation: str | None, entry: int) -> DictRow | None:
    """One entry with its payload; None when it is not there or not theirs."""
    return await fetch_one(connection, _QUARANTINED, {"organisation": organisation, "id": entry})
