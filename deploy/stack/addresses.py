"""The addresses of the two servers, and how they are shown."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from psycopg.conninfo import make_conninfo
from pydantic import ValidationError

from deploy.stack.errors import StackPermanentError
from schemas.broker_tls import BrokerTls, BrokerTlsSettings

DATABASE_VARIABLE = "AFKOBLING_DATABASE_URL"
BROKER_VARIABLE = "AFKOBLING_BROKER_URL"
AGENT_BROKER_VARIABLE = "AFKOBLING_AGENT_BROKER_URL"
AUTHORITY_VARIABLE = "AFKOBLING_AUTHORITY_DIR"
LISTEN_VARIABLE = "AFKOBLING_BROKER_LISTEN"

# Greedy up to the last @: of a password that was not percent-encoded, rather too much than a part is hidden.
_USER_AND_PASSWORD = re.compile(r"(://[^:@/?#\s]*:)\S*@")
_PASSWORD_PARAMETER = re.compile(r"((?:^|[?&\s])(?:ssl)?password\s*=\s*)('[^']*'|[^&\s]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the database and the broker answer. Both addresses carry passwords: mask them to show them.

    `broker_url` is for our own servers; agents connect to `agent_broker_url` with certificates of the authority whose
    folder is `authority_dir`. Both are None where the environment names a broker and not these.
    """

    database_url: str
    broker_url: str
    agent_broker_url: str | None = None
    authority_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenServers:
    """Servers that the environment names; None where the stack's own is to be used."""

    database_url: str | None
    broker_url: str | None
    agent_broker_url: str | None = None
    authority_dir: Path | None = None


def given_servers(environment: Mapping[str, str] | None = None) -> GivenServers:
    """The servers that AFKOBLING_DATABASE_URL and the like name; an empty value names none."""
    variables = os.environ if environment is None else environment
    authority_dir = variables.get(AUTHORITY_VARIABLE)
    return GivenServers(
        database_url=variables.get(DATABASE_VARIABLE) or None,
        broker_url=variables.get(BROKER_VARIABLE) or None,
        agent_broker_url=variables.get(AGENT_BROKER_VARIABLE) or None,
        authority_dir=Path(authority_dir) if authority_dir else None,
    )


def given_broker_tls() -> BrokerTls:
    """What AFKOBLING_BROKER_AUTHORITY and the like name, for a broker with encryption. Raises StackPermanentError."""
    try:
        return BrokerTlsSettings().broker_tls
    except ValidationError as error:
        raise StackPermanentError(error.errors()[0]["msg"].removeprefix("Value error, ") + ".") from error


def given_listen(environment: Mapping[str, str] | None = None) -> str | None:
    """Where AFKOBLING_BROKER_LISTEN wants agents served; None where it says nothing. Raises StackPermanentError."""
    variables = os.environ if environment is None else environment
    text = variables.get(LISTEN_VARIABLE)
    if not text:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise StackPermanentError(
            f"{LISTEN_VARIABLE} is {text!r}, which is no address of this machine. Write one like 192.168.1.5,"
            " 0.0.0.0 for all that it has, or 127.0.0.1 for agents on this machine only."
        ) from error


def on_database(server_url: str, name: str) -> str:
    """The same server and user, another database. Takes a URL, or libpq's `key=value` form."""
    if "://" in server_url:
        return urlsplit(server_url)._replace(path=f"/{name}").geturl()
    return make_conninfo(server_url, dbname=name)


def masked(url: str) -> str:
    """The address with each password replaced by ***, for logs, errors and status."""
    return _PASSWORD_PARAMETER.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1***@", url))
