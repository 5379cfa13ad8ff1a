"""The proof that all arrived: the ledger of each agent."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api import ledger_store
from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import reply
from api.ledger_answers import LedgerAnswer, told_ledger
from api.problems import not_found
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/ledger", tags=["ledger"], route_class=TableRoute)


@router.get("", response_model=Page[LedgerAnswer])
async def ledger(caller: SignedIn, connection: Database, limit: Limit = 1000, cursor: CursorText = None) -> Response:
    """Every agent and epoch of the organisation."""
    after = decode_cursor(cursor, str, str, str) if cursor else None
    rows = await ledger_store.ledger(connection, caller.organisation, after=after, limit=limit + 1)
    return reply(page_of([told_ledger(row) for row in rows], limit, lambda item: (item.site, item.agent, item.epoch)))


@router.get("/{site}/{agent}", response_model=Page[LedgerAnswer])
async def agent_ledger(site: str, agent: str, caller: SignedIn, connection: Database) -> Response:
    """The epochs of one agent."""
    rows = await ledger_store.ledger(connection, caller.organisation, site=site, agent=agent)
    if not rows:
        raise not_found(
            "nothing has come from such an agent of your organisation; GET /v1/ledger lists those that sent"
        )
    return reply(Page(items=[told_ledger(row) for row in rows], next=None))
