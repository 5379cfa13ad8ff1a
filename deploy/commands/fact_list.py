"""The word `list` of commands about facts with versions: exchanges and manual readings."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from deploy.commands.at_site import add_page_options, add_site_options, at_site, print_answer

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.fact_store import AskedFacts
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

Item = TypeVar("Item")


def add_fact_list(words: Subparsers, run: Callable[[argparse.Namespace], None]) -> None:
    """Add `list`, whose options `print_facts` reads."""
    listed = words.add_parser("list", help="the newest first, with all versions")
    for name, dest, what in (("--from", "start", "first instant"), ("--to", "end", "first instant after")):
        listed.add_argument(
            name, dest=dest, metavar="INSTANT", help=f"{what}: with its offset, or a date, the site's midnight"
        )
    listed.add_argument("--meter", action="append", metavar="KEY", help="repeat it for more (default: all)")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=run)


def print_facts(
    arguments: argparse.Namespace,
    read: Callable[[Connection, AskedFacts], Awaitable[Page[Item]]],
    show: Callable[[Item], None],
    *,
    what: str,
) -> None:
    """Print the newest page of the facts that are asked for, each by `show`, or all as the API would answer them.

    `what` they are called. Raises as `at_site` does, and what the API raises.
    """

    async def work(connection: Connection, site: SiteRow) -> Page[Item]:
        return await read(connection, await _asked(arguments, connection, site))

    page = at_site(arguments, work)
    if arguments.json:
        print_answer(page)
        return
    for item in page.items:
        show(item)
    if not page.items:
        print(f"no such {what}")
    if page.next:
        print(f"these are the newest {arguments.limit}; there are more: raise --limit, or set --to")


async def _asked(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> AskedFacts:
    from api.event_answers import meter_numbers
    from api.fact_store import AskedFacts
    from api.periods import parse_span

    start, end = parse_span(arguments.start, arguments.end, site.zone)
    meters = await meter_numbers(connection, site, arguments.meter)
    return AskedFacts(meters=meters, start=start, end=end, after=None, limit=arguments.limit)
