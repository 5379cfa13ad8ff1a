"""Imports in the database: what was begun, how far it came, and what it came to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from collector.errors import ImportBusyError
from collector.store import Written
from schemas.locks import IMPORT_TURN

_PATIENCE_S = 10.0
"""A process that was killed may still hold its turn until the server has noticed."""
_LOOK_S = 0.2

_TRY_TURN: LiteralString = "SELECT pg_try_advisory_lock(%s, %s)"
_LEAVE_TURN: LiteralString = "SELECT pg_advisory_unlock(%s, %s)"
_BEGIN: LiteralString = """
    INSERT INTO file_import (organisation, site, epoch, file, size, digest, mapping, author, rows)
    VALUES (%(organisation)s, %(site)s, %(epoch)s, %(file)s, %(size)s, %(digest)s, %(mapping)s, %(author)s, %(rows)s)
    ON CONFLICT DO NOTHING
"""
_COLUMNS: LiteralString = """
    SELECT id, organisation, site, epoch, file, size, mapping, author, rows, pieces_done, rows_done, stored, repeated,
           quarantined, left_out, blank, started_at, finished_at
    FROM file_import
"""
_FIND: LiteralString = f"{_COLUMNS} WHERE (organisation, site, epoch) = (%(organisation)s, %(site)s, %(epoch)s)"
_NAMESAKE: LiteralString = f"""
    {_COLUMNS} WHERE (organisation, site, file) = (%(organisation)s, %(site)s, %(file)s) AND digest <> %(digest)s
    ORDER BY id DESC LIMIT 1
"""
_LIST: LiteralString = f"""
    {_COLUMNS} WHERE (organisation, site) = (%s, %s) ORDER BY id DESC LIMIT %s
"""
_ADVANCE: LiteralString = """
    UPDATE file_import SET
        pieces_done = %(to)s, rows_done = %(rows)s, stored = stored + %(stored)s, repeated = repeated + %(repeated)s,
        quarantined = quarantined + %(quarantined)s
    WHERE id = %(id)s AND pieces_done = %(from)s AND finished_at IS NULL
"""
_FINISH: LiteralString = """
    UPDATE file_import SET finished_at = now(), left_out = %(left_out)s, blank = %(blank)s
    WHERE id = %(id)s AND finished_at IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImport:
    """A file that is to be imported. `size` is in bytes."""

    organisation: str
    site: str
    epoch: str
    file: str
    size: int
    digest: bytes
    mapping: str
    author: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileImport:
    """An import as it stands. `left_out` and `blank` are known when it is finished."""

    id: int
    organisation: str
    site: str
    epoch: str
    file: str
    size: int
    mapping: str
    author: str
    rows: int
    pieces_done: int
    rows_done: int
    stored: int
    repeated: int
    quarantined: int
    left_out: int | None
    blank: int | None
    started_at: datetime
    finished_at: datetime | None


@contextmanager
def turn(connection: psycopg.Connection, epoch: str) -> Iterator[None]:
    """Be the only process that imports this file. Raises ImportBusyError."""
    number = int.from_bytes(hashlib.sha256(epoch.encode()).digest()[:4], signed=True)
    deadline = time.monotonic() + _PATIENCE_S
    while connection.execute(_TRY_TURN, [IMPORT_TURN, number]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise ImportBusyError("another process imports this file just now; wait for it, or stop it")
        time.sleep(_LOOK_S)
    try:
        yield
    finally:
        # The server lets go by itself where the connection is gone.
        if not connection.broken and not connection.closed:
            connection.execute(_LEAVE_TURN, [IMPORT_TURN, number])


def find_import(connection: psycopg.Connection, new: NewImport) -> FileImport | None:
    """The import of this very file, if it was begun."""
    return _one(connection, _FIND, new)


def find_namesake(connection: psycopg.Connection, new: NewImport) -> FileImport | None:
    """The last import of a file of the same name and other contents."""
    return _one(connection, _NAMESAKE, new)


def begin_import(connection: psycopg.Connection, new: NewImport) -> FileImport:
    """The import of this file: as it was begun before, or begun now."""
    connection.execute(_BEGIN, _values(new))
    found = _one(connection, _FIND, new)
    if found is None:
        raise ImportBusyError("the import that was begun is gone; try again")
    return found


def advance(
    cursor: psycopg.Cursor, number: int, *, from_piece: int, to_piece: int, rows: int, written: Written
) -> None:
    """Note, in the transaction that stored them, that these pieces are done. Raises ImportBusyError."""
    values = {
        "id": number,
        "from": from_piece,
        "to": to_piece,
        "rows": rows,
        "stored": written.stored,
        "repeated": written.repeated,
        "quarantined": written.quarantined.total(),
    }
    if cursor.execute(_ADVANCE, values).rowcount != 1:
        raise ImportBusyError("another process went on with this import; wait for it")


def finish(connection: psycopg.Connection, number: int, *, left_out: int, blank: int) -> None:
    """Note that all is done."""
    connection.execute(_FINISH, {"id": number, "left_out": left_out, "blank": blank})


def list_imports(connection: psycopg.Connection, *, organisation: str, site: str, limit: int) -> list[FileImport]:
    """The newest first."""
    with connection.cursor(row_factory=class_row(FileImport)) as cursor:
        return cursor.execute(_LIST, [organisation, site, limit]).fetchall()


def _one(connection: psycopg.Connection, statement: LiteralString, new: NewImport) -> FileImport | None:
    with connection.cursor(row_factory=class_row(FileImport)) as cursor:
        return cursor.execute(statement, _values(new)).fetchone()


def _values(new: NewImport) -> dict[str, object]:
    return {name: getattr(new, name) for name in NewImport.__dataclass_fields__}
