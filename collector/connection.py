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
_EXPECTED = len(migrations())


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
    if _newest_applied(connection) < _EXPECTED:
        connection.close()
        raise SetupError("the database has no Afkobling schema, or an older one; run `afkobling db migrate` first")
    return connection


def _newest_applied(connection: psycopg.Connection) -> int:
    try:
        row = connection.execute(NEWEST_APPLIED).fetchone()
    except errors.UndefinedTable:
        return 0
    return row[0] if row else 0
