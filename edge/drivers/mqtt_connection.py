"""One connection to a broker that devices publish to, from connecting to its end.

Each connection has a paho client of its own, so that an acknowledgement never reaches another connection than the one
its message came by.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.drivers.bridge.reasons import explain
from edge.errors import BrokerUnavailableError
from schemas.broker_url import BrokerUrl

_KEEPALIVE_S = 30
_SESSION_S = 7 * 86_400
"""How long the broker should keep what comes while we are away."""
_UNACKNOWLEDGED = 200
"""So many messages the broker may send before it hears that earlier ones are on disk."""
_BUFFER = 2_000
"""So many messages may wait here for the outbox. A broker may not heed the number above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which broker, and as whom. `is_v5`: MQTT 5, else 3.1.1. `session`: it keeps what comes while we are away."""

    url: BrokerUrl
    user: str | None
    password: str | None
    context: ssl.SSLContext | None
    client_id: str
    is_v5: bool
    timeout_s: float
    session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What came, and when by our clock (Unix milliseconds)."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    is_retained: bool
    at_ms: int


class MqttConnection:
    """Callbacks run in paho's thread; they put down what happened and set `changed` in the event loop."""

    def __init__(self, target: Target, *, changed: asyncio.Event, now_ms: Callable[[], int]) -> None:
        self.arrivals: deque[Message] = deque()
        self.dropped = 0
        """Messages without acknowledgement that found no room here, since somebody last set this to 0."""
        self.lost: str | None = None
        """Why the connection ended; None while it lasts."""
        self._target = target
        self._changed = changed
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._is_closed = False
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._owed: deque[list[Any]] = deque()
        self._is_full = False
        self._is_up = False

    async def open(self, subscriptions: Mapping[str, int]) -> Mapping[str, str]:
        """Connect and subscribe; returns the topics that the broker refuses, with its reason.

        Raises BrokerUnavailableError that says why not, in words for a technician.
        """
        target = self._target
        self._client = client = self._make_client()
        try:
            await asyncio.to_thread(self._connect, client)
        except (OSError, ValueError) as error:
            raise BrokerUnavailableError(f"no connection to {target.url}: {error}") from error
        client.loop_start()
        topics = list(subscriptions)
        try:
            async with asyncio.timeout(target.timeout_s):
                await self._connack
                if target.is_v5:
                    client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in subscriptions.items()])
                else:
                    client.subscribe(list(subscriptions.items()))
                reasons = await self._suback
        except TimeoutError:
            raise BrokerUnavailableError(
                f"{target.url} does not answer as an MQTT broker within {target.timeout_s:g} s"
            ) from None
        return {topic: explain(why) for topic, why in zip(topics, reasons, strict=False) if why.is_failure}

    async def open_unless(self, stop: asyncio.Event, subscriptions: Mapping[str, int]) -> Mapping[str, str] | None:
        """As `open`; None when `stop` was set first. Raises BrokerUnavailableError."""
        opening = asyncio.ensure_future(self.open(subscriptions))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            return opening.result() if opening.done() else None
        finally:
            opening.cancel()
            stopping.cancel()
            await asyncio.wait([opening, stopping])

    def owe(self, message: Message) -> Callable[[], None] | None:
        """What to call when the message is dealt with, for the broker to forget it; None where it has already.

        Acknowledgements leave in the order in which this was asked, whatever order the calls come in.
        """
        if message.qos == 0:
            return None
        debt = [message.mid, message.qos, False]
        self._owed.append(debt)

        def settle() -> None:
            debt[2] = True
            while self._owed and self._owed[0][2]:
                mid, qos, _ = self._owed.popleft()
                if self._client is not None and self.lost is None:
                    self._client.ack(mid, qos)
            self._changed.set()

        return settle

    def end_if_full(self) -> None:
        """End the connection when messages found no room, as soon as those that did are dealt with.

        Without an acknowledgement, the others come again with the next one.
        """
        if self._is_full and not self._owed and not self.arrivals:
            self._lose("more messages came at once than there is room for")

    async def close(self, *, within_s: float = 2) -> None:
        """End the connection; a session stays with the broker. Safe twice, and before `open`."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is None:
            return
        if self._is_up:
            client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while self._is_up:
                        self._changed.clear()
                        await self._changed.wait()
        _shut(client)
        await asyncio.to_thread(client.loop_stop)
        for name in ("on_connect", "on_disconnect", "on_subscribe", "on_message"):
            setattr(client, name, None)
        for future in (self._connack, self._suback):
            if not future.cancel() and not future.cancelled():
                future.exception()  # looked at, so that nobody misses it
        # An exception in an old one refers to this connection, which would keep paho's sockets open until cycles are
        # looked for.
        self._connack, self._suback = self._loop.create_future(), self._loop.create_future()
        self._connack.cancel()
        self._suback.cancel()
        self.lost = self.lost or "it was closed"
        self._changed.set()

    def _make_client(self) -> Client:
        target = self._target
        version = MQTTProtocolVersion.MQTTv5 if target.is_v5 else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=target.client_id,
            clean_session=None if target.is_v5 else not target.session,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = target.timeout_s
        if target.user is not None:
            client.username_pw_set(target.user, target.password)
        if target.context is not None:
            target.context.sslsocket_class = _TidySocket
            client.tls_set_context(target.context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _connect(self, client: Client) -> None:
        """In a thread of the pool, as names are looked up and peers may be slow."""
        url = self._target.url
        if self._target.is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S if self._target.session else 0
            properties.ReceiveMaximum = _UNACKNOWLEDGED
            client.connect(
                url.host,
                url.port,
                keepalive=_KEEPALIVE_S,
                clean_start=not self._target.session,
                properties=properties,
            )
        else:
            client.connect(url.host, url.port, keepalive=_KEEPALIVE_S)
        if self._is_closed:
            _shut(client)

    def _tell(self, act: Callable[[], None]) -> None:
        def told() -> None:
            act()
            self._changed.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
            self._loop.call_soon_threadsafe(told)

    def _lose(self, words: str) -> None:
        self.lost = self.lost or words
        error = BrokerUnavailableError(f"{self._target.url}: {words}")
        if not self._connack.done():
            self._connack.set_exception(error)
        elif not self._suback.done() and not self._is_closed:
            self._suback.set_exception(error)

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        def act() -> None:
            if self._connack.done():
                return
            if reason.is_failure:
                words = f"{self._target.url} refuses the connection: {explain(reason)}"
                self._connack.set_exception(BrokerUnavailableError(words))
            else:
                self._is_up = True
                self._connack.set_result(None)

        self._tell(act)

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        words = f"the broker ended it: {explain(reason)}" if by_broker else "the connection broke"

        def act() -> None:
            self._is_up = False
            self._lose(words)

        self._tell(act)

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._tell(lambda: None if self._suback.done() else self._suback.set_result(reasons))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if len(self.arrivals) >= _BUFFER or (self._is_full and message.qos):
            # What is acknowledged comes again, and in order only if no other is taken before.
            self._is_full = self._is_full or message.qos > 0
            self._tell((lambda: None) if message.qos else self._count_dropped)
            return
        self.arrivals.append(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                mid=message.mid,
                is_retained=message.retain,
                at_ms=self._now_ms(),
            )
        )
        self._tell(lambda: None)

    def _count_dropped(self) -> None:
        self.dropped += 1


class _TidySocket(ssl.SSLSocket):
    """Closes itself where the handshake fails, which paho leaves to chance."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _shut(client: Client) -> None:
    """The client's thread may hang on a dead peer; a socket that is shut down ends its waiting at once."""
    live = client.socket()
    if live is not None:
        with contextlib.suppress(OSError, AttributeError):
            live.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
