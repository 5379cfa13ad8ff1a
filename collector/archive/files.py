"""The files that count, as the database lists them, and how they come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import errors

from collector.archive.errors import ArchiveBusyError, ArchiveRefusedError, ArchiveStoppedError
from collector.archive.progress import enter_alone
from collector.archive.site_files import ArchivedFile

_TRIES = 60
_PAGE = 1000

_ADD: LiteralString = """
    INSERT INTO archive_file (site_id, path, month, first_at, last_at, readings, bytes, sha256, footer_sha256,
                              manifest_bytes)
    VALUES (%s, %s, (%s || '-01')::date, %s, %s, %s, %s, %s, %s, %s)
"""
_LIST: LiteralString = """
    SELECT id, site_id, path, first_at, last_at, readings, bytes, sha256 FROM archive_file
    WHERE restored_at IS NULL AND id > %(after)s AND (%(site)s::int IS NULL OR site_id = %(site)s)
      AND (%(from)s::timestamptz IS NULL OR last_at >= %(from)s) AND (%(to)s::timestamptz IS NULL OR first_at < %(to)s)
    ORDER BY id LIMIT %(most)s
"""
_FIND_SITE: LiteralString = """
    SELECT s.id, o.key || '/' || s.key FROM site AS s JOIN organisation AS o ON o.id = s.organisation_id
    WHERE s.key = %(site)s AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s) ORDER BY 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file that counts."""

    id: int
    site_id: int
    path: str
    first_at: datetime
    last_at: datetime
    readings: int
    size: int
    sha256: bytes


def list_files(
    connection: psycopg.Connection,
    *,
    site_id: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[ListedFile]:
    """The files that count, of all sites or of one, that reach into start ≤ at < end; asked for some at a time."""
    after = 0
    while True:
        values = {"after": after, "site": site_id, "from": start, "to": end, "most": _PAGE}
        rows = connection.execute(_LIST, values).fetchall()
        for row in rows:
            after = row[0]
            yield ListedFile(
                id=row[0],
                site_id=row[1],
                path=row[2],
                first_at=row[3],
                last_at=row[4],
                readings=row[5],
                size=row[6],
                sha256=bytes(row[7]),
            )
        if len(rows) < _PAGE:
            return


def find_site_id(connection: psycopg.Connection, named: str | None) -> int | None:
    """The site that `[ORGANISATION/]SITE` names, None where nothing is named. Raises ArchiveRefusedError."""
    if named is None:
        return None
    organisation, _, key = named.rpartition("/")
    rows = connection.execute(_FIND_SITE, {"site": key, "organisation": organisation or None}).fetchall()
    if len(rows) == 1:
        return int(rows[0][0])
    if not rows:
        raise ArchiveRefusedError(f"there is no site {named!r}; check the name, or `afkobling site apply` it first")
    listed = ", ".join(row[1] for row in rows)
    raise ArchiveRefusedError(f"more than one site could be meant; say which with --site: {listed}")


def add_files(cursor: psycopg.Cursor, files: Sequence[ArchivedFile]) -> None:
    """Let files count from the end of this transaction on."""
    cursor.executemany(
        _ADD,
        [
            (
                file.site_id,
                file.path,
                file.month,
                file.first_at,
                file.last_at,
                file.readings,
                file.held.size,
                file.held.sha256,
                file.held.footer_sha256,
                file.manifest_bytes,
            )
            for file in files
        ],
    )


def waits(stopping: threading.Event, what: str) -> Iterator[None]:
    """Tries to get behind the archive's gate, with pauses in between that grow: whoever reads is not cut off.

    Raises ArchiveBusyError after some minutes, ArchiveStoppedError when asked to stop.
    """
    for attempt in range(_TRIES):
        yield
        if stopping.wait(min(0.5 * 2**attempt, 10)):
            raise ArchiveStoppedError(f"stopped before {what}; all stays as it is")
    raise ArchiveBusyError(f"somebody has been reading for minutes; {what} is tried again later")


def enter_within(connection: psycopg.Connection, cursor: psycopg.Cursor, stopping: threading.Event, what: str) -> None:
    """Take the archive's gate alone at the end of a long transaction. Raises as `waits` does."""
    for _ in waits(stopping, what):
        try:
            with connection.transaction():
                enter_alone(cursor)
        except errors.LockNotAvailable:
            continue
        return
