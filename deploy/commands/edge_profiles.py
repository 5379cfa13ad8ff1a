"""`afkobling edge profiles`: which meters are known, and what can be read of each."""

from __future__ import annotations

import argparse


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    profiles = words.add_parser(
        "profiles",
        help="which meters are known, and what can be read of each",
        description="Lists the profiles that come with Afkobling; with a name, what can be read of that meter.",
    )
    profiles.add_argument("name", nargs="?", metavar="NAME", help="only this profile, with its quantities")
    profiles.add_argument(
        "--schema", choices=("modbus", "mbus"), help="print the JSON Schema of a profile file instead, for an editor"
    )
    profiles.add_argument("--json", action="store_true", help="print as JSON")
    profiles.set_defaults(run=_profiles)


def _profiles(arguments: argparse.Namespace) -> int:
    import json

    from edge.commissioning.catalogue import catalogue, find_entry, profile_schema
    from edge.drivers.profile import Protocol

    if arguments.schema:
        print(json.dumps(profile_schema(Protocol(arguments.schema)), indent=2))
        return 0
    entries = [find_entry(arguments.name)] if arguments.name else catalogue()
    if arguments.json:
        told = [
            {
                "name": entry.name,
                "protocol": entry.protocol,
                "description": entry.description,
                "source": entry.source,
                "quantities": {
                    name: quantity.model_dump(mode="json", include={"unit", "resource", "kind", "carrier"})
                    for name, quantity in entry.quantities.items()
                },
            }
            for entry in entries
        ]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    if arguments.name:
        entry = entries[0]
        print(f"{entry.name} ({entry.protocol}): {entry.description}\n{entry.source}")
        for name, quantity in entry.quantities.items():
            carrier = f" ({quantity.carrier})" if quantity.carrier else ""
            print(f"  {name:<24} {quantity.resource}{carrier}, {quantity.kind} in {quantity.unit}")
        return 0
    for entry in entries:
        print(f"{entry.protocol:<7} {entry.name:<22} {entry.description}")
    return 0
