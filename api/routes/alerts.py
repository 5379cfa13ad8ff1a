"""Alerts: what somebody should hear of, who said that they know, and whether the messages arrive."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from psycopg.rows import DictRow
from pydantic import Field
from starlette.responses import Response

from api.alerts import store
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import Answer, Instant, reply
from api.problems import not_found
from api.said import Said
from api.site_store import OwnSite
from api.tables.formats import TableRoute
from schemas.alerts import AlertRule

router = APIRouter(prefix="/v1/sites/{site}", tags=["alerts"], route_class=TableRoute)


class AlertAnswer(Answer):
    """One alert of a meter or of an agent. `closed_at` is null while its condition holds."""

    id: int
    rule: AlertRule
    meter: str | None
    agent: str | None
    since: Annotated[Instant, Field(description="since when the condition holds, as far as is known")]
    seen: str
    why: str
    todo: str
    opened_at: Instant
    seen_at: Annotated[Instant, Field(description="when the condition was last seen to hold")]
    closed_at: Instant | None
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    acknowledged_why: str | None
    told_at: Annotated[Instant | None, Field(description="when it was last put into a message")]


class DeliveryAnswer(Answer):
    """How messages get through one channel: webhook or mqtt."""

    channel: str
    waiting: int
    given_up: int
    delivered_at: Instant | None
    last_error: str | None


@router.get("/alerts", response_model=Page[AlertAnswer])
async def alerts(
    *,
    site: OwnSite,
    connection: Database,
    only_open: Annotated[bool, Query(alias="open", description="only those that are open")] = False,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """The site's alerts, newest first."""
    (before,) = decode_cursor(cursor, int) if cursor else (None,)
    rows = await store.page(connection, site, only_open=only_open, before=before, limit=limit + 1)
    return reply(page_of([told_alert(row) for row in rows], limit, lambda alert: (alert.id,)))


@router.get("/alerts/delivery", response_model=Page[DeliveryAnswer])
async def delivery(site: OwnSite, connection: Database) -> Response:
    """Whether messages arrive, by channel; a channel that never had one is not listed."""
    rows = await store.delivery(connection, site)
    return reply(Page(items=[DeliveryAnswer(**row) for row in rows], next=None))


@router.post("/alerts/{alert}/acknowledge", response_model=AlertAnswer)
async def acknowledge(
    alert: Annotated[int, Field(ge=1, lt=2**63)], body: Said, site: OwnSite, connection: Database
) -> Response:
    """Say that somebody knows: nothing more is sent about it. Saying it again changes nothing."""
    row = await store.acknowledge(connection, site, alert, body)
    if row is None:
        raise not_found(f"there is no alert {alert} at this site; GET /v1/sites/{site.key}/alerts lists them")
    return reply(told_alert(row))


def told_alert(row: DictRow) -> AlertAnswer:
    """A row of the store as the answer tells it."""
    return AlertAnswer(**row)
