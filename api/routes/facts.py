"""Exchanges of meters and manual readings: facts with an author, in versions, never edits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import fact_answers
from api.cursor import CursorText, Limit, Page, decode_cursor
from api.database import Database
from api.event_answers import meter_numbers
from api.exact_json import reply
from api.fact_answers import ExchangeAnswer, ExchangeRecord, ManualAnswer, ManualReadings, SavedReadings
from api.fact_store import AskedFacts
from api.routes.consumption import MeterKeys
from api.routes.events import AskedSpan
from api.said import Said
from api.site_store import OwnSite
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/sites/{site}", tags=["exchanges and manual readings"], route_class=TableRoute)


async def _asked(
    *,
    site: OwnSite,
    connection: Database,
    span: AskedSpan,
    meter: MeterKeys = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> AskedFacts:
    meters = await meter_numbers(connection, site, meter)
    at, number = decode_cursor(cursor, datetime, int) if cursor else (None, 0)
    after = None if at is None else (at, number)
    return AskedFacts(meters=meters, start=span[0], end=span[1], after=after, limit=limit)


Asked = Annotated[AskedFacts, Depends(_asked)]
"""A route's parameter of this kind is what `from`, `to`, `meter`, `limit` and `cursor` ask for."""


@router.get("/exchanges", response_model=Page[ExchangeAnswer])
async def exchanges(asked: Asked, connection: Database) -> Response:
    """Exchanges recorded for the period (by default: all), the newest first, with all their versions."""
    return reply(await fact_answers.exchange_page(connection, asked))


@router.post("/exchanges", response_model=ExchangeAnswer)
async def record_exchange(site: OwnSite, body: ExchangeRecord, connection: Database) -> Response:
    """Record an exchange, ahead or afterwards; of the same meter and instant it is another version."""
    return reply(await fact_answers.record_exchange(connection, site, body))


@router.post("/exchanges/{exchange}/withdraw", response_model=ExchangeAnswer)
async def withdraw_exchange(exchange: str, site: OwnSite, body: Said, connection: Database) -> Response:
    """Take a record back; it stays in the list, with who took it back and why."""
    return reply(await fact_answers.withdraw_exchange(connection, site, exchange, body))


@router.get("/manual-readings", response_model=Page[ManualAnswer])
async def manual_readings(asked: Asked, connection: Database) -> Response:
    """Manual readings of the period (by default: all), the newest first, with all their versions."""
    return reply(await fact_answers.manual_page(connection, asked))


@router.post("/manual-readings", response_model=SavedReadings)
async def add_manual_readings(site: OwnSite, body: ManualReadings, connection: Database) -> Response:
    """Add or correct readings, all or none. What is known already, just as it is, stays one version."""
    return reply(await fact_answers.save_manual(connection, site, body.items))


@router.post("/manual-readings/{reading}/withdraw", response_model=ManualAnswer)
async def withdraw_manual_reading(reading: str, site: OwnSite, body: Said, connection: Database) -> Response:
    """Take a reading back; what the meter itself said then counts again."""
    return reply(await fact_answers.withdraw_manual(connection, site, reading, body))
