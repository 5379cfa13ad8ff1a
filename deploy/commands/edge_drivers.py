"""`afkobling edge drivers`: what an agent on this machine can read."""

from __future__ import annotations

import argparse


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    drivers = words.add_parser(
        "drivers",
        help="list the drivers that can be used here",
        description="List the drivers that come with Afkobling and those of other packages, and say what keeps one "
        "from working here.",
    )
    drivers.add_argument("--json", action="store_true", help="print as JSON")
    drivers.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from edge.drivers.listing import list_drivers

    found = list_drivers()
    if arguments.json:
        print(json.dumps([asdict(driver) for driver in found], indent=2, ensure_ascii=False))
        return 0
    width = max(len(driver.name) for driver in found)
    for driver in found:
        source = "" if driver.source == "afkobling" else f" [{driver.source}]"
        print(f"{driver.name.ljust(width)}  {driver.about}{source}")
        if driver.problem is not None:
            print(f"{' ' * width}  not usable: {driver.problem}")
    return 0
