"""`afkobling site`: check a site model, and put it into the database."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.db import add_database_url, database_url
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from deploy.commands.db import Subparsers
    from schemas.site import SiteModel


class SiteFileError(PermanentError):
    """The file can't be read."""


def add(subparsers: Subparsers) -> None:
    """Add `site check` and `site apply`."""
    parser = subparsers.add_parser("site", help="the site model: lines, products, agents, meters")
    words = parser.add_subparsers(metavar="WORD", required=True)
    check = words.add_parser("check", help="tell what is wrong with a site.yaml, by line")
    check.add_argument("file", help="the site model, as in site.yaml")
    check.set_defaults(run=_check)
    apply = words.add_parser(
        "apply",
        help="put a site.yaml into the database",
        description="Adds and changes what the file says; applying it again changes nothing. Nothing is removed.",
    )
    apply.add_argument("file", help="the site model, as in site.yaml")
    add_database_url(apply)
    apply.set_defaults(run=_apply)


def _check(arguments: argparse.Namespace) -> int:
    model = read_site_model(arguments.file)
    print(
        f"{arguments.file}: well formed: {len(model.lines)} lines, {len(model.products)} products, "
        f"{len(model.agents)} agents, {len(model.meters)} meters"
    )
    return 0


def _apply(arguments: argparse.Namespace) -> int:
    import psycopg

    from api.site_model import apply_site_model
    from deploy.migrate import DatabaseAwayError, connect_migrated, in_one_line

    model = read_site_model(arguments.file)
    with connect_migrated(database_url(arguments)) as connection:
        try:
            left_over = apply_site_model(connection, model)
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise DatabaseAwayError(
                f"the database did not take the model: {in_one_line(error)}; nothing was changed, try again later"
            ) from error
    print(f"applied {model.organisation.id}/{model.site.id}: {len(model.meters)} meters")
    for part in left_over:
        print(f"kept, although the file does not name it: {part}")
    return 0


def read_site_model(path: str) -> SiteModel:
    """The model in a file. Raises SiteFileError, or ConfigurationError with every problem by file and line."""
    from pathlib import Path

    from schemas.configuration import parse_configuration
    from schemas.site import SiteModel

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFileError(f"{path} can't be read: {error}") from error
    return parse_configuration(text, name=path, model=SiteModel)
