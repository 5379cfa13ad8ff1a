"""Meters that speak M-Bus, behind a gateway on the network or a level converter at a serial port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import chain
from typing import Annotated, Literal, Self

import structlog
from pydantic import BeforeValidator, Field, model_validator

from edge.backoff import Backoff
from edge.drivers import DriverContext, DriverSettings
from edge.drivers.mbus.asking import Address, MeterAwayError, Told, ask
from edge.drivers.mbus.bus import Bus, join
from edge.drivers.mbus.frames import LAST_PRIMARY
from edge.drivers.mbus.line import LineDownError, Place, SerialSettings, Speed
from edge.drivers.mbus.profile import MbusQuantity, find_record, load_mbus_profile, value_in
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.status import condition_of
from edge.drivers.pacing import sleep_unless, ticks
from edge.drivers.profile import choose_quantities
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.durations import SpanMs, span_text
from schemas.topics import Key
from schemas.wire import OfferedMeter

log = structlog.get_logger()

BATTERY_EVERY_MS, MAINS_EVERY_MS = 15 * 60_000, 60_000


def _quoted(value: object) -> object:
    # To YAML, 12345678 is a number, and 01234567 another one than it looks like.
    if isinstance(value, int):
        raise ValueError('put it in quotes, as in "12345678-KAM-1B-04"')  # noqa: TRY004 - pydantic's way
    return value


class MbusSettings(DriverSettings):
    """`meters`: our meter key to the profile's quantity. Either `host` and `port`, or `serial`; either `address`,
    or `secondary` as in 12345678-KAM-1B-04 with F for any digit and * for any part.
    """

    driver: Literal["mbus"]
    host: Annotated[str, Field(min_length=1)] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    serial: SerialSettings | None = None
    address: Annotated[int, Field(ge=0, le=LAST_PRIMARY)] | None = None
    secondary: Annotated[str, BeforeValidator(_quoted)] | None = None
    profile: str
    every: SpanMs | None = None
    timeout: SpanMs = 2_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a meter that is away")] = 300_000
    meters: Annotated[dict[Key, Key], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_place_and_one_address(self) -> Self:
        if (self.host is None) == (self.serial is None):
            raise ValueError("give either `host` and `port` of a gateway, or `serial`")
        if (self.host is None) != (self.port is None):
            raise ValueError("`host` and `port` belong together; the port stands in the gateway's set-up")
        if (self.address is None) == (self.secondary is None):
            raise ValueError("give either `address`, 0 to 250, or `secondary`, as in 12345678-KAM-1B-04")
        if self.secondary is not None:
            SecondaryAddress.parse(self.secondary)
        return self

    @property
    def place(self) -> Place:
        """Where the level converter is."""
        if self.serial is not None:
            return Place(host=self.serial.port)
        return Place(host=self.host or "", port=self.port or 0)

    @property
    def speed(self) -> Speed:
        return Speed(baud=self.serial.baud, parity=self.serial.parity) if self.serial else Speed()

    @property
    def meter_address(self) -> Address:
        """The primary or the secondary address."""
        return SecondaryAddress.parse(self.secondary or "") if self.address is None else self.address

    def shared(self) -> Mapping[str, str]:
        # Speeds may differ: they are set from request to request.
        return {str(self.place): "M-Bus"}


class MbusDriver:
    """Reads one meter at a steady pace. Drivers that name the same gateway or port take turns on it."""

    def __init__(self, settings: MbusSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError for an unknown profile or quantity."""
        profile = load_mbus_profile(settings.profile, folder=context.folder)
        self._settings = settings
        self._context = context
        self._every_ms = settings.every or (BATTERY_EVERY_MS if profile.battery else MAINS_EVERY_MS)
        self._quantities = choose_quantities(profile.name, profile.quantities, settings.meters, driver=settings.name)
        self._bus: Bus | None = None
        self._identity: SecondaryAddress | None = None
        self._stranger: SecondaryAddress | None = None
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, device=f"{settings.place}/{settings.meter_address}")
        self._battery = profile.battery

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            quantity.offer(meter, driver=self._settings.name, cadence_ms=self._every_ms)
            for meter, quantity in self._quantities.items()
        ]

    async def start(self) -> None:
        self._stop.clear()
        if self._bus is None:
            self._bus = join(self._settings.place)
        self._warn_of_battery()

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a poll; none for a poll that brought no value."""
        backoff = Backoff(initial_s=1, cap_s=self._settings.longest_wait / 1000)
        async for _ in ticks(every_ms=self._every_ms, now_ms=self._context.now_ms, stop=self._stop):
            while (found := await self._try_poll()) is None:
                if await sleep_unless(self._stop, backoff.next_s()):
                    return
            backoff.reset()
            if found:
                yield Taken(readings=found)

    async def stop(self) -> None:
        self._stop.set()
        if self._bus is not None:
            self._bus.leave()
            self._bus = None

    async def _try_poll(self) -> list[Reading] | None:
        """What could be read; None when the meter is away, which is counted and said, and at a stop."""
        bus = self._bus
        if bus is None:
            return None
        asking = asyncio.create_task(self._ask(bus))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            # A stop does not wait for the turns and timeouts of others.
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return None
            told = asking.result()
            self._check_identity(told[0].telegram.identity)
        except (MeterAwayError, LineDownError) as error:
            self._note_away(str(error))
            return None
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.wait({asking, stopping})
        if self._seldom.forget("away"):
            self._log.info("the meter is back", action="driver.back")
        return self._readings_of(told)

    async def _ask(self, bus: Bus) -> list[Told]:
        return await ask(
            bus,
            self._settings.meter_address,
            speed=self._settings.speed,
            timeout_s=self._settings.timeout / 1000,
            now_ms=self._context.now_ms,
            enough=lambda told: all(_place_of(quantity, told) for quantity in self._quantities.values()),
        )

    def _check_identity(self, identity: SecondaryAddress | None) -> None:
        """Raises MeterAwayError the first time that another meter than before seems to answer.

        The checksum is one byte, and lets one in 256 garbled telegrams pass. That it is garbled shows in who says it;
        when the same stranger answers again, the meter was exchanged.
        """
        known = self._identity
        if known is not None and identity != known:
            if identity != self._stranger:
                self._stranger = identity
                raise MeterAwayError(f"the meter {identity} answered where {known} did before; it is asked again")
            self._log.warning(
                "another meter answers at this address; was it exchanged?",
                action="driver.exchanged",
                before=str(known),
                now=str(identity),
            )
        self._identity, self._stranger = identity, None

    def _note_away(self, reason: str) -> None:
        if self._stop.is_set():
            return
        self._context.count_failure()
        if self._seldom.due("away"):
            self._log.warning("the meter is away; it is tried again", action="driver.away", reason=reason)

    def _readings_of(self, told: Sequence[Told]) -> list[Reading]:
        found: list[Reading] = []
        missing: list[str] = []
        for meter, quantity in self._quantities.items():
            place = _place_of(quantity, told)
            if place is None:
                missing.append(meter)
                continue
            at_ms, status, value = place
            condition = condition_of(status)
            if value is None or not condition.values_hold:
                missing.append(meter)
                continue
            found.append(Reading(meter=meter, at_ms=at_ms, value=value, unit=quantity.unit, quality=condition.quality))
        self._note_missing(missing, told)
        self._note_trouble(dict.fromkeys(chain.from_iterable(condition_of(t.telegram.status).remarks for t in told)))
        return found

    def _note_missing(self, meters: list[str], told: Sequence[Told]) -> None:
        if not meters:
            self._seldom.forget("missing")
            return
        self._context.count_failure()
        if self._seldom.due("missing"):
            tells = dict.fromkeys(str(record) for one in told for record in one.telegram.records if record.is_useful)
            self._log.warning(
                "the meter does not tell some values; they are missing",
                action="driver.refused",
                meters=meters,
                reason=f"it has no such record, or marks it as invalid; it tells: {', '.join(tells) or 'nothing'}",
            )

    def _note_trouble(self, remarks: Iterable[str]) -> None:
        said = list(remarks)
        if not said:
            self._seldom.forget("trouble")
        elif self._seldom.due("trouble"):
            self._log.warning("the meter reports trouble of its own", action="driver.trouble", reason="; ".join(said))

    def _warn_of_battery(self) -> None:
        if self._battery and self._every_ms < MAINS_EVERY_MS:
            self._log.warning(
                "meters of this type may run on a battery, which frequent reading empties; read every 60s at most",
                action="driver.battery",
                every=span_text(self._every_ms),
            )


def _place_of(quantity: MbusQuantity, told: Sequence[Told]) -> tuple[int, int, float | None] | None:
    """When the quantity was told, with which status, and its value; None where it was not told (yet)."""
    records = list(chain.from_iterable(one.telegram.records for one in told))
    record = find_record(quantity, records)
    if record is None:
        return None
    one = next(one for one in told if any(record is own for own in one.telegram.records))
    return one.at_ms, one.telegram.status, value_in(quantity, record)
