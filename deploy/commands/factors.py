"""`afkobling factors`: kg CO2e per unit of a carrier, with source and validity."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, LiteralString, TypeVar

from deploy.commands.at_site import (
    RefusedError,
    add_page_options,
    add_said_options,
    checked,
    in_database,
    print_answer,
    said,
)
from deploy.commands.db import add_database_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.database import Connection
    from api.factors.answers import FactorHistory, FactorVersion, ImportedFactors
    from api.factors.files import FactorFile
    from deploy.commands.db import Subparsers

Result = TypeVar("Result")

_ORGANISATIONS: LiteralString = """
SELECT id, key FROM organisation WHERE %(key)s::text IS NULL OR key = %(key)s ORDER BY key LIMIT 20
"""
_MOST_BYTES = 500_000_000


def add(subparsers: Subparsers) -> None:
    """Add `factors list`, `show`, `import` and `withdraw`."""
    parser = subparsers.add_parser("factors", help="kg CO2e per unit of a carrier, with source and validity")
    words = parser.add_subparsers(metavar="WORD", required=True)
    listed = words.add_parser("list", help="the newest version of each, by key")
    listed.add_argument("--carrier", metavar="NAME", help="electricity, natural_gas … (default: all)")
    listed.add_argument("--after", default="", metavar="KEY", help="go on after this key")
    add_page_options(listed)
    _add_organisation(listed)
    listed.set_defaults(run=_list)
    show = words.add_parser("show", help="one factor with all its versions")
    show.add_argument("factor", metavar="KEY")
    show.add_argument("--json", action="store_true", help="print what the API would answer")
    _add_organisation(show)
    show.set_defaults(run=_show)
    importing = words.add_parser(
        "import",
        help="take factors from a file",
        description="The file is a table of constant factors, or hourly or 5-minute values of the Danish grid, as "
        "Energi Data Service gives them out in CSV or JSON. All of it is taken, or nothing. Nothing is fetched.",
    )
    what = importing.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE", help="CSV or JSON")
    what.add_argument("--shipped", action="store_true", help="the few factors that come with the program")
    importing.add_argument(
        "--area", action="append", metavar="NAME", help="of the grid; repeat it for more (default: DK1 and DK2)"
    )
    importing.add_argument("--method", metavar="NAME", help="FuelAllocationMethod to take (default: 125%%)")
    importing.add_argument("--licence", metavar="TEXT", help="under which the grid's values may be used")
    importing.add_argument("--reason", metavar="TEXT", help="why (default: import of the file)")
    importing.add_argument("--author", metavar="NAME", help="who says so (default: the name of your account here)")
    importing.add_argument("--json", action="store_true", help="print what the API would answer")
    _add_organisation(importing)
    importing.set_defaults(run=_import)
    withdraw = words.add_parser("withdraw", help="take a factor back; it stays for the figures that used it")
    withdraw.add_argument("factor", metavar="KEY")
    withdraw.add_argument("--json", action="store_true", help="print what the API would answer")
    add_said_options(withdraw)
    _add_organisation(withdraw)
    withdraw.set_defaults(run=_withdraw)


def _add_organisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--organisation", metavar="KEY", help="whose factors (default: the only one there is)")
    add_database_url(parser)


def _list(arguments: argparse.Namespace) -> None:
    from api.factors.answers import factor_page

    page = _of_organisation(
        arguments,
        lambda connection, number: factor_page(
            connection, number, carrier=arguments.carrier, after=arguments.after, limit=arguments.limit
        ),
    )
    if arguments.json:
        print_answer(page)
        return
    for item in page.items:
        print(f"{item.key}  {_told(item)}")
    if not page.items:
        print("no such factors; `afkobling factors import FILE` takes them from a file")
    if page.next:
        print(f"there are more: raise --limit, or go on with --after {page.items[-1].key}")


def _show(arguments: argparse.Namespace) -> None:
    from api.factors.answers import find

    _print(
        arguments, _of_organisation(arguments, lambda connection, number: find(connection, number, arguments.factor))
    )


def _withdraw(arguments: argparse.Namespace) -> None:
    from api.factors.answers import withdraw
    from api.said import Said

    words = checked(Said, **said(arguments))
    history = _of_organisation(
        arguments, lambda connection, number: withdraw(connection, number, arguments.factor, words)
    )
    _print(arguments, history)


def _import(arguments: argparse.Namespace) -> None:
    from api.factors.answers import store_file
    from api.said import Said

    file = _read(arguments)
    arguments.reason = arguments.reason or f"import of {_name(arguments)}"
    words = checked(Said, **said(arguments))
    imported = _of_organisation(arguments, lambda connection, number: store_file(connection, number, file, words))
    if arguments.json:
        print_answer(imported)
    else:
        _print_import(imported)


def _read(arguments: argparse.Namespace) -> FactorFile:
    from datetime import UTC, datetime
    from pathlib import Path

    from api.factors.files import FactorFile, read_factor_file, shipped_factors
    from api.factors.grid_files import AREAS, LICENCE, GridChoice
    from api.said import unix_ms

    if arguments.shipped:
        factors = shipped_factors()
        return FactorFile(rows=len(factors), factors=factors)
    path = Path(arguments.file)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RefusedError(f"{path.name} has more than {_MOST_BYTES:,} bytes; import it in parts")
        data = path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{arguments.file} can't be read: {error}") from error
    choice = GridChoice(
        now=unix_ms(datetime.now(UTC)),
        areas=tuple(arguments.area or AREAS),
        method=arguments.method,
        licence=arguments.licence or LICENCE,
    )
    return read_factor_file(data, name=path.name, choice=choice)


def _name(arguments: argparse.Namespace) -> str:
    from pathlib import Path

    return "the shipped factors" if arguments.shipped else Path(arguments.file).name[:100]


def _of_organisation(arguments: argparse.Namespace, work: Callable[[Connection, int], Awaitable[Result]]) -> Result:
    async def find_and_work(connection: Connection) -> Result:
        from api.database import fetch_all

        rows = await fetch_all(connection, _ORGANISATIONS, {"key": arguments.organisation})
        match rows:
            case [row]:
                return await work(connection, row["id"])
            case []:
                raise RefusedError(
                    "there is no such organisation; `afkobling site apply site.yaml` makes the one in it"
                )
            case _:
                listed = ", ".join(row["key"] for row in rows)
                raise RefusedError(f"say whose factors with --organisation: {listed}")

    return in_database(arguments, find_and_work)


def _print_import(imported: ImportedFactors) -> None:
    print(f"{imported.rows} rows: {imported.saved} factors stored, {imported.unchanged} known already")
    for item in imported.items:
        print(f"  {item.key}  version {item.version}{'' if item.is_new else ', unchanged'}")
    if imported.grid is not None:
        told = (
            (imported.grid.hours, "hours taken"),
            (imported.grid.hours_incomplete, "hours left out: a value is missing, empty or below zero"),
            (imported.grid.rows_of_other_areas, "rows of other areas left out"),
            (imported.grid.rows_of_other_methods, "rows of other methods left out"),
        )
        for count, what in told:
            if count:
                print(f"  {count} {what}")


def _print(arguments: argparse.Namespace, history: FactorHistory) -> None:
    if arguments.json:
        print_answer(history)
        return
    from api.exact_json import instant

    print(history.key)
    for version in history.versions:
        print(f"    version {version.version}  {_told(version)}")
        print(f"        {version.source} ({version.licence}){f'; {version.remark}' if version.remark else ''}")
        print(f"        {instant(version.recorded_at)}  {version.author}: {version.reason}")


def _told(version: FactorVersion) -> str:
    value = f"{version.hours} hours of kg" if version.value is None else f"{version.value.normalize():f} kg"
    words = [
        f"{value} {version.gas}/{version.unit} {version.carrier}",
        version.area or "everywhere",
        " ".join([version.scope, *([version.basis] if version.basis else [])]),
        f"{version.start} to {version.end or 'further notice'}",
        *(["withdrawn"] if version.is_withdrawn else []),
    ]
    return ", ".join(words)
