"""A workshop that does not exist, read like one that does. The simulation itself is `edge.simulation.workshop`."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Protocol

from pydantic import Field

from edge.drivers import DriverContext, DriverSettings
from edge.drivers.pacing import ticks
from edge.errors import EdgePermanentError
from edge.readings import Reading, Taken
from schemas.durations import SpanMs
from schemas.quantities import QUARTER_MS
from schemas.resources import MeterKind
from schemas.topics import Key
from schemas.wire import OfferedMeter, RunSpan

_DAY_MS = 86_400_000
_HORIZON = timedelta(days=400)
"""How far ahead the workshop is built; it is built again before that ends."""


class Workshop(Protocol):
    """What `edge.simulation.workshop.build_workshop` gives."""

    def offers(self, agent: str) -> Sequence[OfferedMeter]: ...
    def read(self, agent: str, at_ms: int) -> Sequence[tuple[str, float, str]]: ...
    def runs_between(self, from_ms: int, to_ms: int) -> Sequence[RunSpan]: ...


class SimulatedSettings(DriverSettings):
    """`seed` and `start` make the workshop: the same two give the same registers at the same instant, anywhere.

    `start` is when its history began, by default 1 January two years before now. `agent` is the agent of the workshop
    whose meters to read, by default our own name. `runs`: whether to tell what the lines make; one agent of a
    workshop should.
    """

    driver: Literal["simulated"]
    seed: int = 1
    every: SpanMs = 1_000
    start: date | None = None
    agent: Key | None = None
    runs: bool = Field(default=True)
    meters: list[Key] | None = None
    """Only these of the agent's meters; left out, all of them."""
    faults: int | None = None
    """Plant faults into the four weeks before this instant (Unix milliseconds)."""


class SimulatedDriver:
    """Reads the registers of one agent's meters at each tick, and tells runs as they begin and end."""

    def __init__(self, settings: SimulatedSettings, context: DriverContext) -> None:
        self._settings = settings
        self._context = context
        self._agent = settings.agent or context.agent
        self._stop = asyncio.Event()
        self._workshop: Workshop | None = None
        self._built_until_ms = 0

    def offers(self) -> Sequence[OfferedMeter]:
        """Raises EdgePermanentError when the workshop has no such agent, or numpy is not installed."""
        try:
            offered = self._current_workshop().offers(self._agent)
        except ValueError as error:
            raise EdgePermanentError(f"driver {self._settings.name}: {error}; set `agent` to one of them") from error
        every = self._settings.every
        only = self._settings.meters
        known = {meter.meter for meter in offered}
        if only is not None and (unknown := sorted(set(only) - known)):
            raise EdgePermanentError(
                f"driver {self._settings.name}: no meter {', '.join(unknown)} at agent {self._agent}; "
                f"known: {', '.join(sorted(known))}"
            )
        return [
            meter.model_copy(
                update={
                    "driver": self._settings.name,
                    "cadence_ms": meter.cadence_ms if meter.kind is MeterKind.INTERVAL else every,
                }
            )
            for meter in offered
            if only is None or meter.meter in only
        ]

    async def start(self) -> None:
        self._stop.clear()
        # Building takes a moment of pure computing, which must not hold up the other drivers.
        await asyncio.to_thread(self._current_workshop)

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a tick."""
        last_ms: int | None = None
        # What began or ended within the last day is told again, so that a run that is open now is known.
        told_until_ms = self._context.now_ms() - _DAY_MS
        async for at_ms in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            workshop = self._current_workshop()
            found = self._read(workshop, at_ms)
            quarter_ms = at_ms // QUARTER_MS * QUARTER_MS
            if last_ms is not None and last_ms < quarter_ms < at_ms:
                # Interval meters have their value only at the quarter itself, which this tick passed over.
                found = [*self._read(workshop, quarter_ms), *found]
            runs: Sequence[RunSpan] = ()
            if self._settings.runs and at_ms > told_until_ms:
                runs, told_until_ms = workshop.runs_between(told_until_ms, at_ms), at_ms
            last_ms = at_ms
            yield Taken(readings=found, runs=runs)

    async def stop(self) -> None:
        self._stop.set()

    def _read(self, workshop: Workshop, at_ms: int) -> list[Reading]:
        return [
            Reading(meter=meter, at_ms=at_ms, value=value, unit=unit)
            for meter, value, unit in workshop.read(self._agent, at_ms)
            if self._settings.meters is None or meter in self._settings.meters
        ]

    def _current_workshop(self) -> Workshop:
        now = self._context.now_ms()
        if self._workshop is None or now > self._built_until_ms - _DAY_MS:
            now_utc = datetime.fromtimestamp(now / 1000, UTC)
            began = self._settings.start or date(now_utc.year - 2, 1, 1)
            end = now_utc + _HORIZON
            self._workshop = _build(
                seed=self._settings.seed,
                start=datetime(began.year, began.month, began.day, tzinfo=UTC),
                end=end,
                faults_ms=self._settings.faults,
            )
            self._built_until_ms = int(end.timestamp() * 1000)
        return self._workshop


def _build(*, seed: int, start: datetime, end: datetime, faults_ms: int | None) -> Workshop:
    try:
        module = importlib.import_module("edge.simulation.workshop")
    except ImportError as error:
        raise EdgePermanentError(
            f"the simulated driver needs {error.name}; install it with: pip install 'afkobling[server]'"
        ) from error
    workshop: Workshop = module.build_workshop(seed=seed, start=start, end=end)
    if faults_ms is not None:
        faulty: Workshop = importlib.import_module("edge.simulation.faults").FaultyWorkshop(workshop, at_ms=faults_ms)
        return faulty
    return workshop
