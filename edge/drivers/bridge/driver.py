"""Devices that publish by themselves, at our broker or another: what they say becomes readings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Literal

import structlog
from pydantic import AfterValidator, Field, field_validator

from edge.backoff import Backoff
from edge.drivers import DriverContext, DriverSettings
from edge.drivers.bridge.mapping import load_bridge_mapping
from edge.drivers.bridge.routes import MeterOfDevice, plan_routes
from edge.drivers.bridge.silence import Silence
from edge.drivers.credentials import Secret, Trust
from edge.drivers.documents.reading import Remark
from edge.drivers.mqtt_connection import Message, MqttConnection, Target
from edge.drivers.pacing import sleep_unless
from edge.errors import BrokerUnavailableError, EdgePermanentError
from edge.notices import Seldom
from edge.readings import Taken
from schemas.broker_url import parse_broker_url
from schemas.durations import SpanMs
from schemas.time_zones import ZoneName
from schemas.topics import Key
from schemas.wire import OfferedMeter

log = structlog.get_logger()

_STEADY_S = 10
"""A connection that lasted so long was a good one: the next wait is a short one again."""


def _checked_url(text: str) -> str:
    parse_broker_url(text)
    return text


class BridgeMeter(MeterOfDevice):
    """`device`: what stands for {device} in the mapping's topics, or what the document calls it."""

    device: Annotated[str, Field(min_length=1, max_length=500)]

    @field_validator("device", mode="before")
    @classmethod
    def _named(cls, device: object) -> object:
        if isinstance(device, int) and not isinstance(device, bool):
            raise ValueError(f"put quotes around a device's number, as in device: '{device}'")  # noqa: TRY004
        if isinstance(device, str) and set(device) & set("+#\0"):
            raise ValueError("a device's name has no +, # or zero byte")
        return device


class BridgeSettings(DriverSettings):
    """`meters`: our meter key to a device and the mapping's quantity. `zone`: of devices whose clocks tell none.

    `every`: how often they publish, where that is known. `silent_after`: a device that says nothing for so long is
    missed. `clock: agent`: the moment that a message arrives counts, not the time that it says.
    """

    driver: Literal["bridge"]
    broker: Annotated[str, AfterValidator(_checked_url)]
    user: str | None = None
    password: Secret | None = None
    tls: Trust = Trust()
    mqtt: Literal[5, "3.1.1"] = 5
    client_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    mapping: str
    zone: ZoneName | None = None
    clock: Literal["device", "agent"] = "device"
    every: SpanMs | None = None
    silent_after: SpanMs = 3_600_000
    timeout: SpanMs = 5_000
    longest_wait: Annotated[SpanMs, Field(description="between attempts to reach a broker that is away")] = 60_000
    meters: Annotated[dict[Key, BridgeMeter], Field(min_length=1)]


class BridgeDriver:
    """Listens over one connection, which it makes again when it breaks.

    What devices publish with QoS 1 is acknowledged when it is on disk, so that a kill loses nothing of it.
    """

    def __init__(self, settings: BridgeSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError for what does not go with the mapping, and for a password that is not there."""
        mapping = load_bridge_mapping(settings.mapping, folder=context.folder)
        heeds_time = settings.clock == "device"
        try:
            self._routes = plan_routes(mapping, settings.meters, zone=settings.zone, heeds_time=heeds_time)
        except EdgePermanentError as error:
            raise EdgePermanentError(f"driver {settings.name}: {error}") from error
        self._settings = settings
        self._context = context
        self._quantities = {key: mapping.quantities[meter.quantity] for key, meter in settings.meters.items()}
        self._target()
        devices: dict[str, list[str]] = {}
        for key, meter in settings.meters.items():
            devices.setdefault(meter.device, []).append(key)
        self._silence = Silence(devices, after_s=settings.silent_after / 1000)
        self._connection: MqttConnection | None = None
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, broker=str(parse_broker_url(settings.broker)))

    def offers(self) -> Sequence[OfferedMeter]:
        return [
            quantity.offer(meter, driver=self._settings.name, cadence_ms=self._settings.every)
            for meter, quantity in self._quantities.items()
        ]

    async def start(self) -> None:
        self._stop.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a message that brought a value."""
        loop = asyncio.get_running_loop()
        longest_s = self._settings.longest_wait / 1000
        backoff = Backoff(initial_s=min(1, longest_s), cap_s=longest_s)
        while not self._stop.is_set():
            connection = await self._connect()
            if connection is not None:
                since_s = loop.time()
                try:
                    async for taken in self._hear(connection):
                        yield taken
                finally:
                    await connection.close()
                if not self._stop.is_set():
                    self._note_away(str(connection.lost))
                if loop.time() - since_s > _STEADY_S:
                    backoff.reset()
            if await sleep_unless(self._stop, backoff.next_s()):
                return

    async def stop(self) -> None:
        self._stop.set()
        self._changed.set()
        if self._connection is not None:
            await self._connection.close()

    def _target(self) -> Target:
        """Whom to connect to, and as whom. Raises EdgePermanentError for files and passwords that are not there."""
        settings, folder = self._settings, self._context.folder
        url = parse_broker_url(settings.broker)
        password = settings.password.read(folder) if settings.password else url.password
        client_id = settings.client_id or f"afkobling-bridge-{self._context.agent}-{settings.name}"
        return Target(
            url=url,
            user=settings.user or url.user,
            password=password,
            context=settings.tls.context(folder) if url.is_encrypted else None,
            # A look must not take the agent's place at the broker, nor leave a session behind.
            client_id=f"{client_id}-look-{os.getpid()}" if self._context.trial else client_id,
            is_v5=settings.mqtt == 5,
            timeout_s=settings.timeout / 1000,
            session=any(self._routes.subscriptions().values()) and not self._context.trial,
        )

    async def _connect(self) -> MqttConnection | None:
        """A connection that listens; None when the broker is away, which is counted and said, and after `stop`."""
        try:
            target = self._target()
        except EdgePermanentError as error:
            self._note_away(str(error))
            return None
        self._connection = connection = MqttConnection(target, changed=self._changed, now_ms=self._context.now_ms)
        try:
            refused = await connection.open_unless(self._stop, self._routes.subscriptions())
            if refused is None:
                return None
        except BrokerUnavailableError as error:
            await connection.close()
            self._note_away(str(error))
            return None
        finally:
            if self._stop.is_set():
                await connection.close()
        if self._seldom.forget("away"):
            self._log.info("the broker is back", action="driver.back")
        if refused:
            self._note_refused(refused)
        return connection

    async def _hear(self, connection: MqttConnection) -> AsyncIterator[Taken]:
        loop = asyncio.get_running_loop()
        self._silence.begin(loop.time())
        while True:
            self._changed.clear()
            while connection.arrivals:
                taken = self._take(connection, connection.arrivals.popleft())
                if taken is not None:
                    yield taken
                else:
                    await asyncio.sleep(0)
            self._note_dropped(connection)
            connection.end_if_full()
            if connection.lost is not None or self._stop.is_set():
                return
            self._note_silent(loop.time())
            try:
                async with asyncio.timeout_at(self._silence.due_s()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _take(self, connection: MqttConnection, message: Message) -> Taken | None:
        """What the message brought. One that brought nothing is dealt with at once."""
        settle = connection.owe(message)
        is_fresh = not message.is_retained
        heard = self._routes.read(message.topic, message.payload, is_fresh=is_fresh, now_ms=message.at_ms)
        now_s = asyncio.get_running_loop().time()
        for device in heard.devices:
            if is_fresh or heard.readings:
                self._silence.note(device, [reading.meter for reading in heard.readings], now_s)
                if self._seldom.forget(("silent", device)):
                    self._log.info("a device publishes again", action="bridge.heard", device=device)
        self._note_remarks(heard.remarks)
        if heard.undated and self._seldom.due(("undated", message.topic)):
            self._log.info(
                "a message that the broker kept says no time: its values may be old, and are not taken",
                action="bridge.undated",
                topic=message.topic,
            )
        if heard.readings:
            return Taken(readings=heard.readings, kept=settle)
        if settle is not None:
            settle()
        return None

    def _note_away(self, reason: str) -> None:
        if self._stop.is_set():
            return
        self._context.count_failure()
        if self._seldom.due("away"):
            self._log.warning("the broker is away; it is tried again", action="driver.away", reason=reason)

    def _note_refused(self, refused: Mapping[str, str]) -> None:
        self._context.count_failure()
        if self._seldom.due("refused"):
            self._log.warning(
                "the broker does not let us hear some topics; their meters are missing",
                action="driver.refused",
                topics=dict(refused),
            )

    def _note_remarks(self, remarks: Sequence[tuple[str, Remark]]) -> None:
        if remarks:
            self._context.count_failure()
        for device, remark in remarks:
            if self._seldom.due((device, remark.about)):
                self._log.warning(
                    "a device says what cannot be taken",
                    action="document.refused",
                    device=device,
                    about=remark.about,
                    reason=remark.words,
                )

    def _note_dropped(self, connection: MqttConnection) -> None:
        dropped, connection.dropped = connection.dropped, 0
        if dropped:
            self._context.count_failure()
            self._log.error(
                "messages found no room while the outbox took none; as they were published with QoS 0, they are lost",
                action="bridge.dropped",
                messages=dropped,
            )

    def _note_silent(self, now_s: float) -> None:
        for silent in self._silence.look(now_s):
            self._context.count_failure()
            if not self._seldom.due(("unheard" if silent.speaks else "silent", silent.device)):
                continue
            if silent.speaks:
                self._log.warning(
                    "a device publishes, but nothing of these meters; check quantity, channel and the device's set-up",
                    action="bridge.unheard",
                    device=silent.device,
                    meters=list(silent.meters),
                )
            else:
                self._log.warning(
                    "a device has published nothing for long; check its power, network, broker and name",
                    action="bridge.silent",
                    device=silent.device,
                    meters=list(silent.meters),
                    after_s=self._settings.silent_after // 1000,
                )
