"""Takes a database to the schema that this program expects, by the numbered steps of `schemas.sql`.

Forward only. Each step runs in its own transaction together with its line in `schema_migration`, so a step is
there whole or not at all; an advisory lock keeps two programs from doing it at the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow

from schemas.errors import AfkoblingError, PermanentError, TransientError
from schemas.sql import NEWEST_APPLIED, Migration, migrations

Connection = psycopg.Connection[TupleRow]

_LOCK = 0x41464B4F42  # "AFKOB": any number will do, as long as every version takes the same one
_SET_LOCK_TIMEOUT: LiteralString = "SET lock_timeout = '60s'"
_TAKE_LOCK: LiteralString = "SELECT pg_advisory_lock(%s)"
_CREATE_EXTENSION: LiteralString = "CREATE EXTENSION IF NOT EXISTS timescaledb"
_CREATE_TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number      int PRIMARY KEY,
    name        text NOT NULL,
    digest      text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED: LiteralString = "SELECT number, name, digest FROM schema_migration ORDER BY number"
_RECORD: LiteralString = "INSERT INTO schema_migration (number, name, digest) VALUES (%s, %s, %s)"


class MigrationError(AfkoblingError):
    """Root of what can go wrong here."""


class MigrationRefusedError(MigrationError, PermanentError):
    """The database and this program do not fit, or the database lacks what the schema needs."""


class DatabaseAwayError(MigrationError, TransientError):
    """The database can't be reached, or somebody else holds the lock."""


def digest(migration: Migration) -> str:
    """The fingerprint of a migration's text, as `schema_migration` keeps it."""
    return hashlib.sha256(migration.sql.encode()).hexdigest()


def connect(database_url: str) -> Connection:
    """A connection that commits each statement. Raises DatabaseAwayError, or MigrationRefusedError for a bad URL."""
    with reaching():
        return psycopg.connect(database_url, autocommit=True, connect_timeout=10, application_name="afkobling")


@contextmanager
def reaching() -> Iterator[None]:
    """Tell in one line what keeps a command from its database, and what to do.

    Raises DatabaseAwayError where it can't be reached or went away, MigrationRefusedError for what is no URL.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseAwayError(
            f"the database can't be reached: {in_one_line(error)}; check that it runs and that the URL is right"
        ) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise
        raise MigrationRefusedError(
            f"not a database URL: {in_one_line(error)}; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from error


def connect_migrated(database_url: str) -> Connection:
    """As `connect`, to a database that has this version's schema. Raises MigrationRefusedError where it has not."""
    connection = connect(database_url)
    try:
        row = connection.execute(NEWEST_APPLIED).fetchone()
    except errors.UndefinedTable:
        row = None
    try:
        check_schema(row[0] if row else 0)
    except MigrationRefusedError:
        connection.close()
        raise
    return connection


def check_schema(newest_applied: int) -> None:
    """Raises MigrationRefusedError where migrations are missing after this one."""
    if newest_applied < len(migrations()):
        raise MigrationRefusedError(
            "the database has no Afkobling schema, or an older one; run `afkobling db migrate` first"
        )


def in_one_line(error: psycopg.Error) -> str:
    """What the database says, for a message that goes on."""
    return " ".join(str(error).split())


def migrate(database_url: str) -> list[int]:
    """Apply every step that is missing; the numbers applied now, none where all is in place.

    Raises MigrationRefusedError when an applied step has another text than here, when the database is newer than
    this program, or when TimescaleDB is not there; DatabaseAwayError when trying again may help.
    """
    with connect(database_url) as connection:
        _take_lock(connection)
        _need_timescaledb(connection)
        connection.execute(_CREATE_TABLE)
        applied = {number: (name, text) for number, name, text in connection.execute(_APPLIED)}
        known = migrations()
        _compare(known, applied)
        missing = [step for step in known if step.number not in applied]
        for step in missing:
            _apply(connection, step)
        return [step.number for step in missing]


def _take_lock(connection: Connection) -> None:
    connection.execute(_SET_LOCK_TIMEOUT)
    try:
        connection.execute(_TAKE_LOCK, [_LOCK])
    except errors.LockNotAvailable as error:
        raise DatabaseAwayError(
            "another program has been migrating this database for a minute; wait for it and try again"
        ) from error


def _need_timescaledb(connection: Connection) -> None:
    try:
        connection.execute(_CREATE_EXTENSION)
    except psycopg.Error as error:
        # A server that has the extension but does not preload it ends the connection: an OperationalError.
        raise MigrationRefusedError(
            f"this database has no TimescaleDB: {str(error).strip()}. Install TimescaleDB on the database server, "
            "put it into shared_preload_libraries, restart, and let a superuser run CREATE EXTENSION timescaledb"
        ) from error


def _compare(known: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    newest = max(applied, default=0)
    if newest > len(known):
        raise MigrationRefusedError(
            f"the database is at migration {newest} ({applied[newest][0]}), this program knows {len(known)}: "
            "install the newer version of afkobling"
        )
    for step in known:
        if step.number in applied and applied[step.number][1] != digest(step):
            raise MigrationRefusedError(
                f"migration {step.number:04} ({step.name}) has changed since it was applied to this database; "
                "restore its text and put the change into a new migration"
            )


def _apply(connection: Connection, step: Migration) -> None:
    try:
        with connection.transaction():
            # Bytes without parameters: one file may hold many statements.
            connection.execute(step.sql.encode())
            connection.execute(_RECORD, [step.number, step.name, digest(step)])
    except psycopg.OperationalError as error:
        raise DatabaseAwayError(
            f"migration {step.number:04} ({step.name}) was cut off: {str(error).strip()}; try again"
        ) from error
    except psycopg.Error as error:
        raise MigrationRefusedError(
            f"migration {step.number:04} ({step.name}) failed and left no trace: {str(error).strip()}"
        ) from error
