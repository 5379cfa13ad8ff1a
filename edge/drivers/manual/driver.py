"""Takes what people have entered, and lets go of it when it is in the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import structlog

from edge.drivers import DriverContext
from edge.drivers.manual.entry import Entry
from edge.drivers.manual.settings import ManualSettings
from edge.drivers.manual.spool import BadEntryError, entry_files, let_go, read_entry
from edge.drivers.pacing import ticks
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.wire import OfferedMeter

log = structlog.get_logger()


class ManualDriver:
    """An entry is handed over once, and again after a restart as long as it is not in the outbox."""

    def __init__(self, settings: ManualSettings, context: DriverContext) -> None:
        self._settings = settings
        self._context = context
        self._spool = settings.spool_in(context.folder)
        self._given: set[str] = set()
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name)

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            quantity.offer(meter, driver=self._settings.name, cadence_ms=None)
            for meter, quantity in self._settings.meters.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        self._given.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` an entry, in the order of entering."""
        async for _ in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            for path in await self._look():
                entry = self._read(path)
                if entry is not None:
                    self._given.add(path.name)
                    yield Taken(readings=[_reading(entry)], kept=partial(self._kept, path, entry))

    async def stop(self) -> None:
        self._stop.set()

    async def _look(self) -> list[Path]:
        """What was not given yet."""
        try:
            found = await asyncio.to_thread(entry_files, self._spool)
        except OSError as error:
            if self._counted("spool"):
                self._log.warning("entries can't be read; it is tried again", action="driver.away", reason=str(error))
            return []
        if self._seldom.forget("spool"):
            self._log.info("entries can be read again", action="driver.back")
        self._given &= {path.name for path in found}
        return [path for path in found if path.name not in self._given]

    def _read(self, path: Path) -> Entry | None:
        """None when it can't be used, which is said; its file stays."""
        try:
            entry = read_entry(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if self._counted(path.name):
                self._log.warning(
                    "an entry can't be read; it is tried again",
                    action="entry.refused",
                    entry=path.name,
                    reason=str(error),
                )
            return None
        except BadEntryError as error:
            self._set_aside(path, str(error))
            return None
        quantity = self._settings.meters.get(entry.meter)
        if quantity is None or quantity.unit != entry.unit:
            expected = "there is no such meter" if quantity is None else f"the settings say {quantity.unit}"
            if self._counted(path.name):
                self._log.warning(
                    "an entry does not fit the settings; it waits",
                    action="entry.refused",
                    entry=path.name,
                    reason=f"{entry.meter}: {entry.words()}; {expected}. Correct edge.yaml, or remove {path}",
                )
            return None
        return entry

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(f"refused-{path.name}")
        if not self._context.trial:
            try:
                path.rename(aside)
            except OSError as error:
                reason = f"{reason} (and it can't be renamed: {error.strerror})"
        if self._counted(path.name):
            self._log.warning(
                "a file is no entry; it is set aside", action="entry.refused", entry=path.name, reason=reason
            )

    def _kept(self, path: Path, entry: Entry) -> None:
        try:
            let_go(path)
        except OSError as error:
            # It is given again after a restart, which is a no-op further on.
            if self._counted(path.name):
                self._log.warning(
                    "a taken entry can't be removed", action="entry.stuck", entry=path.name, reason=str(error)
                )
            return
        self._log.info(
            "a dial that was entered is in the outbox",
            action="entry.taken",
            meter=entry.meter,
            value=entry.value,
            read_at=entry.at.isoformat(),
            note=entry.note,
            exchange=entry.is_exchange,
            forced=entry.is_forced,
        )

    def _counted(self, trouble: str) -> bool:
        """Count a failure; whether it is time to say so."""
        self._context.count_failure()
        return self._seldom.due(trouble)


def _reading(entry: Entry) -> Reading:
    at_ms = round(entry.at.timestamp() * 1000)
    return Reading(meter=entry.meter, at_ms=at_ms, value=entry.value, unit=entry.unit)
