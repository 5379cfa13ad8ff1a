"""`afkobling token`: tokens with which programs sign in to the API."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, LiteralString

from deploy.commands.db import add_database_url, database_url
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from deploy.commands.db import Subparsers

_CREATE: LiteralString = """
INSERT INTO token (organisation_id, name, digest, scopes, expires_at)
SELECT id, %(name)s, %(digest)s, %(scopes)s, now() + make_interval(days => %(days)s)
FROM organisation WHERE key = %(organisation)s
RETURNING expires_at
"""


class UnknownOrganisationError(PermanentError):
    """There is no organisation with this key."""


def add(subparsers: Subparsers) -> None:
    """Add `token create`."""
    parser = subparsers.add_parser("token", help="tokens with which programs sign in to the API")
    words = parser.add_subparsers(metavar="WORD", required=True)
    create = words.add_parser(
        "create",
        help="make a token and print it",
        description="Prints a new token, this once: only a digest of it is kept.",
    )
    create.add_argument("--organisation", required=True, metavar="KEY", help="whose data it opens")
    create.add_argument("--name", required=True, help="what it is for, so that a person can tell it apart")
    create.add_argument(
        "--scope", action="append", choices=("read", "write"), help="what it allows; repeat it for more (default: read)"
    )
    create.add_argument("--days", type=_days, default=90, help="how long it is valid (default: %(default)s)")
    create.add_argument("--json", action="store_true", help="print token, scopes and expiry as JSON")
    add_database_url(create)
    create.set_defaults(run=_create)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3660:
        raise argparse.ArgumentTypeError("give whole days, from 1 to 3660")
    return int(text)


def _create(arguments: argparse.Namespace) -> int:
    import json

    scopes = sorted(set(arguments.scope or ["read"]))
    token, expires_at = create_token(
        database_url(arguments),
        organisation=arguments.organisation,
        name=arguments.name,
        scopes=scopes,
        days=arguments.days,
    )
    if arguments.json:
        print(json.dumps({"token": token, "scopes": scopes, "expires_at": expires_at}))
    else:
        print(token)
    return 0


def create_token(url: str, *, organisation: str, name: str, scopes: list[str], days: int) -> tuple[str, str]:
    """A new token and when it expires, in ISO 8601. Raises UnknownOrganisationError."""
    from api.auth import digest, new_token
    from deploy.migrate import connect_migrated

    token = new_token()
    values = {
        "organisation": organisation,
        "name": name,
        "digest": digest(token),
        "scopes": scopes,
        "days": days,
    }
    with connect_migrated(url) as connection:
        row = connection.execute(_CREATE, values).fetchone()
    if row is None:
        raise UnknownOrganisationError(
            f"there is no organisation {organisation!r}; `afkobling site apply site.yaml` makes the one in the file"
        )
    return token, row[0].isoformat()
