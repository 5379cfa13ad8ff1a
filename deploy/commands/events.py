"""`afkobling events`: what was found in readings, and what a person says of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import (
    add_page_options,
    add_said_options,
    add_site_options,
    at_site,
    checked,
    finish,
    print_answer,
    print_page,
    said,
)

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.event_answers import EventAnswer, EventDetail
    from api.event_rulings import Act
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_KINDS = ("exchange", "rollover", "dip", "reset", "spike", "frozen", "gap", "export")
_STATES = ("proposed", "confirmed", "overruled")
_INSTANT = "an instant with its offset, or a date: the site's midnight"


def add(subparsers: Subparsers) -> None:
    """Add `events list`, `show`, `confirm`, `overrule`, `reopen` and `set-aside`."""
    parser = subparsers.add_parser("events", help="what was found in meters' readings, and what is done about it")
    words = parser.add_subparsers(metavar="WORD", required=True)
    listed = words.add_parser("list", help="the newest first")
    listed.add_argument("--from", dest="start", metavar="INSTANT", help=f"events that end there or later: {_INSTANT}")
    listed.add_argument("--to", dest="end", metavar="INSTANT", help=f"events that begin before: {_INSTANT}")
    listed.add_argument("--meter", action="append", metavar="KEY", help="repeat it for more (default: all)")
    listed.add_argument("--kind", action="append", choices=_KINDS, help="repeat it for more (default: all)")
    listed.add_argument("--state", action="append", choices=_STATES, help="repeat it for more (default: all)")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=_list)
    show = words.add_parser("show", help="one event, who decided what about it, and the readings around it")
    show.add_argument("event", help="as the list shows it: meter:kind:milliseconds")
    finish(show, _show)
    for word, help_text in (
        ("confirm", "say that the finding is right: what is done now stays"),
        ("overrule", "say that the finding is wrong: the other thing is done"),
        ("reopen", "take back what was decided: the rules decide again"),
    ):
        act = words.add_parser(word, help=help_text)
        act.add_argument("event", help="as the list shows it: meter:kind:milliseconds")
        if word != "reopen":
            act.add_argument("--decision", help="what to do instead; `events show` lists what can be decided")
        act.set_defaults(act=word, decision=None)
        add_said_options(act)
        finish(act, _decide)
    aside = words.add_parser("set-aside", help="set readings aside although the rules saw nothing in them")
    aside.add_argument("--meter", required=True, metavar="KEY")
    aside.add_argument("--from", dest="start", required=True, metavar="INSTANT", help=f"the first: {_INSTANT}")
    aside.add_argument("--to", dest="end", metavar="INSTANT", help="the last, also set aside (default: --from)")
    add_said_options(aside)
    finish(aside, _set_aside)


def _list(arguments: argparse.Namespace) -> None:
    page = at_site(arguments, lambda connection, site: _events(arguments, connection, site))
    print_page(
        arguments,
        page,
        lambda event: f"{event.id}  {_state(event)}\n    {event.sentence}",
        what="events",
        order="newest",
        further="--to",
    )


async def _events(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> Page[EventAnswer]:
    from api.event_answers import event_page, meter_numbers
    from api.event_store import Asked
    from api.periods import parse_span
    from schemas.events import EventKind, EventState

    start, end = parse_span(arguments.start, arguments.end, site.zone)
    asked = Asked(
        meters=await meter_numbers(connection, site, arguments.meter),
        start=start,
        end=end,
        kinds=[EventKind(kind) for kind in arguments.kind] if arguments.kind else None,
        states=[EventState(state) for state in arguments.state] if arguments.state else None,
    )
    return await event_page(connection, site, asked, after=None, limit=arguments.limit)


def _show(arguments: argparse.Namespace) -> None:
    from api.event_answers import event_detail

    event = at_site(arguments, lambda connection, site: event_detail(connection, site, arguments.event))
    if arguments.json:
        print_answer(event)
        return
    _print_event(event)
    _print_detail(event)


def _decide(arguments: argparse.Namespace) -> None:
    from api.event_answers import told_event
    from api.event_rulings import Act, Ruling, decide

    ruling = checked(Ruling, decision=arguments.decision, **said(arguments))
    act: Act = Act(arguments.act)

    async def work(connection: Connection, site: SiteRow) -> EventAnswer:
        return await told_event(connection, site, await decide(connection, site, arguments.event, act, ruling))

    _tell(arguments, at_site(arguments, work))


def _set_aside(arguments: argparse.Namespace) -> None:
    from api.event_answers import told_event
    from api.event_rulings import Finding, set_aside

    end = arguments.end or arguments.start
    finding = checked(Finding, meter=arguments.meter, start=arguments.start, end=end, **said(arguments))

    async def work(connection: Connection, site: SiteRow) -> EventAnswer:
        return await told_event(connection, site, await set_aside(connection, site, finding))

    _tell(arguments, at_site(arguments, work))


def _tell(arguments: argparse.Namespace, event: EventAnswer) -> None:
    if arguments.json:
        print_answer(event)
        return
    _print_event(event)
    print("the roll-up computes the consumption around it again, within seconds where it runs")


def _print_event(event: EventAnswer) -> None:
    print(f"{event.id}  {_state(event)}\n    {event.sentence}")
    if event.author:
        print(f"    {event.author}: {event.reason}")


def _print_detail(event: EventDetail) -> None:
    from api.exact_json import instant

    print(f"can be decided: {', '.join(event.decisions)}")
    if event.is_recomputing:
        print("the roll-up has yet to compute this time again")
    for version in event.history:
        decision = f" {version.decision}" if version.decision else ""
        print(f"{instant(version.decided_at)}  {version.state}{decision}  {version.author}: {version.reason}")
    for reading in event.raw_readings:
        print(f"{instant(reading.at)}  {reading.value:.15g} {event.evidence.unit}  {reading.quality}")


def _state(event: EventAnswer) -> str:
    return f"{event.state}: {event.decision}" if event.decision else event.state
