"""The driver `witness`: meters that don't exist, and a journal of what was read of them.

Like a meter with a memory of its own, or a file, it can be read again: after a kill it hands over once more what the
agent may have held in memory only. What the outbox has taken by then comes twice, and is stored once.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from deploy.chaos.clock import FastClock
from deploy.chaos.journal import Entry, Journal, Row
from deploy.chaos.meters import BURST_STEP_MS, METERS, STEP_MS, ChaosMeter, advance, meters_of, value_of
from edge.drivers import DriverContext, DriverKind, DriverSettings
from edge.drivers.pacing import sleep_unless
from edge.readings import Reading, Taken
from schemas.resources import MeterKind
from schemas.wire import OfferedMeter

_TICK_S = STEP_MS / 600 / 1000
_BURST_ROWS = 500
_REMEMBERED = 400
"""More than an agent ever holds in memory: its queue, and the batch before it."""
_SILENCE = 0.01
_LONGEST_SILENCE = 20
_UNITS = {meter.key: meter.unit for meter in METERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the driver is to do, in a file beside it: how wrong its clock is, up to which burst to read and how large
    that is, and whether to end once everything is handed over."""

    skew_ms: int = 0
    burst: int = 0
    readings: int = 0
    is_last: bool = False

    def write(self, path: Path) -> None:
        """Replace the file at once: the driver sees the old orders or the new."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), "utf-8")
        new.replace(path)


def read_orders(path: Path) -> Orders:
    """The orders that stand now."""
    return Orders(**json.loads(path.read_text("utf-8")))


class WitnessSettings(DriverSettings):
    """`truth` and `orders` are files, from the configuration's folder. `origin_ms` and `begin_ms` make the clock."""

    driver: Literal["witness"]
    seed: int
    truth: Path
    orders: Path
    origin_ms: int
    begin_ms: int


class WitnessDriver:
    """Reads the agent's meters at each tick of the fast clock, in bursts where it is told to."""

    def __init__(self, settings: WitnessSettings, context: DriverContext) -> None:
        self._settings = settings
        self._agent = context.agent
        self._truth = context.folder / settings.truth
        self._orders = context.folder / settings.orders
        self._clock = FastClock(origin_ms=settings.origin_ms, begin_ms=settings.begin_ms)
        self._stop = asyncio.Event()

    def offers(self) -> Sequence[OfferedMeter]:
        """Of an interval meter, a minute is its interval."""
        return [
            OfferedMeter(
                meter=meter.key,
                resource=meter.model.resource,
                unit=meter.unit,
                kind=meter.kind,
                carrier=meter.carrier,
                driver=self._settings.name,
                interval_ms=60_000 if meter.kind is MeterKind.INTERVAL else None,
            )
            for meter in METERS
            if meter.agent == self._agent
        ]

    async def start(self) -> None:
        self._stop.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        """Ends when the orders say so, or the driver is stopped."""
        journal = Journal(self._truth, remembered=_REMEMBERED)
        try:
            for entry in list(journal.tail):
                yield _taken(entry)
            while not self._stop.is_set():
                orders = read_orders(self._orders)
                new = self._next(journal.last, orders)
                if new is not None:
                    await asyncio.to_thread(journal.append, new)
                    if new.rows:
                        yield _taken(new)
                elif orders.is_last or await sleep_unless(self._stop, _TICK_S / 2):
                    return
        finally:
            journal.close()

    async def stop(self) -> None:
        self._stop.set()

    def _next(self, last: Entry, orders: Orders) -> Entry | None:
        """What is to be read now; None when nothing is."""
        bursting = meters_of(self._agent, is_burst=True)
        if bursting and (orders.burst > last.burst or (orders.burst == last.burst and last.done < orders.readings)):
            return self._burst(bursting[0], last, orders)
        ticked_ms = self._clock.at(time.time_ns() // 1_000_000) // STEP_MS * STEP_MS
        if orders.is_last or ticked_ms <= last.ticked_ms:
            return None
        rng = self._chance(ticked_ms)
        if rng.random() < _SILENCE:
            # Longer than the longest silence that is still measured: an estimated span.
            return replace(last, rows=[], ticked_ms=ticked_ms + rng.randrange(_LONGEST_SILENCE) * STEP_MS)
        registers = dict(last.registers)
        rows: list[Row] = []
        for meter in meters_of(self._agent):
            registers[meter.key] = advance(meter, self._register(last, meter), rng)
            rows.append((meter.key, ticked_ms + orders.skew_ms, registers[meter.key]))
        return replace(last, rows=rows, ticked_ms=ticked_ms, skew_ms=orders.skew_ms, registers=registers)

    def _burst(self, meter: ChaosMeter, last: Entry, orders: Orders) -> Entry:
        done = last.done if last.burst == orders.burst else 0
        count = min(_BURST_ROWS, orders.readings - done)
        at_ms = last.burst_at_ms or self._settings.begin_ms
        register, rng = self._register(last, meter), self._chance(at_ms)
        rows: list[Row] = []
        for _ in range(count):
            at_ms += BURST_STEP_MS
            register = advance(meter, register, rng)
            rows.append((meter.key, at_ms, register))
        registers = {**last.registers, meter.key: register}
        return replace(
            last, rows=rows, burst=orders.burst, done=done + count, burst_at_ms=at_ms, registers=registers, skew_ms=0
        )

    def _register(self, last: Entry, meter: ChaosMeter) -> int:
        known = last.registers.get(meter.key)
        return self._chance(meter.key).randrange(10**8) // 1000 * 1000 if known is None else known

    def _chance(self, what: object) -> random.Random:
        """The same for the same seed, agent and instant."""
        return random.Random(f"{self._settings.seed} {self._agent} {what}")  # noqa: S311 - nothing secret


def _taken(entry: Entry) -> Taken:
    return Taken(
        readings=[
            Reading(meter=key, at_ms=at_ms, value=value_of(thousandths), unit=_UNITS[key])
            for key, at_ms, thousandths in entry.rows
        ]
    )


KIND = DriverKind(settings=WitnessSettings, create=WitnessDriver)
"""What the entry point names."""
