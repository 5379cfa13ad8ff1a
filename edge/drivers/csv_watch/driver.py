"""Looks into a folder at a steady pace, and reads what is new in its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from edge.drivers import DriverContext
from edge.drivers.apart import Apart
from edge.drivers.csv_watch.files import Listed, list_files, move_file, remove_file
from edge.drivers.csv_watch.kept import Keeping
from edge.drivers.csv_watch.piece import HowToRead, Piece, read_piece
from edge.drivers.csv_watch.settings import CsvSettings, Done, Written, with_meters
from edge.drivers.csv_watch.state import FileState, FolderState, Stamp, load_state, save_state
from edge.drivers.pacing import ticks
from edge.errors import EdgePermanentError, EdgeTransientError
from edge.measurements import offer_of
from edge.notices import Seldom
from edge.readings import Taken
from schemas.mapping import MappingError, load_mapping
from schemas.wire import OfferedMeter

log = structlog.get_logger()

T = TypeVar("T")

_LISTED = 20


class FolderAwayError(EdgeTransientError):
    """The folder can't be looked into, or does not answer."""


class CsvDriver:
    """A file moves on, is moved or deleted only when what was read of it is in the outbox.

    A file that can't be read is set aside and said; the others go on. After a kill a piece may be read again, which is
    a no-op further on.
    """

    def __init__(self, settings: CsvSettings, context: DriverContext) -> None:
        """Raises MappingError, EdgePermanentError: the mapping can't be had, or nothing says what the meters are."""
        mapping = with_meters(settings, load_mapping(settings.mapping, folder=context.folder))
        is_growing = settings.written is Written.GROWING
        self._how = HowToRead(mapping=mapping, only_lines=is_growing, renamed=is_growing)
        if is_growing and not self._how.is_by_lines:
            raise EdgePermanentError(
                f"driver {settings.name}: files in {mapping.encoding} can't be read while they grow; "
                "set `written: whole`, or have them written in UTF-8"
            )
        self._settings = settings
        self._context = context
        self._folder = context.folder / settings.folder
        self._state_path = context.folder / (settings.state or Path(f"{settings.name}-files.json"))
        self._state = FolderState()
        self._since: dict[str, tuple[Stamp, float]] = {}
        self._apart = Apart(f"csv {settings.name}")
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, folder=str(self._folder))

    def offers(self) -> Sequence[OfferedMeter]:
        """For an interval meter, `cadence_ms` is its interval too."""
        mapping = self._how.mapping
        listed = mapping.long.meters if mapping.long else mapping.meters
        return [offer_of(meter, driver=self._settings.name) for meter in listed]

    async def start(self) -> None:
        self._stop.clear()
        self._since.clear()
        try:
            self._state = await asyncio.to_thread(load_state, self._state_path)
        except (OSError, ValueError) as error:
            # What was read already is a no-op further on: better all once more than nothing.
            self._state = FolderState()
            self._log.error(
                "it is not known what was read; all files are read anew", action="files.forgotten", reason=str(error)
            )

    async def readings(self) -> AsyncIterator[Taken]:
        """Files in the order in which they were changed; of each the rows that are new, by time."""
        async for _ in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            try:
                for listed in await self._look():
                    while (piece := await self._next_piece(listed)) is not None:
                        keeping = Keeping(piece.readings, afterwards=partial(self._keep, listed.name, piece.state))
                        for part in keeping.parts():
                            yield part
                        if not await keeping.wait(self._stop):
                            return
                        await asyncio.to_thread(self._keep, listed.name, piece.state)
                        if piece.is_last:
                            self._tell(listed.name, piece)
                            await self._let_go_of(listed)
                            break
            except FolderAwayError as error:
                if not self._stop.is_set() and self._counted("away"):
                    self._log.warning("the folder is away; it is tried again", action="driver.away", reason=str(error))

    async def stop(self) -> None:
        self._stop.set()

    async def _look(self) -> list[Listed]:
        """The files that there is something to do for. Raises FolderAwayError."""
        try:
            found = await self._ask(partial(list_files, self._folder, self._settings.pattern))
        except OSError as error:
            raise FolderAwayError(f"{error.strerror}; check the path, the network share and the rights") from error
        if self._seldom.forget("away"):
            self._log.info("the folder is back", action="driver.back")
        self._state = self._state.seen({file.name for file in found}, now_ms=self._context.now_ms())
        now_s, before = time.monotonic(), self._since
        self._since = {}
        for file in found:
            stamp, since_s = before.get(file.name, (None, now_s))
            self._since[file.name] = (file.stamp, since_s if stamp == file.stamp else now_s)
        return [file for file in found if self._is_due(file, now_s)]

    def _is_due(self, file: Listed, now_s: float) -> bool:
        state = self._state.files.get(file.name)
        if state is not None and state.stamp == file.stamp:
            # A kill may have come between the outbox and the end of the file.
            return state.refused is None and self._settings.done is not Done.KEEP and self._seldom.due(file)
        if self._settings.written is Written.GROWING:
            return True
        return now_s - self._since[file.name][1] >= self._settings.settle / 1000

    async def _next_piece(self, listed: Listed) -> Piece | None:
        """None when nothing is to hand over: all is read, or it can't be, which is said. Raises FolderAwayError."""
        state = self._state.files.get(listed.name)
        if state is not None and state.stamp == listed.stamp:
            await self._let_go_of(listed)
            return None
        try:
            piece = await self._ask(partial(read_piece, self._folder, listed, self._how, self._state.files))
            self._look_at(listed.name, piece)
        except FileNotFoundError:
            return None
        except OSError as error:
            if self._counted(listed.name):
                self._log.warning(
                    "a file can't be read just now", action="file.away", file=listed.name, reason=error.strerror
                )
            return None
        except MappingError as error:
            await self._refuse(listed, str(error))
            return None
        return piece

    def _look_at(self, name: str, piece: Piece) -> None:
        """Raises MappingError when nothing in the file could be used."""
        found = piece.report.sentences()[:_LISTED]
        if piece.starts_over:
            self._log.info("a file was replaced; it is read from its beginning", action="file.replaced", file=name)
        if piece.report.rows and not piece.state.readings and piece.is_last and self._settings.written is Written.WHOLE:
            raise MappingError("\n".join(["it has no reading that could be used:", *found]))
        if piece.report.rows and not piece.readings:
            if self._counted((name, "nothing")):
                self._log.warning(
                    "nothing in these lines could be used", action="file.left_out", file=name, found=found
                )
        elif piece.report.skipped and self._seldom.due((name, "left out")):
            self._log.warning("values were left out", action="file.left_out", file=name, found=found)

    def _tell(self, name: str, piece: Piece) -> None:
        if self._settings.written is Written.WHOLE:
            self._log.info("a file was read", action="file.read", file=name, readings=piece.state.readings)

    async def _let_go_of(self, listed: Listed) -> None:
        """All of it is in the outbox: what the settings say of such a file. Raises FolderAwayError."""
        if self._settings.done is Done.KEEP or self._context.trial:
            return
        path = self._folder / listed.name
        target = self._context.folder / (self._settings.done_folder or self._settings.folder / "done")
        work = partial(move_file, path, target) if self._settings.done is Done.MOVE else partial(remove_file, path)
        if await self._put_away(listed, work):
            await asyncio.to_thread(self._forget, listed.name)

    async def _refuse(self, listed: Listed, reason: str) -> None:
        """Set a file aside. Raises FolderAwayError."""
        self._context.count_failure()
        self._log.warning(
            "a file can't be read; it is set aside", action="file.refused", file=listed.name, reason=reason
        )
        refused = FileState(stamp=listed.stamp, refused=reason)
        if self._settings.refused_folder is None or self._context.trial:
            await asyncio.to_thread(self._keep, listed.name, refused)
            return
        target = self._context.folder / self._settings.refused_folder
        if await self._put_away(listed, partial(move_file, self._folder / listed.name, target, note=reason)):
            await asyncio.to_thread(self._forget, listed.name)
        else:
            await asyncio.to_thread(self._keep, listed.name, refused)

    async def _put_away(self, listed: Listed, work: Callable[[Stamp], None]) -> bool:
        """Whether it is gone from the folder; a file that has changed meanwhile stays. Raises FolderAwayError."""
        try:
            await self._ask(partial(work, listed.stamp))
        except OSError as error:
            if self._counted((listed.name, "stuck")):
                self._log.warning(
                    "a file can't be put away; check the rights",
                    action="file.stuck",
                    file=listed.name,
                    reason=str(error),
                )
            return False
        return True

    def _counted(self, trouble: Hashable) -> bool:
        """Count a failure; whether it is time to say so."""
        self._context.count_failure()
        return self._seldom.due(trouble)

    async def _ask(self, work: Callable[[], T]) -> T:
        """What the folder answers. Raises OSError, and FolderAwayError when it does not answer."""
        try:
            return await self._apart.run(work, timeout_s=self._settings.timeout / 1000, stop=self._stop)
        except TimeoutError as error:
            raise FolderAwayError(f"{error}; is the network share there?") from error

    def _keep(self, name: str, state: FileState) -> None:
        state = state.model_copy(update={"seen_ms": self._context.now_ms()})
        self._save(self._state.with_file(name, state))

    def _forget(self, name: str) -> None:
        self._save(self._state.without_file(name))

    def _save(self, state: FolderState) -> None:
        self._state = state
        if self._context.trial:
            return
        try:
            save_state(self._state_path, state)
        except OSError as error:
            # After a restart it is read again, which is a no-op further on.
            if self._counted("unsaved"):
                self._log.error(
                    "what was read can't be remembered on disk; it goes on without",
                    action="files.unsaved",
                    reason=f"{self._state_path}: {error.strerror}",
                )
        else:
            self._seldom.forget("unsaved")
