"""`afkobling prices`: price indices, which bring money of different years to the prices of one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.commands.at_site import add_page_options, print_answer
from deploy.commands.organisations import add_organisation_options, at_organisation

if TYPE_CHECKING:
    from deploy.commands.db import Subparsers


def add(subparsers: Subparsers) -> None:
    """Add `prices import` and `list`."""
    parser = subparsers.add_parser("prices", help="price indices, which bring money of different years to one year's")
    words = parser.add_subparsers(metavar="WORD", required=True)
    importing = words.add_parser(
        "import",
        help="take an index from a table",
        description="A CSV with columns year, value, and key and source where no option says them. All of it is taken, "
        "or nothing; a value of the same index and year is replaced.",
    )
    importing.add_argument("file", metavar="FILE", help="CSV; comma, semicolon or tab, decimal point or comma")
    importing.add_argument("--key", help="what the index is called, where the table does not say it")
    importing.add_argument("--source", metavar="TEXT", help="the same (default: the name of the file)")
    importing.add_argument("--json", action="store_true", help="print what the API would answer")
    add_organisation_options(importing)
    importing.set_defaults(run=_import)
    listed = words.add_parser("list", help="what is known, by index and year")
    listed.add_argument("--key", help="only this index")
    add_page_options(listed)
    add_organisation_options(listed)
    listed.set_defaults(run=_list)


def _import(arguments: argparse.Namespace) -> None:
    from api.drivers.answers import save_price_indices
    from api.drivers.files import read_index_file

    values = read_index_file(Path(arguments.file), {"key": arguments.key, "source": arguments.source})
    saved = at_organisation(arguments, lambda connection, number: save_price_indices(connection, number, values))
    if arguments.json:
        print_answer(saved)
    else:
        print(f"{saved.saved} values stored")


def _list(arguments: argparse.Namespace) -> None:
    from api.drivers.answers import price_index_page

    page = at_organisation(
        arguments,
        lambda connection, number: price_index_page(
            connection, number, key=arguments.key, after=None, limit=arguments.limit
        ),
    )
    if arguments.json:
        print_answer(page)
        return
    for item in page.items:
        print(f"{item.key}  {item.year}  {item.value:f}  {item.source}")
    if not page.items:
        print("no such index; `afkobling prices import FILE.csv` takes one from a table")
    if page.next:
        print(f"these are the first {arguments.limit}; there are more: raise --limit")
