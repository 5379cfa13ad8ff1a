"""`afkobling runs`: what lines made when, by hand and from the files of an ERP or an MES."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.commands.at_site import (
    RefusedError,
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
    from collections.abc import Sequence

    from api.cursor import Page
    from api.database import Connection
    from api.routes.production import RunAnswer
    from api.runs.answers import RunDetail, RunVersion
    from api.runs.imports import ImportedRun, RunImport
    from api.runs.mapping import RunMapping
    from api.runs.rows import Refusal, RunFile
    from api.said import Said
    from api.site_store import SiteRow
    from deploy.commands.db import Subparsers

_STATES = ("running", "changeover", "idle", "down")
_INSTANT = "an instant with its offset, or a date: the site's midnight"
_LISTED = 100
_SHOWN = 20
_USUAL_DAYS = 7


def add(subparsers: Subparsers) -> None:
    """Add `runs list`, `show`, `import`, `put` and `remove`."""
    parser = subparsers.add_parser("runs", help="what lines made when: by hand, and from files of an ERP or an MES")
    words = parser.add_subparsers(metavar="WORD", required=True)
    listed = words.add_parser("list", help=f"by start (default: of the last {_USUAL_DAYS} days)")
    listed.add_argument("--from", dest="start", metavar="INSTANT", help=_INSTANT)
    listed.add_argument("--to", dest="end", metavar="INSTANT", help=f"first instant after: {_INSTANT}")
    listed.add_argument("--line", metavar="KEY", help="only runs of this line")
    add_page_options(listed)
    add_site_options(listed)
    listed.set_defaults(run=_list)
    show = words.add_parser("show", help="one run, and all that was ever said of it")
    _add_run(show)
    finish(show, _show)
    _add_import(words)
    put = words.add_parser(
        "put", help="put a run in, or correct it", description="Without --to it goes on. What was said before is kept."
    )
    _add_run(put)
    put.add_argument("--state", required=True, choices=_STATES)
    put.add_argument("--product", metavar="KEY", help="what it made, or what a changeover leads to")
    put.add_argument("--order", metavar="NUMBER")
    put.add_argument("--from", dest="start", required=True, metavar="INSTANT", help=_INSTANT)
    put.add_argument("--to", dest="end", metavar="INSTANT", help=f"first instant after: {_INSTANT}")
    add_said_options(put)
    finish(put, _put)
    remove = words.add_parser("remove", help="remove a run that never was; what was said of it is kept")
    _add_run(remove)
    add_said_options(remove)
    finish(remove, _remove)


def _add_import(words: Subparsers) -> None:
    read = words.add_parser(
        "import",
        help="put in the runs of a CSV file",
        description="Good rows go in; refused ones are listed and written to a file, and the exit status is 1. "
        "The same file again changes nothing. With --author and --reason it overrules what people said (docs/runs.md).",
    )
    read.add_argument("file", type=Path, help="a CSV file of an ERP or an MES")
    read.add_argument("--mapping", type=Path, required=True, metavar="MAPPING.yaml", help="says how to read it")
    read.add_argument("--dry-run", action="store_true", help="tell what would happen, and do nothing")
    read.add_argument(
        "--refused",
        metavar="FILE",
        help="where refused rows go, - for here (default: FILE.refused.csv beside the file)",
    )
    read.add_argument("--reason", metavar="TEXT", help="why a person says so")
    read.add_argument("--author", metavar="NAME", help="who that is (default, with --reason: your account's name)")
    finish(read, _import)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("line", metavar="LINE", help="its line's key")
    parser.add_argument("key", metavar="RUN", help="its own key, as `runs list` shows it")


def _list(arguments: argparse.Namespace) -> None:
    page = at_site(arguments, lambda connection, site: _runs(arguments, connection, site))
    print_page(
        arguments,
        page,
        lambda run: f"{run.line}  {run.run}  {_told(run)}",
        what="runs",
        order="first",
        further="--from",
    )


async def _runs(arguments: argparse.Namespace, connection: Connection, site: SiteRow) -> Page[RunAnswer]:
    from datetime import UTC, datetime, timedelta

    from api.calendar.clock import Period
    from api.periods import parse_span
    from api.routes.production import run_page

    start, end = parse_span(arguments.start, arguments.end, site.zone)
    end = end or max(datetime.now(UTC), (start or datetime.min.replace(tzinfo=UTC)) + timedelta(days=_USUAL_DAYS))
    period = Period(start=start or end - timedelta(days=_USUAL_DAYS), end=end, zone=site.zone)
    return await run_page(connection, site, period, line=arguments.line, limit=arguments.limit)


def _show(arguments: argparse.Namespace) -> None:
    from api.runs.answers import find_run

    key = (arguments.line, arguments.key)
    _print_detail(arguments, at_site(arguments, lambda connection, site: find_run(connection, site, key)))


def _put(arguments: argparse.Namespace) -> None:
    from api.runs.answers import RunItem, RunItems, find_run, put_runs

    names = ("line", "state", "product", "order", "start", "end")
    item = checked(RunItem, run=arguments.key, **{name: getattr(arguments, name) for name in names})
    items = checked(RunItems, items=[item], **said(arguments))

    async def work(connection: Connection, site: SiteRow) -> RunDetail:
        await put_runs(connection, site, items)
        return await find_run(connection, site, (item.line, item.run))

    _print_detail(arguments, at_site(arguments, work))


def _remove(arguments: argparse.Namespace) -> None:
    from api.runs.answers import remove_run
    from api.said import Said

    words, key = checked(Said, **said(arguments)), (arguments.line, arguments.key)
    _print_detail(arguments, at_site(arguments, lambda connection, site: remove_run(connection, site, key, words)))


def _import(arguments: argparse.Namespace) -> int:
    from api.runs.mapping import RunFileError, load_run_mapping
    from api.said import Said

    if arguments.author and not arguments.reason:
        raise RefusedError("a person gives a reason as well: add --reason, or leave --author out")
    if arguments.json and arguments.refused == "-":
        raise RefusedError("--json tells the refused rows itself; leave --refused out, or name a file")
    words = checked(Said, **said(arguments)) if arguments.reason else None
    mapping = load_run_mapping(arguments.mapping)
    try:
        content = arguments.file.read_bytes()
    except OSError as error:
        raise RunFileError(f"{arguments.file} can't be read: {error.strerror}; check the path") from error

    answer, refused, read = at_site(
        arguments, lambda connection, site: _take(arguments, connection, site, content, mapping, words)
    )
    if arguments.json:
        print_answer(answer)
    else:
        _print_import(arguments, answer)
    if refused and not arguments.dry_run:
        _write_refused(arguments, read, refused, mapping)
    return 1 if refused else 0


async def _take(
    arguments: argparse.Namespace,
    connection: Connection,
    site: SiteRow,
    content: bytes,
    mapping: RunMapping,
    words: Said | None,
) -> tuple[RunImport, list[Refusal], RunFile]:
    from api.runs.imports import import_runs
    from api.runs.rows import read_runs

    read = read_runs(content, mapping, site.zone, name=str(arguments.file))
    answer, refused = await import_runs(connection, site, read, said=words, dry_run=arguments.dry_run)
    return answer, refused, read


def _write_refused(
    arguments: argparse.Namespace, read: RunFile, refused: Sequence[Refusal], mapping: RunMapping
) -> None:
    """The refused rows as they stand, with line and reason behind them: mended, the same mapping reads them."""
    from api.runs.refused import refused_text

    text = refused_text(read, refused, mapping)
    if arguments.refused == "-":
        print(text, end="")
        return
    file: Path = arguments.file
    path = Path(arguments.refused) if arguments.refused else file.with_name(f"{file.stem}.refused{file.suffix}")
    try:
        path.write_bytes(text.encode(mapping.encoding, "replace"))
    except OSError as error:
        raise RefusedError(
            f"the refused rows can't be written to {path}: {error.strerror}; the other rows' runs are in. Import the "
            "file again with --refused and another place: what is in stays as it is"
        ) from error
    if not arguments.json:
        print(f"the refused rows stand in {path}; mend them there, and import that file")


def _print_import(arguments: argparse.Namespace, answer: RunImport) -> None:
    name = arguments.file
    for told, what in ((answer.refused, "refused"), (answer.notes, "note"), (answer.left_out, "left out")):
        for item in told[:_LISTED]:
            print(f"{name}:{item.row}: {what}: {item.note}")
        if len(told) > _LISTED:
            print(f"… and {len(told) - _LISTED} more ({what})")
    if answer.dry_run:
        for run in answer.runs[:_SHOWN]:
            print(f"{name}:{run.row}: {run.change}: {run.line}  {run.run}  {_told(run)}")
        if len(answer.runs) > _SHOWN:
            print(f"… and {len(answer.runs) - _SHOWN} more runs")
    counts = f"{answer.new} new, {answer.corrected} corrected, {answer.unchanged} unchanged"
    others = f"{len(answer.left_out)} left out, {len(answer.refused)} refused"
    print(f"{answer.rows} rows: {counts}, {others}{'; nothing was done (dry run)' if answer.dry_run else ''}")


def _told(run: RunAnswer | ImportedRun | RunVersion) -> str:
    from api.exact_json import instant

    if run.state is None or run.start is None:
        return "removed"
    until = "goes on" if run.end is None else f"to {instant(run.end)}"
    what = "  ".join(part for part in (run.state, run.product, run.order and f"order {run.order}") if part)
    return f"{instant(run.start)} {until}  {what}"


def _print_detail(arguments: argparse.Namespace, run: RunDetail) -> None:
    from api.exact_json import instant

    if arguments.json:
        print_answer(run)
        return
    print(f"{run.line}  {run.run}  {_told(run)}")
    for version in run.versions:
        who = f"{version.author}: {version.reason}" if version.author else "a program"
        print(f"    {instant(version.said_at)}  {_told(version)}  {who}")
