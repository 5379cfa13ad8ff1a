"""`afkobling quality`: what is known of each meter's data, and everything that somebody should look at."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import add_site_options, at_site, print_answer

if TYPE_CHECKING:
    from api.database import Connection
    from api.routes.quality import MeterQuality, QualityAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_INSTANT = "an instant with its offset, or a date: the site's midnight"


def add(subparsers: Subparsers) -> None:
    """Add `quality`."""
    parser = subparsers.add_parser(
        "quality",
        help="how complete the data is, and what somebody should look at",
        description="Judges the data of a site's meters and agents in a period, by default the last 30 days up to now. "
        "Exit status 0, whatever was found.",
    )
    parser.add_argument("--from", dest="start", metavar="INSTANT", help=_INSTANT)
    parser.add_argument("--to", dest="end", metavar="INSTANT", help=f"first instant after: {_INSTANT}")
    parser.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    found = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    if arguments.json:
        print_answer(found)
    else:
        _print_words(found)


async def _ask(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> QualityAnswer:
    from api.quality_loader import load_quality
    from api.routes.quality import answer, asked_period

    return answer(site, await load_quality(connection, site, asked_period(site, arguments.start, arguments.end)))


def _print_words(found: QualityAnswer) -> None:
    print(f"{found.organisation}/{found.site}, {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC\n")
    width = max((len(meter.meter) for meter in found.meters), default=5)
    print(f"{'meter':{width}}  coverage  days  estimated  every     last reading")
    for meter in found.meters:
        print(f"{meter.meter:{width}}  {_figures(meter)}")
    print()
    for finding in found.findings:
        print(f"{finding.kind}: {finding.seen}\n    {finding.why} {finding.todo}")
    count = len(found.findings)
    print(f"{count} finding{'' if count == 1 else 's'}" if count else "nothing stands out")


def _figures(meter: MeterQuality) -> str:
    share = "-" if meter.estimated_share is None else f"{float(meter.estimated_share):.1%}"
    every = "-" if meter.cadence is None else f"{meter.cadence / 1000:g} s"
    learnt = "*" if meter.cadence_from == "learnt" else " "
    last = "none for 30 days" if meter.last_reading_at is None else f"{meter.last_reading_at:%Y-%m-%d %H:%M:%S}"
    silent = "  silent" if meter.silent else ""
    return f"{float(meter.coverage):8.1%}  {meter.usable_days:4}  {share:>9}  {every + learnt:9} {last}{silent}"
