"""The profiles that come with Afkobling, told alike whatever they speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.drivers.mbus.profile import MbusProfile
from edge.drivers.modbus.profile import ModbusProfile
from edge.drivers.profile import Protocol, shipped_profiles
from edge.drivers.quantity import Quantity
from edge.errors import EdgePermanentError
from schemas.configuration import parse_configuration

MODELS: Mapping[Protocol, type[ModbusProfile] | type[MbusProfile]] = {
    Protocol.MODBUS: ModbusProfile,
    Protocol.MBUS: MbusProfile,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A profile by its name."""

    name: str
    protocol: Protocol
    description: str
    source: str
    quantities: Mapping[str, Quantity]


def catalogue(protocol: Protocol | None = None) -> list[Entry]:
    """All profiles, or those of one protocol, by protocol and name."""
    found = [
        _entry(name, text, one)
        for one in Protocol
        if protocol in {None, one}
        for name, text in shipped_profiles(one).items()
    ]
    return sorted(found, key=lambda entry: (entry.protocol != Protocol.MODBUS, entry.name))


def find_entry(name: str) -> Entry:
    """One profile. Raises EdgePermanentError that lists all."""
    entries = {entry.name: entry for entry in catalogue()}
    if name not in entries:
        raise EdgePermanentError(f"there is no profile {name!r}; known: {', '.join(entries)}")
    return entries[name]


def profile_schema(protocol: Protocol) -> dict[str, Any]:
    """The JSON Schema of a profile file, for editors that check while one writes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **MODELS[protocol].model_json_schema(mode="validation"),
    }


def _entry(name: str, text: str, protocol: Protocol) -> Entry:
    profile = parse_configuration(text, name=str(Path("edge") / "profiles" / f"{name}.yaml"), model=MODELS[protocol])
    return Entry(
        name=profile.name,
        protocol=protocol,
        description=" ".join(profile.description.split()),
        source=" ".join(profile.source.split()),
        quantities=dict(profile.quantities),
    )
