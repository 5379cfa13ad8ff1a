"""`afkobling attribution`: who carries how much of which meter, and by which rule."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import add_site_options, at_site
from deploy.commands.periods import add_period_options, asked_period

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from api.attribution.answers import AttributionAnswer, PartAnswer
    from api.database import Connection
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_RESOURCES = ("energy", "water", "material", "waste")
_BY = ("none", "quarter", "hour", "day", "month")


def add(subparsers: Subparsers) -> None:
    """Add `attribution`."""
    parser = subparsers.add_parser(
        "attribution",
        help="why a product carries what it carries: per meter, rule, line and phase",
        description="The ledger of attribution. Of a product, run or order it tells all that they carry fully loaded: "
        "their own parts, and their share of their lines' idle.",
    )
    add_period_options(parser)
    for name, what in (
        ("product", "what this product carries"),
        ("run", "what this run carries"),
        ("order", "what the runs of this order carry"),
        ("line", "only what went to this line"),
        ("meter", "only of this meter"),
    ):
        # `run` is what the command line calls to run a command.
        parser.add_argument(f"--{name}", dest=f"{name}_key", metavar="KEY", help=what)
    parser.add_argument("--resource", choices=_RESOURCES, help="only of this resource")
    parser.add_argument("--by", choices=_BY, default="none", help="tell it by such spans (default: the whole period)")
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    answer, zone = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    give(arguments, answer, _print_words, zone=zone)


async def _ask(
    arguments: argparse.Namespace, connection: Connection, site: SiteRow
) -> tuple[AttributionAnswer, ZoneInfo]:
    from api.attribution.answers import AskedParts, PartsBy, attribution_answer
    from schemas.resources import Resource

    asked = AskedParts(
        by=PartsBy(arguments.by),
        product=arguments.product_key,
        line=arguments.line_key,
        resource=Resource(arguments.resource) if arguments.resource else None,
        meter=arguments.meter_key,
        run=arguments.run_key,
        order=arguments.order_key,
    )
    return await attribution_answer(connection, site, asked_period(arguments, site), asked), site.zone


def _print_words(answer: AttributionAnswer) -> None:
    from api.exact_json import encode

    span = None
    for item in answer.items:
        if span != (item.start, item.end):
            span = item.start, item.end
            print(f"{item.start:%Y-%m-%d %H:%M} to {item.end:%Y-%m-%d %H:%M %Z}")
        print(f"  {encode(item.quantity.total):>16} {item.unit:4} {_share(item):>6}  {tell_part(item)}")
        if item.quantity.estimated:
            print(f"  {'':21} of that estimated: {encode(item.quantity.estimated)} {item.unit}")
    for total in answer.totals:
        told = f"{encode(total.quantity.total)} {total.unit}"
        print(f"{total.resource}: {told} in all, of that estimated {encode(total.quantity.estimated)} {total.unit}")
    if not answer.items:
        print("nothing was shared out of what was asked for")
    for finding in answer.findings:
        print(f"finding: {finding.kind} at {finding.meter}, {finding.quarters} quarters of an hour")


def tell_part(item: PartAnswer) -> str:
    """Where it comes from and went, in one line: meter, utilities passed, line, phase, product, run, rule."""
    way = " via ".join([item.meter, *item.via])
    place = [item.line or "no line", item.destination.value]
    if item.product:
        place.append(f"share of {item.product}" if item.destination == "idle" else item.product)
    place += [f"{what} {key}" for what, key in (("run", item.run), ("order", item.order)) if key]
    rules = ", then ".join([*item.hops, item.rule])
    return f"{way} -> {' '.join(place)}  ({rules})"


def _share(item: PartAnswer) -> str:
    return "" if item.share is None else f"{float(item.share):.1%}"
