"""The MQTT bridge, a broker of its own, and a device that publishes there as a Shelly does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.devices.publishers import Publisher
from edge.drivers.contract import NAME
from tests.drivers.rigs.mosquitto import OwnBroker

_TOPIC = "shellypro4pm-rig/events/rpc"
_NONSENSE: tuple[Any, ...] = (
    b"\x00\xff{",
    {"params": {"ts": 1.5, "switch:0": {"apower": 9.0}}},
    {"params": {"ts": time.time(), "switch:0": {"apower": "a lot", "aenergy": {"total": True}}}},
)


class BridgeRig:
    """What vanishes is the broker; what falls silent, and what goes mad, is the device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._broker = OwnBroker(folder)
        self._device = Publisher(self._broker.url)
        self._said = 0
        self._nonsense = 0

    def settings(self) -> Mapping[str, Any]:
        meters = {
            "oven-electricity": {"device": "shellypro4pm-rig", "quantity": "switch-energy"},
            "oven-power": {"device": "shellypro4pm-rig", "quantity": "switch-power"},
        }
        waits = {"silent_after": "100ms", "timeout": "2s", "longest_wait": "50ms"}
        return {
            "name": NAME,
            "driver": "bridge",
            "broker": self._broker.url,
            "mapping": "shelly",
            **waits,
            "meters": meters,
        }

    async def appear(self) -> None:
        await asyncio.to_thread(self._broker.start)

    async def say(self) -> Mapping[str, float]:
        self._said += 1
        energy, power = 1000.5 + self._said, 20.25 + self._said
        values = {"id": 0, "apower": power, "aenergy": {"total": energy, "minute_ts": 1_795_298_400}}
        frame = {"src": "shellypro4pm-rig", "method": "NotifyStatus", "params": {"ts": time.time(), "switch:0": values}}
        await self._device.say_when_heard(_TOPIC, frame)
        return {"oven-electricity": energy, "oven-power": power}

    async def vanish(self) -> None:
        self._broker.kill()
        await self._device.close()

    async def fall_silent(self) -> None:
        """It is there, and publishes nothing: as it does by itself."""

    async def go_mad(self) -> None:
        await self._device.say_when_heard(_TOPIC, _NONSENSE[self._nonsense % len(_NONSENSE)])
        self._nonsense += 1

    async def close(self) -> None:
        await self._device.close()
        self._broker.kill()
