"""Where a command that is about an organisation learns which one is meant."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, LiteralString, TypeVar

from deploy.commands.at_site import WhichSiteError, in_database
from deploy.commands.db import add_database_url

if TYPE_CHECKING:
    from api.database import Connection

Result = TypeVar("Result")

_ORGANISATIONS: LiteralString = """
SELECT id, key FROM organisation WHERE %(key)s::text IS NULL OR key = %(key)s ORDER BY key LIMIT 20
"""


def add_organisation_options(parser: argparse.ArgumentParser) -> None:
    """Add `--organisation` and `--database-url`, which `at_organisation` reads."""
    parser.add_argument("--organisation", metavar="KEY", help="which organisation (default: the only one there is)")
    add_database_url(parser)


def at_organisation(arguments: argparse.Namespace, work: Callable[[Connection, int], Awaitable[Result]]) -> Result:
    """Do the work with a connection and the number of the organisation that is meant. Raises as `at_site` does."""

    async def find_and_work(connection: Connection) -> Result:
        number, _ = await find_organisation(connection, arguments.organisation)
        return await work(connection, number)

    return in_database(arguments, find_and_work)


async def find_organisation(connection: Connection, named: str | None) -> tuple[int, str]:
    """Number and key of the one that is named, or of the only one. Raises WhichSiteError."""
    from api.database import fetch_all

    rows = await fetch_all(connection, _ORGANISATIONS, {"key": named})
    match rows:
        case [row]:
            return row["id"], row["key"]
        case []:
            raise WhichSiteError(
                f"there is no organisation {named!r}; check the name"
                if named
                else "there is no organisation yet; `afkobling site apply site.yaml` makes the one in the file"
            )
        case _:
            listed = ", ".join(row["key"] for row in rows)
            raise WhichSiteError(f"more than one organisation could be meant; say which with --organisation: {listed}")
