"""The roll-up as a process: a step at a time, for ever, whatever the database does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import LiteralString

import psycopg
import structlog

from collector.connection import TRANSIENT, connect, explain, newer_schema
from collector.metrics import RollupMetrics
from collector.prefetch import Prefetch
from collector.rollup import RollUp, Step, roll_up_once
from collector.settings import RollupSettings
from schemas.archive_store import ArchiveError
from schemas.quantities import QUARTER_MS

_LOG = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0
_STEP_MS = 30_000
"""How often open quarters are followed. Every quarter's end is among these instants."""
_LOOK_SECONDS = 15.0
"""How often it is looked how far the roll-up is."""
_BEHIND_MS = QUARTER_MS + 300_000
_LONGEST_STEP_SECONDS = 300.0

_LOOK: LiteralString = """
    SELECT (extract(epoch FROM closed_to) * 1000)::int8, (extract(epoch FROM computed_to) * 1000)::int8,
           (SELECT count(*) FROM (SELECT FROM pending LIMIT 100000) AS notes)
    FROM rollup_progress
"""


class RollupRunner:
    """Runs until `stop`; where several run, one works at a time and the others wait their turn."""

    def __init__(
        self,
        settings: RollupSettings,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self.metrics = RollupMetrics()
        self._clock_ms = clock_ms
        self._prefetch = Prefetch(lambda: connect(settings.database_url, role="rollup-prefetch"))
        self._roll_up = RollUp(prefetch=self._prefetch)
        self._is_stopping = threading.Event()
        self._problem: str | None = "not connected to the database yet"
        self._schema: str | None = None
        self._computed_to_ms: int | None = None
        self._began_s: float | None = None
        self._look_at_s = 0.0

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError when the database has no schema."""
        connection: psycopg.Connection | None = None
        try:
            while not self._is_stopping.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = connect(self._settings.database_url, role="rollup")
                        self._schema = newer_schema(connection)
                    is_behind = self._step(connection)
                    self._look(connection)
                except (psycopg.Error, ArchiveError) as error:
                    # Whatever it is, one step was rolled back whole; others may still be possible, or this one later.
                    self._problem = _explain(error)
                    self.metrics.failures.inc()
                    _LOG.warning("a step failed, trying again", action="rollup.failed", error=str(error).strip())
                    if connection is not None:
                        connection.close()
                    self._is_stopping.wait(_RETRY_SECONDS)
                else:
                    self._problem = None
                    if not is_behind:
                        self._is_stopping.wait(self._settings.rollup_poll_ms / 1000)
        finally:
            self._prefetch.close()
            if connection is not None:
                connection.close()

    def stop(self) -> None:
        """Finish the step at hand and end. Safe from a signal handler, before `run`, and twice."""
        self._is_stopping.set()

    def unfinished(self) -> list[str]:
        """What was begun and is not committed, in plain words."""
        if self._began_s is None:
            return self.problems()
        return [
            f"a step that has taken {time.monotonic() - self._began_s:.0f} s so far; it is rolled back, and done again"
        ]

    def problems(self) -> list[str]:
        """What keeps the roll-up from its work now; empty when all is well."""
        stuck = self._problem or self._roll_up.problem
        found = [problem for problem in (self._schema, stuck) if problem is not None]
        began_s = self._began_s
        if began_s is not None and time.monotonic() - began_s > _LONGEST_STEP_SECONDS:
            found.append(
                f"one step has taken {time.monotonic() - began_s:.0f} s so far; look for locks in pg_stat_activity and "
                "at the database's disk"
            )
        if self._computed_to_ms is not None:
            behind_ms = self._clock_ms() - self._settings.rollup_grace_ms - self._computed_to_ms
            if behind_ms > _BEHIND_MS:
                found.append(
                    f"the roll-up is {behind_ms / 60_000:.0f} min behind; after an outage or an import it catches up "
                    "by itself, otherwise see how long its steps take and what the database is busy with"
                )
        return found

    def _look(self, connection: psycopg.Connection) -> None:
        """How far the roll-up is, whoever did it."""
        if time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + _LOOK_SECONDS
        closed_to_ms, self._computed_to_ms, pending = connection.execute(_LOOK).fetchone() or (None, None, 0)
        self.metrics.pending.set(pending)
        if closed_to_ms is not None:
            self.metrics.followed_to.set(closed_to_ms / 1000)
        if self._computed_to_ms is not None:
            self.metrics.computed_to.set(self._computed_to_ms / 1000)

    def _step(self, connection: psycopg.Connection) -> bool:
        due_ms = self._clock_ms() - self._settings.rollup_grace_ms
        # All readings are looked at once; a step for every few of them would only hold writers up.
        self._began_s = started_s = time.monotonic()
        try:
            step = self._roll_up.step(connection, due_ms=due_ms // _STEP_MS * _STEP_MS)
        finally:
            self._began_s = None
        self.metrics.step_seconds.observe(time.monotonic() - started_s)
        self.metrics.readings.inc(step.readings)
        self.metrics.quarters.inc(step.quarters)
        self.metrics.recomputed.inc(step.recomputed)
        return step.is_behind


def _explain(error: psycopg.Error | ArchiveError) -> str:
    if isinstance(error, ArchiveError):
        return f"the roll-up needs the archive: {error}"
    if isinstance(error, TRANSIENT):
        return explain(error)
    return f"the roll-up is stuck: {' '.join(str(error).split())}; please report it with its log"


def roll_up_all(settings: RollupSettings, *, due_ms: int | None = None) -> Step:
    """Do all that is due by `due_ms` (default: now, less the grace), then return what it came to."""
    due = time.time_ns() // 1_000_000 - settings.rollup_grace_ms if due_ms is None else due_ms
    prefetch = Prefetch(lambda: connect(settings.database_url, role="rollup-prefetch"))
    try:
        with connect(settings.database_url, role="rollup") as connection:
            return roll_up_once(connection, due_ms=due, prefetch=prefetch)
    finally:
        prefetch.close()
