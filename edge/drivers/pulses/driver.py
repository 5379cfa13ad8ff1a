"""Watches lines, counts their pulses, and reads the registers at a steady pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog

from edge.backoff import Backoff
from edge.drivers import DriverContext
from edge.drivers.pacing import next_due_ms, sleep_unless
from edge.drivers.pulses.counting import PulseCounter
from edge.drivers.pulses.input import InputAwayError, Line, PulseInput, check_library, open_input
from edge.drivers.pulses.registers import Register, Registers, RegistersUnavailableError
from edge.drivers.pulses.settings import PulsesSettings
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.wire import OfferedMeter

log = structlog.get_logger()

_SAVE_MS = 60_000
"""While pulses come, they are written at least so often, also where registers are read more seldom."""
_NOISE = 20
"""Bounces between two reads that are more than a contact's own."""


class PulsesDriver:
    """A register is told only after it is on disk, so that none ever falls below what was told.

    No pulses is a value: the register stands still. While the lines cannot be watched, nothing is told.
    """

    def __init__(self, settings: PulsesSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError: gpiod is not installed, or the registers' file cannot be used."""
        check_library(settings.chip)
        self._settings = settings
        self._context = context
        self._wanted = {key: meter.wanted() for key, meter in settings.meters.items()}
        self._path = context.folder / settings.kept_in
        Registers(self._path, self._wanted)
        self._registers: Registers | None = None
        self._input: PulseInput | None = None
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=settings.chip)

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            meter.offer(key, driver=self._settings.name, cadence_ms=self._settings.every)
            for key, meter in self._settings.meters.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        self._registers = Registers(self._path, self._wanted, is_trial=self._context.trial)

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` each `every`, with all registers."""
        registers = self._registers
        if registers is None:
            return
        backoff = Backoff(initial_s=1, cap_s=self._settings.longest_wait / 1000)
        while not self._stop.is_set():
            try:
                self._input = watched = open_input(self._settings.chip, self._lines())
                async with aclosing(self._read(watched, registers)) as reading:
                    async for taken in reading:
                        backoff.reset()
                        if self._seldom.forget("away"):
                            self._log.info("the lines are back", action="driver.back")
                        yield taken
            except InputAwayError as error:
                if not self._stop.is_set() and self._is_news("away"):
                    self._log.warning(
                        "the lines are away; they are tried again", action="driver.away", reason=str(error)
                    )
            finally:
                self._let_go()
            if await sleep_unless(self._stop, backoff.next_s()):
                return

    async def stop(self) -> None:
        # What was counted until now is kept where `readings` ends.
        self._stop.set()

    async def _read(self, watched: PulseInput, registers: Registers) -> AsyncGenerator[Taken]:
        settings = self._settings
        counters = {
            meter.line: PulseCounter(
                shortest_pulse_ns=meter.shortest_pulse * 1_000_000, shortest_gap_ns=meter.shortest_gap * 1_000_000
            )
            for meter in settings.meters.values()
        }
        watching = asyncio.ensure_future(_watch(watched, counters))
        stopping = asyncio.ensure_future(self._stop.wait())
        done: set[asyncio.Future[Any]] = set()
        read_ms: int | None = None
        due_ms = self._context.now_ms()
        try:
            while True:
                wait_s = max(0.0, (due_ms - self._context.now_ms()) / 1000)
                done, _ = await asyncio.wait([watching, stopping], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    break
                self._count(counters, registers)
                at_ms = self._context.now_ms()
                snapshot = registers.snapshot()
                if await self._save(registers, snapshot) and (read_ms is None or due_ms >= read_ms):
                    yield Taken(readings=self._readings(snapshot, at_ms))
                next_ms = next_due_ms(at_ms, every_ms=settings.every, last_ms=due_ms)
                # It is further away than the next one only where the clock was set back.
                read_ms = next_ms if read_ms is None or due_ms >= read_ms else min(read_ms, next_ms)
                due_ms = min(read_ms, next_due_ms(at_ms, every_ms=_SAVE_MS, last_ms=due_ms))
        finally:
            watching.cancel()
            stopping.cancel()
            await asyncio.wait([watching, stopping])
            self._count(counters, registers)
            if not await self._save(registers, registers.snapshot()):
                self._log.critical("pulses may be lost", action="pulses.lost", pulses=registers.unsaved())
        if watching in done:
            watching.result()

    def _count(self, counters: Mapping[int | str, PulseCounter], registers: Registers) -> None:
        """From the lines' counters into the registers."""
        for key, meter in self._settings.meters.items():
            counter = counters[meter.line]
            pulses, bounces, lost = counter.pulses, counter.bounces, counter.lost_edges
            counter.pulses = counter.bounces = counter.lost_edges = 0
            if pulses:
                registers.count(key, pulses)
            if lost and self._is_news(f"lost {key}"):
                reason = f"{lost} edges were lost as the machine was too busy; pulses may be missing: compare the dial"
                self._log.warning("edges of a line were lost", action="pulses.missed", meter=key, reason=reason)
            if bounces > _NOISE + pulses and self._is_news(f"noise {key}"):
                reason = (
                    f"{bounces} levels were shorter than shortest_pulse or shortest_gap; check the cable's shield and "
                    "length, and the pull-up; they were not counted"
                )
                self._log.warning("a line is noisy", action="pulses.noise", meter=key, reason=reason)

    def _readings(self, snapshot: Mapping[str, Register], at_ms: int) -> list[Reading]:
        return [
            Reading(meter=meter, at_ms=at_ms, value=float(register.value), unit=register.unit)
            for meter, register in snapshot.items()
        ]

    async def _save(self, registers: Registers, snapshot: Mapping[str, Register]) -> bool:
        saving = asyncio.ensure_future(asyncio.to_thread(registers.save, snapshot))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            # The thread writes on; another one must not write beside it.
            await asyncio.wait([saving])
            raise
        except RegistersUnavailableError as error:
            if self._is_news("save"):
                self._log.error(
                    "registers cannot be kept on disk, and are not told before they can",
                    action="pulses.unsaved",
                    reason=str(error),
                )
            return False
        self._seldom.forget("save")
        return True

    def _lines(self) -> dict[int | str, Line]:
        return {
            meter.line: Line(
                active=meter.active, bias=meter.bias, shortest_ms=min(meter.shortest_pulse, meter.shortest_gap)
            )
            for meter in self._settings.meters.values()
        }

    def _is_news(self, trouble: str) -> bool:
        """Counts a failure; whether to say so, too."""
        self._context.count_failure()
        return self._seldom.due(trouble)

    def _let_go(self) -> None:
        watched, self._input = self._input, None
        if watched is not None:
            watched.close()


async def _watch(watched: PulseInput, counters: Mapping[int | str, PulseCounter]) -> None:
    while True:
        for edge in await watched.edges():
            counters[edge.line].take(edge)
