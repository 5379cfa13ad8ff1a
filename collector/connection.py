"""How the collector and the roll-up reach the database."""

from __future__ import annotations

import psycopg
from psycopg import errors

from collector.errors import SetupError

TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
"""The database is away, or has become a standby: the same will work later, or elsewhere."""

# Without these a server whose client vanished in mid-transaction would hold its locks for hours, and everybody else
# would wait for them.
_NOTICE_A_DEAD_CLIENT = """
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 30000; SET idle_in_transaction_session_timeout = '5min'
"""


def connect(database_url: str, *, role: str) -> psycopg.Connection:
    """A connection for this process. Raises SetupError where the schema is missing, OperationalError where away."""
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
    ready = connection.execute(
        "SELECT to_regclass('reading') IS NOT NULL AND to_regclass('quarantine_replay') IS NOT NULL"
    )
    if ready.fetchone() != (True,):
        connection.close()
        raise SetupError("the database has no Afkobling schema, or an older one; run `afkobling db migrate` first")
    return connection
