"""Meters that speak Modbus TCP, directly or behind a gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import structlog
from pydantic import Field

from edge.backoff import Backoff
from edge.drivers import DriverContext, DriverSettings
from edge.drivers.modbus.profile import load_modbus_profile, register_of
from edge.drivers.modbus.registers import Block, Function, decode_block, plan_blocks
from edge.drivers.pacing import sleep_unless, ticks
from edge.errors import EdgePermanentError, EdgeTransientError
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.durations import SpanMs
from schemas.topics import Key
from schemas.wire import OfferedMeter

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient

log = structlog.get_logger()

_REFUSALS = {
    1: "it does not know the function; check the profile",
    2: "it has no such register; check the profile against the meter's type",
    3: "it finds the request too long or wrong; check the profile",
    4: "it reports a failure of its own",
    6: "it is busy",
    10: "the gateway has no path to it; check the gateway's set-up",
    11: "the gateway gets no answer from it; check device_id, wiring and power",
}


class ModbusSettings(DriverSettings):
    """`meters`: our meter key to the profile's quantity. `device_id` is the unit id behind a gateway."""

    driver: Literal["modbus"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    device_id: Annotated[int, Field(ge=0, le=255)] = 1
    profile: str
    every: SpanMs = 10_000
    timeout: SpanMs = 3_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a device that is away")] = 60_000
    meters: Annotated[dict[Key, Key], Field(min_length=1)]


class DeviceAwayError(EdgeTransientError):
    """No connection, no answer in time, or one that makes no sense."""


class ModbusDriver:
    """Polls one device at a steady pace over one connection, which it makes again when it breaks."""

    def __init__(self, settings: ModbusSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError for an unknown profile or quantity."""
        profile = load_modbus_profile(settings.profile, folder=context.folder)
        for meter, quantity in settings.meters.items():
            if quantity not in profile.quantities:
                raise EdgePermanentError(
                    f"driver {settings.name}: meter {meter}: profile {profile.name} has no quantity {quantity!r}; "
                    f"known: {', '.join(profile.quantities)}"
                )
        self._settings = settings
        self._context = context
        self._quantities = {meter: profile.quantities[quantity] for meter, quantity in settings.meters.items()}
        self._blocks = plan_blocks(
            [register_of(profile, quantity, key=meter) for meter, quantity in settings.meters.items()],
            gap=profile.gap,
            max_registers=profile.max_registers,
        )
        self._client: AsyncModbusTcpClient | None = None
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=f"{settings.host}:{settings.port}/{settings.device_id}")

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            quantity.offer(meter, driver=self._settings.name, cadence_ms=self._settings.every)
            for meter, quantity in self._quantities.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        # We say in our own words, once, what the library would say at each attempt.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a poll; none for a poll that brought no value."""
        backoff = Backoff(initial_s=1, cap_s=self._settings.longest_wait / 1000)
        async for _ in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            while (found := await self._try_poll()) is None:
                if await sleep_unless(self._stop, backoff.next_s()):
                    return
            backoff.reset()
            if found:
                yield Taken(readings=found)

    async def stop(self) -> None:
        self._stop.set()
        self._let_go()

    async def _try_poll(self) -> list[Reading] | None:
        """What could be read; None when the device is away, which is counted and said."""
        try:
            found = await self._poll()
        except DeviceAwayError as error:
            self._let_go()
            if not self._stop.is_set():
                self._context.count_failure()
                if self._seldom.due("away"):
                    self._log.warning("the meter is away; it is tried again", action="driver.away", reason=str(error))
            return None
        if self._seldom.forget("away"):
            self._log.info("the meter is back", action="driver.back")
        return found

    async def _poll(self) -> list[Reading]:
        """Raises DeviceAwayError."""
        client = await self._connected()
        found: list[Reading] = []
        for block in self._blocks:
            words = await self._read(client, block)
            if words is None:
                continue
            at_ms = self._context.now_ms()
            try:
                values = decode_block(block, words)
            except ValueError as error:
                raise DeviceAwayError(f"an answer that makes no sense: {error}") from error
            found += [
                Reading(meter=meter, at_ms=at_ms, value=value, unit=self._quantities[meter].unit)
                for meter, value in values.items()
            ]
        return found

    async def _connected(self) -> AsyncModbusTcpClient:
        from pymodbus.client import AsyncModbusTcpClient  # noqa: PLC0415 - only who has such a meter pays for it

        if self._client is not None and self._client.connected:
            return self._client
        self._let_go()
        # Its own reconnecting would go on behind our back after we gave it up.
        client = AsyncModbusTcpClient(
            self._settings.host,
            port=self._settings.port,
            timeout=self._settings.timeout / 1000,
            retries=0,
            reconnect_delay=0,
        )
        self._client = client
        if not await client.connect():
            raise DeviceAwayError("no connection; check address, cable and power")
        return client

    async def _read(self, client: AsyncModbusTcpClient, block: Block) -> Sequence[int] | None:
        """The registers; None where the device refuses them. Raises DeviceAwayError."""
        from pymodbus.exceptions import ModbusException  # noqa: PLC0415

        read = client.read_input_registers if block.function is Function.INPUT else client.read_holding_registers
        try:
            answer = await read(block.address, count=block.count, device_id=self._settings.device_id)
        except (ModbusException, OSError, TimeoutError) as error:
            raise DeviceAwayError(str(error)) from error
        place = f"{block.function} {block.address}+{block.count}"
        if not answer.isError():
            self._seldom.forget(place)
            return answer.registers
        self._context.count_failure()
        if self._seldom.due(place):
            code = answer.exception_code
            self._log.warning(
                "the meter refuses some registers; their values are missing",
                action="driver.refused",
                registers=place,
                meters=[register.key for register in block.registers],
                reason=_REFUSALS.get(code, f"exception {code}"),
            )
        return None

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
