"""Where a command that is about one site learns which site is meant, and how it asks the database about it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from deploy.commands.db import add_database_url, site_database_url
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from api.cursor import Page
    from api.database import Connection
    from api.site_store import SiteRow

    Model = TypeVar("Model", bound=BaseModel)
    Item = TypeVar("Item")

Result = TypeVar("Result")

_SITES: LiteralString = """
SELECT s.key AS site, s.organisation_id, o.key AS organisation
FROM site AS s JOIN organisation AS o ON o.id = s.organisation_id
WHERE (%(site)s::text IS NULL OR s.key = %(site)s) AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
ORDER BY o.key, s.key LIMIT 20
"""


class WhichSiteError(PermanentError):
    """There is no such site, or more than one that could be meant."""


class RefusedError(PermanentError):
    """What was typed can't be taken as it is."""


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add `--site` and `--database-url`, which `at_site` reads."""
    parser.add_argument("--site", metavar="[ORGANISATION/]SITE", help="which site (default: the only one there is)")
    add_database_url(parser)


def finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int | None]) -> None:
    """Add `--json` and what `at_site` reads, and set what runs."""
    parser.add_argument("--json", action="store_true", help="print what the API would answer")
    add_site_options(parser)
    parser.set_defaults(run=run)


def add_said_options(parser: argparse.ArgumentParser) -> None:
    """Add `--reason` and `--author`, which `said` reads."""
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, so that an auditor understands it")
    parser.add_argument("--author", metavar="NAME", help="who says so (default: the name of your account here)")


def said(arguments: argparse.Namespace) -> dict[str, str]:
    """Author and reason as they were given. Raises RefusedError where the account has no name."""
    return {"author": author(arguments), "reason": arguments.reason}


def author(arguments: argparse.Namespace) -> str:
    """Who says so: as given, else the account's name. Raises RefusedError where it has none."""
    import getpass

    try:
        return arguments.author or getpass.getuser()
    except (OSError, KeyError) as error:
        raise RefusedError("your account has no name here; say who you are with --author") from error


def checked(model: type[Model], **values: Any) -> Model:
    """What was typed, checked as the API checks it. Raises RefusedError that names each fault."""
    from pydantic import ValidationError

    from schemas.configuration import problems_in

    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault.location))}: {fault.message}" for fault in problems_in(error)]
        raise RefusedError("\n".join(faults)) from error


def at_site(arguments: argparse.Namespace, work: Callable[[Connection, SiteRow], Awaitable[Result]]) -> Result:
    """Do the work with a connection to the database and the site that is meant.

    It is the API's own work, on a connection of our own. Raises WhichSiteError, what the work raises, and
    DatabaseAwayError or MigrationRefusedError for a database that can't be used.
    """

    async def find_and_work(connection: Connection) -> Result:
        return await work(connection, await _find_site(connection, arguments.site))

    return in_database(arguments, find_and_work)


def in_database(arguments: argparse.Namespace, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do the work of somebody who may see every organisation. Raises as `at_site` does."""
    import psycopg

    from api.problems import Problem, of_database
    from deploy.migrate import DatabaseAwayError, in_one_line

    try:
        return asyncio.run(_in_database(arguments, work))
    except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise DatabaseAwayError(
            f"the database did not answer: {in_one_line(error)}; nothing was changed, try again later"
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        problem = Problem.model_validate_json(bytes(of_database(error).body))
        raise RefusedError(problem.detail) from error


async def _in_database(arguments: argparse.Namespace, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    import psycopg
    from psycopg.rows import dict_row

    from api.database import fetch_one
    from deploy.migrate import check_schema, reaching
    from schemas.sql import NEWEST_APPLIED

    with reaching():
        connection = await psycopg.AsyncConnection.connect(
            site_database_url(arguments),
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=10,
            application_name="afkobling",
            options="-c timezone=UTC",
        )
    async with connection:
        try:
            newest = await fetch_one(connection, NEWEST_APPLIED)
        except psycopg.errors.UndefinedTable:
            newest = None
        check_schema(newest["number"] if newest else 0)
        return await work(connection)


async def _find_site(connection: Connection, named: str | None) -> SiteRow:
    from api.database import fetch_all
    from api.site_store import find_site

    organisation, _, key = (named or "").rpartition("/")
    rows = await fetch_all(connection, _SITES, {"organisation": organisation or None, "site": key or None})
    match rows:
        case [row]:
            return await find_site(connection, **row)
        case []:
            raise WhichSiteError(
                f"there is no site {named!r}; check the name, or `afkobling site apply site.yaml` first"
                if named
                else "there is no site yet; `afkobling site apply site.yaml` makes the one in the file"
            )
        case _:
            listed = ", ".join(f"{row['organisation']}/{row['site']}" for row in rows)
            raise WhichSiteError(f"more than one site could be meant; say which with --site: {listed}")


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add `--limit` and `--json`."""
    parser.add_argument("--limit", type=_limit, default=100, help="at most so many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what the API would answer")


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("give a number from 1 to 10000")
    return int(text)


def print_page(
    arguments: argparse.Namespace, page: Page[Item], told: Callable[[Item], str], *, what: str, order: str, further: str
) -> None:
    """A page of a list: as JSON where `--json` asks for it, else a line or more an item. `what` they are, their `order`
    (first, newest), and the option that leads `further`.
    """
    if arguments.json:
        print_answer(page)
        return
    for item in page.items:
        print(told(item))
    if not page.items:
        print(f"no such {what}")
    if page.next:
        print(f"these are the {order} {arguments.limit}; there are more: raise --limit, or set {further}")


def print_answer(answer: BaseModel) -> None:
    """As the API would answer it."""
    from api.exact_json import encode

    print(encode(answer.model_dump(by_alias=True)))
