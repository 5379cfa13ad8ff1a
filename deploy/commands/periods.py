"""Which period a command is about: a named one, or from one instant to another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import RefusedError

if TYPE_CHECKING:
    from api.calendar.clock import Period
    from api.site_store import SiteRow

_INSTANT = "an instant with its offset, or a date: the site's midnight"


def add_period_options(parser: argparse.ArgumentParser) -> None:
    """Add `--period`, `--from` and `--to`, which `asked_period` reads."""
    parser.add_argument(
        "--period", metavar="PERIOD", help="2025, FY2025, 2025-Q1, 2025-03, 2025-W12, 2025-03-31, or A..B of these"
    )
    parser.add_argument("--from", dest="start", metavar="INSTANT", help=f"in place of --period: {_INSTANT}")
    parser.add_argument("--to", dest="end", metavar="INSTANT", help=f"first instant after: {_INSTANT}")


def asked_period(arguments: argparse.Namespace, site: SiteRow) -> Period:
    """The period by the calendar of the site. Raises RefusedError, and a 422 problem as the API does."""
    from api.periods import parse_named, parse_period

    if arguments.period is not None:
        if arguments.start is not None or arguments.end is not None:
            raise RefusedError("give --period, or --from and --to, and not both")
        return parse_named(arguments.period, site.calendar).within(site.zone)
    if arguments.start is None or arguments.end is None:
        raise RefusedError("say when: --period 2025, or both --from and --to")
    return parse_period(arguments.start, arguments.end, site.zone)
