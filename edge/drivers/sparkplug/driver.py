"""Hears edge nodes that speak Sparkplug B, as their host."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress

import structlog

from edge.backoff import Backoff
from edge.drivers import DriverContext
from edge.drivers.mqtt_connection import Message, Target
from edge.drivers.pacing import sleep_unless
from edge.drivers.sparkplug.connection import HostConnection
from edge.drivers.sparkplug.host import Host, Outcome
from edge.drivers.sparkplug.metrics import DataType, Metric, Payload
from edge.drivers.sparkplug.settings import SparkplugSettings
from edge.drivers.sparkplug.topics import REBIRTH, MessageType, state_topic
from edge.errors import BrokerUnavailableError, EdgeError, EdgePermanentError
from edge.notices import Seldom
from edge.readings import Reading, Taken
from schemas.broker_url import parse_broker_url
from schemas.wire import OfferedMeter

log = structlog.get_logger()

_LARGE = 65_536
"""Bytes of a message whose decoding takes long enough to hold up other drivers: a thread does it."""
_LARGEST = 8_388_608
"""Bytes of a message that is decoded: some 100,000 metrics."""
_STEADY_S = 10
"""A connection that lasted so long was a good one: the next wait is a short one again."""


class SparkplugDriver:
    """One connection, made again when it breaks; each time all nodes are asked what their values are.

    Sparkplug's data travel unacknowledged: what is published while the agent is away, or in its memory when it is
    killed, is gone. A register makes up for it with its next value.
    """

    def __init__(self, settings: SparkplugSettings, context: DriverContext) -> None:
        """Raises EdgePermanentError: protobuf is not installed, or a file or variable of the settings is missing."""
        try:
            self._payload = importlib.import_module("edge.drivers.sparkplug.payload")
            self._decode: Callable[[bytes], Payload] = self._payload.decode
        except ModuleNotFoundError as error:
            raise EdgePermanentError(
                f"driver {settings.name}: Sparkplug needs protobuf; install it with: pip install 'afkobling[sparkplug]'"
            ) from error
        self._settings = settings
        self._context = context
        wanted = {key: meter.wanted() for key, meter in settings.meters.items()}
        self._host = Host(wanted, rebirth_wait_ms=settings.rebirth_wait, silent_after_ms=settings.silent_after)
        self._filters = {said.node.filter(): 1 for said in wanted.values()}
        self._state_topic = None if context.trial else state_topic(settings.host_id or f"afkobling-{context.agent}")
        self._target()
        self._connection: HostConnection | None = None
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._seldom = Seldom(every_s=3600)
        self._log = log.bind(driver=settings.name, broker=str(parse_broker_url(settings.broker)))

    def offers(self) -> Sequence[OfferedMeter]:
        """Values come as they change; a node that is silent is asked."""
        return [
            meter.offer(key, driver=self._settings.name, cadence_ms=self._settings.silent_after)
            for key, meter in self._settings.meters.items()
        ]

    async def start(self) -> None:
        self._stop.clear()

    async def readings(self) -> AsyncIterator[Taken]:
        """One `Taken` a message that brought a value."""
        loop = asyncio.get_running_loop()
        longest_s = self._settings.longest_wait / 1000
        backoff = Backoff(initial_s=min(1, longest_s), cap_s=longest_s)
        while not self._stop.is_set():
            since_s = loop.time()
            try:
                connection = await self._connected()
                if connection is None:
                    return
                async with aclosing(self._hear(connection)) as hearing:
                    async for taken in hearing:
                        yield taken
            except EdgeError as error:
                self._note_away(str(error))
            finally:
                await self._let_go()
            if loop.time() - since_s > _STEADY_S:
                backoff.reset()
            if await sleep_unless(self._stop, backoff.next_s()):
                return

    async def stop(self) -> None:
        self._stop.set()
        self._changed.set()
        await self._let_go()

    async def _connected(self) -> HostConnection | None:
        """A connection that hears the nodes; None after `stop`. Raises EdgeError."""
        self._connection = connection = HostConnection(
            self._target(), state_topic=self._state_topic, changed=self._changed, now_ms=self._context.now_ms
        )
        filters = self._filters if self._state_topic is None else {**self._filters, self._state_topic: 1}
        refused = await connection.open_unless(self._stop, filters)
        if refused is None:
            return None
        if self._seldom.forget("away"):
            self._log.info("the broker is back", action="driver.back")
        if refused:
            self._context.count_failure()
            if self._seldom.due("refused"):
                self._log.warning(
                    "the broker does not let us hear some topics; their meters are missing",
                    action="driver.refused",
                    topics=dict(refused),
                )
        connection.tell_state(is_online=True)
        return connection

    async def _hear(self, connection: HostConnection) -> AsyncGenerator[Taken]:
        """Raises BrokerUnavailableError when the connection is lost."""
        now_ms = self._context.now_ms
        self._host.connected(now_ms())
        while not self._stop.is_set():
            self._changed.clear()
            while connection.arrivals:
                readings = await self._take(connection, connection.arrivals.popleft())
                if readings:
                    yield Taken(readings=readings)
                else:
                    await asyncio.sleep(0)
            if connection.lost is not None:
                raise BrokerUnavailableError(connection.lost)
            self._note_dropped(connection)
            self._act(connection, self._host.look(now_ms()))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0, self._host.next_ms() - now_ms()) / 1000):
                    await self._changed.wait()

    async def _take(self, connection: HostConnection, message: Message) -> list[Reading]:
        settle = connection.owe(message)
        if settle is not None:
            settle()
        if message.topic == self._state_topic:
            if _says_offline(message.payload):
                # The last will of a connection before this one came late; nodes would believe it.
                connection.tell_state(is_online=True)
            return []
        if message.is_retained:
            # Sparkplug keeps nothing but states at the broker; whatever this is, it is old.
            return []
        outcome = self._host.take(message.topic, await self._decoded(message.payload), message.at_ms)
        self._act(connection, outcome)
        meters = self._settings.meters
        return [
            Reading(
                meter=sample.meter,
                at_ms=sample.at_ms,
                value=meters[sample.meter].scaled(sample.value),
                unit=meters[sample.meter].unit,
            )
            for sample in outcome.samples
        ]

    async def _decoded(self, payload: bytes) -> Payload | None:
        """None where it makes no sense."""
        try:
            if len(payload) <= _LARGE:
                return self._decode(payload)
            return await asyncio.to_thread(self._decode, payload) if len(payload) <= _LARGEST else None
        except ValueError:
            return None

    def _act(self, connection: HostConnection, outcome: Outcome) -> None:
        """Ask for what is to be asked for, and tell what is wrong."""
        for node in outcome.rebirths:
            connection.publish(node.topic(MessageType.NODE_COMMAND), self._rebirth())
        for node in outcome.born:
            if self._seldom.forget(("away", str(node))) | self._seldom.forget(("lost", str(node))):
                self._log.info("an edge node was born again", action="sparkplug.born", node=str(node))
        if outcome.remarks:
            self._context.count_failure()
        for remark in outcome.remarks:
            if self._seldom.due(remark.about):
                self._log.warning("values of an edge node are missing", action="sparkplug.missing", reason=remark.words)

    def _rebirth(self) -> bytes:
        command = Metric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
        found: bytes = self._payload.encode(Payload(at_ms=self._context.now_ms(), metrics=(command,)))
        return found

    def _target(self) -> Target:
        """Whom to connect to, and as whom. Raises EdgePermanentError for files and passwords that are not there."""
        settings, folder = self._settings, self._context.folder
        url = parse_broker_url(settings.broker)
        own_id = f"afkobling-sparkplug-{self._context.agent}-{settings.name}{'-trial' if self._context.trial else ''}"
        return Target(
            url=url,
            user=settings.user or url.user,
            password=settings.password.read(folder) if settings.password else url.password,
            context=settings.tls.context(folder) if url.is_encrypted else None,
            client_id=own_id if settings.client_id is None or self._context.trial else settings.client_id,
            is_v5=settings.mqtt == 5,
            timeout_s=settings.timeout / 1000,
            session=False,
        )

    def _note_away(self, reason: str) -> None:
        if self._stop.is_set():
            return
        self._context.count_failure()
        if self._seldom.due("away"):
            self._log.warning("the broker is away; it is tried again", action="driver.away", reason=reason)

    def _note_dropped(self, connection: HostConnection) -> None:
        dropped, connection.dropped = connection.dropped, 0
        if dropped:
            self._context.count_failure()
            self._log.error(
                "messages found no room while the outbox took none, and are lost; their nodes are asked anew",
                action="sparkplug.dropped",
                messages=dropped,
            )

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _says_offline(payload: bytes) -> bool:
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("online") is False
