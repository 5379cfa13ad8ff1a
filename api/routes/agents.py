"""Agents: enrolment and renewal, open to whoever proves what they have, and what people do about agents."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from starlette.responses import Response

from api.agents import certificates, enrolment, invitations
from api.agents.attempts import Attempts
from api.agents.invitations import (
    AgentAnswer,
    InvitationAnswer,
    InvitationAsked,
    RevokedAnswer,
    WithdrawnAnswer,
    invited,
)
from api.agents.store import Invited
from api.agents.trust import Trust
from api.auth import SignedIn
from api.cursor import Page
from api.database import Database
from api.exact_json import reply
from api.problems import ProblemError
from api.said import Words
from api.settings import ApiSettings
from api.tables.formats import TableRoute
from schemas.enrolment import EnrolmentAnswer, EnrolmentRequest, RenewalAnswer, RenewalRequest
from schemas.topics import KEY_PATTERN

router = APIRouter(prefix="/v1", tags=["agents"], route_class=TableRoute)


def _trust(request: Request) -> Trust:
    trust: Trust = request.app.state.trust
    return trust


AppTrust = Annotated[Trust, Depends(_trust)]
SiteKey = Annotated[str, Path(pattern=KEY_PATTERN)]


def _agent(site: SiteKey, agent: SiteKey, caller: SignedIn) -> Invited:
    return invited(caller.organisation_id, caller.organisation, site, agent)


OwnAgent = Annotated[Invited, Depends(_agent)]
"""A route's parameter of this kind is the agent of the caller's organisation that the address names."""


@router.post("/enrolments", response_model=EnrolmentAnswer)
async def enrol(body: EnrolmentRequest, request: Request, connection: Database, trust: AppTrust) -> Response:
    """Exchange a code for a certificate. No token: the proof stands for it (docs/enrolment.md)."""
    _bound(request, body.code_id)
    return reply(await enrolment.enrol(connection, body, trust, now=datetime.now(UTC)))


@router.post("/renewals", response_model=RenewalAnswer)
async def renew(body: RenewalRequest, request: Request, connection: Database, trust: AppTrust) -> Response:
    """The next certificate for the key of the one before. No token: the signature stands for it."""
    _bound(request, hashlib.sha256(body.certificate.encode()).hexdigest())
    return reply(await certificates.renew(connection, body, trust, now=datetime.now(UTC)))


@router.get("/agents", response_model=Page[AgentAnswer])
async def agents(
    caller: SignedIn,
    connection: Database,
    site: Annotated[str | None, Query(max_length=100)] = None,
    agent: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Agents with their certificates, when they were heard last, and how they say they are."""
    found = await invitations.agents(connection, caller.organisation_id, site=site, agent=agent)
    return reply(Page(items=found, next=None))


@router.post("/agents/invitations", response_model=InvitationAnswer)
async def invite(
    body: InvitationAsked, caller: SignedIn, request: Request, connection: Database, trust: AppTrust
) -> Response:
    """A code for one enrolment, told this once. An open one for the same agent is worth nothing any more."""
    settings: ApiSettings = request.app.state.settings
    made = await invitations.invite(
        connection,
        invited(caller.organisation_id, caller.organisation, body.site, body.agent),
        trust,
        server=settings.public_url or str(request.base_url).rstrip("/"),
        author=caller.token,
        valid=timedelta(milliseconds=body.valid),
    )
    return reply(made)


@router.post("/agents/{site}/{agent}/withdraw", response_model=WithdrawnAnswer)
async def withdraw(agent: OwnAgent, connection: Database) -> Response:
    """Make the agent's open code worth nothing."""
    return reply(await invitations.withdraw(connection, agent))


@router.post("/agents/{site}/{agent}/revoke", response_model=RevokedAnswer)
async def revoke(
    agent: OwnAgent,
    caller: SignedIn,
    connection: Database,
    trust: AppTrust,
    reason: Annotated[Words, Body(embed=True)],
) -> Response:
    """End the agent's certificates, open code and connection. What it has sent stays; a new code lets it in again."""
    done = await certificates.revoke(connection, agent, trust, author=caller.token, because=reason)
    return reply(RevokedAnswer(was_valid=done.was_valid, broker_untold=done.broker_untold))


def _bound(request: Request, what: str) -> None:
    attempts: Attempts = request.app.state.attempts
    wait_s = attempts.wait_s(what, peer=request.client.host if request.client else "")
    if wait_s is not None:
        seconds = math.ceil(wait_s)
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too-many-attempts",
            f"too many attempts; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
