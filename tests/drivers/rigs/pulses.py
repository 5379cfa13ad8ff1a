"""The pulses driver and a chip that does not exist; the kernel's own simulated one (gpio-sim) is on few machines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from edge.devices.pulses import SimulatedChip
from edge.drivers.contract import NAME, DoesNotApplyError

_METERS: dict[str, dict[str, object]] = {
    "hall-electricity": {"line": 17, "unit": "kWh", "resource": "energy", "pulses_per_unit": 1000, "start_value": 12.5},
    "cooling-water": {"line": "S0-2", "unit": "l", "resource": "water", "scale": 10},
}
_numbers = count()


class PulsesRig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chip = SimulatedChip(f"rig-{next(_numbers)}")
        self._pulses = {17: 0, "S0-2": 0}

    def settings(self) -> Mapping[str, Any]:
        return {
            "name": NAME,
            "driver": "pulses",
            "chip": self.chip.chip,
            "every": "50ms",
            "longest_wait": "50ms",
            "meters": _METERS,
        }

    async def appear(self) -> None:
        self.chip.appear()

    async def say(self) -> Mapping[str, float]:
        for line in (17, "S0-2"):
            # Pulses that come while nobody watches are gone, as those of a real meter.
            self._pulses[line] += self.chip.pulse(line, 3)
        return {
            "hall-electricity": (12_500 + self._pulses[17]) / 1000,
            "cooling-water": 10.0 * self._pulses["S0-2"],
        }

    async def vanish(self) -> None:
        self.chip.vanish()

    async def fall_silent(self) -> None:
        raise DoesNotApplyError("no pulses is a value: the counter stands still")

    async def go_mad(self) -> None:
        for _ in range(100):
            self.chip.pulse(17, length_ms=1, gap_ms=1)
        self.chip.pulse(17, 0, gap_ms=100)

    async def close(self) -> None:
        self.chip.vanish()
