"""The addresses of the two servers, and how they are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from psycopg.conninfo import make_conninfo

DATABASE_VARIABLE = "AFKOBLING_DATABASE_URL"
BROKER_VARIABLE = "AFKOBLING_BROKER_URL"

# Greedy up to the last @: of a password that was not percent-encoded, rather too much than a part is hidden.
_USER_AND_PASSWORD = re.compile(r"(://[^:@/?#\s]*:)\S*@")
_PASSWORD_PARAMETER = re.compile(r"((?:^|[?&\s])(?:ssl)?password\s*=\s*)('[^']*'|[^&\s]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the database and the broker answer. The database address carries its password: mask it to show it."""

    database_url: str
    broker_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenServers:
    """Servers that the environment names; None where the stack's own is to be used."""

    database_url: str | None
    broker_url: str | None


def given_servers(environment: Mapping[str, str] | None = None) -> GivenServers:
    """The servers that AFKOBLING_DATABASE_URL and AFKOBLING_BROKER_URL name; an empty value names none."""
    variables = os.environ if environment is None else environment
    return GivenServers(
        database_url=variables.get(DATABASE_VARIABLE) or None,
        broker_url=variables.get(BROKER_VARIABLE) or None,
    )


def on_database(server_url: str, name: str) -> str:
    """The same server and user, another database. Takes a URL, or libpq's `key=value` form."""
    if "://" in server_url:
        return urlsplit(server_url)._replace(path=f"/{name}").geturl()
    return make_conninfo(server_url, dbname=name)


def masked(url: str) -> str:
    """The address with each password replaced by ***, for logs, errors and status."""
    return _PASSWORD_PARAMETER.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1***@", url))
