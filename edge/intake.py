"""Runs drivers, each on its own: what one does or suffers is nothing to the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from edge.backoff import Backoff
from edge.counters import Counters
from edge.drivers import Driver
from edge.drivers.pacing import sleep_unless
from edge.errors import EdgePermanentError, EdgeTransientError
from edge.notices import Seldom
from edge.readings import Reading, Taken, refusal

log = structlog.get_logger()

_STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A driver under its name."""

    name: str
    driver: Driver


class Intake:
    """From one driver into the queue, which holds the driver back when it is full."""

    def __init__(self, source: Source, queue: asyncio.Queue[Taken | None], counters: Counters) -> None:
        self._source = source
        self._queue = queue
        self._counters = counters
        self._stopping = asyncio.Event()
        self._seldom = Seldom()
        self._log = log.bind(driver=source.name)

    async def run(self) -> bool:
        """Until the driver's source ends or it is stopped (True), or it fails for good (False).

        A driver should not fail (see `Driver`); one that does all the same is started again, with a growing wait.
        """
        backoff = Backoff(initial_s=1, cap_s=60)
        # A driver's `start` would take back a stop that came first.
        while not self._stopping.is_set():
            attempt = asyncio.ensure_future(self._take_all())
            try:
                await asyncio.wait([attempt])
            except asyncio.CancelledError:
                attempt.cancel()
                await asyncio.wait([attempt])
                raise
            error = _cancelled_itself() if attempt.cancelled() else attempt.exception()
            if error is None or self._stopping.is_set():
                return True
            self._counters.note_driver_failure(self._source.name)
            self._log.error("the driver failed", action="driver.failed", exc_info=error, reason=str(error))
            await self._let_go()
            if isinstance(error, EdgePermanentError):
                return False
            await sleep_unless(self._stopping, backoff.next_s())
        return True

    async def stop(self) -> None:
        """Ask the driver to end; `run` then does. Safe twice."""
        self._stopping.set()
        await self._let_go()

    async def _take_all(self) -> None:
        await self._source.driver.start()
        async for taken in self._source.driver.readings():
            fit = [reading for reading in taken.readings if self._is_fit(reading)]
            if fit or taken.runs:
                self._counters.note_taken(self._source.name, len(fit), now_s=time.time())
                self._counters.last.note(self._source.name, fit)
            kept = None if taken.kept is None else partial(self._tell_kept, taken.kept)
            await self._queue.put(Taken(readings=fit, runs=taken.runs, kept=kept))

    def _tell_kept(self, kept: Callable[[], None]) -> None:
        try:
            kept()
        except Exception as error:  # noqa: BLE001 - others' code may fail in any way, and must not end the writer of all
            self._counters.note_driver_failure(self._source.name)
            self._log.error(
                "the driver failed when it was told that its readings are kept; it may give them again",
                action="driver.failed",
                exc_info=error,
                reason=str(error),
            )

    def _is_fit(self, reading: Reading) -> bool:
        reason = refusal(reading)
        if reason is None:
            return True
        self._counters.refused.labels(self._source.name).inc()
        if self._seldom.due(reading.meter):
            self._log.warning(
                "a reading is refused",
                action="reading.refused",
                meter=reading.meter,
                reason=reason,
                value=reading.value,
            )
        return False

    async def _let_go(self) -> None:
        attempt = asyncio.ensure_future(self._source.driver.stop())
        await asyncio.wait([attempt], timeout=_STOP_S)
        if not attempt.done():
            attempt.cancel()
            self._log.error("the driver does not stop; it is left behind", action="driver.stuck")
        elif attempt.exception() is not None:
            self._log.error("the driver failed to stop", action="driver.failed", exc_info=attempt.exception())


def _cancelled_itself() -> BaseException:
    # It would look like the end of a source that has said all, and its meters would fall silent without a word.
    return EdgeTransientError("something that it waited for was cancelled")
