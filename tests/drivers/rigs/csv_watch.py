"""The csv driver, and a folder into which a program puts files, on a share that can go away."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from edge.drivers.contract import NAME
from edge.drivers.csv_watch import driver, files

_METERS = [
    {"meter": "oven", "resource": "energy", "carrier": "electricity", "unit": "kWh", "kind": "counter"},
    {"meter": "tap", "resource": "water", "unit": "m3", "kind": "counter"},
]


class _CsvRig:
    """Values go up by steps."""

    written = "whole"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._share, self._away = folder / "share", folder / "elsewhere"
        self._share.mkdir()
        self._steps = 0
        self._answers = threading.Event()
        self._answers.set()
        self._patch = patch.object(driver, "list_files", self._list)
        self._list_files = files.list_files
        self._patch.start()
        self._is_open = True

    def settings(self) -> Mapping[str, Any]:
        waits = {"every": "20ms", "settle": "10ms", "timeout": "60ms"}
        return {"name": NAME, "driver": "csv", "folder": "share", "written": self.written, "meters": _METERS, **waits}

    async def appear(self) -> None:
        self._answers.set()
        if self._away.exists():
            self._away.rename(self._share)

    async def say(self) -> Mapping[str, float]:
        self._steps += 1
        values = {"oven": 100 + self._steps / 4, "tap": 10.0 + self._steps}
        at = datetime.now(UTC).isoformat()
        rows = "".join(
            f"{at},{meter},{value},{unit}\n" for (meter, value), unit in zip(values.items(), ("kWh", "m3"), strict=True)
        )
        self._write(rows)
        return values

    async def vanish(self) -> None:
        self._share.rename(self._away)

    async def fall_silent(self) -> None:
        self._answers.clear()

    async def go_mad(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self._answers.set()
        if self._is_open:
            self._patch.stop()
            self._is_open = False

    def _write(self, rows: str) -> None:
        raise NotImplementedError

    def _list(self, folder: Path, pattern: str) -> Any:
        self._answers.wait()
        return self._list_files(folder, pattern)


class CsvWholeRig(_CsvRig):
    """A file a time."""

    async def go_mad(self) -> None:
        self._steps += 1
        nonsense = [
            b"\x00\xff\x13" * 50,
            b'at,meter,value,unit\n"2026-01-01T00:00:00Z,oven,8',
            b"Nothing here, at all\n1,2\n",
        ]
        (self._share / f"nonsense-{self._steps}.csv").write_bytes(nonsense[self._steps % len(nonsense)])

    def _write(self, rows: str) -> None:
        unfinished = self._share / f"values-{self._steps}.csv.part"
        unfinished.write_text(f"at,meter,value,unit\n{rows}")
        unfinished.rename(self._share / f"values-{self._steps}.csv")


class CsvGrowingRig(_CsvRig):
    """One file to which lines are added."""

    written = "growing"

    async def go_mad(self) -> None:
        self._write("2026-13-45,oven,8,kWh\n\x00\x00\x00\n")

    def _write(self, rows: str) -> None:
        path = self._share / "log.csv"
        with path.open("a") as file:
            if not path.stat().st_size:
                file.write("at,meter,value,unit\n")
            # A line is not finished before its end is there.
            file.write(rows[:-8])
            file.flush()
            file.write(rows[-8:])
