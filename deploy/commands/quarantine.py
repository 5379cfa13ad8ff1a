"""`afkobling quarantine`: what could not be stored, and trying it again once its cause is mended."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import RefusedError, add_page_options, add_site_options, at_site, in_database, print_answer
from schemas.quarantine import Reason

if TYPE_CHECKING:
    from api.cursor import Page
    from api.database import Connection
    from api.routes.ledger import QuarantineAnswer, QuarantinedMessage
    from api.routes.replays import ReplayAnswer
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_STATES = ("waiting", "replayed", "all")


def add(subparsers: Subparsers) -> None:
    """Add `quarantine list`, `show` and `replay`."""
    parser = subparsers.add_parser("quarantine", help="what could not be stored, and why; and trying it again")
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
        description="Tries every entry that fits all that is given. What is refused again waits again, and says why.",
    )
    _add_filters(replay)
    replay.add_argument("--id", type=_number, help="only this entry, of whichever site")
    replay.add_argument("--all", action="store_true", help="of all organisations and of none")
    replay.add_argument("--unfinished", action="store_true", help="finish what was asked for earlier, nothing else")
    replay.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(replay)
    replay.set_defaults(run=_replay)


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
    from api.ledger_store import Filters, quarantine
    from api.routes.ledger import QuarantineAnswer

    filters = Filters(
        organisation=site.organisation if site else None,
        site=site.key if site else None,
        is_replayed=None if arguments.state == "all" else arguments.state == "replayed",
        agent=arguments.agent,
        meter=arguments.meter,
        reason=arguments.reason,
    )
    rows = await quarantine(connection, filters, limit=arguments.limit + 1)
    return page_of([QuarantineAnswer(**row) for row in rows], arguments.limit, lambda item: (item.id,))


def _print_entry(entry: QuarantineAnswer) -> None:
    state = f"  replayed {entry.replayed_at:%Y-%m-%d %H:%M}" if entry.replayed_at else ""
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
    print(entry.payload)


async def _entry(connection: Connection, number: int) -> QuarantinedMessage:
    from api.ledger_store import quarantined
    from api.routes.ledger import quarantined_message

    row = await quarantined(connection, None, number)
    if row is None:
        raise RefusedError(f"there is no entry {number}; `afkobling quarantine list` shows those that there are")
    return quarantined_message(row)


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
    wanted = Wanted(
        organisation=site.organisation if site else None,
        site=site.key if site else None,
        agent=arguments.agent,
        meters=[arguments.meter] if arguments.meter else None,
        reason=arguments.reason,
        entry=arguments.id,
    )
    return await request_replay(connection, wanted)


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
    from deploy.migrate import DatabaseAwayError, in_one_line

    try:
        with connect(site_database_url(arguments), role="replay") as connection:
            replay_all(connection, number)
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
