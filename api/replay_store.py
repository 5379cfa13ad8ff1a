"""Requests to replay what is in quarantine; a collector does the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all, fetch_one

_REQUEST: LiteralString = """
INSERT INTO quarantine_replay (organisation, site, agent, meters, reason, entry, author, because)
VALUES (%(organisation)s, %(site)s, %(agent)s, %(meters)s, %(reason)s, %(entry)s, %(author)s, %(because)s)
RETURNING id
"""
_COLUMNS: LiteralString = """
SELECT id, CASE WHEN finished_at IS NOT NULL THEN 'done' WHEN up_to IS NOT NULL THEN 'running' ELSE 'waiting' END
           AS state,
       site, agent, meters, reason, entry, author, because, requested_at, finished_at, tried, stored, repeated, refused
FROM quarantine_replay
"""
_REPLAYS: LiteralString = f"""
{_COLUMNS} WHERE organisation = %(organisation)s AND (%(before)s::int8 IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_REPLAY: LiteralString = f"""
{_COLUMNS} WHERE id = %(id)s AND (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries to replay: all that fit every filter that is not None. `organisation` None is for operators.

    `author` says so, `because` of that.
    """

    organisation: str | None
    site: str | None = None
    agent: str | None = None
    meters: Sequence[str] | None = None
    reason: str | None = None
    entry: int | None = None
    author: str | None = None
    because: str | None = None


async def request_replay(connection: Connection, wanted: Wanted) -> int:
    """Ask for a replay; its number. It begins once this transaction is committed."""
    values = asdict(wanted)
    values["meters"] = None if wanted.meters is None else list(wanted.meters)
    row = await fetch_one(connection, _REQUEST, values)
    if row is None:
        raise AssertionError("RETURNING gives the row that was inserted")
    return int(row["id"])


async def replays(
    connection: Connection, organisation: str, *, before: int | None = None, limit: int = 100
) -> list[DictRow]:
    """Requests of the organisation, newest first."""
    return await fetch_all(connection, _REPLAYS, {"organisation": organisation, "before": before, "limit": limit})


async def replay(connection: Connection, organisation: str | None, number: int) -> DictRow | None:
    """One request; None when it is not there or not theirs."""
    return await fetch_one(connection, _REPLAY, {"organisation": organisation, "id": number})
