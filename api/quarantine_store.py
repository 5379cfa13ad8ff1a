"""The quarantine: what waits there, what was replayed or dropped, and who said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all, fetch_one


class EntryState(StrEnum):
    """Where an entry stands: it waits, it was replayed, or a person dropped it."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DROPPED = "dropped"


_IS: Mapping[EntryState, LiteralString] = {
    EntryState.WAITING: "replayed_at IS NULL AND dropped_at IS NULL",
    EntryState.REPLAYED: "replayed_at IS NOT NULL",
    EntryState.DROPPED: "dropped_at IS NOT NULL",
}
_FITS: LiteralString = """
  AND (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
  AND (%(site)s::text IS NULL OR site = %(site)s) AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s) AND (%(entry)s::int8 IS NULL OR id = %(entry)s)
  AND (%(meter)s::text IS NULL
       OR EXISTS (SELECT FROM quarantine_meter WHERE entry_id = quarantine.id AND meter = %(meter)s))
"""
_ENTRY: LiteralString = """
SELECT id, CASE WHEN replayed_at IS NOT NULL THEN 'replayed' WHEN dropped_at IS NOT NULL THEN 'dropped' ELSE 'waiting'
           END AS state,
       received_at, reason, detail, topic, site, agent, epoch, seq, readings, content_type,
       octet_length(payload) AS payload_bytes, times, tried_at, replayed_at, dropped_at, stored, repeated, left_of
"""
_ONE: LiteralString = f"""
{_ENTRY}, payload FROM quarantine
WHERE id = %(id)s AND (%(organisation)s::text IS NULL OR organisation = %(organisation)s)
"""
_HISTORY: LiteralString = """
SELECT at, act, author, because, replay FROM quarantine_history WHERE entry_id = %s ORDER BY id
"""
# Locked in the order in which a collector inserts entries, so that nobody waits for whoever waits for them.
_MARK: LiteralString = """
    ORDER BY digest FOR UPDATE
), marked AS (
    UPDATE quarantine SET dropped_at = CASE WHEN %(act)s::text = 'dropped' THEN now() END
    FROM chosen WHERE quarantine.id = chosen.id RETURNING quarantine.id, quarantine.reason, quarantine.readings
), noted AS (
    INSERT INTO quarantine_history (entry_id, act, author, because)
    SELECT id, %(act)s, %(author)s, %(because)s FROM marked ORDER BY id
)
SELECT reason, count(*) AS entries, sum(readings)::int8 AS readings FROM marked GROUP BY reason ORDER BY reason
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which entries are meant: those that fit all that is not None. `organisation` None is for operators."""

    organisation: str | None
    site: str | None = None
    agent: str | None = None
    meter: str | None = None
    reason: str | None = None
    entry: int | None = None


async def quarantine(
    connection: Connection,
    filters: Filters,
    *,
    state: EntryState | None = EntryState.WAITING,
    before: int | None = None,
    limit: int = 100,
) -> list[DictRow]:
    """Entries of that state (None: of any), newest first, without their payloads."""
    condition: LiteralString = "true" if state is None else _IS[state]
    statement: LiteralString = f"""
    {_ENTRY} FROM quarantine
    WHERE {condition} {_FITS} AND (%(before)s::bigint IS NULL OR id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s
    """
    return await fetch_all(connection, statement, {**asdict(filters), "before": before, "limit": limit})


async def quarantined(connection: Connection, organisation: str | None, entry: int) -> DictRow | None:
    """One entry with its payload and its `history`; None when it is not there or not theirs."""
    row = await fetch_one(connection, _ONE, {"organisation": organisation, "id": entry})
    if row is not None:
        row["history"] = await fetch_all(connection, _HISTORY, [entry])
    return row


async def drop(connection: Connection, filters: Filters, *, author: str, because: str) -> list[DictRow]:
    """Set what waits and fits aside: it is not replayed any more, unless asked for by its number.

    Nothing is deleted, and the ledger counts its readings as quarantined as before. `reason`, `entries` and `readings`.
    """
    return await _mark(connection, filters, EntryState.WAITING, act="dropped", author=author, because=because)


async def reopen(connection: Connection, filters: Filters, *, author: str, because: str) -> list[DictRow]:
    """Take back what was dropped and fits: it waits again. Returns as `drop` does."""
    return await _mark(connection, filters, EntryState.DROPPED, act="reopened", author=author, because=because)


async def _mark(
    connection: Connection, filters: Filters, state: EntryState, *, act: str, author: str, because: str
) -> list[DictRow]:
    statement: LiteralString = f"WITH chosen AS (SELECT id FROM quarantine WHERE {_IS[state]} {_FITS} {_MARK}"
    values = {**asdict(filters), "act": act, "author": author, "because": because}
    return await fetch_all(connection, statement, values)
