"""`afkobling edge enter`: a dial that a person has read, for the agent to take."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.drivers.manual.settings import ManualSettings
    from edge.drivers.manual.spool import Spooled


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    enter = words.add_parser(
        "enter",
        help="enter what a person read on a dial",
        description="Check what a person read on a dial, and put it where the agent takes it, now or when it runs. "
        "The meter is one of a `manual` driver. Exit status 1 when the value is refused, which says why.",
    )
    enter.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )
    enter.add_argument("meter", nargs="?", metavar="METER", help="the meter's key")
    enter.add_argument("value", nargs="?", metavar="VALUE", help="what the dial shows, as in 12345.6 or 12345,6")
    enter.add_argument("--at", metavar="TIME", help="when it was read, as in '2026-11-22 07:30' or 07:30; now")
    enter.add_argument("--unit", metavar="UNIT", help="to be certain: refused when the meter has another")
    enter.add_argument("--note", metavar="WORDS", help="goes to the agent's log with the value")
    enter.add_argument("--exchange", action="store_true", help="the meter was exchanged: it may show less than before")
    enter.add_argument("--force", action="store_true", help="it looks odd, and is right all the same")
    enter.add_argument("--list", action="store_true", dest="show", help="show what the agent has not taken yet")
    enter.add_argument("--json", action="store_true", help="print as JSON")
    enter.set_defaults(run=_run, refuse=enter.error)


def _run(arguments: argparse.Namespace) -> int:
    from deploy.commands.settings import environment_with_stack
    from edge.configuration import load_configuration
    from edge.drivers.manual.settings import ManualSettings
    from edge.errors import EdgePermanentError

    if not arguments.show and arguments.value is None:
        arguments.refuse("give METER and VALUE, or --list")
    if arguments.show and arguments.meter is not None:
        arguments.refuse("--list takes no meter")
    configuration = load_configuration(Path(arguments.config), environment_with_stack())
    drivers = [one.settings for one in configuration.drivers if isinstance(one.settings, ManualSettings)]
    if not drivers:
        raise EdgePermanentError(
            f"{arguments.config} has no driver for what people enter; add one: "
            "{name: dials, driver: manual, meters: {oven: {unit: kWh, resource: energy, kind: counter}}}"
        )
    if arguments.show:
        return _show(drivers, configuration.folder, as_json=arguments.json)
    return _enter(arguments, drivers, configuration.folder)


def _enter(arguments: argparse.Namespace, drivers: list[ManualSettings], folder: Path) -> int:
    from edge.drivers.manual.entry import Entry, parse_instant, parse_value
    from edge.drivers.manual.spool import Spooled, enter
    from edge.errors import EdgePermanentError

    driver = next((one for one in drivers if arguments.meter in one.meters), None)
    if driver is None:
        known = ", ".join(sorted(meter for one in drivers for meter in one.meters))
        raise EdgePermanentError(f"no meter {arguments.meter} is entered by hand; known: {known}")
    quantity = driver.meters[arguments.meter]
    now = datetime.now(UTC)
    entry = Entry(
        meter=arguments.meter,
        value=quantity.scaled(parse_value(arguments.value)),
        unit=arguments.unit or quantity.unit,
        at=now.replace(microsecond=0) if arguments.at is None else parse_instant(arguments.at, now=now),
        entered_at=now,
        note=arguments.note,
        is_exchange=arguments.exchange,
        is_forced=arguments.force,
    )
    path = enter(driver.spool_in(folder), entry, quantity, now=now)
    if arguments.json:
        print(_as_json([Spooled(path=path, entry=entry)]))
    else:
        print(f"{entry.meter}: {entry.words()}; the agent takes it, now or when it runs")
        if entry.is_exchange:
            print("record the exchange too, with the old meter's last value: afkobling exchange (docs/events.md)")
    return 0


def _show(drivers: list[ManualSettings], folder: Path, *, as_json: bool) -> int:
    from edge.drivers.manual.spool import waiting

    found = [one for driver in drivers for one in waiting(driver.spool_in(folder))]
    if as_json:
        print(_as_json(found))
        return 0
    for one in found:
        note = f" ({one.entry.note})" if one.entry.note else ""
        print(f"{one.entry.meter}: {one.entry.words()}{note}")
    if not found:
        print("the agent has taken all that was entered")
    return 0


def _as_json(found: list[Spooled]) -> str:
    import json

    entries = [one.entry.model_dump(mode="json", exclude_none=True) for one in found]
    return json.dumps(entries, indent=2, ensure_ascii=False)
