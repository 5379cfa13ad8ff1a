"""Invitations and certificates as the database holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg.rows import DictRow

from api.agents.authority import Issued
from api.database import Connection, fetch_all, fetch_one
from schemas.enrolment import username
from schemas.locks import BROKER_LIST_LOCK
from schemas.topics import AgentAddress

_CLOSE_OPEN: LiteralString = """
UPDATE invitation SET withdrawn_at = now()
WHERE organisation_id = %(organisation)s AND site = %(site)s AND agent = %(agent)s
  AND used_at IS NULL AND withdrawn_at IS NULL AND expires_at > now()
RETURNING id
"""
_INVITE: LiteralString = """
INSERT INTO invitation (organisation_id, site, agent, code_id, proof_key, author, expires_at)
VALUES (%(organisation)s, %(site)s, %(agent)s, %(code_id)s, %(proof_key)s, %(author)s, now() + %(valid)s)
RETURNING expires_at
"""
# Whoever comes second with the same code waits here, and finds it used.
_TAKE: LiteralString = """
SELECT i.id, i.organisation_id, o.key AS organisation, i.site, i.agent, i.proof_key, i.used_at, i.withdrawn_at,
       i.expires_at, i.expires_at <= now() AS is_expired
FROM invitation AS i JOIN organisation AS o ON o.id = i.organisation_id
WHERE i.code_id = %s FOR UPDATE OF i
"""
_USE: LiteralString = "UPDATE invitation SET used_at = now() WHERE id = %s"
_COUNT_REFUSED: LiteralString = "UPDATE invitation SET refused = refused + 1, refused_at = now() WHERE id = %s"
_OF_INVITATION: LiteralString = """
SELECT chain, not_after, csr_digest FROM agent_certificate WHERE invitation_id = %s AND revoked_at IS NULL
"""
_ADD: LiteralString = """
INSERT INTO agent_certificate (organisation_id, site, agent, serial, not_after, chain, csr_digest, invitation_id,
                               renews)
VALUES (%(organisation)s, %(site)s, %(agent)s, %(serial)s, %(not_after)s, %(chain)s, %(csr_digest)s, %(invitation)s,
        %(renews)s)
RETURNING id
"""
_HOLD: LiteralString = """
SELECT c.id, c.organisation_id, o.key AS organisation, c.site, c.agent, c.issued_at, c.not_after, c.revoked_at,
       c.because, c.not_after <= now() AS is_expired,
       now() < c.issued_at + (c.not_after - c.issued_at) / 2 AS is_young
FROM agent_certificate AS c JOIN organisation AS o ON o.id = c.organisation_id
WHERE c.serial = %s FOR UPDATE OF c
"""
_RENEWED_AS: LiteralString = """
SELECT chain, not_after FROM agent_certificate
WHERE renews = %(id)s AND csr_digest = %(csr_digest)s AND revoked_at IS NULL AND not_after > now()
"""
# Who renews one of them meanwhile is waited for, so that the statement after this one sees what came of it. In the
# order in which a renewal holds them.
_HOLD_ALL: LiteralString = """
SELECT id FROM agent_certificate
WHERE organisation_id = %(organisation)s AND site = %(site)s AND agent = %(agent)s AND revoked_at IS NULL
ORDER BY id FOR UPDATE
"""
_END_OTHERS: LiteralString = """
UPDATE agent_certificate SET revoked_at = now(), revoked_by = 'enrolment', because = %(because)s
WHERE organisation_id = %(organisation)s AND site = %(site)s AND agent = %(agent)s AND revoked_at IS NULL
  AND id <> %(id)s
"""
_END_SIBLINGS: LiteralString = """
UPDATE agent_certificate SET revoked_at = now(), revoked_by = 'renewal', because = 'renewed again'
WHERE renews = %(renews)s AND id <> %(id)s AND revoked_at IS NULL
"""
_REVOKE: LiteralString = """
UPDATE agent_certificate SET revoked_at = now(), revoked_by = %(author)s, because = %(because)s
WHERE organisation_id = %(organisation)s AND site = %(site)s AND agent = %(agent)s AND revoked_at IS NULL
RETURNING not_after > now() AS was_valid
"""
# A renewed certificate ends when the agent says that it uses the next one, or after some days in which it did not.
_END_RENEWED: LiteralString = """
UPDATE agent_certificate AS old SET revoked_at = now(), revoked_by = 'renewal', because = 'renewed'
FROM agent_certificate AS next JOIN organisation AS o ON o.id = next.organisation_id
LEFT JOIN agent_report AS r ON r.organisation = o.key AND r.site = next.site AND r.agent = next.agent
WHERE next.renews = old.id AND next.revoked_at IS NULL AND old.revoked_at IS NULL
  AND (next.issued_at < now() - %(grace)s
       OR (r.status #>> '{health,certificate_until}')::numeric >= extract(epoch FROM next.not_after) * 1000 - 1000)
"""
_TO_EXPEL: LiteralString = """
SELECT c.id, c.serial, c.agent FROM agent_certificate AS c
WHERE c.expelled_at IS NULL AND (c.revoked_at IS NOT NULL OR c.not_after <= now()) ORDER BY c.id LIMIT 1000
"""
_EXPELLED: LiteralString = "UPDATE agent_certificate SET expelled_at = now() WHERE id = %s"
# Who has ended since the list was made was let in with it, whatever the broker was told before.
_RECONCILED: LiteralString = """
UPDATE agent_certificate SET expelled_at = CASE WHEN serial = ANY(%(let_in)s) THEN NULL ELSE now() END
WHERE (revoked_at IS NOT NULL OR not_after <= now()) AND (expelled_at IS NULL OR serial = ANY(%(let_in)s))
"""
_FORGET: LiteralString = """
UPDATE invitation SET proof_key = NULL
WHERE proof_key IS NOT NULL AND least(expires_at, used_at, withdrawn_at) < now() - interval '30 days'
"""
_VALID: LiteralString = """
SELECT c.serial, o.key AS organisation, c.site, c.agent
FROM agent_certificate AS c JOIN organisation AS o ON o.id = c.organisation_id
WHERE c.revoked_at IS NULL AND c.not_after > now()
"""
_ANY_VALID: LiteralString = """
SELECT EXISTS (SELECT FROM agent_certificate WHERE revoked_at IS NULL AND not_after > now()) AS found
"""
_AGENTS: LiteralString = """
WITH o AS (SELECT id, key FROM organisation WHERE id = %(organisation)s),
known AS (
    SELECT site.key AS site, agent.key AS agent FROM agent JOIN site ON site.id = agent.site_id
    WHERE site.organisation_id = %(organisation)s
    UNION SELECT r.site, r.agent FROM agent_report AS r JOIN o ON o.key = r.organisation
    UNION SELECT site, agent FROM agent_certificate WHERE organisation_id = %(organisation)s
    UNION SELECT site, agent FROM invitation WHERE organisation_id = %(organisation)s
)
SELECT known.site, known.agent, c.serial, c.issued_at, c.not_after, c.revoked_at, c.revoked_by, c.because,
       c.revoked_at IS NOT NULL AND c.expelled_at IS NULL AS is_broker_untold, c.not_after <= now() AS is_expired,
       i.expires_at AS invited_until, a.refused, a.refused_at, r.heard_at, r.status
FROM known CROSS JOIN o
LEFT JOIN LATERAL (
    SELECT * FROM agent_certificate AS one
    WHERE one.organisation_id = o.id AND one.site = known.site AND one.agent = known.agent
    ORDER BY one.revoked_at IS NULL DESC, one.id DESC LIMIT 1
) AS c ON true
LEFT JOIN LATERAL (
    SELECT max(expires_at) AS expires_at FROM invitation AS one
    WHERE one.organisation_id = o.id AND one.site = known.site AND one.agent = known.agent
      AND one.used_at IS NULL AND one.withdrawn_at IS NULL AND one.expires_at > now()
) AS i ON true
LEFT JOIN LATERAL (
    SELECT sum(refused)::int AS refused, max(refused_at) AS refused_at FROM invitation AS one
    WHERE one.organisation_id = o.id AND one.site = known.site AND one.agent = known.agent
      AND one.refused_at > now() - interval '30 days'
) AS a ON true
LEFT JOIN agent_report AS r ON r.organisation = o.key AND r.site = known.site AND r.agent = known.agent
WHERE (%(site)s::text IS NULL OR known.site = %(site)s) AND (%(agent)s::text IS NULL OR known.agent = %(agent)s)
ORDER BY known.site, known.agent
"""
_ORGANISATIONS: LiteralString = "SELECT key FROM organisation"
_LET_IN: LiteralString = "SELECT pg_advisory_xact_lock_shared(%s)"
_LET_NOBODY_IN: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_SITE_IS_KNOWN: LiteralString = """
SELECT EXISTS (SELECT FROM site WHERE organisation_id = %(organisation)s AND key = %(site)s) AS found
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """An organisation's number beside the address, as rows keep it."""

    organisation_id: int
    address: AgentAddress

    def values(self, **more: Any) -> dict[str, Any]:
        """What statements about this agent are bound to."""
        address = self.address
        return {"organisation": self.organisation_id, "site": address.site, "agent": address.agent, **more}


async def invite(
    connection: Connection, who: Invited, *, code_id: str, proof_key: bytes, author: str, valid: timedelta
) -> datetime:
    """A new code, in place of an open one for the same agent. When it expires."""
    async with connection.transaction():
        await connection.execute(_CLOSE_OPEN, who.values())
        values = who.values(code_id=code_id, proof_key=proof_key, author=author, valid=valid)
        row = await fetch_one(connection, _INVITE, values)
    assert row is not None  # noqa: S101 - it returns what it put in
    expires_at: datetime = row["expires_at"]
    return expires_at


async def withdraw(connection: Connection, who: Invited) -> bool:
    """Whether there was an open code, which is worth nothing now."""
    return bool(await fetch_all(connection, _CLOSE_OPEN, who.values()))


async def take_invitation(connection: Connection, code_id: str) -> DictRow | None:
    """The invitation of that code, held until the transaction ends."""
    return await fetch_one(connection, _TAKE, [code_id])


async def count_refused(connection: Connection, invitation: int) -> None:
    """Somebody had the whole code, and it was worth nothing any more."""
    await connection.execute(_COUNT_REFUSED, [invitation])


async def certificate_of(connection: Connection, invitation: int) -> DictRow | None:
    """chain, not_after and csr_digest of what was issued for a code, unless it was revoked."""
    return await fetch_one(connection, _OF_INVITATION, [invitation])


async def add_enrolled(
    connection: Connection, who: Invited, issued: Issued, *, csr_digest: bytes, invitation: int
) -> None:
    """Use the code up, and end every other certificate of this agent."""
    await connection.execute(_USE, [invitation])
    number = await _add(connection, who, issued, csr_digest=csr_digest, invitation=invitation)
    await connection.execute(_HOLD_ALL, who.values())
    await connection.execute(_END_OTHERS, who.values(id=number, because="enrolled anew"))


async def add_renewed(connection: Connection, who: Invited, issued: Issued, *, csr_digest: bytes, renews: int) -> None:
    """The next one of a certificate, in place of any that was issued before and has not arrived, as it seems."""
    number = await _add(connection, who, issued, csr_digest=csr_digest, renews=renews)
    await connection.execute(_END_SIBLINGS, {"renews": renews, "id": number})


async def _add(
    connection: Connection,
    who: Invited,
    issued: Issued,
    *,
    csr_digest: bytes,
    invitation: int | None = None,
    renews: int | None = None,
) -> int:
    values = who.values(
        serial=serial_text(issued.serial),
        not_after=issued.not_after,
        chain=issued.chain,
        csr_digest=csr_digest,
        invitation=invitation,
        renews=renews,
    )
    row = await fetch_one(connection, _ADD, values)
    assert row is not None  # noqa: S101 - it returns what it put in
    return int(row["id"])


async def hold_certificate(connection: Connection, serial: int) -> DictRow | None:
    """The certificate with that serial number, held until the transaction ends."""
    return await fetch_one(connection, _HOLD, [serial_text(serial)])


async def renewed_as(connection: Connection, certificate: int, csr_digest: bytes) -> DictRow | None:
    """chain and not_after of what the same request for a renewal was answered with."""
    return await fetch_one(connection, _RENEWED_AS, {"id": certificate, "csr_digest": csr_digest})


async def revoke(connection: Connection, who: Invited, *, author: str, because: str) -> int:
    """End all certificates and open codes of an agent. How many of the certificates were valid until now."""
    async with connection.transaction():
        await connection.execute(_CLOSE_OPEN, who.values())
        await connection.execute(_HOLD_ALL, who.values())
        rows = await fetch_all(connection, _REVOKE, who.values(author=author, because=because))
    return sum(row["was_valid"] for row in rows)


async def end_what_is_over(connection: Connection, *, grace: timedelta) -> None:
    """Renewed certificates whose successor is in use, or is older than `grace`; keys of codes that ended long ago."""
    await connection.execute(_END_RENEWED, {"grace": grace})
    await connection.execute(_FORGET)


async def to_expel(connection: Connection) -> Sequence[tuple[int, str]]:
    """Number and broker's name of certificates that have ended, as far as the broker was not told of it."""
    return [(row["id"], _username(row)) for row in await fetch_all(connection, _TO_EXPEL)]


async def note_expelled(connection: Connection, certificate: int) -> None:
    """The broker was told."""
    await connection.execute(_EXPELLED, [certificate])


async def note_reconciled(connection: Connection, let_in: Iterable[str]) -> None:
    """The broker lets in these names and no other; those of them that have ended meanwhile are to be expelled."""
    await connection.execute(_RECONCILED, {"let_in": [name.rpartition(":")[2] for name in let_in]})


async def hold_reconciling(connection: Connection) -> None:
    """Until the transaction ends nobody brings the broker to what the database says: it is about to say more."""
    await connection.execute(_LET_IN, [BROKER_LIST_LOCK])


async def hold_issuing(connection: Connection) -> None:
    """Until the transaction ends nobody is let in: who is now is who the database says."""
    await connection.execute(_LET_NOBODY_IN, [BROKER_LIST_LOCK])


async def organisations(connection: Connection) -> list[str]:
    """The keys of all of this database."""
    return [row["key"] for row in await fetch_all(connection, _ORGANISATIONS)]


async def valid_names(connection: Connection) -> dict[str, AgentAddress]:
    """Whom the broker is to let in: the names of all valid certificates of all organisations."""
    return {
        _username(row): AgentAddress(organisation=row["organisation"], site=row["site"], agent=row["agent"])
        for row in await fetch_all(connection, _VALID)
    }


async def has_valid_certificates(connection: Connection) -> bool:
    """Whether any agent has one."""
    row = await fetch_one(connection, _ANY_VALID)
    return row is not None and row["found"]


async def agents(
    connection: Connection, organisation_id: int, *, site: str | None = None, agent: str | None = None
) -> list[DictRow]:
    """Each agent that the model, a report, a certificate or an invitation names, with the latest of each."""
    return await fetch_all(connection, _AGENTS, {"organisation": organisation_id, "site": site, "agent": agent})


async def site_is_known(connection: Connection, who: Invited) -> bool:
    """Whether the organisation's site model has the site."""
    row = await fetch_one(connection, _SITE_IS_KNOWN, who.values())
    return row is not None and row["found"]


def serial_text(serial: int) -> str:
    """As it stands in a certificate's common name and in the table."""
    return f"{serial:040x}"


def _username(row: DictRow) -> str:
    address = AgentAddress(organisation="", site="", agent=row["agent"])
    return username(address, int(row["serial"], 16))
