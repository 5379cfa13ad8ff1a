"""The Sparkplug driver, a broker of its own, and an edge node with one device behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from edge.devices.sparkplug import SparkplugNode
from edge.drivers.contract import NAME
from edge.drivers.sparkplug.metrics import Metric
from edge.drivers.sparkplug.topics import Node
from tests.drivers.rigs.mosquitto import OwnBroker


class SparkplugRig:
    """What vanishes, falls silent and goes mad is the node; the broker stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._broker = OwnBroker(folder)
        metrics = {None: {"Power": 0.0}, "oven": {"Energy/Import": 0.0}}
        self.node = SparkplugNode(self._broker.url, Node(group="hall", node="gateway"), metrics)
        self._said = 0
        self._nonsense = cycle(["bytes", "alias", "gap", "text"])
        self._raving: asyncio.Task[None] | None = None

    def settings(self) -> Mapping[str, Any]:
        energy = {"unit": "kWh", "resource": "energy", "kind": "counter"}
        power = {"unit": "kW", "resource": "energy", "kind": "rate"}
        return {
            "name": NAME,
            "driver": "sparkplug",
            "broker": self._broker.url,
            "rebirth_wait": "50ms",
            "silent_after": "100ms",
            "longest_wait": "50ms",
            "meters": {
                "oven-energy": {"node": "hall/gateway/oven", "metric": "Energy/Import", **energy},
                "hall-power": {"node": "hall/gateway", "metric": "Power", **power},
            },
        }

    async def appear(self) -> None:
        await self._come_to_senses()
        await asyncio.to_thread(self._broker.start)
        self.node.is_silent = False
        await self.node.start()

    async def say(self) -> Mapping[str, float]:
        self._said += 1
        energy, power = 1000.5 + self._said, 20.25 + self._said
        await self.node.say("oven", {"Energy/Import": energy})
        await self.node.say(None, {"Power": power})
        return {"oven-energy": energy, "hall-power": power}

    async def vanish(self) -> None:
        await self.node.vanish()

    async def fall_silent(self) -> None:
        self.node.is_silent = True

    async def go_mad(self) -> None:
        await self._come_to_senses()
        self._raving = asyncio.create_task(self._rave(next(self._nonsense)))

    async def _rave(self, kind: str) -> None:
        """Again and again: while a host waits for a birth, what comes before it is no trouble that it counts."""
        while True:
            await self._talk_nonsense(kind)
            await asyncio.sleep(0.1)

    async def _come_to_senses(self) -> None:
        if self._raving is not None:
            self._raving.cancel()
            await asyncio.wait([self._raving])
            self._raving = None

    async def _talk_nonsense(self, kind: str) -> None:
        match kind:
            case "bytes":
                await self.node.say_bytes("oven", b"\xff\x00 not protobuf")
            case "alias":
                await self.node.say("oven", {"x": Metric(alias=99, value=666.0)})
            case "gap":
                self.node.skip(7)
                await self.node.say("oven", {"x": Metric(alias=1, value=667.0)})
            case _:
                await self.node.say("oven", {"x": Metric(alias=1, value="much")})

    async def close(self) -> None:
        await self._come_to_senses()
        await self.node.stop()
        self._broker.kill()
