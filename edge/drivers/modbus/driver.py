"""Meters that speak Modbus, on the network, behind a gateway or on a serial line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import structlog
from pydantic import Field, model_validator

from edge.backoff import Backoff
from edge.drivers import DriverContext, DriverSettings
from edge.drivers.modbus.bus import Answer, Bus, DeviceAwayError, Refusal, UnansweredError, join
from edge.drivers.modbus.client import PASSING_REFUSALS, ModbusDevice, refusal_text
from edge.drivers.modbus.line import Framing, Line, SerialLine, SerialSettings, TcpLine
from edge.drivers.modbus.profile import load_modbus_profile, register_of
from edge.drivers.modbus.registers import Block, decode_block, plan_blocks
from edge.drivers.pacing import sleep_unless, ticks
from edge.drivers.profile import choose_quantities
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.durations import SpanMs
from schemas.topics import Key
from schemas.wire import OfferedMeter

log = structlog.get_logger()


class ModbusSettings(DriverSettings):
    """`meters`: our meter key to the profile's quantity. `device_id` is the unit id behind a gateway.

    Either `host` (with `port`, and `framing: rtu` for a gateway that passes on RTU as it is) or `serial`.
    """

    driver: Literal["modbus"]
    host: Annotated[str, Field(min_length=1)] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    framing: Framing = Framing.TCP
    serial: SerialSettings | None = None
    device_id: Annotated[int, Field(ge=0, le=255)] = 1
    profile: str
    every: SpanMs = 10_000
    timeout: SpanMs = 3_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a device that is away")] = 60_000
    meters: Annotated[dict[Key, Key], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_line(self) -> Self:
        if (self.host is None) == (self.serial is None):
            raise ValueError("give either `host` (network) or `serial` (RS-485 at a serial port), and one of them")
        if self.serial is not None and self.model_fields_set & {"port", "framing"}:
            raise ValueError("`port` and `framing` go with `host`; a serial port stands in `serial`, as `port: /dev/…`")
        if self.line.framing is Framing.RTU and not 1 <= self.device_id <= 247:
            raise ValueError(f"device_id {self.device_id} cannot be had in RTU; it is from 1 to 247")
        return self

    @property
    def line(self) -> Line:
        """Where the device is reached."""
        if self.serial is not None:
            return SerialLine(**dict(self.serial))
        return TcpLine(host=self.host or "", port=self.port, framing=self.framing)

    def shared(self) -> Mapping[str, str]:
        return {str(self.line): self.line.terms}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Poll:
    """What one round over the registers brought, and why it ended early."""

    found: list[Reading]
    away: DeviceAwayError | None


class _Pace:
    """Tells a read that is late once from a line that is too slow for what is asked of it."""

    def __init__(self, *, every_ms: int) -> None:
        self._every_ms = every_ms
        self.begin_again()

    def begin_again(self) -> None:
        """Nothing is known of the reads before."""
        self._last_ms: int | None = None
        self._late = 0

    def is_lost(self, due_ms: int) -> bool:
        """Whether reads have been skipped several times in a row."""
        # (The first read is at once, so that the second may come early.)
        skipped = self._last_ms is not None and due_ms - self._last_ms > self._every_ms
        self._late = self._late + 1 if skipped else 0
        self._last_ms = due_ms
        return self._late >= 5


class ModbusDriver:
    """Polls one device at a steady pace, over a bus that it shares with the others on its line."""

    def __init__(self, settings: ModbusSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError for an unknown profile or quantity."""
        profile = load_modbus_profile(settings.profile, folder=context.folder)
        self._settings = settings
        self._context = context
        self._quantities = choose_quantities(profile.name, profile.quantities, settings.meters, driver=settings.name)
        self._blocks = plan_blocks(
            [register_of(profile, quantity, key=meter) for meter, quantity in settings.meters.items()],
            gap=profile.gap,
            max_registers=profile.max_registers,
        )
        self._bus: Bus | None = None
        self._poll: asyncio.Task[_Poll] | None = None
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=f"{settings.line}/{settings.device_id}")

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            quantity.offer(meter, driver=self._settings.name, cadence_ms=self._settings.every)
            for meter, quantity in self._quantities.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        self._bus = self._bus or join(self._settings.line)

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a poll, also of what came before the device fell silent; none where no value came."""
        if self._bus is None:
            return
        device = ModbusDevice(
            self._bus,
            device_id=self._settings.device_id,
            timeout_s=self._settings.timeout / 1000,
            counts={block.count for block in self._blocks},
        )
        backoff = Backoff(initial_s=1, cap_s=self._settings.longest_wait / 1000)
        pace = _Pace(every_ms=self._settings.every)
        async for due_ms in ticks(every_ms=self._settings.every, now_ms=self._context.now_ms, stop=self._stop):
            if pace.is_lost(due_ms):
                self._note_pace()
            while True:
                poll = await self._try_poll(device)
                if poll.found:
                    yield Taken(readings=poll.found)
                if poll.away is None:
                    break
                pace.begin_again()
                if await sleep_unless(self._stop, backoff.next_s()):
                    return
            backoff.reset()

    async def stop(self) -> None:
        self._stop.set()
        if self._poll is not None:
            self._poll.cancel()
        if self._bus is not None:
            self._bus.leave()
            self._bus = None

    async def _try_poll(self, device: ModbusDevice) -> _Poll:
        """What could be read. That the device is away is counted and said, unless it is to stop."""
        # A task of its own: the bus belongs to others too, so that `stop` ends the wait and not the connection.
        self._poll = asyncio.create_task(self._read_all(device))
        try:
            await asyncio.wait([self._poll])
        finally:
            self._poll.cancel()
        if self._poll.cancelled():
            return _Poll(found=[], away=DeviceAwayError("told to stop"))
        poll = self._poll.result()
        if poll.away is None:
            if self._seldom.forget("away"):
                self._log.info("the meter is back", action="driver.back")
        elif not self._stop.is_set():
            self._context.count_failure()
            if self._seldom.due("away"):
                self._log.warning(
                    "the meter does not answer for all of its registers; it is tried again"
                    if poll.found
                    else "the meter is away; it is tried again",
                    action="driver.away",
                    reason=str(poll.away),
                )
        return poll

    async def _read_all(self, device: ModbusDevice) -> _Poll:
        found: list[Reading] = []
        answered = False
        for block in list(self._blocks):
            try:
                words = await _read(device, block)
            except DeviceAwayError as error:
                if answered or isinstance(error, UnansweredError):
                    # From now on it comes last, and hides no others.
                    self._blocks.remove(block)
                    self._blocks.append(block)
                return _Poll(found=found, away=error)
            answered = True
            if isinstance(words, Refusal):
                self._note_refusal(block, words)
                continue
            self._seldom.forget(block)
            at_ms = self._context.now_ms()
            found += [
                Reading(meter=meter, at_ms=at_ms, value=value, unit=self._quantities[meter].unit)
                for meter, value in decode_block(block, words).items()
            ]
        return _Poll(found=found, away=None)

    def _note_pace(self) -> None:
        if self._seldom.due("pace"):
            self._log.warning(
                "reads come later than `every` says; give it a longer `every`, or the line fewer devices",
                action="driver.slow",
                every_ms=self._settings.every,
            )

    def _note_refusal(self, block: Block, refusal: Refusal) -> None:
        self._context.count_failure()
        if self._seldom.due(block):
            self._log.warning(
                "the meter refuses some registers; their values are missing",
                action="driver.refused",
                registers=f"{block.function} {block.address}+{block.count}",
                meters=[register.key for register in block.registers],
                reason=refusal_text(refusal),
            )


async def _read(device: ModbusDevice, block: Block) -> Answer:
    """Raises DeviceAwayError, also where the device says that it cannot answer just now."""
    words = await device.read(block.function, address=block.address, count=block.count)
    if isinstance(words, Refusal) and words.code in PASSING_REFUSALS:
        raise DeviceAwayError(refusal_text(words))
    return words
