"""`afkobling circularity`: where material comes from, what becomes of it, and where waste goes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import add_site_options, at_site
from deploy.commands.intensity_words import number, percent, print_table
from deploy.commands.periods import add_period_options, asked_period

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from api.database import Connection
    from api.intensity.circularity import CircularityAnswer, CircularityItem, ShareAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_BUCKETS = ("day", "week", "month", "quarter", "year", "fiscal_year")


def add(subparsers: Subparsers) -> None:
    """Add `circularity`."""
    parser = subparsers.add_parser(
        "circularity",
        help="virgin and circular material, yield, and waste by code and route",
        description="What a meter does not say is unknown: shares are then bounds, told as from-to.",
    )
    add_period_options(parser)
    parser.add_argument("--by", choices=("product", "line", "site"), default="product", help="(default: %(default)s)")
    parser.add_argument("--bucket", choices=_BUCKETS, help="a series of these (default: the whole period)")
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    answer, zone = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    period = arguments.period or f"{arguments.start}..{arguments.end}"
    give(arguments, answer, _print_words, period=period, zone=zone)


async def _ask(
    arguments: argparse.Namespace, connection: Connection, site: SiteRow
) -> tuple[CircularityAnswer, ZoneInfo]:
    from api.indicators.takings import Whose
    from api.intensity.circularity import circularity_answer
    from api.intensity.loader import Every

    every = Every(arguments.bucket) if arguments.bucket else None
    period = asked_period(arguments, site)
    answer = await circularity_answer(connection, site, period, by=Whose(arguments.by), every=every)
    return answer, site.zone


def _print_words(found: CircularityAnswer) -> None:
    if not found.items:
        print("no material and no waste was counted in this period")
        return
    print_table(
        ["of", "begins", "material kg", "virgin", "circular", "yield", "waste kg", "hazardous", "recovered", "(ESRS)"],
        [_row(item) for item in found.items],
    )
    for item in found.items:
        for flow in item.flows:
            code, route = flow.waste_code or "no code", flow.treatment or "no treatment"
            amount = number(flow.quantity.total)
            print(f"{_name(item)}: {amount} kg of {code} ({flow.hazard}), {route} ({flow.route})".replace("_", " "))
    for problem in sorted({f"{_name(item)}: no yield: {item.problem}" for item in found.items if item.problem}):
        print(problem)


def _row(item: CircularityItem) -> list[str]:
    quantities = [None if figure is None else figure.quantity.total for figure in (item.material, item.waste)]
    return [
        _name(item),
        f"{item.start:%Y-%m-%d}",
        number(quantities[0]),
        _share(item.virgin_input),
        _share(item.circular_input),
        percent(item.material_yield),
        number(quantities[1]),
        _share(item.hazardous_waste),
        _share(item.recovered_waste),
        _share(item.recovered_waste_esrs),
    ]


def _share(share: ShareAnswer) -> str:
    if share.value is not None or share.low is None:
        return percent(share.value)
    return f"{percent(share.low)}-{percent(share.high)}"


def _name(item: CircularityItem) -> str:
    return item.product or item.line or "the site"
