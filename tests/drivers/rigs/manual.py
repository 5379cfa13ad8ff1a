"""The manual driver, and a person who reads two dials."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.drivers.contract import NAME, DoesNotApplyError
from edge.drivers.manual.entry import Entry
from edge.drivers.manual.settings import ManualSettings
from edge.drivers.manual.spool import enter

_NO_DEVICE = "people enter values when they do: that nobody does is no fault"


class ManualRig:
    """Enters values as the command line does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._values = {"oven": 100.0, "tap": 10.0}
        self._nonsense = 0

    def settings(self) -> Mapping[str, Any]:
        oven = {"unit": "kWh", "resource": "energy", "kind": "counter"}
        tap = {"unit": "m3", "resource": "water", "kind": "counter"}
        return {"name": NAME, "driver": "manual", "every": "20ms", "meters": {"oven": oven, "tap": tap}}

    async def appear(self) -> None:
        pass

    async def say(self) -> Mapping[str, float]:
        settings, now = ManualSettings.model_validate(self.settings()), datetime.now(UTC)
        self._values = {"oven": self._values["oven"] + 0.25, "tap": self._values["tap"] + 1}
        for meter, value in self._values.items():
            quantity = settings.meters[meter]
            entry = Entry(meter=meter, value=value, unit=quantity.unit, at=now, entered_at=now)
            enter(settings.spool_in(self.folder), entry, quantity, now=now)
        return dict(self._values)

    async def vanish(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def fall_silent(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def go_mad(self) -> None:
        self._nonsense += 1
        nonsense = [b"\xff\x00", b'{"meter": "oven", "value": 8', b'{"meter": "oven", "value": NaN, "unit": "kWh"}']
        spool = ManualSettings.model_validate(self.settings()).spool_in(self.folder)
        name = f"entry-99999999999999-{self._nonsense}.json"
        (spool / name).write_bytes(nonsense[self._nonsense % len(nonsense)])

    async def close(self) -> None:
        pass
