"""`afkobling ledger`: what each agent sent, what is stored, and what is missing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.answers import add_format_options, give
from deploy.commands.at_site import RefusedError, add_site_options, at_site, in_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.cursor import Page
    from api.database import Connection
    from api.ledger_answers import LedgerAnswer, Range
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

MISSING = 3
"""Exit status when messages are missing: apart from 1, a failure to find out, and 2, wrong usage."""
_MOST_RANGES = 20


def add(subparsers: Subparsers) -> None:
    """Add `ledger`."""
    parser = subparsers.add_parser(
        "ledger",
        help="what each agent sent, what is stored, and what is missing",
        description="Exit status 0: nothing is missing; 3: messages have been missing for more than 15 minutes; "
        "1: it could not be found out.",
    )
    parser.add_argument("--agent", metavar="KEY", help="only this agent, in detail")
    parser.add_argument("--all", action="store_true", help="of all organisations, and of sites that nobody set up")
    add_format_options(parser)
    add_site_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from api.cursor import Page
    from api.ledger_answers import LedgerAnswer, Verdict

    if arguments.all:
        found = in_database(arguments, lambda connection: _ask(arguments, connection, None))
    else:
        found = at_site(arguments, lambda connection, site: _ask(arguments, connection, site))
    tell = _print_details if arguments.agent else _print_table
    give(arguments, found, lambda page: tell(page.items), model=Page[LedgerAnswer])
    return MISSING if any(entry.verdict is Verdict.MISSING for entry in found.items) else 0


async def _ask(arguments: argparse.Namespace, connection: Connection, site: SiteRow | None) -> Page[LedgerAnswer]:
    from api.cursor import Page
    from api.ledger_answers import told_ledger
    from api.ledger_store import ledger

    where = {"site": site.key if site else None, "agent": arguments.agent}
    rows = await ledger(connection, site.organisation if site else None, **where)
    if arguments.agent and not rows:
        place = f"{site.organisation}/{site.key}" if site else "any site"
        raise RefusedError(
            f"nothing has come from an agent {arguments.agent} at {place}; `afkobling ledger` lists those that sent"
        )
    return Page(items=[told_ledger(row) for row in rows], next=None)


def _print_table(entries: Sequence[LedgerAnswer]) -> None:
    if not entries:
        print("nothing has come from any agent yet")
        return
    names = [_name(entry) for entry in entries]
    width = max(len(name) for name in names)
    print(f"{'agent and epoch':{width}} {'sent':>12} {'stored':>12} {'repeated':>10} {'quarantined':>11}  verdict")
    for name, entry in zip(names, entries, strict=True):
        counts = f"{entry.sent:12,} {entry.stored:12,} {entry.repeated:10,} {entry.quarantined:11,}"
        print(f"{name:{width}} {counts}  {_verdict(entry)}")
    print(_summary(entries))


def _print_details(entries: Sequence[LedgerAnswer]) -> None:
    for entry in entries:
        print(_name(entry) + ("  (its outbox now)" if entry.current else ""))
        told_by = "as it says itself" if entry.sent_says == "agent" else "as far as they came: it says nothing newer"
        print(f"    sent         {entry.sent:,} readings, {told_by}")
        print(f"    stored       {entry.stored:,} readings; {entry.repeated:,} more had been stored already")
        print(f"    quarantined  {entry.quarantined:,} readings")
        if entry.dropped:
            print(f"    given up     {entry.dropped:,} readings by the agent, as its outbox was full")
        print(f"    messages     {entry.messages:,} came{_numbers(entry)}")
        if entry.adopted:
            print(f"    adopted      {entry.adopted:,} messages that an earlier database had confirmed to the agent")
        if entry.waiting is not None:
            print(f"    waiting      {entry.waiting:,} messages in its outbox")
        if entry.status_at is not None:
            print(f"    agent        {entry.state or 'said nothing'}, at {entry.status_at:%Y-%m-%d %H:%M:%S} UTC")
        print(f"    heard        {entry.first_at:%Y-%m-%d %H:%M:%S} to {entry.last_at:%Y-%m-%d %H:%M:%S} UTC")
        print(f"    verdict      {_verdict(entry)}")
    print(_summary(entries))


def _name(entry: LedgerAnswer) -> str:
    return f"{entry.organisation}/{entry.site}/{entry.agent} {entry.epoch or '(plain readings)'}"


def _numbers(entry: LedgerAnswer) -> str:
    if not entry.epoch:
        return ""
    last = "" if entry.last_seq is None else f"; the agent's last is {max(entry.last_seq, entry.highest_seq):,}"
    return f", all up to {entry.stored_seq:,}, the highest {entry.highest_seq:,}{last}"


def _verdict(entry: LedgerAnswer) -> str:
    if not entry.epoch:
        return "plain readings have no numbers: what the broker loses of them nobody knows"
    if entry.complete:
        return "complete, but for what it gave up" if entry.dropped else "complete"
    parts = []
    if entry.missing_messages:
        parts.append(f"{entry.missing_messages:,} messages missing: {_ranges(entry.missing)}")
    if entry.not_arrived:
        parts.append(f"{entry.not_arrived:,} not arrived yet, after {entry.highest_seq:,}")
    return f"{entry.verdict} since {entry.missing_since:%Y-%m-%d %H:%M:%S} UTC: {'; '.join(parts)}"


def _ranges(ranges: Sequence[Range]) -> str:
    told = [f"{r.first}" if r.first == r.last else f"{r.first}-{r.last}" for r in ranges[:_MOST_RANGES]]
    return ", ".join(told) + (", …" if len(ranges) > _MOST_RANGES else "")


def _summary(entries: Sequence[LedgerAnswer]) -> str:
    from api.ledger_answers import Verdict

    late = [entry for entry in entries if entry.verdict is Verdict.MISSING]
    if late:
        count = sum(entry.missing_messages + entry.not_arrived for entry in late)
        since = min(entry.missing_since for entry in late if entry.missing_since is not None)
        agents = len({(entry.organisation, entry.site, entry.agent) for entry in late})
        return (
            f"missing: {count:,} messages of {agents} agent{'' if agents == 1 else 's'} since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC; start the agent with the same outbox file: it sends what was not confirmed"
        )
    on_way = sum(e.missing_messages + e.not_arrived for e in entries if e.verdict is Verdict.ON_ITS_WAY)
    aside = sum(entry.quarantined for entry in entries)
    held = f"; {aside:,} readings are in quarantine" if aside else ""
    return (
        f"nothing is missing; {on_way:,} messages are on their way" if on_way else "complete: nothing is missing"
    ) + held
