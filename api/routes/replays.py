"""Replays: what waits in quarantine goes through the same checks once more, after its cause was mended."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api import replay_store
from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Connection, Database
from api.exact_json import Answer, Instant, reply
from api.problems import not_found
from api.quarantine_answers import EntryNumber
from api.said import Words
from api.tables.formats import TableRoute
from schemas.quarantine import Reason
from schemas.topics import Key

router = APIRouter(prefix="/v1/quarantine", tags=["ledger"], route_class=TableRoute)

_LOOK_EVERY_S = 0.1
WaitS = Annotated[float, Query(ge=0, le=20, description="how long to wait for the replay before answering, in seconds")]


class ReplayRequest(BaseModel):
    """Which entries: those that fit all that is given; nothing given means all of the organisation.

    What was dropped is taken up only where `entry` names it. `because` is kept beside the token's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Key | None = None
    agent: Key | None = None
    meters: Annotated[list[Key], Field(min_length=1, max_length=10_000)] | None = None
    reason: Reason | None = None
    entry: EntryNumber | None = None
    because: Words | None = None


class ReplayAnswer(Answer):
    """A replay and how far it is. A collector takes up what is `waiting` within seconds, where one runs.

    Of the `tried` entries so many readings were stored, so many were there already, and `refused` are in quarantine
    still, by reason (an entry that holds no readings counts as one).
    """

    id: int
    state: Literal["waiting", "running", "done"]
    site: str | None
    agent: str | None
    meters: list[str] | None
    reason: str | None
    entry: int | None
    author: str | None
    because: str | None
    requested_at: Instant
    finished_at: Instant | None
    tried: int
    stored: int
    repeated: int
    refused: dict[str, int]


@router.post("/replay", response_model=ReplayAnswer)
async def replay(body: ReplayRequest, caller: SignedIn, connection: Database, wait_s: WaitS = 2.0) -> Response:
    """Try entries again. 202 while it is not done yet; GET /v1/quarantine/replays/{id} tells how it goes."""
    wanted = replay_store.Wanted(
        organisation=caller.organisation,
        site=body.site,
        agent=body.agent,
        meters=body.meters,
        reason=body.reason,
        entry=body.entry,
        author=f"token {caller.token}",
        because=body.because,
    )
    number = await replay_store.request_replay(connection, wanted)
    answer = await follow(connection, caller.organisation, number, wait_s=wait_s)
    return reply(answer, status=HTTPStatus.OK if answer.state == "done" else HTTPStatus.ACCEPTED)


@router.get("/replays", response_model=Page[ReplayAnswer])
async def replays(caller: SignedIn, connection: Database, limit: Limit = 100, cursor: CursorText = None) -> Response:
    """Replays that were asked for, newest first."""
    (before,) = decode_cursor(cursor, int) if cursor else (None,)
    rows = await replay_store.replays(connection, caller.organisation, before=before, limit=limit + 1)
    return reply(page_of([ReplayAnswer(**row) for row in rows], limit, lambda item: (item.id,)))


@router.get("/replays/{number}", response_model=ReplayAnswer)
async def one_replay(number: EntryNumber, caller: SignedIn, connection: Database) -> Response:
    """One replay."""
    return reply(await follow(connection, caller.organisation, number, wait_s=0))


async def follow(connection: Connection, organisation: str | None, number: int, *, wait_s: float) -> ReplayAnswer:
    """How a replay stands once it is done, or after so long. Raises a 404 problem."""
    for _ in range(max(round(wait_s / _LOOK_EVERY_S), 0) + 1):
        row = await replay_store.replay(connection, organisation, number)
        if row is None:
            raise not_found("there is no such replay of your organisation; GET /v1/quarantine/replays lists them")
        answer = ReplayAnswer(**row)
        if answer.state == "done" or wait_s == 0:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    return answer
