"""Meter events: what was found in readings, what is done about it, and what a person says of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api import event_rulings
from api.cursor import CursorText, Limit, Page, decode_cursor
from api.database import Connection, Database
from api.event_answers import EventAnswer, EventDetail, event_detail, event_page, meter_numbers, told_event
from api.event_rulings import Act, Finding, Ruling
from api.event_store import Asked
from api.exact_json import reply
from api.periods import parse_span
from api.routes.consumption import MeterKeys
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.events import EventKind, EventState

router = APIRouter(prefix="/v1/sites/{site}", tags=["meter events"], route_class=TableRoute)

_EDGE = "an instant with its offset, or a date: the site's midnight; none: no bound"


def _span(
    site: OwnSite,
    start: Annotated[str | None, Query(alias="from", max_length=40, description=f"first instant: {_EDGE}")] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40, description=f"first instant after: {_EDGE}")] = None,
) -> tuple[datetime | None, datetime | None]:
    return parse_span(start, end, site.zone)


AskedSpan = Annotated[tuple[datetime | None, datetime | None], Depends(_span)]
"""A route's parameter of this kind is what `from` and `to` leave open or not."""
Kinds = Annotated[list[EventKind] | None, Query(max_length=20, description="repeat it for more; none: all")]
States = Annotated[list[EventState] | None, Query(max_length=20, description="repeat it for more; none: all")]


@router.get("/events", response_model=Page[EventAnswer])
async def events(
    *,
    site: OwnSite,
    connection: Database,
    span: AskedSpan,
    meter: MeterKeys = None,
    kind: Kinds = None,
    state: States = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """Events that touch the period (by default: all), the newest first."""
    numbers = await meter_numbers(connection, site, meter)
    asked = Asked(meters=numbers, start=span[0], end=span[1], kinds=kind, states=state)
    after = tuple(decode_cursor(cursor, datetime, int, str)) if cursor else None
    return reply(await event_page(connection, site, asked, after=after, limit=limit))


@router.post("/events", response_model=EventAnswer)
async def set_aside(site: OwnSite, body: Finding, connection: Database) -> Response:
    """Set readings aside although the rules saw nothing in them."""
    return reply(await told_event(connection, site, await event_rulings.set_aside(connection, site, body)))


@router.get("/events/{event}", response_model=EventDetail)
async def event(event: str, site: OwnSite, connection: Database) -> Response:
    """One event, with what was decided about it and the readings around it."""
    return reply(await event_detail(connection, site, event))


@router.post("/events/{event}/confirm", response_model=EventAnswer)
async def confirm(event: str, site: OwnSite, body: Ruling, connection: Database) -> Response:
    """Say that the finding is right: what is done now stays, whatever the rules say later."""
    return await _decide(connection, site, event, Act.CONFIRM, body)


@router.post("/events/{event}/overrule", response_model=EventAnswer)
async def overrule(event: str, site: OwnSite, body: Ruling, connection: Database) -> Response:
    """Say that the finding is wrong: the other thing is done, or what `decision` names."""
    return await _decide(connection, site, event, Act.OVERRULE, body)


@router.post("/events/{event}/reopen", response_model=EventAnswer)
async def reopen(event: str, site: OwnSite, body: Ruling, connection: Database) -> Response:
    """Take back what was decided: the rules decide again."""
    return await _decide(connection, site, event, Act.REOPEN, body)


async def _decide(connection: Connection, site: SiteRow, text: str, act: Act, ruling: Ruling) -> Response:
    return reply(await told_event(connection, site, await event_rulings.decide(connection, site, text, act, ruling)))
