"""Issuing agents' certificates, renewing and revoking them, and keeping the broker in step."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.rows import DictRow

from api.agents import store
from api.agents.authority import UNREADABLE, Authority, AuthorityError, BadRequestError, Issued
from api.agents.broker_access import BrokerAccessError, Reconciled
from api.agents.store import Invited
from api.agents.trust import Trust, unavailable
from api.database import Connection
from api.problems import ProblemError, bad_value, not_found
from api.said import unix_ms
from schemas.enrolment import RenewalAnswer, RenewalRequest, renewal_bytes, username
from schemas.topics import AgentAddress

log = structlog.get_logger(__name__)

RENEWED_ENDS_AFTER = timedelta(days=3)
"""A certificate that was renewed is let in as long, unless the agent is known to use the next one."""


def csr_digest(csr: str) -> bytes:
    """By which a repeated request is known again."""
    return hashlib.sha256(csr.encode()).digest()


async def issue(
    connection: Connection, authority: Authority, csr: str, address: AgentAddress, trust: Trust, *, now: datetime
) -> Issued:
    """A certificate whose name the broker lets in from now on; to be kept in the same transaction.

    Raises a 422 problem for a request that cannot be signed, and 503 when the broker cannot be told.
    """
    try:
        issued = authority.issue_agent(csr, address, now=now, valid=trust.valid)
    except BadRequestError as error:
        raise bad_value("csr", str(error)) from error
    except AuthorityError as error:
        raise unavailable(str(error)) from error
    await store.hold_reconciling(connection)
    try:
        await trust.the_access().admit(address, username(address, issued.serial))
    except BrokerAccessError as error:
        raise unavailable(f"{error}; nothing was issued, and the same request will do in a moment") from error
    return issued


async def renew(connection: Connection, request: RenewalRequest, trust: Trust, *, now: datetime) -> RenewalAnswer:
    """The next certificate, for whoever has the key of the one before; the same request is given the same again, for
    as long as that is valid.

    Raises a 403 problem for what is not proven; to who proves it, 410 for a certificate that is revoked or expired and
    409 for one that has more than half of its time before it; 422 and 503 as in `issue`.
    """
    async with connection.transaction():
        certificate = _proven(request)
        found = None if certificate is None else await store.hold_certificate(connection, certificate.serial_number)
        if certificate is None or found is None:
            raise _not_ours()
        authority = await trust.authority_of(found["organisation"])
        if not authority.has_issued(certificate):
            raise _not_ours()
        digest = csr_digest(request.csr)
        # First of all: an agent that was off when the answer came asks again when the old one has ended since.
        given = await store.renewed_as(connection, found["id"], digest)
        if given is not None:
            return RenewalAnswer(certificate=given["chain"], not_after=unix_ms(given["not_after"]))
        _check_renewable(found)
        if found["is_young"]:
            raise ProblemError(
                HTTPStatus.CONFLICT, "renewal-early", "this certificate is renewed when half of its time is over"
            )
        address = AgentAddress(organisation=found["organisation"], site=found["site"], agent=found["agent"])
        issued = await issue(connection, authority, request.csr, address, trust, now=now)
        who = Invited(organisation_id=found["organisation_id"], address=address)
        await store.add_renewed(connection, who, issued, csr_digest=digest, renews=found["id"])
    log.info("an agent's certificate is renewed", action="agent.renewed", agent=str(address))
    await end_at_broker(connection, trust)
    return RenewalAnswer(certificate=issued.chain, not_after=unix_ms(issued.not_after))


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """`was_valid`: whether there was a certificate to end. `is_broker_told`: why not, in words, where it was not."""

    was_valid: bool
    broker_untold: str | None


async def revoke(connection: Connection, who: Invited, trust: Trust, *, author: str, because: str) -> Revoked:
    """End all certificates and open codes of an agent, and its connection. Raises a 404 problem for an unknown agent.

    What the broker could not be told is told it later, by the API.
    """
    rows = await store.agents(connection, who.organisation_id, site=who.address.site, agent=who.address.agent)
    if not rows:
        raise not_found(f"there is no agent {who.address}; `afkobling agent list` shows those that there are")
    count = await store.revoke(connection, who, author=author, because=because)
    log.warning("an agent is revoked", action="agent.revoked", agent=str(who.address), author=author, because=because)
    return Revoked(was_valid=count > 0, broker_untold=await end_at_broker(connection, trust))


async def end_at_broker(connection: Connection, trust: Trust) -> str | None:
    """Send away all whose certificates have ended. Why the broker could not be told, or None."""
    for number, name in await store.to_expel(connection):
        try:
            await trust.the_access().expel(name)
        except (BrokerAccessError, ProblemError) as error:
            log.warning(
                "the broker could not be told whose certificates have ended; it is tried again",
                action="broker.untold",
                reason=str(error),
            )
            return str(error)
        await store.note_expelled(connection, number)
    return None


async def keep_in_step(connection: Connection, trust: Trust) -> None:
    """What is due by time: renewed certificates end when the next one is used, and the broker hears of it."""
    await store.end_what_is_over(connection, grace=RENEWED_ENDS_AFTER)
    await end_at_broker(connection, trust)


async def reconcile(connection: Connection, trust: Trust) -> Reconciled:
    """Let the broker let in whoever has a valid certificate, and no other agent of this database's organisations.

    Raises a 503 problem.
    """
    await store.end_what_is_over(connection, grace=RENEWED_ENDS_AFTER)
    async with connection.transaction():
        await store.hold_issuing(connection)
        wanted = await store.valid_names(connection)
        try:
            done = await trust.the_access().reconcile(wanted, organisations=await store.organisations(connection))
        except BrokerAccessError as error:
            raise unavailable(str(error)) from error
        await store.note_reconciled(connection, wanted)
    await end_at_broker(connection, trust)
    return done


def _proven(request: RenewalRequest) -> x509.Certificate | None:
    """The certificate whose key signed the request; None where it did not, or there is none."""
    try:
        certificate = x509.load_pem_x509_certificate(request.certificate.encode())
        key = certificate.public_key()
        signature = base64.b64decode(request.signature, validate=True)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return None
        key.verify(signature, renewal_bytes(request.csr), ec.ECDSA(hashes.SHA256()))
    except (*UNREADABLE, binascii.Error, InvalidSignature):
        return None
    return certificate


def _check_renewable(found: DictRow) -> None:
    anew = "enrol the agent anew with a code (`afkobling agent invite`)"
    if found["revoked_at"] is not None:
        words = f"this certificate was revoked on {found['revoked_at']:%Y-%m-%d} ({found['because'] or 'no reason'})"
    elif found["is_expired"]:
        words = f"this certificate expired on {found['not_after']:%Y-%m-%d}, and only a valid one is renewed"
    else:
        return
    raise ProblemError(HTTPStatus.GONE, "certificate-over", f"{words}; {anew}")


def _not_ours() -> ProblemError:
    log.warning("a renewal was refused: not one of our certificates, or not its key", action="renewal.refused")
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "renewal-refused",
        "this is no certificate of this server's agents, or not signed with its key; enrol the agent anew with a code "
        "(`afkobling agent invite`)",
    )
