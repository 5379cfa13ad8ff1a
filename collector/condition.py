"""How the collector is: what keeps it from storing what came, in plain words, for whoever asks."""

from __future__ import annotations

import threading

import psycopg

from collector.connection import explain, newer_schema

BEHIND_S = 30.0
"""A message that waits longer for its commit shows that the collector does not keep up."""


class Condition:
    """The writer says how it goes; any thread may ask. Seconds are of the monotonic clock."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._trouble: str | None = "not connected to the database yet"
        self._schema: str | None = None
        self._oldest_s: float | None = None
        self._began_s: float | None = None

    def connected(self, connection: psycopg.Connection) -> None:
        """A connection came about, to a database whose schema is at least ours."""
        schema = newer_schema(connection)
        with self._mutex:
            self._schema = schema

    def begins(self, arrived_s: float, now_s: float) -> None:
        """A batch is about to be written; its first message came at `arrived_s`."""
        with self._mutex:
            self._oldest_s, self._began_s = arrived_s, now_s

    def failed(self, error: psycopg.Error) -> None:
        """The database refused for now; it is tried again."""
        with self._mutex:
            self._trouble = explain(error)

    def works(self) -> None:
        """What was wanted of the database was done, and nothing is being written."""
        with self._mutex:
            self._trouble = self._oldest_s = self._began_s = None

    def at_hand(self, *, now_s: float) -> list[str]:
        """What the writer has not finished."""
        with self._mutex:
            trouble, began_s = self._trouble, self._began_s
        if began_s is None:
            return []
        return [
            f"a batch has been with the database for {now_s - began_s:.0f} s: {trouble or 'it is not committed yet'}"
        ]

    def problems(self, *, oldest_s: float | None, now_s: float) -> list[str]:
        """What is wrong; `oldest_s` is when the oldest message came that still waits to be gathered."""
        with self._mutex:
            trouble, schema, began_s = self._trouble, self._schema, self._began_s
            oldest = min((at for at in (oldest_s, self._oldest_s) if at is not None), default=now_s)
        found = [] if schema is None else [schema]
        waited_s = now_s - oldest
        waits = f"; the oldest message has waited {waited_s:.0f} s" if waited_s > BEHIND_S else ""
        if trouble is not None:
            found.append(trouble + waits)
        elif began_s is not None and now_s - began_s > BEHIND_S:
            found.append(
                f"one transaction has taken {now_s - began_s:.0f} s so far{waits}; look for locks in pg_stat_activity "
                "and at the database's disk"
            )
        elif waits:
            found.append(
                f"the collector is behind{waits}; look at the time of a commit, and start another collector with the "
                "same AFKOBLING_SHARE_GROUP if the database has time to spare"
            )
        return found
