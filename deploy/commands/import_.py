"""`afkobling import` and `afkobling imports`: history from files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.commands.at_site import add_site_options, at_site, author
from schemas.errors import PermanentError

if TYPE_CHECKING:
    import psycopg

    from api.site_store import SiteRow
    from collector.importing.prepared import Wanted
    from deploy.commands.db import Subparsers
    from schemas.mapping import Mapping

_FORMATS = ("csv", "parquet", "arrow")
_MOST_QUARANTINED = 100_000


def add(subparsers: Subparsers) -> None:
    """Add `import` and `imports`."""
    parser = subparsers.add_parser(
        "import",
        help="take history from files: CSV, Parquet, Arrow",
        description="Reads files of measurements through a mapping (docs/import.md) and stores what is not stored yet. "
        "Stopped or killed at any moment, the same command goes on where it was; the same file again changes nothing.",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="CSV (or .csv.gz), Parquet, Arrow or Feather"
    )
    parser.add_argument("--mapping", metavar="NAME|FILE.yaml", help="how to read them (default: as their header tells)")
    parser.add_argument("--agent", metavar="KEY", help="the agent whose meters they are (default: each meter's own)")
    parser.add_argument("--format", choices=_FORMATS, help="what the files are (default: as they begin)")
    parser.add_argument("--dry-run", action="store_true", help="tell what would happen, and do nothing")
    parser.add_argument("--known-only", action="store_true", help="leave out meters that the site model does not have")
    parser.add_argument(
        "--most-quarantined",
        type=_count,
        default=_MOST_QUARANTINED,
        metavar="N",
        help="stop when more readings of a file went to quarantine (default: %(default)s)",
    )
    parser.add_argument("--author", metavar="NAME", help="who imports (default: the name of your account here)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_site_options(parser)
    parser.set_defaults(run=_import)
    listed = subparsers.add_parser("imports", help="files that were imported, the newest first")
    listed.add_argument("--limit", type=_count, default=100, metavar="N", help="at most so many (default: %(default)s)")
    listed.add_argument("--json", action="store_true", help="print one JSON object")
    add_site_options(listed)
    listed.set_defaults(run=_list)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**12:
        raise argparse.ArgumentTypeError("give a whole number, 1 or more")
    return int(text)


def _import(arguments: argparse.Namespace) -> int:
    import json

    from collector.importing import told
    from schemas.errors import TransientError
    from schemas.mapping import load_mapping

    mapping = load_mapping(arguments.mapping, folder=Path.cwd()) if arguments.mapping else None
    answers: list[dict[str, Any]] = []
    failed = 0
    with _at_site(arguments) as (connection, site):
        for path in arguments.files:
            wanted = _wanted(arguments, path, site, mapping)
            try:
                answer, is_good = _one(arguments, connection, wanted)
            except KeyboardInterrupt:
                print("afkobling: stopped; what is stored stays, and the same command goes on there", file=sys.stderr)
                raise
            except (PermanentError, TransientError) as error:
                print(f"afkobling: {error}", file=sys.stderr)
                answer, is_good = {"file": str(path), "error": str(error)}, False
            answers.append(answer)
            failed += not is_good
            if not arguments.json and "error" not in answer:
                print("\n".join(told.sentences(answer)))
    if arguments.json:
        print(json.dumps({"dry_run": arguments.dry_run, "files": answers}, indent=2))
    return 1 if failed else 0


def _wanted(arguments: argparse.Namespace, path: Path, site: SiteRow, mapping: Mapping | None) -> Wanted:
    from collector.importing.formats import Format
    from collector.importing.prepared import Wanted
    from deploy.commands.settings import future_tolerance_ms

    return Wanted(
        path=path,
        organisation=site.organisation,
        site=site.key,
        author=author(arguments),
        mapping=mapping,
        form=Format(arguments.format) if arguments.format else None,
        agent=arguments.agent,
        known_only=arguments.known_only,
        most_quarantined=arguments.most_quarantined,
        future_tolerance_ms=future_tolerance_ms(),
    )


def _one(arguments: argparse.Namespace, connection: psycopg.Connection, wanted: Wanted) -> tuple[dict[str, Any], bool]:
    """What became of a file, and whether anything of it is or could be stored."""
    from collector.importing import told
    from collector.importing.importer import import_file
    from collector.importing.prepared import prepare
    from collector.importing.rehearsal import rehearse

    with _bar(f"looking over {wanted.path.name}", None) as (report, _):
        prepared = prepare(connection, wanted, report=report)
    if arguments.dry_run:
        with _bar(f"trying {wanted.path.name}", prepared.new.rows) as (_, report):
            answer = told.rehearsal_answer(prepared, rehearse(connection, prepared, report=report))
        return answer, bool(not answer["problems"] and answer["new"] + answer["repeated"])
    with _bar(f"importing {wanted.path.name}", prepared.new.rows) as (_, report):
        answer = told.import_answer(prepared, import_file(connection, prepared, report=report))
    return answer, bool(answer["stored"] + answer["repeated"])


@contextmanager
def _bar(what: str, rows: int | None) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar, on a terminal only. It hears how many more rows are done, or up to which."""
    from tqdm import tqdm

    with tqdm(total=rows, desc=what, unit=" rows", unit_scale=True, file=sys.stderr, disable=None, leave=False) as bar:

        def more(rows: int) -> None:
            bar.update(rows)

        def up_to(row: int) -> None:
            bar.update(max(0, row - bar.n))

        yield more, up_to


@contextmanager
def _at_site(arguments: argparse.Namespace) -> Iterator[tuple[psycopg.Connection, SiteRow]]:
    """A connection of the collector's kind, and the site that is meant."""
    import psycopg

    from collector.connection import connect
    from deploy.commands.db import site_database_url
    from deploy.migrate import DatabaseAwayError, in_one_line

    # Asked once: it may tell which database it fell back to.
    arguments.database_url = site_database_url(arguments)

    async def find(_: object, site: SiteRow) -> SiteRow:
        return site

    site = at_site(arguments, find)
    try:
        with connect(arguments.database_url, role="import") as connection:
            yield connection, site
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise DatabaseAwayError(
            f"the database did not answer: {in_one_line(error)}; what is stored stays, and the same command goes on "
            "from there"
        ) from error


def _list(arguments: argparse.Namespace) -> None:
    import json

    from collector.importing import told
    from collector.importing.import_store import list_imports

    with _at_site(arguments) as (connection, site):
        found = list_imports(connection, organisation=site.organisation, site=site.key, limit=arguments.limit)
    if arguments.json:
        print(json.dumps({"imports": [told.record_answer(record) for record in found]}, indent=2))
        return
    for record in found:
        print(told.record_line(record))
    if not found:
        print("nothing was imported yet; `afkobling import FILE` takes history from a file")
