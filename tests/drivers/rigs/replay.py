"""The replay driver and a file: a source that is finite, and read whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.drivers.contract import NAME, DoesNotApplyError, SaidAllError

_FILE = """\
at,meter,value,unit,resource,kind
2026-06-01T00:00:00Z,oven,1,kWh,energy,counter
2026-06-01T00:00:00Z,tap,10,m3,water,counter
2026-06-01T00:00:01Z,oven,2,kWh,energy,counter
2026-06-01T00:00:01Z,tap,11,m3,water,counter
"""
_NO_DEVICE = "a file is read whole before the start; what is wrong with it is an error there"


class ReplayRig:
    """All is said in the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = False
        (folder / "plain.csv").write_text(_FILE)

    def settings(self) -> Mapping[str, Any]:
        return {"name": NAME, "driver": "replay", "path": "plain.csv", "speed": 100}

    async def appear(self) -> None:
        pass

    async def say(self) -> Mapping[str, float]:
        if self._said:
            raise SaidAllError
        self._said = True
        return {"oven": 2.0, "tap": 11.0}

    async def vanish(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def fall_silent(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def go_mad(self) -> None:
        raise DoesNotApplyError(_NO_DEVICE)

    async def close(self) -> None:
        pass
