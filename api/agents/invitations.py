"""Codes for one enrolment each."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.agents import store
from api.agents.store import Invited
from api.agents.trust import Trust
from api.database import Connection
from api.exact_json import Answer, Instant
from api.problems import not_found
from schemas.durations import SpanMs, at_most
from schemas.enrolment import EnrolmentCode, proof_key
from schemas.topics import AgentAddress, Key


class InvitationAsked(BaseModel):
    """For whom a code is, and for how long it is good. The site model need not know the agent yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Key
    agent: Key
    valid: Annotated[SpanMs, at_most("30d"), Field(ge=60_000)] = 86_400_000


class InvitationAnswer(Answer):
    """`code` is told this once. `remarks` say what may be a slip of the pen."""

    organisation: str
    site: str
    agent: str
    code: str
    command: Annotated[str, Field(description="what to type at the device, in the folder of its edge.yaml")]
    expires_at: Instant
    remarks: list[str]


class WithdrawnAnswer(Answer):
    """`was_open`: whether there was a code to withdraw."""

    was_open: bool


class RevokedAnswer(Answer):
    """`was_valid`: whether there was a certificate to end. `broker_untold`: why the broker does not know of it yet."""

    was_valid: bool
    broker_untold: str | None


class AgentAnswer(Answer):
    """One agent. `state`: none (no certificate), valid, expired or revoked.

    `until` is when its certificate expires, `invited_until` when an open code does, `seen_at` when it was heard last.
    `problems` and `silent_meters` are what it says of itself. `alarm`: somebody tried one of its codes again.
    """

    site: str
    agent: str
    state: str
    until: Instant | None
    issued_at: Instant | None
    revoked_at: Instant | None
    revoked_by: str | None
    because: str | None
    invited_until: Instant | None
    seen_at: Instant | None
    is_online: bool | None
    version: str | None
    problems: list[str] | None
    silent_meters: list[str] | None
    alarm: str | None
    broker_untold: bool


async def invite(
    connection: Connection, who: Invited, trust: Trust, *, server: str, author: str, valid: timedelta
) -> InvitationAnswer:
    """A code for one enrolment; an open one for the same agent is worth nothing any more.

    `server` is where the device reaches the API. Raises a 503 problem when the code could not be used.
    """
    await trust.prepare(connection, who.address.organisation)
    code = EnrolmentCode.make(server, choose=secrets.choice)
    expires_at = await store.invite(
        connection, who, code_id=code.code_id, proof_key=proof_key(code.secret), author=author, valid=valid
    )
    remarks = []
    if not await store.site_is_known(connection, who):
        remarks.append(
            f"the site model has no site {who.address.site}; the agent can enrol, and its readings wait in quarantine "
            "until the site is there"
        )
    return InvitationAnswer(
        organisation=who.address.organisation,
        site=who.address.site,
        agent=who.address.agent,
        code=str(code),
        command=f"afkobling edge enrol '{code}'",
        expires_at=expires_at,
        remarks=remarks,
    )


async def withdraw(connection: Connection, who: Invited) -> WithdrawnAnswer:
    """Make an agent's open code worth nothing. Raises a 404 problem for an agent that nobody knows."""
    was_open = await store.withdraw(connection, who)
    if not was_open:
        await known_agent(connection, who)
    return WithdrawnAnswer(was_open=was_open)


async def known_agent(connection: Connection, who: Invited) -> AgentAnswer:
    """The agent. Raises a 404 problem."""
    found = await agents(connection, who.organisation_id, site=who.address.site, agent=who.address.agent)
    if not found:
        raise not_found(f"there is no agent {who.address}; `afkobling agent list` shows those that there are")
    return found[0]


async def agents(
    connection: Connection, organisation_id: int, *, site: str | None = None, agent: str | None = None
) -> list[AgentAnswer]:
    """All agents of an organisation, by site and key."""
    return [_told(row) for row in await store.agents(connection, organisation_id, site=site, agent=agent)]


def invited(organisation_id: int, organisation: str, site: str, agent: str) -> Invited:
    """An agent of an organisation."""
    address = AgentAddress(organisation=organisation, site=site, agent=agent)
    return Invited(organisation_id=organisation_id, address=address)


def _told(row: dict[str, Any]) -> AgentAnswer:
    status = row["status"] or {}
    health = status.get("health") or {}
    state = "none"
    if row["serial"] is not None:
        state = "revoked" if row["revoked_at"] else "expired" if row["is_expired"] else "valid"
    return AgentAnswer(
        site=row["site"],
        agent=row["agent"],
        state=state,
        until=row["not_after"],
        issued_at=row["issued_at"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
        because=row["because"],
        invited_until=row["invited_until"],
        seen_at=row["heard_at"],
        is_online=status.get("state") == "online" if status else None,
        version=status.get("version"),
        problems=health.get("problems"),
        silent_meters=health.get("silent_meters"),
        alarm=_alarm(row["refused_at"], row["refused"]),
        broker_untold=bool(row["is_broker_untold"]),
    )


def _alarm(at: datetime | None, times: int | None) -> str | None:
    if at is None:
        return None
    often = "" if times == 1 else f", {times} times"
    return f"somebody tried its code again on {at:%Y-%m-%d %H:%M} UTC{often}: if it was not you, revoke the agent"
