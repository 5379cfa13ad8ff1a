"""The archive at another address: its files were copied there, and from now on they are looked for there."""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import errors

from collector.archive.checking import check_file
from collector.archive.errors import ArchiveBusyError, ArchiveRefusedError
from collector.archive.files import list_files
from collector.archive.progress import archive_turn, enter_alone, read_progress
from collector.archive.store import ArchiveStore, stored_url

_MOVE: LiteralString = "UPDATE archive_progress SET url = %s, version = version + 1"


def relocate(connection: psycopg.Connection, url: str) -> int:
    """Note the new address once every file that counts is there, with its size. Returns how many there are.

    Raises ArchiveRefusedError that names the first file that is not there, and what ArchiveStore.claim raises.
    """
    url = stored_url(url)
    with archive_turn(connection):
        progress = read_progress(connection)
        if progress.id is None or progress.url is None:
            raise ArchiveRefusedError("nothing was archived yet; just set AFKOBLING_ARCHIVE_URL")
        store = ArchiveStore(url)
        store.claim(progress.id, is_new=False)
        count = 0
        for file in list_files(connection):
            for damage in check_file(store, file, only_size=True):
                raise ArchiveRefusedError(
                    f"{damage.path} {damage.problem} at {url}; copy all files there, then try again. "
                    f"The archive is still looked for at {progress.url}"
                )
            count += 1
        try:
            with connection.transaction(), connection.cursor() as cursor:
                enter_alone(cursor)
                cursor.execute(_MOVE, [url])
        except errors.LockNotAvailable as error:
            raise ArchiveBusyError("somebody is reading the archive just now; try again") from error
        return count
