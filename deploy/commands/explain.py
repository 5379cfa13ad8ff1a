"""`afkobling explain FIGURE-ID`: from a figure down to the readings that it rests on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import add_site_options, at_site
from deploy.commands.attribution import tell_part

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from api.attribution.balances import QuantityAnswer
    from api.database import Connection
    from api.explain.answers import Explanation, FigurePart, WalkAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_DEPTHS = ("figure", "parts", "days", "quarters", "readings")
_MOST_LINES = 40


def add(subparsers: Subparsers) -> None:
    """Add `explain`."""
    parser = subparsers.add_parser(
        "explain",
        help="what is behind a figure: its formula, its parts, and the readings at the bottom",
        description="Walks from a figure down: the formula with its numbers, the parts by meter and rule, and for the "
        "largest part (or that of --meter) the days, the quarters of its largest day, and the readings around its "
        "largest quarter.",
    )
    parser.add_argument(
        "figure", metavar="FIGURE-ID", help="as `figure` in an answer: intensity:shaft:energy:fully_loaded:2025-01-01:…"
    )
    parser.add_argument("--depth", choices=_DEPTHS, default="readings", help="how far down (default: %(default)s)")
    parser.add_argument("--meter", metavar="KEY", help="which meter to follow down (default: that of the largest part)")
    parser.add_argument("--day", metavar="DATE", help="which local day (default: the largest)")
    parser.add_argument("--quarter", metavar="INSTANT", help="an instant in the quarter (default: the largest)")
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    found, zone = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    give(arguments, found, _print_words, zone=zone)


async def _ask(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> tuple[Explanation, ZoneInfo]:
    from api.explain.answers import Depth
    from api.explain.explain import explain
    from api.explain.walk import Asked
    from api.periods import parse_day, parse_instant

    asked = Asked(
        depth=Depth(arguments.depth),
        meter=arguments.meter,
        day=None if arguments.day is None else parse_day("day", arguments.day),
        quarter=None if arguments.quarter is None else parse_instant("quarter", arguments.quarter, site.zone),
    )
    return await explain(connection, site, arguments.figure, asked), site.zone


def _print_words(found: Explanation) -> None:
    for line in _figure(found):
        print(line)
    if found.parts:
        print("\nparts, the largest first:")
        for part in found.parts:
            print(_part(part))
    if found.walk is not None:
        for line in _walk(found.walk, found.parts[found.walk.part - 1]):
            print(line)


def _figure(found: Explanation) -> Iterator[str]:
    from api.exact_json import encode

    yield f"{found.kind} of {found.subject}: {found.resource}, {found.measure}"
    yield f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M %Z}"
    yield f"\n  = {found.formula}\n  = {found.numbers}"
    if found.told:
        yield f"  {found.told}"
    for term in found.terms:
        value = "unknown" if term.value is None else f"{encode(term.value)} {term.unit}"
        span = f", {term.start:%Y-%m-%d} to {term.end:%Y-%m-%d}" if term.start and term.end else ""
        yield f"    {term.name}: {value}{span}{f' ({term.source})' if term.source else ''}"
    if found.coverage is not None:
        estimated = "" if found.estimated_share is None else f", {float(found.estimated_share):.1%} estimated"
        yield f"  measured for {float(found.coverage):.1%} of the time{estimated}"
    for factor in found.factors:
        yield f"  factor {factor.key}, version {factor.version}{f': {factor.source}' if factor.source else ''}"
    if found.has_changed:
        yield "\n  This figure has changed since it was told, as what it rests on has. These are today's numbers."
    yield f"  today it is called {found.today}"


def _part(part: FigurePart) -> str:
    from api.exact_json import encode

    share = "" if part.share is None else f"{float(part.share):7.1%}"
    when = "" if part.period == "period" else f"{part.period}: "
    of = f", of {encode(part.of_place)}" if part.of_place != part.quantity.total else ""
    return f"{part.part:4}. {when}{_amount(part.quantity, part.unit)}{of}{share}  {tell_part(part)}"


def _walk(walk: WalkAnswer, part: FigurePart) -> Iterator[str]:
    from api.exact_json import instant

    if walk.days:
        yield f"\npart {walk.part}, {walk.meter}, by local day:"
        yield from _some([f"  {day.day}  {_amount(day.quantity, part.unit)}" for day in walk.days])
    if walk.quarters:
        yield f"\n{walk.day}, by quarter of an hour: what went there, of what {walk.meter} counted (how much measured)"
        told = [one for one in walk.quarters if one.quantity.total or one.quantity.estimated or one.at == walk.quarter]
        yield from _some(
            [
                f"  {instant(one.at)}  {_amount(one.quantity, part.unit)}  of {_counted(one.counted)} "
                f"({float(one.coverage):.0%})"
                for one in told
            ]
        )
    if walk.quarter is not None and (walk.readings or walk.note):
        yield f"\n{instant(walk.quarter)}, the readings around it:"
        for off in walk.taken_off:
            yield f"  taken off, as it is shared out by itself: {off.meter} {_counted(off.counted)}"
        for reading in walk.readings:
            by = f" by {reading.author}" if reading.author else ""
            yield f"  {instant(reading.at)}  {reading.value:.15g} {walk.meter_unit}  {reading.quality}{by}"
        if walk.readings_left_out:
            yield f"  {walk.readings_left_out} more in the middle; `/readings` lists them all"
        for event in walk.events:
            yield f"  {event.id}  {event.state}: {event.sentence}"
        if walk.note:
            yield f"  {walk.note}"


def _some(lines: list[str]) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"  … and {len(lines) - _MOST_LINES} more; --json has them all"


def _amount(quantity: QuantityAnswer, unit: str) -> str:
    from api.exact_json import encode

    estimated = f" ({encode(quantity.estimated)} estimated)" if quantity.estimated else ""
    return f"{encode(quantity.total)} {unit}{estimated}"


def _counted(quantity: QuantityAnswer | None) -> str:
    from api.exact_json import encode

    return "nothing known" if quantity is None else encode(quantity.total)
