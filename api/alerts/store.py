"""Alerts and their messages as the database holds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from api.alerts.plan import Changes, Due, KnownAlert
from api.database import Connection, fetch_all, fetch_one
from api.said import Said
from api.site_store import SiteRow
from schemas.alerts import AlertChange, AlertMessage, AlertRule

# A site is due when nobody has looked at it for a while; whoever takes it up holds its row, and the others pass by.
_NEW_SITES: LiteralString = "INSERT INTO alert_check (site_id) SELECT id FROM site ON CONFLICT DO NOTHING"
_TAKE_SITE: LiteralString = """
UPDATE alert_check SET checked_at = now()
WHERE site_id = (
    SELECT site_id FROM alert_check WHERE checked_at <= now() - %(every)s
    ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING site_id
"""
_SITE: LiteralString = """
SELECT s.key AS site, s.organisation_id, o.key AS organisation
FROM site AS s JOIN organisation AS o ON o.id = s.organisation_id WHERE s.id = %(site)s
"""
_COLUMNS: LiteralString = """
id, rule, meter, agent, since, seen, why, todo, seen_at, closed_at, acknowledged_at, told_at, end_told_at
"""
_OPEN: LiteralString = "SELECT " + _COLUMNS + " FROM alert WHERE site_id = %(site)s AND closed_at IS NULL ORDER BY id"
_UNTOLD: LiteralString = (
    "SELECT "
    + _COLUMNS
    + " FROM alert WHERE site_id = %(site)s AND (closed_at IS NULL OR end_told_at IS NULL) ORDER BY id"
)
_INSERT: LiteralString = """
INSERT INTO alert (site_id, rule, meter, agent, since, seen, why, todo, opened_at, seen_at)
VALUES (%(site)s, %(rule)s, %(meter)s, %(agent)s, %(since)s, %(seen)s, %(why)s, %(todo)s, %(now)s, %(now)s)
ON CONFLICT DO NOTHING
"""
_GOES_ON: LiteralString = """
UPDATE alert SET seen_at = %(now)s, seen = %(seen)s, why = %(why)s, todo = %(todo)s WHERE id = %(id)s
"""
# The end of an acknowledged alert is told to nobody, so there is nothing to wait for.
_CLOSE: LiteralString = """
UPDATE alert SET closed_at = %(now)s, end_told_at = CASE WHEN acknowledged_at IS NULL THEN NULL ELSE %(now)s END
WHERE id = ANY (%(ids)s)
"""
_TOLD_LATELY: LiteralString = """
SELECT count(DISTINCT message) AS messages FROM notification WHERE site_id = %(site)s AND created_at > %(since)s
"""
_QUEUE: LiteralString = """
INSERT INTO notification (site_id, message, channel, payload, created_at, next_attempt_at)
SELECT %(site)s, %(message)s, channel, %(payload)s, %(now)s, %(now)s FROM unnest(%(channels)s::text[]) AS channel
"""
_TOLD: LiteralString = "UPDATE alert SET told_at = %(now)s WHERE id = ANY (%(ids)s)"
_END_TOLD: LiteralString = "UPDATE alert SET end_told_at = %(now)s WHERE id = ANY (%(ids)s)"
# Whoever takes a message up has the lease to try it; if that process dies, another tries when the lease is over.
_TAKE_MESSAGES: LiteralString = """
UPDATE notification SET attempts = attempts + 1, next_attempt_at = now() + interval '2 minutes'
WHERE id IN (
    SELECT id FROM notification
    WHERE delivered_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= now() AND channel = ANY (%(channels)s)
    ORDER BY next_attempt_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING id, channel, payload, attempts
"""
_DELIVERED: LiteralString = "UPDATE notification SET delivered_at = now(), last_error = NULL WHERE id = %(id)s"
_FAILED: LiteralString = """
UPDATE notification
SET last_error = %(error)s, next_attempt_at = now() + %(wait)s,
    given_up_at = CASE WHEN created_at < now() - %(patience)s THEN now() END
WHERE id = %(id)s
"""
_FORGET: LiteralString = "DELETE FROM notification WHERE created_at < now() - interval '90 days'"
_PAGE: LiteralString = """
SELECT id, rule, meter, agent, since, seen, why, todo, opened_at, seen_at, closed_at, acknowledged_at, acknowledged_by,
       acknowledged_why, told_at
FROM alert
WHERE site_id = %(site)s AND (%(id)s::bigint IS NULL OR id = %(id)s) AND (NOT %(only_open)s OR closed_at IS NULL)
  AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_ACKNOWLEDGE: LiteralString = """
UPDATE alert SET acknowledged_at = now(), acknowledged_by = %(author)s, acknowledged_why = %(reason)s
WHERE site_id = %(site)s AND id = %(id)s AND acknowledged_at IS NULL
"""
_DELIVERY: LiteralString = """
SELECT channel, count(*) FILTER (WHERE delivered_at IS NULL AND given_up_at IS NULL) AS waiting,
       count(*) FILTER (WHERE given_up_at IS NOT NULL) AS given_up, max(delivered_at) AS delivered_at,
       (array_agg(last_error ORDER BY id DESC)
            FILTER (WHERE last_error IS NOT NULL AND (delivered_at IS NULL)))[1] AS last_error
FROM notification WHERE site_id = %(site)s GROUP BY channel ORDER BY channel
"""


async def take_site(connection: Connection, every: timedelta) -> DictRow | None:
    """A site (`site`, `organisation`, `organisation_id`) that is due, marked as looked at; None when none is."""
    await connection.execute(_NEW_SITES)
    row = await fetch_one(connection, _TAKE_SITE, {"every": every})
    return None if row is None else await fetch_one(connection, _SITE, {"site": row["site_id"]})


async def open_alerts(connection: Connection, site: SiteRow) -> list[KnownAlert]:
    """Those whose condition has not ended."""
    return [_known(row) for row in await fetch_all(connection, _OPEN, {"site": site.id})]


async def untold_alerts(connection: Connection, site: SiteRow) -> list[KnownAlert]:
    """Those of which something may have to be told."""
    return [_known(row) for row in await fetch_all(connection, _UNTOLD, {"site": site.id})]


async def write_changes(connection: Connection, site: SiteRow, changes: Changes, *, now: datetime) -> None:
    """Open, go on and close."""
    for condition in changes.opened:
        await connection.execute(_INSERT, {"site": site.id, "now": now, **_fields(condition)})
    for number, condition in changes.going_on:
        await connection.execute(_GOES_ON, {"id": number, "now": now, **_fields(condition)})
    if changes.closed:
        await connection.execute(_CLOSE, {"ids": list(changes.closed), "now": now})


async def told_lately(connection: Connection, site: SiteRow, since: datetime) -> int:
    """How many messages the site has sent since then."""
    row = await fetch_one(connection, _TOLD_LATELY, {"site": site.id, "since": since})
    return int(row["messages"]) if row else 0


async def queue(
    connection: Connection,
    site: SiteRow,
    message: AlertMessage,
    batch: Sequence[Due],
    *,
    channels: Sequence[str],
    now: datetime,
) -> None:
    """Put a message on its way to each channel, and note of its alerts that they are told."""
    values = {
        "site": site.id,
        "message": UUID(message.message),
        "payload": Jsonb(message.model_dump(mode="json", exclude_none=True)),
        "channels": list(channels),
        "now": now,
    }
    await connection.execute(_QUEUE, values)
    ended = [one.alert.id for one in batch if one.change is AlertChange.CLOSED]
    others = [one.alert.id for one in batch if one.change is not AlertChange.CLOSED]
    await connection.execute(_END_TOLD, {"ids": ended, "now": now})
    await connection.execute(_TOLD, {"ids": others, "now": now})


async def take_messages(connection: Connection, channels: Sequence[str], limit: int) -> list[DictRow]:
    """Messages to be tried now, and by nobody else for two minutes. `attempts` counts this one."""
    rows = await fetch_all(connection, _TAKE_MESSAGES, {"channels": list(channels), "limit": limit})
    return sorted(rows, key=lambda row: row["id"])


async def delivered(connection: Connection, notification: int) -> None:
    """It has arrived."""
    await connection.execute(_DELIVERED, {"id": notification})


async def failed(
    connection: Connection, notification: int, error: str, *, wait: timedelta, patience: timedelta
) -> None:
    """It has not: try again after `wait`, unless it is older than `patience`."""
    values = {"id": notification, "error": error[:500], "wait": wait, "patience": patience}
    await connection.execute(_FAILED, values)


async def forget_old(connection: Connection) -> None:
    """Messages of more than 90 days ago; the alerts themselves stay."""
    await connection.execute(_FORGET)


async def page(
    connection: Connection,
    site: SiteRow,
    *,
    number: int | None = None,
    only_open: bool = False,
    before: int | None = None,
    limit: int = 1,
) -> list[DictRow]:
    """Alerts of the site, the newest first, beginning after a number; or the one with this number."""
    values = {"site": site.id, "id": number, "only_open": only_open, "before": before, "limit": limit}
    return await fetch_all(connection, _PAGE, values)


async def acknowledge(connection: Connection, site: SiteRow, number: int, said: Said) -> DictRow | None:
    """Note who knows of it, the first who says so; the alert as it is then, None when there is none."""
    values = {"site": site.id, "id": number, "author": said.author, "reason": said.reason}
    await connection.execute(_ACKNOWLEDGE, values)
    found = await page(connection, site, number=number)
    return found[0] if found else None


async def delivery(connection: Connection, site: SiteRow) -> list[DictRow]:
    """By channel: how many messages wait, how many were given up, the last that arrived and the last error."""
    return await fetch_all(connection, _DELIVERY, {"site": site.id})


def _fields(condition: Any) -> dict[str, Any]:
    return {name: getattr(condition, name) for name in ("rule", "meter", "agent", "since", "seen", "why", "todo")}


def _known(row: DictRow) -> KnownAlert:
    return KnownAlert(**{**row, "rule": AlertRule(row["rule"])})
