"""The proof that all arrived: the ledger of each agent, and the quarantine."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from api import ledger_store
from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import Answer, Instant, reply
from api.ledger_store import Filters
from api.problems import not_found
from api.tables.formats import TableRoute

router = APIRouter(prefix="/v1", tags=["ledger"], route_class=TableRoute)

Text = Annotated[str | None, Query(max_length=100)]


class Range(Answer):
    """Numbers from the first to the last, both counted."""

    first: Annotated[int, Field(alias="from")]
    last: Annotated[int, Field(alias="to")]


class LedgerAnswer(Answer):
    """One agent and epoch. readings = stored + repeated + quarantined; `complete` when nothing sent is missing."""

    site: str
    agent: str
    epoch: str
    sent: Annotated[int, Field(description="readings that the agent took, as far as is known: see sent_says")]
    sent_says: Annotated[
        Literal["agent", "collector"],
        Field(description="agent: its last status; collector: those received, as more came since, or it says nothing"),
    ]
    messages: int
    readings: int
    stored: int
    repeated: int
    quarantined: int
    dropped: Annotated[int | None, Field(description="readings given up by the agent, as it says itself")]
    waiting: Annotated[int | None, Field(description="messages in the agent's outbox, as it says itself")]
    last_seq: Annotated[int | None, Field(description="the last message that the agent made, as it says itself")]
    stored_seq: int
    highest_seq: int
    missing: Annotated[list[Range], Field(description=f"numbers not arrived; the first {ledger_store.MOST_RANGES}")]
    complete: bool
    state: Annotated[str | None, Field(description="online or offline, as the agent last said")]
    status_at: Instant | None
    first_at: Instant
    last_at: Instant


class QuarantineAnswer(Answer):
    """A message that could not be stored, or what is left of one.

    `replayed_at` is null as long as it waits. `left_of` is the entry whose replay left this over; that entry has then
    no payload of its own any more: what was stored of it are readings, and the rest is here.
    """

    id: int
    received_at: Instant
    reason: str
    detail: str
    topic: str
    site: str | None
    agent: str | None
    epoch: str | None
    seq: int | None
    readings: int
    content_type: str
    payload_bytes: int
    times: int
    tried_at: Instant | None
    replayed_at: Instant | None
    stored: int
    repeated: int
    left_of: int | None


class QuarantinedMessage(QuarantineAnswer):
    """The same with its payload: text when it is UTF-8, else base64."""

    payload: str
    payload_encoding: Literal["utf-8", "base64"]


@router.get("/ledger", response_model=Page[LedgerAnswer])
async def ledger(caller: SignedIn, connection: Database, limit: Limit = 1000, cursor: CursorText = None) -> Response:
    """Every agent and epoch of the organisation."""
    after = decode_cursor(cursor, str, str, str) if cursor else None
    rows = await ledger_store.ledger(connection, caller.organisation, after=after, limit=limit + 1)
    return reply(page_of([_ledger(row) for row in rows], limit, lambda item: (item.site, item.agent, item.epoch)))


@router.get("/ledger/{site}/{agent}", response_model=Page[LedgerAnswer])
async def agent_ledger(site: str, agent: str, caller: SignedIn, connection: Database) -> Response:
    """The epochs of one agent."""
    rows = await ledger_store.ledger(connection, caller.organisation, agent=(site, agent))
    if not rows:
        raise not_found(
            "nothing has come from such an agent of your organisation; GET /v1/ledger lists those that sent"
        )
    return reply(Page(items=[_ledger(row) for row in rows], next=None))


async def _filters(
    caller: SignedIn,
    reason: Text = None,
    site: Text = None,
    agent: Text = None,
    meter: Annotated[str | None, Query(max_length=100, description="finds only entries that wait")] = None,
    state: Annotated[Literal["waiting", "replayed", "all"], Query(description="which entries")] = "waiting",
) -> Filters:
    is_replayed = None if state == "all" else state == "replayed"
    return Filters(
        organisation=caller.organisation, is_replayed=is_replayed, site=site, agent=agent, meter=meter, reason=reason
    )


@router.get("/quarantine", response_model=Page[QuarantineAnswer])
async def quarantine(
    filters: Annotated[Filters, Depends(_filters)],
    connection: Database,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """What could not be stored, newest first."""
    (before,) = decode_cursor(cursor, int) if cursor else (None,)
    rows = await ledger_store.quarantine(connection, filters, before=before, limit=limit + 1)
    return reply(page_of([QuarantineAnswer(**row) for row in rows], limit, lambda item: (item.id,)))


@router.get("/quarantine/{entry}", response_model=QuarantinedMessage)
async def quarantined(entry: Annotated[int, Field(ge=1, lt=2**63)], caller: SignedIn, connection: Database) -> Response:
    """One message with its payload."""
    row = await ledger_store.quarantined(connection, caller.organisation, entry)
    if row is None:
        raise not_found("there is no such entry in your quarantine; GET /v1/quarantine lists them")
    return reply(quarantined_message(row))


def quarantined_message(row: dict[str, Any]) -> QuarantinedMessage:
    """An entry with its payload, as people can read it."""
    text, encoding = _text(bytes(row.pop("payload")))
    return QuarantinedMessage(**row, payload=text, payload_encoding=encoding)


def _text(payload: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"


def _ledger(row: dict[str, Any]) -> LedgerAnswer:
    outbox = row.pop("outbox") or {}
    missing = [Range(first=first, last=last) for first, last in row.pop("missing")]
    last_seq = outbox.get("last_seq")
    said, received = outbox.get("readings"), row["readings"]
    # An agent's word is as old as its last status, and what came since was sent all the same.
    is_current = said is not None and said >= received
    return LedgerAnswer(
        **row,
        sent=said if is_current else received,
        sent_says="agent" if is_current else "collector",
        dropped=outbox.get("dropped_readings"),
        waiting=outbox.get("waiting"),
        last_seq=last_seq,
        missing=missing,
        complete=row["stored_seq"] >= max(row["highest_seq"], last_seq or 0),
    )
