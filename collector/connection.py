"""How the collector and the roll-up reach the database."""

from __future__ import annotations

import psycopg
from psycopg import errors

from collector.errors import SetupError
from schemas.sql import NEWEST_APPLIED, migrations

TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
"""The database is away, or has become a standby: the same will work later, or elsewhere."""

# Without these a server whose client vanished in mid-transaction would hold its locks for hours, and everybody else
# would wait for them.
_NOTICE_A_DEAD_CLIENT = """
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 30000; SET idle_in_transaction_session_timeout = '5min'
"""
# Without it the server's own, or that of PGTZ: local clock times, of which one hour a year stands twice, and what is
# told as UTC would be none.
_UTC = "SET timezone TO 'UTC'"
_EXPECTED = len(migrations())
_WAITS = "readings wait with the agents meanwhile"


def explain(error: psycopg.Error) -> str:
    """What a database that refuses for now means, and what to do."""
    match error:
        case errors.ReadOnlySqlTransaction():
            return f"the database takes no writes (a standby?); let AFKOBLING_DATABASE_URL name the primary; {_WAITS}"
        case errors.DiskFull():
            return f"the database's disk is full; make room or shorten what is kept of raw readings; {_WAITS}"
        case errors.TooManyConnections():
            return f"the database has no connection left for us; raise its max_connections; {_WAITS}"
        case _:
            said = " ".join(str(error).split()) or type(error).__name__
            return f"the database is away ({said}); is it running and reachable? {_WAITS[0].upper()}{_WAITS[1:]}"


def connect(database_url: str, *, role: str) -> psycopg.Connection:
    """A connection for this process.

    Raises SetupError for a database without the schema, or with an older one, OperationalError where it is away.
    """
    connection = psycopg.connect(
        database_url,
        autocommit=True,
        application_name=f"afkobling-{role}",
        connect_timeout=10,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=30_000,
    )
    connection.execute(_NOTICE_A_DEAD_CLIENT)
    connection.execute(_UTC)
    if _newest_applied(connection) < _EXPECTED:
        connection.close()
        raise SetupError("the database has no Afkobling schema, or an older one; run `afkobling db migrate` first")
    return connection


def newer_schema(connection: psycopg.Connection) -> str | None:
    """What to say when the database has migrations that this version does not know."""
    found = _newest_applied(connection)
    if found <= _EXPECTED:
        return None
    return f"the database is at migration {found}, this version knows {_EXPECTED}: install the newer version"


def _newest_applied(connection: psycopg.Connection) -> int:
    try:
        row = connection.execute(NEWEST_APPLIED).fetchone()
    except errors.UndefinedTable:
        return 0
    return row[0] if row else 0
