"""A code is exchanged for a certificate, once."""

from __future__ import annotations

import secrets
from datetime import datetime
from http import HTTPStatus

import structlog
from psycopg.rows import DictRow

from api.agents import store
from api.agents.authority import Authority
from api.agents.certificates import csr_digest, end_at_broker, issue
from api.agents.store import Invited
from api.agents.trust import Trust
from api.database import Connection
from api.problems import ProblemError
from api.said import unix_ms
from schemas.enrolment import Enrolled, EnrolmentAnswer, EnrolmentRequest, is_proven, prove
from schemas.topics import AgentAddress

log = structlog.get_logger(__name__)

_NOBODYS_KEY = secrets.token_bytes(32)
"""A code that is not known takes as long as one that is."""


async def enrol(connection: Connection, request: EnrolmentRequest, trust: Trust, *, now: datetime) -> EnrolmentAnswer:
    """Use the code up and issue a certificate, all or nothing.

    The same request again, within the code's lifetime, is given the same certificate: the answer may have got lost.
    Raises a 403 problem, the same whether the code exists or not; a 410 problem for a code that is worth nothing any
    more, to whoever has it; 422 for a request that cannot be signed; 503 with nothing changed.
    """
    refused: ProblemError | None = None
    enrolled: Enrolled | None = None
    async with connection.transaction():
        found = await store.take_invitation(connection, request.code_id)
        key = found["proof_key"] if found is not None else None
        is_right = is_proven(key or _NOBODYS_KEY, "request", request.csr.encode(), request.proof)
        if found is None or key is None or not is_right:
            log.warning("an enrolment was refused: no such code, or not all of it is right", action="enrolment.refused")
            raise _wrong_code()
        address = AgentAddress(organisation=found["organisation"], site=found["site"], agent=found["agent"])
        refused = _spent(found, address)
        if refused is None:
            enrolled = await _enrol(connection, found, address, request.csr, trust, now=now)
        elif not found["is_expired"]:
            enrolled = await _given_before(connection, found["id"], address, request.csr, trust)
        if enrolled is None:
            await store.count_refused(connection, found["id"])
    if enrolled is None:
        log.error(
            "somebody tried an enrolment code that is worth nothing any more; if it was not you, revoke the agent",
            action="enrolment.repeated",
            agent=str(address),
        )
        raise refused or _wrong_code()
    await end_at_broker(connection, trust)
    text = enrolled.model_dump_json()
    return EnrolmentAnswer(enrolled=text, proof=prove(key, "answer", text.encode()))


async def _enrol(
    connection: Connection, found: DictRow, address: AgentAddress, csr: str, trust: Trust, *, now: datetime
) -> Enrolled:
    authority = await trust.authority_of(address.organisation)
    issued = await issue(connection, authority, csr, address, trust, now=now)
    who = Invited(organisation_id=found["organisation_id"], address=address)
    await store.add_enrolled(connection, who, issued, csr_digest=csr_digest(csr), invitation=found["id"])
    log.info("an agent is enrolled", action="agent.enrolled", agent=str(address))
    return _told(trust, authority, address, issued.chain, issued.not_after)


async def _given_before(
    connection: Connection, invitation: int, address: AgentAddress, csr: str, trust: Trust
) -> Enrolled | None:
    """What the same request was answered with; None when it was another device's."""
    given = await store.certificate_of(connection, invitation)
    if given is None or given["csr_digest"] != csr_digest(csr):
        return None
    return _told(trust, await trust.authority_of(address.organisation), address, given["chain"], given["not_after"])


def _told(trust: Trust, authority: Authority, address: AgentAddress, chain: str, not_after: datetime) -> Enrolled:
    return Enrolled(
        organisation=address.organisation,
        site=address.site,
        agent=address.agent,
        certificate=chain,
        authority=authority.root.pem,
        broker=trust.the_broker(),
        not_after=unix_ms(not_after),
    )


def _wrong_code() -> ProblemError:
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "enrolment-refused",
        "this code is not known here, or not all of it is right; paste it whole, or ask for a new one (`afkobling "
        "agent invite`)",
    )


def _spent(found: DictRow, address: AgentAddress) -> ProblemError | None:
    """Why a code is worth nothing any more, in words for whoever has it; None while it is good."""
    another = "ask for a new one (`afkobling agent invite`)"
    if found["used_at"] is not None:
        words = (
            f"this code was used on {_day(found['used_at'])}, and is worth one enrolment; {another}. If it was not you "
            f"who used it, have the agent revoked: `afkobling agent revoke {address.agent}`"
        )
    elif found["withdrawn_at"] is not None:
        words = f"this code was withdrawn on {_day(found['withdrawn_at'])}; {another}"
    elif found["is_expired"]:
        words = f"this code expired on {_day(found['expires_at'])}; {another}"
    else:
        return None
    return ProblemError(HTTPStatus.GONE, "code-spent", words)


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d at %H:%M} UTC"
