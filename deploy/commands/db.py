"""`afkobling db`: the schema of the database. Also where the other commands learn which database is meant."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.settings import add_server_options

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - there is no public name


def add(subparsers: Subparsers) -> None:
    """Add `db migrate`."""
    parser = subparsers.add_parser("db", help="the database's schema")
    words = parser.add_subparsers(metavar="WORD", required=True)
    migrate = words.add_parser(
        "migrate",
        help="bring the database to the schema that this version expects",
        description="Applies the steps that are missing, in order. Run it again at any time: what is there stays.",
    )
    add_database_url(migrate)
    migrate.set_defaults(run=_migrate)


def add_database_url(parser: argparse.ArgumentParser) -> None:
    """Add `--database-url`, which `database_url` reads."""
    add_server_options(parser, "database_url")


def database_url(arguments: argparse.Namespace) -> str:
    """The database that the user meant: by option, environment, or the local stack. Raises PermanentError."""
    from pydantic_settings import BaseSettings, SettingsConfigDict

    from deploy.commands.settings import read_settings

    class DatabaseSettings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="AFKOBLING_", frozen=True, extra="ignore")

        database_url: str

    return read_settings(DatabaseSettings, arguments).database_url


def site_database_url(arguments: argparse.Namespace) -> str:
    """The same for commands about a site: where nobody named a database and the stack's own has no site, the demo's."""
    import os
    import sys

    url = database_url(arguments)
    if arguments.database_url is not None or "AFKOBLING_DATABASE_URL" in os.environ or _has_site(url):
        return url
    from deploy.demo import DATABASE
    from deploy.stack import on_database

    demo = on_database(url, DATABASE)
    if not _has_site(demo):
        return url
    print("afkobling: the demo's site is meant, as the stack's own database has none", file=sys.stderr)
    return demo


def _has_site(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=10, application_name="afkobling") as connection:
            return bool(connection.execute("SELECT FROM site LIMIT 1").fetchall())
    except psycopg.Error:
        # Whoever goes on to use it is told what is wrong.
        return False


def _migrate(arguments: argparse.Namespace) -> int:
    from deploy.migrate import migrate

    applied = migrate(database_url(arguments))
    if applied:
        print(f"applied migration {', '.join(f'{number:04}' for number in applied)}")
    else:
        print("the database is up to date")
    return 0
