"""`afkobling archive run|status|verify|restore|move`: raw readings older than the retention, as Parquet files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from deploy.commands.settings import add_server_options
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from psycopg import Connection

    from collector.archive.settings import ArchiveSettings
    from deploy.commands.db import Subparsers


class ArchiveCommandError(PermanentError):
    """What was typed can't be done."""


def add(subparsers: Subparsers) -> None:
    """Add `archive` and its words."""
    parser = subparsers.add_parser(
        "archive",
        help="old readings out of the database, into Parquet files by site and month",
        description="Readings older than the retention are written to Parquet files, read back, compared with the "
        "database, and only then dropped there. Queries and roll-ups read both.",
    )
    words = parser.add_subparsers(metavar="WORD", required=True)
    run = words.add_parser(
        "run",
        help="archive what is due, and end; with --forever go on until stopped",
        description="One pass: all that is due now. Killed at any instant it neither loses nor doubles a reading.",
    )
    run.add_argument("--forever", action="store_true", help="look again every AFKOBLING_ARCHIVE_EVERY, until stopped")
    run.add_argument("--every", metavar="SPAN", help="how often --forever looks, as in 10min (default: 10min)")
    run.add_argument("--retention", metavar="SPAN", help="how long readings stay hot, as in 90d or 6h (default: 90d)")
    run.add_argument("--chunk-interval", metavar="SPAN", help="let the table's next chunks span that long, as in 1h")
    run.add_argument("--metrics-port", metavar="PORT", type=int, help="with --forever: serve metrics and health there")
    _finish(run, _run)
    status = words.add_parser("status", help="how much is hot, how much is archived, what is due")
    status.add_argument("--retention", metavar="SPAN", help="as if readings stayed hot for so long")
    _finish(status, _status)
    verify = words.add_parser(
        "verify",
        help="check every file that counts: its checksum, its readings, its manifest",
        description="Reads every file and compares it with what the database says. Status 1 where one is damaged.",
    )
    verify.add_argument("--fast", action="store_true", help="read nothing: tell only what is missing or cut off")
    _add_site(verify)
    _finish(verify, _verify)
    restore = words.add_parser(
        "restore",
        help="put archived readings back into the table",
        description="Whole files come back: all of a file that reaches into the span. Consumption stays as it is.",
    )
    restore.add_argument("--from", dest="start", metavar="INSTANT", required=True, help="an instant, or a date (UTC)")
    restore.add_argument("--to", dest="end", metavar="INSTANT", required=True, help="the first instant after")
    restore.add_argument("--keep", metavar="SPAN", default="7d", help="not archived again before (default: 7d)")
    _add_site(restore)
    _finish(restore, _restore)
    move = words.add_parser(
        "move",
        help="look for the archive elsewhere from now on",
        description="Copy all of its files there first, then say so here; it is checked that they are all there.",
    )
    move.add_argument("url", metavar="URL", help="a folder, file:///…, or s3://bucket/prefix?endpoint_override=…")
    _finish(move, _move, has_url=False)


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", metavar="[ORGANISATION/]SITE", help="only this site's (default: all)")


def _finish(parser: argparse.ArgumentParser, run: Any, *, has_url: bool = True) -> None:
    if has_url:
        parser.add_argument("--url", metavar="URL", help="where the archive is (default: AFKOBLING_ARCHIVE_URL)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_server_options(parser, "database_url")
    parser.set_defaults(run=run)


def _settings(arguments: argparse.Namespace, **given: object) -> ArchiveSettings:
    from collector.archive.settings import ArchiveSettings
    from deploy.commands.db import site_database_url
    from deploy.commands.settings import read_settings

    if not given.get("is_process"):
        arguments.database_url = site_database_url(arguments)
    names = {
        "archive_url": getattr(arguments, "url", None),
        "archive_retention": getattr(arguments, "retention", None),
        "archive_every": getattr(arguments, "every", None),
        "chunk_interval": getattr(arguments, "chunk_interval", None),
        "archive_metrics_port": getattr(arguments, "metrics_port", None),
    }
    wanted = argparse.Namespace(database_url=arguments.database_url, settings=("database_url", *names), **names)
    return read_settings(ArchiveSettings, wanted)


def _default_url(database_url: str) -> str | None:
    from deploy.archive_place import default_archive

    folder = default_archive(database_url)
    return None if folder is None else str(folder)


def _run(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from collector.archive.archiver import Archiver, ArchiveRunner
    from collector.archive.state import read_state
    from deploy.commands.archive_words import print_pass
    from deploy.service import serve

    if not arguments.forever and (arguments.every or arguments.metrics_port):
        raise ArchiveCommandError("--every and --metrics-port are of --forever; add it, or leave them out")
    if arguments.forever and arguments.json:
        raise ArchiveCommandError("--json is of a single pass; with --forever the log tells, leave it out")
    settings = _settings(arguments, is_process=arguments.forever)
    default_url = _default_url(settings.database_url)
    if arguments.forever:
        runner = ArchiveRunner(settings, default_url=default_url)
        serve(runner, registry=runner.metrics.registry, port=settings.archive_metrics_port, part="archive")
        return 0
    with _connected(settings, "archive") as connection:
        done = Archiver(settings, default_url=default_url).once(connection)
        state = read_state(connection, url=None, now=datetime.now(UTC), retention=settings.retention)
    print_pass(done, waiting=state.waiting_chunks, as_json=arguments.json)
    return 1 if done.problems else 0


def _status(arguments: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from collector.archive.state import read_state
    from collector.archive.store import stored_url
    from deploy.commands.archive_words import describe_state

    settings = _settings(arguments)
    url = settings.archive_url or _default_url(settings.database_url)
    with _connected(settings, "archive-status") as connection:
        state = read_state(
            connection, url=stored_url(url) if url else None, now=datetime.now(UTC), retention=settings.retention
        )
    if arguments.json:
        print(json.dumps(asdict(state), indent=2, default=lambda at: at.isoformat()))
        return
    for line in describe_state(state):
        print(line)


def _verify(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from tqdm import tqdm

    from collector.archive.archiver import open_archive
    from collector.archive.checking import check_file
    from collector.archive.files import find_site_id, list_files

    settings = _settings(arguments)
    files = readings = 0
    damages = []
    with _connected(settings, "archive-verify") as connection:
        site_id = find_site_id(connection, arguments.site)
        store = open_archive(connection, settings.archive_url)
        listed = ((store, file) for file in list_files(connection, site_id=site_id)) if store else ()
        for place, file in tqdm(listed, desc="files", unit=" files", file=sys.stderr, disable=None):
            files, readings = files + 1, readings + file.readings
            # Asked again, as it may have been merged or restored while we were at others.
            damages += [d for d in check_file(place, file, only_size=arguments.fast) if _counts(connection, file)]
    if arguments.json:
        damaged = [asdict(damage) for damage in damages]
        print(json.dumps({"files": files, "readings": readings, "fast": arguments.fast, "damaged": damaged}, indent=2))
    else:
        for damage in damages:
            print(f"{damage.path} {damage.problem}", file=sys.stderr)
        checked = "are there, with their sizes" if arguments.fast else "read and compared"
        print(f"{files:,} files with {readings:,} readings {checked}: {len(damages):,} damaged")
    return 1 if damages else 0


def _restore(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict
    from datetime import timedelta

    from collector.archive.archiver import open_archive
    from collector.archive.files import find_site_id
    from collector.archive.restoring import Restored, restore
    from deploy.commands.instants import parse_instant
    from schemas.durations import parse_span_ms

    settings = _settings(arguments)
    start, end = parse_instant(arguments.start), parse_instant(arguments.end)
    if start >= end:
        raise ArchiveCommandError("--to is not after --from; nothing lies in between")
    try:
        keep = timedelta(milliseconds=parse_span_ms(arguments.keep))
    except ValueError as error:
        raise ArchiveCommandError(f"--keep: {error}") from error
    with _connected(settings, "archive-restore") as connection:
        site_id = find_site_id(connection, arguments.site)
        store = open_archive(connection, settings.archive_url)
        done = (
            restore(connection, store, start=start, end=end, site_id=site_id, keep=keep, grace=settings.grace)
            if store
            else Restored()
        )
    if arguments.json:
        print(json.dumps(asdict(done), indent=2, default=lambda at: at.isoformat()))
    elif done.files:
        print(
            f"{done.readings:,} readings of {done.files:,} files are back in the table, "
            f"from {done.first_at:%Y-%m-%d %H:%M} to {done.last_at:%Y-%m-%d %H:%M} UTC"
        )
    elif not done.problems:
        print("nothing archived lies in that span")
    if not arguments.json:
        for problem in done.problems:
            print(problem, file=sys.stderr)
    return 1 if done.problems else 0


def _move(arguments: argparse.Namespace) -> None:
    import json

    from collector.archive.relocating import relocate

    settings = _settings(arguments)
    with _connected(settings, "archive-move") as connection:
        files = relocate(connection, arguments.url)
    if arguments.json:
        print(json.dumps({"files": files}))
    else:
        print(f"the archive is looked for there from now on; all its {files:,} files are there")


def _connected(settings: ArchiveSettings, role: str) -> AbstractContextManager[Connection]:
    from contextlib import contextmanager

    from collector.connection import connect
    from deploy.migrate import reaching
    from schemas.archive_store import ArchiveAwayError

    @contextmanager
    def connected() -> Iterator[Connection]:
        try:
            with reaching(), connect(settings.database_url, role=role) as connection:
                yield connection
        except OSError as error:
            raise ArchiveAwayError(f"the archive can't be used: {error}; nothing was lost, try again later") from error

    return connected()


def _counts(connection: Connection, file: Any) -> bool:
    row = connection.execute("SELECT FROM archive_file WHERE id = %s AND restored_at IS NULL", [file.id]).fetchone()
    return row is not None
