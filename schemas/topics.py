"""Where each message travels: `afkobling/v1/{organisation}/{site}/{agent}/{kind}`.

Identity comes from the topic, which the broker's access list enforces, never from the payload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

ROOT = "afkobling"
VERSION = "v1"
ALERTS = "alerts"
KEY_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"

Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
"""A short name that may stand in a topic: lower-case letters, digits, dot, dash, underscore."""

_KEY = re.compile(KEY_PATTERN)


class Kind(StrEnum):
    """What a message carries. All but STORED and CONFIGURATION travel from the agent to the collector."""

    READINGS = "readings"
    RUNS = "runs"
    METERS = "meters"
    STATUS = "status"
    STORED = "stored"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAddress:
    """Which agent, at which site of which organisation."""

    organisation: str
    site: str
    agent: str

    def topic(self, kind: Kind) -> str:
        return f"{ROOT}/{VERSION}/{self.organisation}/{self.site}/{self.agent}/{kind}"

    def __str__(self) -> str:
        return f"{self.organisation}/{self.site}/{self.agent}"


def alerts_topic(organisation: str, site: str) -> str:
    """Where a site's alerts are published: beside its agents, by no agent, and not for the collector."""
    return f"{ROOT}/{VERSION}/{organisation}/{site}/{ALERTS}"


def is_alerts_topic(topic: str) -> bool:
    """Whether alerts are published there. An agent of that name speaks one level below."""
    parts = topic.split("/")
    return len(parts) == 5 and topic == alerts_topic(parts[2], parts[3])


class ForeignTopicError(ValueError):
    """The topic is not one of ours; the message says in which way."""


def parse_topic(topic: str) -> tuple[AgentAddress, Kind]:
    """The address and kind behind a topic. Raises ForeignTopicError."""
    parts = topic.split("/")
    if len(parts) != 6 or parts[0] != ROOT:
        raise ForeignTopicError(f"topic {topic!r} is not {ROOT}/{VERSION}/organisation/site/agent/kind")
    _, version, organisation, site, agent, kind = parts
    if version != VERSION:
        raise ForeignTopicError(f"topic {topic!r} is of version {version!r}; this is {VERSION}")
    for part in (organisation, site, agent):
        if not _KEY.fullmatch(part):
            raise ForeignTopicError(f"topic {topic!r}: {part!r} is not a key (lower-case letters, digits, . _ -)")
    if kind not in set(Kind):
        raise ForeignTopicError(f"topic {topic!r}: kind {kind!r} is not one of {', '.join(Kind)}")
    return AgentAddress(organisation=organisation, site=site, agent=agent), Kind(kind)
