"""`afkobling quarantine`: what could not be stored, trying it again once its cause is mended, and giving it up."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import (
    RefusedError,
    add_page_options,
    add_site_options,
    at_site,
    checked,
    in_database,
    print_answer,
    said,
)
from schemas.quarantine import Reason

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.quarantine_answers import MarkAnswer, QuarantineAnswer, QuarantinedMessage
    from api.quarantine_store import Filters
    from api.routes.replays import ReplayAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_STATES = ("waiting", "replayed", "dropped", "all")


def add(subparsers: Subparsers) -> None:
    """Add `quarantine list`, `show`, `replay`, `drop` and `reopen`."""
    parser = subparsers.add_parser(
        "quarantine", help="what could not be stored, and why; trying it again, or giving up"
    )
    words = parser.add_subparsers(metavar="WORD", required=True)
    listed = words.add_parser("list", help="the newest first")
    _add_filters(listed)
    listed.add_argument("--state", choices=_STATES, default="waiting", help="which entries (default: %(default)s)")
    listed.add_argument("--all", action="store_true", help="of all organisations and of none: foreign topics, too")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=_list)
    show = words.add_parser("show", help="one entry with its message")
    show.add_argument("id", type=_number, help="its number, as the list shows it")
    show.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(show)
    show.set_defaults(run=_show)
    replay = words.add_parser(
        "replay",
        help="try entries again: after an agent, a meter or a line was added, or a unit corrected",
        description="Tries every entry that fits all that is given. What is refused again waits again, and says why. "
        "What was dropped is tried only by its --id.",
    )
    _add_filters(replay)
    replay.add_argument("--id", type=_number, help="only this entry, of whichever site")
    replay.add_argument("--all", action="store_true", help="of all organisations and of none")
    replay.add_argument("--unfinished", action="store_true", help="finish what was asked for earlier, nothing else")
    _add_said(replay, is_because_needed=False)
    replay.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(replay)
    replay.set_defaults(run=_replay)
    for word, help_text, description in (
        (
            "drop",
            "say that entries are not to be stored: they are not tried again",
            "Nothing is deleted: an entry stays with its message, who dropped it and why, and the ledger goes on "
            "counting its readings as quarantined. `reopen` takes it back.",
        ),
        ("reopen", "take back what was dropped: it waits again", None),
    ):
        mark = words.add_parser(word, help=help_text, description=description)
        _add_filters(mark)
        mark.add_argument("--id", type=_number, help="only this entry, of whichever site")
        mark.add_argument("--all", action="store_true", help="of all organisations and of none")
        _add_said(mark, is_because_needed=True)
        mark.add_argument("--json", action="store_true", help="print what the API would answer")
        add_site_options(mark)
        mark.set_defaults(run=_mark, act=word)


def _add_said(parser: argparse.ArgumentParser, *, is_because_needed: bool) -> None:
    # Elsewhere it is --reason, which here is why the entry is in quarantine.
    parser.add_argument(
        "--because", required=is_because_needed, metavar="TEXT", help="why, so that others understand it"
    )
    parser.add_argument("--author", metavar="NAME", help="who says so (default: the name of your account here)")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", metavar="KEY", help="only what this agent sent")
    parser.add_argument("--meter", metavar="KEY", help="only what holds readings of this meter")
    parser.add_argument("--reason", choices=[str(reason) for reason in Reason], metavar="REASON", help=_reasons())


def _reasons() -> str:
    return "one of: " + ", ".join(f"'{reason}'" for reason in Reason)


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError("give the number of an entry; `afkobling quarantine list` shows them")
    return int(text)


def _list(arguments: argparse.Namespace) -> None:
    page = (
        in_database(arguments, lambda connection: _entries(arguments, connection, None))
        if arguments.all
        else at_site(arguments, lambda connection, site: _entries(arguments, connection, site))
    )
    if arguments.json:
        print_answer(page)
        return
    for entry in page.items:
        _print_entry(entry)
    if not page.items:
        print("nothing of that kind is in quarantine")
    if page.next:
        print(f"these are the newest {arguments.limit}; there are more: raise --limit")


async def _entries(
    arguments: argparse.Namespace, connection: Connection, site: SiteRow | None
) -> Page[QuarantineAnswer]:
    from api.cursor import page_of
    from api.quarantine_answers import QuarantineAnswer
    from api.quarantine_store import EntryState, quarantine

    state = None if arguments.state == "all" else EntryState(arguments.state)
    rows = await quarantine(connection, _filters(arguments, site), state=state, limit=arguments.limit + 1)
    return page_of([QuarantineAnswer(**row) for row in rows], arguments.limit, lambda item: (item.id,))


def _filters(arguments: argparse.Namespace, site: SiteRow | None, entry: int | None = None) -> Filters:
    from api.quarantine_store import Filters

    return Filters(
        organisation=site.organisation if site else None,
        site=site.key if site else None,
        agent=arguments.agent,
        meter=arguments.meter,
        reason=arguments.reason,
        entry=entry,
    )


def _print_entry(entry: QuarantineAnswer) -> None:
    at = entry.replayed_at or entry.dropped_at
    state = f"  {entry.state} {at:%Y-%m-%d %H:%M}" if at else ""
    times = f", came {entry.times} times" if entry.times > 1 else ""
    print(f"{entry.id}  {entry.received_at:%Y-%m-%d %H:%M}  {entry.reason}  {entry.readings} readings{times}{state}")
    print(f"    {entry.topic}\n    {entry.detail}")


def _show(arguments: argparse.Namespace) -> None:
    entry = in_database(arguments, lambda connection: _entry(connection, arguments.id))
    if arguments.json:
        print_answer(entry)
        return
    _print_entry(entry)
    if entry.stored or entry.repeated:
        print(f"    of it {entry.stored} readings were stored, {entry.repeated} were there already")
    if entry.left_of:
        print(f"    it is what was left of entry {entry.left_of}")
    for act in entry.history:
        by = act.author or "nobody was named"
        why = f": {act.because}" if act.because else ""
        print(f"    {act.at:%Y-%m-%d %H:%M}  {act.act}  {by}{why}")
    print(entry.payload)


async def _entry(connection: Connection, number: int) -> QuarantinedMessage:
    from api.quarantine_answers import told_message
    from api.quarantine_store import quarantined

    row = await quarantined(connection, None, number)
    if row is None:
        raise RefusedError(f"there is no entry {number}; `afkobling quarantine list` shows those that there are")
    return told_message(row)


def _replay(arguments: argparse.Namespace) -> None:
    if arguments.unfinished:
        run_replays(arguments, None)
        print("every replay that was asked for is done")
        return
    if arguments.all or arguments.id:
        number = in_database(arguments, lambda connection: _request(arguments, connection, None))
    else:
        number = at_site(arguments, lambda connection, site: _request(arguments, connection, site))
    replay = finish_replay(arguments, number)
    if arguments.json:
        print_answer(replay)
    else:
        print_replay(replay)


async def _request(arguments: argparse.Namespace, connection: Connection, site: SiteRow | None) -> int:
    from api.replay_store import Wanted, request_replay

    if arguments.id:
        await _entry(connection, arguments.id)
    words = _said(arguments)
    wanted = Wanted(
        organisation=site.organisation if site else None,
        site=site.key if site else None,
        agent=arguments.agent,
        meters=[arguments.meter] if arguments.meter else None,
        reason=arguments.reason,
        entry=arguments.id,
        **words,
    )
    return await request_replay(connection, wanted)


def _mark(arguments: argparse.Namespace) -> None:
    if not (arguments.agent or arguments.meter or arguments.reason or arguments.id or arguments.all or arguments.site):
        raise RefusedError(
            "say which entries: --agent, --meter, --reason, --id, --site for all of one site, or --all for every entry"
        )
    words = _said(arguments)
    if arguments.all or arguments.id:
        marked = in_database(arguments, lambda connection: _marked(arguments, words, connection, None))
    else:
        marked = at_site(arguments, lambda connection, site: _marked(arguments, words, connection, site))
    if arguments.json:
        print_answer(marked)
        return
    done, there = ("dropped", "waiting") if arguments.act == "drop" else ("reopened", "dropped")
    if not marked.entries:
        print(f"no entry fits; `afkobling quarantine list --state {there}` shows those that there are")
    print(f"{done} {marked.entries} entries with {marked.readings} readings")
    for reason, count in marked.reasons.items():
        print(f"    {count}  {reason}")


async def _marked(
    arguments: argparse.Namespace, words: dict[str, str], connection: Connection, site: SiteRow | None
) -> MarkAnswer:
    from api.quarantine_answers import told_marks
    from api.quarantine_store import EntryState, drop, reopen

    is_drop = arguments.act == "drop"
    if arguments.id:
        entry = await _entry(connection, arguments.id)
        if entry.state != (EntryState.WAITING if is_drop else EntryState.DROPPED):
            why = "only what waits can be dropped" if is_drop else "only what was dropped can be reopened"
            raise RefusedError(f"entry {entry.id} is {entry.state}; {why}")
    mark = drop if is_drop else reopen
    return told_marks(await mark(connection, _filters(arguments, site, arguments.id), **words))


def _said(arguments: argparse.Namespace) -> dict[str, str]:
    """`author` and, where it was given, `because`, checked as the API checks them. Raises RefusedError."""
    from api.quarantine_answers import Because

    given = said(argparse.Namespace(author=arguments.author, reason=arguments.because))
    words = checked(Because, author=given["author"], because=given["reason"])
    return words.model_dump(exclude_none=True)


def finish_replay(arguments: argparse.Namespace, number: int) -> ReplayAnswer:
    """Do what was asked for, here and now, and tell what it came to."""
    from api.routes.replays import follow

    run_replays(arguments, number)
    return in_database(arguments, lambda connection: follow(connection, None, number, wait_s=0))


def run_replays(arguments: argparse.Namespace, number: int | None) -> None:
    """Do one replay, or all that are not finished. Raises DatabaseAwayError; the request then stays."""
    import psycopg

    from collector.connection import connect
    from collector.replay import replay_all
    from deploy.commands.db import site_database_url
    from deploy.commands.settings import future_tolerance_ms
    from deploy.migrate import DatabaseAwayError, in_one_line

    try:
        with connect(site_database_url(arguments), role="replay") as connection:
            replay_all(connection, number, future_tolerance_ms=future_tolerance_ms())
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise DatabaseAwayError(
            f"the database went away: {in_one_line(error)}; what is replayed stays so; a collector does the rest, "
            "or `afkobling quarantine replay --unfinished`"
        ) from error


def print_replay(replay: ReplayAnswer) -> None:
    """What became of the entries, in words."""
    print(f"tried {replay.tried} entries: {replay.stored} readings stored, {replay.repeated} were there already")
    for reason, count in sorted(replay.refused.items()):
        print(f"still in quarantine: {count}, {reason}")
