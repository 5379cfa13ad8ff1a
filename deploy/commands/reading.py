"""`afkobling reading`: what a person read on a dial or a ticket."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import add_said_options, add_site_options, at_site, checked, said
from deploy.commands.fact_list import add_fact_list, print_facts

if TYPE_CHECKING:
    from api.database import Connection
    from api.fact_answers import ManualAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add `reading add`, `list` and `withdraw`."""
    parser = subparsers.add_parser("reading", help="what a person read on a dial or a ticket")
    words = parser.add_subparsers(metavar="WORD", required=True)
    adding = words.add_parser(
        "add",
        help="put a reading down",
        description="Where the meter itself said something for that instant, this counts instead; both are kept. "
        "Adding the same meter and instant again corrects it.",
    )
    adding.add_argument("--meter", required=True, metavar="KEY")
    adding.add_argument("--at", metavar="INSTANT", help="with its offset: 2026-03-02T10:15:00+01:00 (default: now)")
    adding.add_argument("--value", required=True, type=float, help="in the meter's unit")
    adding.add_argument("--unit", help="the unit that you read, as a check")
    add_said_options(adding)
    add_site_options(adding)
    adding.set_defaults(run=_add)
    add_fact_list(words, _list)
    withdraw = words.add_parser("withdraw", help="take a reading back; it stays in the list")
    withdraw.add_argument("reading", help="as the list shows it: meter:milliseconds")
    add_said_options(withdraw)
    add_site_options(withdraw)
    withdraw.set_defaults(run=_withdraw)


def _add(arguments: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from api.exact_json import instant
    from api.fact_answers import ManualReading, find_manual, save_manual

    at = arguments.at or instant(datetime.now(UTC).replace(microsecond=0))
    values = {"meter": arguments.meter, "at": at, "value": arguments.value, "unit": arguments.unit}
    reading = checked(ManualReading, **values, **said(arguments))

    async def work(connection: Connection, site: SiteRow) -> ManualAnswer:
        saved = await save_manual(connection, site, [reading])
        return await find_manual(connection, site, saved.ids[0])

    _print(at_site(arguments, work))


def _withdraw(arguments: argparse.Namespace) -> None:
    from api.fact_answers import withdraw_manual
    from api.said import Said

    words = checked(Said, **said(arguments))
    _print(at_site(arguments, lambda connection, site: withdraw_manual(connection, site, arguments.reading, words)))


def _list(arguments: argparse.Namespace) -> None:
    from api.fact_answers import manual_page

    print_facts(arguments, manual_page, _print, what="readings")


def _print(reading: ManualAnswer) -> None:
    from api.exact_json import instant

    said_so = f"  (the meter said {reading.meter_said.value:.15g} {reading.unit})" if reading.meter_said else ""
    print(f"{reading.id}  {instant(reading.at)}{said_so}")
    for version in reading.versions:
        what = "withdrawn" if version.value is None else f"{version.value:.15g} {reading.unit}"
        print(f"    {instant(version.recorded_at)}  {what}  {version.author}: {version.reason}")
