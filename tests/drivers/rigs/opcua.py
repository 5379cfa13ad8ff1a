"""The OPC UA driver and a server at the end of a cable that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from edge.devices.opcua import OpcUaDevice
from edge.drivers.contract import NAME

_METERS: dict[str, dict[str, object]] = {
    "oven-energy": {"node": "ns=2;s=Oven.Energy", "unit": "kWh", "resource": "energy", "kind": "counter"},
    "oven-power": {"node": "ns=2;s=Oven.Power", "unit": "kW", "resource": "energy", "kind": "rate", "scale": 0.001},
}
_SCALE = {"oven-energy": 1.0, "oven-power": 0.001}


class OpcUaRig:
    """By subscription; `OpcUaPollingRig` asks each time."""

    mode = "subscription"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.device = OpcUaDevice(["Oven.Energy", "Oven.Power"])
        self._said = 0
        self._madness = cycle([None, [1.0, 2.0], "broken", float("nan"), True])

    def settings(self) -> Mapping[str, Any]:
        return {
            "name": NAME,
            "driver": "opcua",
            "endpoint": self.device.endpoint,
            "mode": self.mode,
            "every": "50ms",
            "repeat": "10s",
            "timeout": "150ms",
            "longest_wait": "50ms",
            "meters": _METERS,
        }

    async def appear(self) -> None:
        await self.device.start()
        if self._said:
            await self._write()

    async def say(self) -> Mapping[str, float]:
        self._said += 1
        await self._write()
        return {meter: self._raw(meter) * scale for meter, scale in _SCALE.items()}

    async def vanish(self) -> None:
        await self.device.vanish()

    async def fall_silent(self) -> None:
        await self.device.fall_silent()

    async def go_mad(self) -> None:
        nonsense = next(self._madness)
        if nonsense is None:
            await self.device.go_mad()
            return
        await self.device.start()
        for meter in _METERS:
            await self.device.say(_node(meter), nonsense)

    async def close(self) -> None:
        await self.device.stop()

    async def _write(self) -> None:
        for meter in _METERS:
            await self.device.say(_node(meter), self._raw(meter))

    def _raw(self, meter: str) -> float:
        return 1000.0 * (list(_METERS).index(meter) + 1) + self._said


class OpcUaPollingRig(OpcUaRig):
    mode = "polling"


def _node(meter: str) -> str:
    return str(_METERS[meter]["node"]).partition(";s=")[2]
