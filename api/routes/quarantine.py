"""The quarantine: what could not be stored, and dropping what never will be."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api import quarantine_store
from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import reply
from api.problems import not_found
from api.quarantine_answers import (
    EntryNumber,
    MarkAnswer,
    MarkRequest,
    QuarantineAnswer,
    QuarantinedMessage,
    told_marks,
    told_message,
)
from api.quarantine_store import EntryState, Filters
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1/quarantine", tags=["ledger"], route_class=TableRoute)

Text = Annotated[str | None, Query(max_length=100)]
State = Annotated[Literal["waiting", "replayed", "dropped", "all"], Query(description="which entries")]


async def _filters(
    caller: SignedIn,
    reason: Text = None,
    site: Text = None,
    agent: Text = None,
    meter: Annotated[str | None, Query(max_length=100, description="finds no entries that were replayed")] = None,
) -> Filters:
    return Filters(organisation=caller.organisation, site=site, agent=agent, meter=meter, reason=reason)


@router.get("", response_model=Page[QuarantineAnswer])
async def quarantine(
    filters: Annotated[Filters, Depends(_filters)],
    connection: Database,
    state: State = "waiting",
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """What could not be stored, newest first."""
    (before,) = decode_cursor(cursor, int) if cursor else (None,)
    wanted = None if state == "all" else EntryState(state)
    rows = await quarantine_store.quarantine(connection, filters, state=wanted, before=before, limit=limit + 1)
    return reply(page_of([QuarantineAnswer(**row) for row in rows], limit, lambda item: (item.id,)))


@router.get("/{entry}", response_model=QuarantinedMessage)
async def quarantined(entry: EntryNumber, caller: SignedIn, connection: Database) -> Response:
    """One message with its payload, and what was done with it."""
    row = await quarantine_store.quarantined(connection, caller.organisation, entry)
    if row is None:
        raise not_found("there is no such entry in your quarantine; GET /v1/quarantine lists them")
    return reply(told_message(row))


@router.post("/drop", response_model=MarkAnswer)
async def drop(body: MarkRequest, caller: SignedIn, connection: Database) -> Response:
    """Say that entries are not to be stored: no replay takes them up, but one that names the entry itself.

    Nothing is deleted: the entries stay with their payload, and the ledger counts their readings as quarantined.
    """
    filters = _chosen(body, caller.organisation)
    rows = await quarantine_store.drop(connection, filters, author=_author(caller.token), because=body.because)
    return reply(told_marks(rows))


@router.post("/reopen", response_model=MarkAnswer)
async def reopen(body: MarkRequest, caller: SignedIn, connection: Database) -> Response:
    """Take back what was dropped: it waits again."""
    filters = _chosen(body, caller.organisation)
    rows = await quarantine_store.reopen(connection, filters, author=_author(caller.token), because=body.because)
    return reply(told_marks(rows))


def _chosen(body: MarkRequest, organisation: str) -> Filters:
    return Filters(
        organisation=organisation,
        site=body.site,
        agent=body.agent,
        meter=body.meter,
        reason=body.reason,
        entry=body.entry,
    )


def _author(token: str) -> str:
    return f"token {token}"
