"""The next slice of readings is fetched while the last one is computed: the database and the maths have a core each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from collector.archived import try_enter
from collector.metering.tables import ReadingTable
from collector.rollup_store import read_readings


class Prefetch:
    """Reads slices ahead on a connection of its own, one at a time.

    A reading that is stored between the fetching and the taking up of its slice is late by then, and has left a note.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._span: tuple[int, int] | None = None
        self._slice: Future[ReadingTable | None] | None = None

    def fetch(self, from_ms: int, to_ms: int) -> None:
        """Begin to read [from_ms, to_ms)."""
        self._span = (from_ms, to_ms)
        self._slice = self._pool.submit(self._read, from_ms, to_ms)

    def take(self, from_ms: int, to_ms: int) -> ReadingTable | None:
        """The slice, if it is the one that was fetched. Raises what the database or the archive said."""
        fetched, self._slice = self._slice, None
        if fetched is None:
            return None
        readings = fetched.result()
        return readings if self._span == (from_ms, to_ms) else None

    def forget(self) -> None:
        """What was fetched is not asked for: whoever begins again reads for themselves.

        Else somebody else may have taken off the notes of what came late since, and it would never be seen.
        """
        self._slice = None

    def close(self) -> None:
        """End the thread and its connection. Safe twice."""
        self._pool.shutdown(cancel_futures=True)
        self._drop()

    def _read(self, from_ms: int, to_ms: int) -> ReadingTable | None:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                # Whoever takes the slice may hold the gate by then. Were we to wait for it behind somebody who waits
                # for them, none of the three would ever go on.
                return read_readings(cursor, from_ms, to_ms) if try_enter(cursor) else None
        except psycopg.Error:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
