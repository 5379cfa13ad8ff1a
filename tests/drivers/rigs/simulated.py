"""The simulated driver, and a workshop with registers that the checks move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from edge.drivers.contract import NAME, DoesNotApplyError
from schemas.resources import MeterKind, Resource
from schemas.wire import OfferedMeter, RunSpan

_NO_DEVICE = "the workshop is computed in the driver: it can't be away, silent or mad"


class _Workshop:
    """Two registers, the same whenever they are read."""

    def __init__(self) -> None:
        self.values = {"oven": 0.0, "tap": 0.0}

    def offers(self, agent: str) -> Sequence[OfferedMeter]:
        counter = MeterKind.COUNTER
        return [
            OfferedMeter(meter="oven", resource=Resource.ENERGY, unit="kWh", kind=counter),
            OfferedMeter(meter="tap", resource=Resource.WATER, unit="m3", kind=counter),
        ]

    def read(self, agent: str, at_ms: int) -> Sequence[tuple[str, float, str]]:
        return [("oven", self.values["oven"], "kWh"), ("tap", self.values["tap"], "m3")]

    def runs_between(self, from_ms: int, to_ms: int) -> Sequence[RunSpan]:
        return []


class SimulatedRig:
    """The true workshop moves by itself; this one says what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workshop = _Workshop()
        self._patch = patch("edge.drivers.simulated._build", lambda **_: self._workshop)
        self._patch.start()

    def settings(self) -> Mapping[str, Any]:
        return {"name": NAME, "driver": "simulated", "every": "20ms"}

    async def appear(self) -> None:
        pass

    async def say(self) -> Mapping[str, float]:
        values = self._workshop.values
        self._workshop.values = {"oven": values["oven"] + 1, "tap": values["tap"] + 0.5}
        return dict(self._workshop.values)

    async def vanish(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def fall_silent(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def go_mad(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def close(self) -> None:
        if self._patch is not None:
            self._patch.stop()
            self._patch = None  # type: ignore[assignment]
