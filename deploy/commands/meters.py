"""`afkobling meters`: what agents offer, and how it is adopted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from deploy.commands.at_site import RefusedError, add_site_options, at_site, print_answer

if TYPE_CHECKING:
    from api.adoption import Adopted, Wish
    from api.database import Connection
    from api.routes.offers import AdoptionAnswer, OfferAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_STATES = ("new", "known", "elsewhere")
_SETTINGS = {
    "name": "what people call it",
    "line": "the line that it is on (default: the whole site)",
    "parent": "the meter that it is a part of",
    "carrier": "electricity, natural_gas …; of production: good, scrap or rework",
    "conversion": "canonical units for one of its unit, where the unit alone does not say",
    "interval": "the span of each value of an interval meter, as in 15min",
    "max-gap": "the longest silence that is still measured",
    "cadence": "how often it is expected to speak",
    "register-width": "where its register begins again at zero",
    "rated-maximum": "the most that it can count, in its unit an hour",
    "dip-window": "how long a register may stay below its old value",
    "frozen-after": "how long it may stand still while its line runs",
    "accuracy-class": "in percent",
    "resource": "energy, water, material, waste or production",
    "unit": "as the agent sends it",
    "kind": "counter, interval or rate",
}


def add(subparsers: Subparsers) -> None:
    """Add `meters offered` and `meters adopt`."""
    parser = subparsers.add_parser("meters", help="meters that agents offer, and their adoption")
    words = parser.add_subparsers(metavar="WORD", required=True)
    offered = words.add_parser("offered", help="what agents offer, and what waits in quarantine for it")
    offered.add_argument("--agent", metavar="KEY", help="only what this agent offers")
    offered.add_argument("--state", choices=_STATES, help="only these (default: all)")
    offered.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(offered)
    offered.set_defaults(run=_offered)
    adopt = words.add_parser(
        "adopt",
        help="set up meters that an agent offers, and replay what waited for them",
        description="What no option says is as the agent offers it. When the command ends, the readings that waited in "
        "quarantine are stored.",
    )
    adopt.add_argument("agent", help="the agent that reads them; it is set up too where it is unknown")
    adopt.add_argument("meters", nargs="*", metavar="METER", help="their keys, as `meters offered` shows them")
    adopt.add_argument("--all", action="store_true", help="all new meters that the agent offers")
    for name, help_text in _SETTINGS.items():
        adopt.add_argument(f"--{name}", metavar="VALUE", help=help_text)
    adopt.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(adopt)
    adopt.set_defaults(run=_adopt)


def _offered(arguments: argparse.Namespace) -> None:
    from api.cursor import Page
    from api.routes.offers import OfferAnswer, offers_of

    found = [
        item
        for item in at_site(arguments, offers_of)
        if arguments.agent in {None, item.agent} and arguments.state in {None, item.state}
    ]
    if arguments.json:
        print_answer(Page[OfferAnswer](items=found, next=None))
        return
    for item in found:
        _print_offer(item)
    if not found:
        print("no agent offers such a meter, and no readings wait for one")


def _print_offer(item: OfferAnswer) -> None:
    what = " ".join(str(part) for part in (item.resource, item.carrier, item.kind, item.unit) if part)
    agent = item.agent if item.agent_is_known else f"{item.agent} (not set up)"
    print(f"{item.meter}  {item.state}  agent {agent}  {what or 'not offered: only its readings came'}")
    if item.waiting is not None:
        waiting = item.waiting
        span = f", {waiting.first_at:%Y-%m-%d %H:%M:%S} to {waiting.last_at:%Y-%m-%d %H:%M:%S} UTC" * (
            waiting.first_at is not None
        )
        latest = "" if waiting.last_value is None else f", the last {waiting.last_value:g} {waiting.unit}"
        print(f"    {waiting.readings} readings wait in quarantine{span}{latest} ({', '.join(waiting.reasons)})")
    for needed in item.to_add:
        print(f"    to adopt it: {needed}")


def _adopt(arguments: argparse.Namespace) -> None:
    from deploy.commands.quarantine import finish_replay, print_replay

    if bool(arguments.meters) == arguments.all:
        raise RefusedError("name the meters to adopt, or give --all; `afkobling meters offered` lists them")
    if arguments.name and len(arguments.meters) != 1:
        raise RefusedError("--name is for one meter; adopt it by itself")
    adopted = at_site(arguments, lambda connection, site: _adopt_at(arguments, connection, site))
    replay = finish_replay(arguments, adopted.replay)
    if arguments.json:
        print_answer(_answer(adopted, replay))
        return
    if adopted.is_new_agent:
        print(f"set up agent {arguments.agent}")
    for meter in adopted.meters:
        place = f"line {meter.line}" if meter.line else "the whole site"
        print(f"set up meter {meter.id}: {meter.resource}, {meter.kind}, {meter.unit}, {place}")
    print_replay(replay)


async def _adopt_at(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> Adopted:
    from api.routes.offers import adopt_at, offers_of

    chosen = arguments.meters
    if arguments.all:
        offers = await offers_of(connection, site)
        chosen = [item.meter for item in offers if item.agent == arguments.agent and item.state == "new"]
        if not chosen:
            raise RefusedError(
                f"agent {arguments.agent} offers nothing new; `afkobling meters offered` lists what there is"
            )
    return await adopt_at(connection, site, arguments.agent, [_wish(arguments, meter) for meter in chosen])


def _wish(arguments: argparse.Namespace, meter: str) -> Wish:
    from api.adoption import Wish

    given = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in _SETTINGS}
    return Wish(meter=meter, settings={name: value for name, value in given.items() if value is not None})


def _answer(adopted: Adopted, replay: Any) -> AdoptionAnswer:
    from api.routes.offers import AdoptionAnswer

    return AdoptionAnswer(meters=adopted.meters, is_new_agent=adopted.is_new_agent, replay=replay)
