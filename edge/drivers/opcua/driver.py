"""Keeps up a session with one OPC UA server, and reads its meters by subscription or by polling."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import structlog

from edge.backoff import Backoff
from edge.drivers import DriverContext
from edge.drivers.opcua.settings import Mode, OpcUaSettings, Policy
from edge.drivers.opcua.values import RefusedValueError, Sample, Teller
from edge.drivers.pacing import next_due_ms, sleep_unless, ticks
from edge.errors import EdgeError, EdgePermanentError
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.wire import OfferedMeter

if TYPE_CHECKING:
    from edge.drivers.opcua.session import Credentials, Session

log = structlog.get_logger()


class OpcUaDriver:
    """One session, made again when it breaks. What the server refuses of one meter is nothing to the others."""

    def __init__(self, settings: OpcUaSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError: the library is not installed, or a file or variable of the settings is missing."""
        if importlib.util.find_spec("asyncua") is None:
            raise EdgePermanentError(
                f"driver {settings.name}: OPC UA needs asyncua; install it with: pip install 'afkobling[opcua]'"
            )
        self._settings = settings
        self._context = context
        self._check_files()
        if settings.password is not None:
            settings.password.read(context.folder)
        self._tellers = {meter: Teller(meter, said, clock=settings.clock) for meter, said in settings.meters.items()}
        self._stop = asyncio.Event()
        self._session: Session | None = None
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=settings.endpoint)

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            meter.offer(key, driver=self._settings.name, cadence_ms=self._cadence_ms)
            for key, meter in self._settings.meters.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        # Importing takes a moment of pure computing, which must not hold up the other drivers.
        await asyncio.to_thread(importlib.import_module, "edge.drivers.opcua.session")

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a poll; of a subscription what changed as it came, and all meters each `repeat`."""
        backoff = Backoff(initial_s=1, cap_s=self._settings.longest_wait / 1000)
        while not self._stop.is_set():
            try:
                session = await self._connected()
                if session is None:
                    return
                taking = self._poll(session) if self._settings.mode is Mode.POLLING else self._follow(session)
                is_first = True
                async with aclosing(taking):
                    async for samples in taking:
                        # A server may answer once and then refuse, each time: that is not back.
                        if not is_first:
                            backoff.reset()
                            if self._seldom.forget("away"):
                                self._log.info("the server is back", action="driver.back")
                        is_first = False
                        if found := self._readings(samples):
                            yield Taken(readings=found)
            except EdgeError as error:
                self._note_away(error)
            finally:
                await self._let_go()
            if await sleep_unless(self._stop, backoff.next_s()):
                return

    async def stop(self) -> None:
        self._stop.set()
        if self._session is not None:
            self._session.changed.set()
        await self._let_go()

    @property
    def _cadence_ms(self) -> int:
        return self._settings.every if self._settings.mode is Mode.POLLING else self._settings.repeat

    async def _poll(self, session: Session) -> AsyncGenerator[list[tuple[str, Sample]]]:
        async for _ in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            yield await session.read()

    async def _follow(self, session: Session) -> AsyncGenerator[list[tuple[str, Sample]]]:
        due_ms: int | None = None
        while not self._stop.is_set():
            # Read first: it says at once of each node whether the server knows it.
            yield await session.read()
            await session.subscribe()
            repeat_ms = self._settings.repeat
            due_ms = next_due_ms(self._context.now_ms(), every_ms=repeat_ms, last_ms=due_ms or 0)
            # More than two periods are left only where the clock was set back.
            while not self._stop.is_set() and 0 < (left_ms := due_ms - self._context.now_ms()) <= 2 * repeat_ms:
                if changes := session.take_changes():
                    yield changes
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_ms, repeat_ms) / 1000):
                        await session.changed.wait()

    async def _connected(self) -> Session | None:
        """A session that is open; None when the driver is to stop."""
        from edge.drivers.opcua.session import Session  # noqa: PLC0415 - only who has such a server pays for it

        session = self._session = Session(self._settings, await asyncio.to_thread(self._credentials))
        opening = asyncio.ensure_future(session.open())
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([opening, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return None
            opening.result()
        finally:
            opening.cancel()
            stopped.cancel()
            await asyncio.wait([opening, stopped])
        return session

    def _credentials(self) -> Credentials:
        """Read at each attempt, so that a new password or certificate counts without a restart."""
        from edge.drivers.opcua.session import Credentials  # noqa: PLC0415

        settings, folder, security = self._settings, self._context.folder, self._settings.security
        password = None if settings.password is None else settings.password.read(folder)
        if security.policy is Policy.NONE:
            return Credentials(user=settings.user, password=password)
        from edge.drivers.opcua.certificates import find_or_make_identity, read_server_certificate  # noqa: PLC0415

        identity = find_or_make_identity(
            folder / security.certificate, folder / security.key, agent=self._context.agent
        )
        if identity.is_new:
            self._log.info(
                "a certificate was made; trust it in the server's settings",
                action="opcua.certificate_made",
                certificate=str(folder / security.certificate),
                application=identity.application_uri,
            )
        server = security.server_certificate
        return Credentials(
            user=settings.user,
            password=password,
            identity=identity,
            server_certificate=None if server is None else read_server_certificate(folder / server),
        )

    def _check_files(self) -> None:
        security, folder = self._settings.security, self._context.folder
        if security.policy is Policy.NONE:
            return
        from edge.drivers.opcua.certificates import check_files  # noqa: PLC0415

        server = security.server_certificate
        check_files(folder / security.certificate, folder / security.key, None if server is None else folder / server)

    def _readings(self, samples: Iterable[tuple[str, Sample]]) -> list[Reading]:
        found: dict[tuple[str, int], Reading] = {}
        refused = False
        now_ms = self._context.now_ms()
        for meter, sample in samples:
            try:
                reading = self._tellers[meter].reading(sample, now_ms=now_ms)
            except RefusedValueError as error:
                refused = True
                if self._seldom.due((meter, str(error))):
                    self._log.warning(
                        "a meter has no value",
                        action="driver.refused",
                        meter=meter,
                        node=self._settings.meters[meter].node,
                        reason=str(error),
                    )
            else:
                if reading is not None:
                    # Changes that came together and are dated by the agent have one instant: the last one holds.
                    found[meter, reading.at_ms] = reading
        if refused:
            self._context.count_failure()
        return list(found.values())

    def _note_away(self, error: EdgeError) -> None:
        if self._stop.is_set():
            return
        self._context.count_failure()
        if self._seldom.due("away"):
            self._log.warning("the server is away; it is tried again", action="driver.away", reason=str(error))

    async def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
