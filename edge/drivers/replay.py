"""Measurements of a file, handed over as if they were read now: at their own pace, faster, or as fast as possible.

The readings keep the instants of the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import structlog
from pydantic import BeforeValidator, Field

from edge.drivers import DriverContext, DriverSettings
from edge.drivers.pacing import sleep_unless
from edge.measurement_files import read_measurements
from edge.measurements import Measurements, offer_of
from edge.readings import Taken
from schemas.mapping import load_mapping
from schemas.wire import OfferedMeter

log = structlog.get_logger()

_AT_ONCE = 500


def _speed(value: object) -> object:
    words = {"max": 0.0, "real": 1.0}
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError("speed is real, max, or how many times faster than real, as in 60")
    return value


class ReplaySettings(DriverSettings):
    """`path`: a CSV or Parquet file, from the configuration's folder. `speed`: real, max, or a factor.

    `mapping`: how to read it, by name or .yaml file; left out, the file is recognised by its header.
    """

    driver: Literal["replay"]
    path: Path
    mapping: str | None = None
    speed: Annotated[float, BeforeValidator(_speed), Field(allow_inf_nan=False)] = 1.0
    """0 is as fast as possible."""


class ReplayDriver:
    """A finite source. The file is read whole when made, so that what is wrong with it shows before anything starts."""

    def __init__(self, settings: ReplaySettings, context: DriverContext) -> None:
        """Raises MappingError, EdgePermanentError."""
        mapping = load_mapping(settings.mapping, folder=context.folder) if settings.mapping else None
        self._settings = settings
        self._stop = asyncio.Event()
        self.measurements: Measurements = read_measurements(context.folder / settings.path, mapping)

    def offers(self) -> Sequence[OfferedMeter]:
        """For an interval meter, `cadence_ms` is its interval too."""
        return [offer_of(meter, driver=self._settings.name) for meter in self.measurements.meters]

    async def start(self) -> None:
        self._stop.clear()
        report = self.measurements.report
        log.info(
            "a file is replayed",
            action="replay.started",
            driver=self._settings.name,
            file=str(self._settings.path),
            mapping=self.measurements.mapping.name,
            found=report.sentences()[:20],
        )

    async def readings(self) -> AsyncIterator[Taken]:
        """In order of time; ends with the file."""
        readings = self.measurements.readings
        if not self._settings.speed:
            for i in range(0, len(readings), _AT_ONCE):
                if self._stop.is_set():
                    return
                yield Taken(readings=readings[i : i + _AT_ONCE])
            return
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for at_ms, group in groupby(readings, key=lambda reading: reading.at_ms):
            due_s = began_s + (at_ms - readings[0].at_ms) / 1000 / self._settings.speed
            if await sleep_unless(self._stop, due_s - loop.time()):
                return
            yield Taken(readings=tuple(group))

    async def stop(self) -> None:
        self._stop.set()
