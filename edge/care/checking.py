"""Whether an agent can run with a text that is sent: the same that `afkobling edge check` says, and a little more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from edge.care.places import changed_branch, foreign_places
from edge.checking import offered_by
from edge.configuration import EdgeConfiguration, EdgeSettings, resolve
from edge.errors import EdgeError, EdgePermanentError
from schemas.configuration import ConfigurationError, Problem, parse_configuration, with_lines
from schemas.mapping import MappingError
from schemas.topics import AgentAddress

MOST_CHARACTERS = 200_000
_KEPT = ("organisation", "site", "agent", "broker", "tls", "metrics_port", "metrics_address")
"""What may be left out of a text that is sent: the agent keeps what it has."""
_NAME = "edge.yaml"
_DEEPEST = 50


class SentRefusedError(EdgePermanentError):
    """The agent cannot run with it; the message says why, a line for each problem."""


class _Tree(BaseModel):
    """Any mapping, as it stands in the file."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The text that edge.yaml is to have, and the meters that are read with it."""

    text: str
    meters: frozenset[str]


def check_sent(
    body: str,
    *,
    present_text: str,
    present: EdgeConfiguration,
    path: Path,
    environment: Mapping[str, str],
    waiting_bytes: int,
) -> Accepted:
    """What an agent runs that has the file `path` now, and `waiting_bytes` in its outbox.

    Makes every driver, without its device. Raises SentRefusedError.
    """
    try:
        text = completed(body, tree_of(present_text))
        sent = resolve(parse_configuration(text, name=_NAME, model=EdgeSettings), path, environment)
        problems = [*changed_branch(present, sent), *foreign_places(present, sent, path)]
        if sent.outbox.max_size < waiting_bytes:
            problems.append(
                Problem(
                    location=("outbox", "max_size"),
                    message=f"{waiting_bytes} bytes wait in the outbox, of which some would be given up; choose a "
                    "larger one, or send it when the outbox has emptied",
                )
            )
        lines = with_lines(text, name=_NAME, problems=problems)
        if lines:
            raise SentRefusedError("\n".join(lines))
        meters, lines = offered_by(sent, text, name=_NAME)
    except (ConfigurationError, EdgeError, MappingError) as error:
        raise SentRefusedError(str(error)) from error
    if lines:
        raise SentRefusedError("\n".join(lines))
    return Accepted(text=text, meters=frozenset(meter.meter for meter in meters))


def check_settings(body: str, address: AgentAddress, *, name: str) -> EdgeSettings:
    """What can be told of a text for that agent without its device and its files.

    Raises SentRefusedError with a line for each problem of the file `name`.
    """
    whose = {"organisation": address.organisation, "site": address.site, "agent": address.agent}
    try:
        text = completed(body, whose, name=name)
        settings = parse_configuration(text, name=name, model=EdgeSettings)
    except ConfigurationError as error:
        raise SentRefusedError(str(error)) from error
    wrong = [
        Problem(location=(key,), message=f"this is sent to {address}; correct it")
        for key, value in whose.items()
        if getattr(settings, key) != value
    ]
    if wrong:
        raise SentRefusedError("\n".join(with_lines(text, name=name, problems=wrong)))
    return settings


def tree_of(text: str, *, name: str = _NAME) -> dict[str, Any]:
    """The file as it stands, not validated. Raises ConfigurationError."""
    return parse_configuration(text, name=name, model=_Tree).model_extra or {}


def completed(body: str, present: Mapping[str, Any], *, name: str = _NAME) -> str:
    """With what the agent keeps to itself, where that is left out; as it stands where nothing is.

    Raises ConfigurationError; also for aliases and depths, with which a short text takes endless time.
    """
    if len(body) > MOST_CHARACTERS:
        raise ConfigurationError(
            [f"{name}:1: {len(body)} characters are more than the {MOST_CHARACTERS} that can be sent; make it shorter"]
        )
    _refuse_what_grows(body, name)
    tree = tree_of(body, name=name)
    missing = {key: present[key] for key in _KEPT if key not in tree and key in present}
    outbox, own = tree.get("outbox", {}), present.get("outbox")
    if isinstance(outbox, dict) and isinstance(own, dict) and "path" in own and "path" not in outbox:
        tree["outbox"] = {"path": own["path"], **outbox}
        missing["outbox"] = tree["outbox"]
    if not missing:
        return body
    return yaml.safe_dump({**missing, **tree}, sort_keys=False, allow_unicode=True)


def _refuse_what_grows(body: str, name: str) -> None:
    depth = 0
    try:
        for event in yaml.parse(body, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ConfigurationError([f"{name}:{line}: an alias (*{event.anchor}) cannot be sent; write it out"])
            if depth > _DEEPEST:
                raise ConfigurationError(
                    [f"{name}:{line}: lists and mappings stand too deep in each other; make it flatter"]
                )
    except (yaml.YAMLError, ValueError, RecursionError):
        # Told by the parser that follows, with its line.
        return
