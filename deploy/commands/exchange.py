"""`afkobling exchange`: one meter took the place of another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import add_said_options, add_site_options, at_site, checked, said
from deploy.commands.fact_list import add_fact_list, print_facts

if TYPE_CHECKING:
    from api.fact_answers import ExchangeAnswer
    from deploy.commands.db import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add `exchange record`, `list` and `withdraw`."""
    parser = subparsers.add_parser("exchange", help="a meter took the place of another: both registers")
    words = parser.add_subparsers(metavar="WORD", required=True)
    record = words.add_parser(
        "record",
        help="put an exchange down, ahead or afterwards",
        description="Readings from --at on are the new meter's. Recording that meter and instant again corrects it.",
    )
    record.add_argument("--meter", required=True, metavar="KEY")
    record.add_argument("--at", required=True, metavar="INSTANT", help="with its offset: 2026-03-02T10:15:00+01:00")
    record.add_argument("--last-old", required=True, type=float, metavar="VALUE", help="the old one's last register")
    record.add_argument("--first-new", required=True, type=float, metavar="VALUE", help="the new one's first register")
    add_said_options(record)
    add_site_options(record)
    record.set_defaults(run=_record)
    add_fact_list(words, _list)
    withdraw = words.add_parser("withdraw", help="take a record back; it stays in the list")
    withdraw.add_argument("exchange", help="as the list shows it: meter:milliseconds")
    add_said_options(withdraw)
    add_site_options(withdraw)
    withdraw.set_defaults(run=_withdraw)


def _record(arguments: argparse.Namespace) -> None:
    from api.fact_answers import ExchangeRecord, record_exchange

    registers = {"last_old": arguments.last_old, "first_new": arguments.first_new}
    record = checked(ExchangeRecord, meter=arguments.meter, at=arguments.at, **registers, **said(arguments))
    _print(at_site(arguments, lambda connection, site: record_exchange(connection, site, record)))


def _withdraw(arguments: argparse.Namespace) -> None:
    from api.fact_answers import withdraw_exchange
    from api.said import Said

    words = checked(Said, **said(arguments))
    _print(at_site(arguments, lambda connection, site: withdraw_exchange(connection, site, arguments.exchange, words)))


def _list(arguments: argparse.Namespace) -> None:
    from api.fact_answers import exchange_page

    print_facts(arguments, exchange_page, _print, what="exchanges")


def _print(exchange: ExchangeAnswer) -> None:
    from api.exact_json import instant

    print(f"{exchange.id}  {instant(exchange.at)}")
    for version in exchange.versions:
        what = (
            "withdrawn"
            if version.last_old is None
            else f"{version.last_old:.15g} → {version.first_new:.15g} {exchange.unit}"
        )
        print(f"    {instant(version.recorded_at)}  {what}  {version.author}: {version.reason}")
