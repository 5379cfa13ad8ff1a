"""The HTTP driver, and a device that answers as a Shelly Pro 3EM does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.devices.http_json import Answer, HttpDevice, HttpFault
from edge.drivers.contract import NAME
from tests.drivers.rigs.mosquitto import free_port

_PATH = "/rpc/Shelly.GetStatus"


class HttpJsonRig:
    """Its values change when it says something; until then it says the last ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._device = HttpDevice({}, port=free_port())
        self._said = 0
        self._answer()

    def settings(self) -> Mapping[str, Any]:
        return {
            "name": NAME,
            "driver": "http_json",
            "url": self._device.url,
            "mapping": "shelly-gen2",
            "every": "20ms",
            "timeout": "100ms",
            "longest_wait": "50ms",
            "meters": {"main-electricity": "em-energy", "main-power": {"quantity": "em-power", "channel": 0}},
        }

    async def appear(self) -> None:
        self._device.fault = HttpFault.NONE
        await self._device.start()

    async def say(self) -> Mapping[str, float]:
        self._said += 1
        return self._answer()

    async def vanish(self) -> None:
        await self._device.vanish()

    async def fall_silent(self) -> None:
        self._device.fault = HttpFault.SILENT

    async def go_mad(self) -> None:
        self._device.fault = HttpFault.MAD

    async def close(self) -> None:
        await self._device.vanish()

    def _answer(self) -> Mapping[str, float]:
        energy, power = 5000.75 + self._said, 310.5 + self._said
        status = {"em:0": {"id": 0, "total_act_power": power}, "emdata:0": {"id": 0, "total_act": energy}}
        self._device.answers[_PATH] = Answer(body={**status, "sys": {"unixtime": 1_795_298_400}})
        return {"main-electricity": energy, "main-power": power}
