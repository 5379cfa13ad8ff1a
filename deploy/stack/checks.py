"""Whether the server behind an address is there and can serve Afkobling."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.reasoncodes import ReasonCode

from api.broker_client import new_client
from deploy.stack.addresses import masked
from deploy.stack.errors import StackPermanentError, StackTransientError
from schemas.broker_tls import BrokerTls, BrokerTlsError
from schemas.broker_url import parse_broker_url

OLDEST_POSTGRESQL = 15
OLDEST_TIMESCALEDB = (2, 14)
_VERSION_TOPIC = "$SYS/broker/version"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What a database server says of itself. TimescaleDB's fields are None where it is not installed."""

    postgresql: str
    timescaledb: str | None
    timescaledb_license: str | None


def look_at_database(url: str, *, timeout_s: int = 5) -> DatabaseFacts:
    """Ask a database server for its versions, changing nothing.

    Raises StackTransientError when it does not answer, StackPermanentError when the address is malformed.
    """
    with connect(url, timeout_s=timeout_s) as connection:
        return _facts(connection)


def require_database(url: str) -> DatabaseFacts:
    """Make sure of PostgreSQL 15 or later with the TimescaleDB extension, 2.14 or later, created if need be.

    Raises StackPermanentError when it cannot serve, StackTransientError when it does not answer.
    """
    shown = masked(url)
    with connect(url) as connection:
        if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
            raise StackPermanentError(
                f"The database {shown} runs PostgreSQL {_facts(connection).postgresql}; Afkobling needs"
                f" {OLDEST_POSTGRESQL} or later. Upgrade it, or name another in AFKOBLING_DATABASE_URL."
            )
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg.errors.InsufficientPrivilege as error:
            raise StackPermanentError(
                f"The database {shown} has no TimescaleDB extension yet, and this role may not create it. Have its"
                " owner run: CREATE EXTENSION timescaledb"
            ) from error
        except psycopg.Error as error:
            # Not installed, or installed and not preloaded: the server's words tell which.
            raise StackPermanentError(
                f"The database {shown} cannot load TimescaleDB: {_first_line(error)}. Install the extension on"
                " that server and set shared_preload_libraries = 'timescaledb', or unset AFKOBLING_DATABASE_URL to"
                " use the local stack's own database."
            ) from error
        facts = _facts(connection)
    version = tuple(int(part) for part in (facts.timescaledb or "0").split("-")[0].split("."))
    if version < OLDEST_TIMESCALEDB:
        wanted = ".".join(map(str, OLDEST_TIMESCALEDB))
        raise StackPermanentError(
            f"The database {shown} has TimescaleDB {facts.timescaledb}; Afkobling needs {wanted} or later. Install"
            " a newer one there and run: ALTER EXTENSION timescaledb UPDATE"
        )
    return facts


def connect(url: str, *, timeout_s: int = 5) -> psycopg.Connection:
    """A connection in autocommit mode, or the stack's error that says why there is none."""
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=timeout_s)
    except psycopg.OperationalError as error:
        raise StackTransientError(
            f"The database {masked(url)} cannot be reached: {_first_line(error)}. Start it, or correct host, port,"
            " user and password of its address (AFKOBLING_DATABASE_URL, where that is set)."
        ) from error
    except psycopg.ProgrammingError as error:
        raise StackPermanentError(
            f"The database address {masked(url)} is not understood. It looks like"
            " postgresql://user:password@host:5432/database."
        ) from error


def look_at_broker(
    url: str, *, tls: BrokerTls | None = None, timeout_s: float = 5, ask_version: bool = False
) -> str | None:
    """Make sure that a broker answers in MQTT 5; with `ask_version` returns what it publishes as its version.

    The version is None where the broker tells none (only Mosquitto and its kin do). Raises StackTransientError
    when nothing answers, StackPermanentError when the address is malformed or the broker refuses.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0:
        raise StackPermanentError(
            f"The broker address {masked(url)} is not understood. It looks like mqtt://host:1883, or"
            " mqtts://user:password@host:8883 with encryption."
        )
    secure = parts.scheme == "mqtts"
    try:
        client = new_client(parse_broker_url(url), tls)
    except BrokerTlsError as error:
        raise StackPermanentError(str(error)) from error
    except ValueError as error:
        raise StackPermanentError(f"The broker address {masked(url)} is {error}.") from error
    answers: list[ReasonCode] = []
    versions: list[str] = []
    client.on_connect = lambda _client, _data, _flags, code, _properties: answers.append(code)
    client.on_message = lambda _client, _data, message: versions.append(message.payload.decode("utf-8", "replace"))
    try:
        client.connect(parts.hostname, port or (8883 if secure else 1883), keepalive=15)
        _turn(client, answers, timeout_s=timeout_s)
        _judge(answers, url)
        if ask_version:
            client.subscribe(_VERSION_TOPIC)
            _turn(client, versions, timeout_s=min(timeout_s, 1.0))
    except OSError as error:
        raise StackTransientError(
            f"The broker {masked(url)} cannot be reached: {error.strerror or error}. Start it, or correct its"
            " address (AFKOBLING_BROKER_URL, where that is set)."
        ) from error
    finally:
        client.disconnect()
    return versions[0].removeprefix("mosquitto version ").strip() if versions else None


def _turn(client: mqtt.Client, awaited: list[ReasonCode] | list[str], *, timeout_s: float) -> None:
    """Let the client work until something arrives, the peer closes, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while not awaited and time.monotonic() < deadline:
        if client.loop(timeout=0.05) != mqtt.MQTT_ERR_SUCCESS:
            return


def _judge(answers: list[ReasonCode], url: str) -> None:
    shown = masked(url)
    if not answers:
        raise StackTransientError(
            f"Something at {shown} accepts connections but does not answer in MQTT 5. Check that the address is a"
            " broker's (and mqtts:// where it wants encryption), and that the broker speaks MQTT 5."
        )
    if not answers[0].is_failure:
        return
    if answers[0] == "Unsupported protocol version":
        raise StackPermanentError(
            f"The broker {shown} does not speak MQTT 5, which Afkobling needs. Upgrade it, or name another in"
            " AFKOBLING_BROKER_URL."
        )
    raise StackPermanentError(
        f"The broker {shown} refuses the connection: {answers[0]}. Check user and password in"
        " AFKOBLING_BROKER_URL (percent-encode special characters)."
    )


def _facts(connection: psycopg.Connection) -> DatabaseFacts:
    version = _value(connection, "SHOW server_version") or "unknown"
    return DatabaseFacts(
        postgresql=version.split()[0],
        timescaledb=_value(connection, "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'"),
        timescaledb_license=_value(connection, "SELECT pg_catalog.current_setting('timescaledb.license', true)"),
    )


def _value(connection: psycopg.Connection, query: psycopg.abc.Query) -> str | None:
    row = connection.execute(query).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
