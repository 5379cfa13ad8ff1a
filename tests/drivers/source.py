"""A device in memory, and a driver that reads it as it should: what the checks are tried with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

from edge.drivers import DriverContext, DriverSettings
from edge.drivers.contract import NAME
from edge.drivers.pacing import sleep_unless
from edge.readings import Reading, Taken
from schemas.resources import MeterKind, Resource
from schemas.wire import OfferedMeter


class State(Enum):
    AWAY = auto()
    THERE = auto()
    SILENT = auto()
    MAD = auto()


class Device:
    """Answers questions, or gives trouble."""

    def __init__(self) -> None:
        self.state = State.AWAY
        self.registers = {"oven": 0.0, "tap": 0.0}
        self.unread: list[dict[str, float]] = []

    async def ask(self) -> dict[str, str]:
        """What its registers say, as text. Raises ConnectionError, or never answers."""
        await asyncio.sleep(0)
        if self.state is State.AWAY:
            raise ConnectionError("nobody is there")
        if self.state is State.SILENT:
            await asyncio.Event().wait()
        if self.state is State.MAD:
            return {"oven": "8?", "tap": "\x00"}
        return {key: str(value) for key, value in self.registers.items()}


class PollSettings(DriverSettings):
    """Nothing of its own."""


class PollingDriver:
    """As a driver should be. Broken ones derive from it."""

    device: Device
    """The one of the rig."""

    def __init__(self, settings: PollSettings, context: DriverContext) -> None:
        self._name = settings.name
        self._context = context
        self._stop = asyncio.Event()

    def offers(self) -> Sequence[OfferedMeter]:
        kind = MeterKind.COUNTER
        return [
            OfferedMeter(meter="oven", resource=Resource.ENERGY, unit="kWh", kind=kind, driver=self._name),
            OfferedMeter(meter="tap", resource=Resource.WATER, unit="m3", kind=kind, driver=self._name),
        ]

    async def start(self) -> None:
        self._stop.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        while not await sleep_unless(self._stop, 0.005):
            try:
                said = await self.ask()
                found = self.understand(said)
            except (OSError, ValueError):
                self._context.count_failure()
            else:
                yield Taken(readings=found)

    async def ask(self) -> dict[str, str]:
        """Raises OSError."""
        asking = asyncio.ensure_future(self.device.ask())
        stopping = asyncio.ensure_future(self._stop.wait())
        done, pending = await asyncio.wait([asking, stopping], timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if asking not in done:
            raise TimeoutError("no answer")
        return asking.result()

    def understand(self, said: Mapping[str, str]) -> list[Reading]:
        """Raises ValueError."""
        return [
            Reading(meter=meter, at_ms=self._context.now_ms(), value=float(said[meter]), unit=unit)
            for meter, unit in (("oven", "kWh"), ("tap", "m3"))
        ]

    async def stop(self) -> None:
        self._stop.set()


class DeviceRig:
    """The device, in the checks' hands. The driver is registered under the name `tried` by the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.device = Device()

    def settings(self) -> Mapping[str, Any]:
        return {"name": NAME, "driver": "tried"}

    async def appear(self) -> None:
        self.device.state = State.THERE

    async def say(self) -> Mapping[str, float]:
        registers = self.device.registers
        self.device.registers = {"oven": registers["oven"] + 1, "tap": registers["tap"] + 0.5}
        self.device.unread.append(self.device.registers)
        return self.device.registers

    async def vanish(self) -> None:
        self.device.state = State.AWAY

    async def fall_silent(self) -> None:
        self.device.state = State.SILENT

    async def go_mad(self) -> None:
        self.device.state = State.MAD

    async def close(self) -> None:
        self.device.state = State.AWAY
