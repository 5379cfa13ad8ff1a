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


def _migrate(arguments: argparse.Namespace) -> int:
    from deploy.migrate import migrate

    applied = migrate(database_url(arguments))
    if applied:
        print(f"applied migration {', '.join(f'{number:04}' for number in applied)}")
    else:
        print("the database is up to date")
    return 0
