"""Profiles: what a type of meter says where, as data (`edge/profiles/*.yaml`). Each protocol has its own model."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from edge.drivers.quantity import Quantity
from edge.errors import EdgePermanentError
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.topics import Key


class Protocol(StrEnum):
    """What a device speaks, as a profile says it; also the name of the driver that uses the profile."""

    MODBUS = "modbus"
    MBUS = "mbus"


class Profile(BaseModel):
    """A type of meter. `source` says where the facts come from, and whether anybody tried them on hardware.

    A protocol's model narrows `protocol` and adds `quantities`, keyed by what they are called in edge.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Key
    description: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    protocol: Protocol


P = TypeVar("P", bound=Profile)
Q = TypeVar("Q", bound=Quantity)


def shipped_profiles(protocol: Protocol | None = None) -> Mapping[str, str]:
    """Name to YAML text of each profile that comes with Afkobling; of one protocol or of all."""
    return {name: text for name, text in _shipped().items() if protocol in {None, _protocol_of(text)}}


# A hundred meters of one type share its profile, and the agent starts in a second: each text is read once.
@cache
def _shipped() -> Mapping[str, str]:
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(files("edge.profiles").iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".yaml")
    }


@cache
def _parsed(text: str, name: str, model: type[P]) -> P:
    """Raises ConfigurationError."""
    return parse_configuration(text, name=name, model=model)


def load_profile(name: str, *, folder: Path, model: type[P], protocol: Protocol) -> P:
    """A shipped profile by name, or one's own by the path of its .yaml file from `folder`.

    Raises EdgePermanentError that lists the shipped ones of the protocol, or that names file, line and remedy.
    """
    found: P
    shipped = _shipped().get(name, "")
    other = _protocol_of(shipped)
    if other == protocol:
        found = _parsed(shipped, f"{name}.yaml", model)
        return found
    if not name.endswith((".yaml", ".yml")):
        why = f"the profile {name} is for the driver {other}" if other else f"there is no profile {name!r}"
        known = ", ".join(shipped_profiles(protocol))
        raise EdgePermanentError(f"{why}; known for {protocol}: {known}, or give the path of your own .yaml file")
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgePermanentError(f"the profile {path} cannot be read: {error}") from error
    other = _protocol_of(text)
    if other not in {None, protocol}:
        raise EdgePermanentError(f"the profile {path} is for the driver {other}, not for {protocol}")
    try:
        found = _parsed(text, str(path), model)
    except ConfigurationError as error:
        raise EdgePermanentError(str(error)) from error
    return found


@cache
def _protocol_of(text: str) -> str | None:
    """What the profile says of its protocol; None where it can't be read or says nothing."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None
    return data.get("protocol") if isinstance(data, dict) else None


def choose_quantities(profile: str, known: Mapping[str, Q], meters: Mapping[str, str], *, driver: str) -> dict[str, Q]:
    """The profile's quantity of each of a driver's meters. Raises EdgePermanentError for one that it has not."""
    for meter, quantity in meters.items():
        if quantity not in known:
            raise EdgePermanentError(
                f"driver {driver}: meter {meter}: profile {profile} has no quantity {quantity!r}; "
                f"known: {', '.join(known)}"
            )
    return {meter: known[quantity] for meter, quantity in meters.items()}
