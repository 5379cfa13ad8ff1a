"""The roll-up as a process: a step at a time, for ever, whatever the database does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import structlog

from collector.connection import connect
from collector.metrics import RollupMetrics
from collector.prefetch import Prefetch
from collector.rollup import RollUp, Step, roll_up_once
from collector.settings import RollupSettings

_LOG = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0
_STEP_MS = 30_000
"""How often open quarters are followed. Every quarter's end is among these instants."""


class RollupRunner:
    """Runs until `stop`; where several run, one works at a time and the others wait their turn."""

    def __init__(
        self,
        settings: RollupSettings,
        *,
        metrics: RollupMetrics | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self.metrics = metrics or RollupMetrics()
        self._clock_ms = clock_ms
        self._prefetch = Prefetch(lambda: connect(settings.database_url, role="rollup-prefetch"))
        self._roll_up = RollUp(prefetch=self._prefetch)
        self._is_stopping = threading.Event()
        self._problem: str | None = "not connected to the database yet"

    def run(self) -> None:
        """Work until `stop` is called. Raises SetupError when the database has no schema."""
        connection: psycopg.Connection | None = None
        try:
            while not self._is_stopping.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = connect(self._settings.database_url, role="rollup")
                    is_behind = self._step(connection)
                except psycopg.Error as error:
                    # Whatever it is, one step was rolled back whole; others may still be possible, or this one later.
                    self._problem = f"the roll-up is stuck: {str(error).strip()}"
                    self.metrics.failures.inc()
                    _LOG.warning("a step failed, trying again", action="rollup", error=str(error).strip())
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

    def problems(self) -> list[str]:
        """What keeps the roll-up from its work now; empty when all is well."""
        return [self._problem] if self._problem else []

    def _step(self, connection: psycopg.Connection) -> bool:
        due_ms = self._clock_ms() - self._settings.rollup_grace_ms
        # All readings are looked at once; a step for every few of them would only hold writers up.
        step = self._roll_up.step(connection, due_ms=due_ms // _STEP_MS * _STEP_MS)
        self.metrics.readings.inc(step.readings)
        self.metrics.quarters.inc(step.quarters)
        self.metrics.recomputed.inc(step.recomputed)
        if step.computed_to_ms:
            self.metrics.computed_to.set(step.computed_to_ms / 1000)
            self.metrics.followed_to.set(step.followed_to_ms / 1000)
        return step.is_behind


def roll_up_all(settings: RollupSettings, *, due_ms: int | None = None) -> Step:
    """Do all that is due by `due_ms` (default: now, less the grace), then return what it came to."""
    due = time.time_ns() // 1_000_000 - settings.rollup_grace_ms if due_ms is None else due_ms
    prefetch = Prefetch(lambda: connect(settings.database_url, role="rollup-prefetch"))
    try:
        with connect(settings.database_url, role="rollup") as connection:
            return roll_up_once(connection, due_ms=due, prefetch=prefetch)
    finally:
        prefetch.close()
