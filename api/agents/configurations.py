"""What agents are told to run: signed versions, and what became of the latest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, LiteralString

from psycopg.rows import DictRow
from pydantic import Field

from api.agents.authority import Authority
from api.agents.store import Invited
from api.database import Connection, fetch_all, fetch_one
from api.errors import ApiError
from api.exact_json import Answer, Instant
from schemas.errors import PermanentError
from schemas.signed import configuration_bytes
from schemas.wire import Configuration, ConfigurationStanding

# Of two who send at once, the second waits, and gets the next number.
_ALONE: LiteralString = """
SELECT pg_advisory_xact_lock(hashtextextended(%(organisation)s || '/' || %(site)s || '/' || %(agent)s, 2101))
"""
# An agent that knows later ones than the database, as after a restore, would take none of a lower number.
_LATEST: LiteralString = """
SELECT greatest(
    (SELECT max(version) FROM agent_configuration
     WHERE (organisation_id, site, agent) = (%(organisation)s, %(site)s, %(agent)s)),
    (SELECT (r.status #>> '{configuration,latest}')::numeric::int8
     FROM agent_report AS r JOIN organisation AS o ON o.key = r.organisation
     WHERE o.id = %(organisation)s AND (r.site, r.agent) = (%(site)s, %(agent)s)),
    0) AS version
"""
_ADD: LiteralString = """
INSERT INTO agent_configuration (organisation_id, site, agent, version, body, signature, sent_at, author, because)
VALUES (%(organisation)s, %(site)s, %(agent)s, %(version)s, %(body)s, %(signature)s,
        to_timestamp(%(sent_at)s / 1000.0), %(author)s, %(because)s)
"""
_VERSIONS: LiteralString = """
SELECT c.version, c.body, c.signature, c.author, c.because, c.sent_at,
       (extract(epoch FROM c.sent_at) * 1000)::int8 AS sent_at_ms,
       r.status -> 'configuration' AS said, r.status ->> 'state' AS state, r.heard_at
FROM agent_configuration AS c JOIN organisation AS o ON o.id = c.organisation_id
LEFT JOIN agent_report AS r ON (r.organisation, r.site, r.agent) = (o.key, c.site, c.agent)
WHERE c.organisation_id = %(organisation)s AND (c.site, c.agent) = (%(site)s, %(agent)s)
ORDER BY c.version DESC LIMIT %(limit)s
"""


class TooLongError(ApiError, PermanentError):
    """More than one message to an agent may hold."""


class Fate(StrEnum):
    """What became of a version, as far as is known here.

    `unheard`: the agent has not said that it got it. `replaced`: a later one was sent.
    """

    UNHEARD = "unheard"
    ON_TRIAL = "on_trial"
    APPLIED = "applied"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    REPLACED = "replaced"
    CHANGED_THERE = "changed_there"


class ConfigurationAnswer(Answer):
    """One version that was sent."""

    version: int
    sent_at: Instant
    author: str
    because: str | None
    fate: Fate
    reason: Annotated[str | None, Field(description="why it was refused or taken back, as the agent says it")]
    running: Annotated[bool, Field(description="the agent runs with it, as it said last")]
    body: str


async def send(
    connection: Connection, who: Invited, authority: Authority, *, body: str, author: str, because: str, now: datetime
) -> Configuration:
    """Sign and keep a new version. The caller publishes it, at once or again later: nothing is lost in between.

    Raises TooLongError.
    """
    async with connection.transaction():
        address = who.address
        alone = {"organisation": str(who.organisation_id), "site": address.site, "agent": address.agent}
        await connection.execute(_ALONE, alone)
        row = await fetch_one(connection, _LATEST, who.values())
        version = 1 + (row["version"] if row else 0)
        sent_at = round(now.timestamp() * 1000)
        signature = authority.sign(configuration_bytes(address, version=version, sent_at=sent_at, body=body))
        message = Configuration(version=version, sent_at=sent_at, body=body, signature=signature)
        values = who.values(
            version=version, body=body, signature=signature, sent_at=sent_at, author=author, because=because or None
        )
        payload_of(message)
        await connection.execute(_ADD, values)
    return message


_MOST_BYTES = 900_000


def payload_of(message: Configuration) -> bytes:
    """As it is published. Raises TooLongError."""
    payload = message.model_dump_json().encode()
    if len(payload) > _MOST_BYTES:
        raise TooLongError(f"the configuration takes {len(payload)} bytes of the {_MOST_BYTES} that one message holds")
    return payload


async def latest(connection: Connection, who: Invited) -> Configuration | None:
    """The version that was sent last, as it is published; None where none was."""
    rows = await fetch_all(connection, _VERSIONS, who.values(limit=1))
    if not rows:
        return None
    (row,) = rows
    return Configuration(
        version=row["version"], sent_at=row["sent_at_ms"], body=row["body"], signature=row["signature"]
    )


async def history(connection: Connection, who: Invited, *, limit: int) -> list[ConfigurationAnswer]:
    """The versions that were sent, the latest first, with what became of them."""
    rows = await fetch_all(connection, _VERSIONS, who.values(limit=limit))
    return [_told(row, is_latest=nth == 0) for nth, row in enumerate(rows)]


def _told(row: DictRow, *, is_latest: bool) -> ConfigurationAnswer:
    said: Mapping[str, Any] = row["said"] or {}
    fate, reason = what_became(row["version"], said) if is_latest else (Fate.REPLACED, None)
    return ConfigurationAnswer(
        version=row["version"],
        sent_at=row["sent_at"],
        author=row["author"],
        because=row["because"],
        fate=fate,
        reason=reason,
        running=said.get("running") == row["version"],
        body=row["body"],
    )


def what_became(version: int, said: Mapping[str, Any]) -> tuple[Fate, str | None]:
    """Of the latest version, by what the agent says of itself (`schemas.wire.ConfigurationState`)."""
    standing, reason = said.get("standing"), said.get("reason")
    if said.get("latest", 0) < version:
        # An agent that cannot know who sent it keeps nothing of it, and names it in the reason only.
        is_named = standing == ConfigurationStanding.REFUSED and str(reason).startswith(f"version {version} ")
        return (Fate.REFUSED, reason) if is_named else (Fate.UNHEARD, None)
    if standing == ConfigurationStanding.LOCAL:
        return Fate.CHANGED_THERE, None
    if standing == ConfigurationStanding.REFUSED and said.get("running") == version:
        # What was refused is something else that came since, such as an older one or a forged one.
        return Fate.APPLIED, reason
    return (Fate(standing), reason) if standing in set(Fate) else (Fate.UNHEARD, None)
