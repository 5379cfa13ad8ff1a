"""One connection to an MQTT 5 broker, from connecting to its end.

Each connection has a paho client of its own: what paho has queued dies with it, and the outbox says what to publish.
(On reconnecting, paho would send its whole queue whatever the broker's receive maximum.)
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
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.configuration import TlsSettings
from edge.errors import BrokerRefusesError, BrokerUnavailableError
from schemas.broker_url import BrokerUrl
from schemas.topics import Kind
from schemas.wire import JSON_TYPE

_KEEPALIVE_S = 30
_CONNECT_S = 10
_SESSION_S = 86_400
"""How long the broker should keep our session: `stored` messages that come while we are away."""
_ANY_RECEIVE_MAXIMUM = 65_535

NO_SUBSCRIBERS = 0x10
_WORDS = {
    NO_SUBSCRIBERS: "nobody listens at the broker: is the collector running, on this broker?",
    0x80: "the broker gave no reason",
    0x83: "the broker refused for a reason of its own; its log may tell",
    0x84: "the broker does not speak MQTT 5; use one that does, such as Mosquitto 2",
    0x85: "the broker does not like our client identifier; allow letters, digits, slash and dash",
    0x86: "wrong user name or password",
    0x87: "not authorized: the broker's access list does not let this agent publish under its own topic",
    0x88: "the broker is not available",
    0x89: "the broker is busy",
    0x8A: "the broker has banned this agent",
    0x8B: "the broker shuts down",
    0x8D: "the broker heard nothing from us for too long",
    0x8E: "somebody else connected as this agent: two agents have the same organisation, site and agent",
    0x90: "the broker does not accept the topic",
    0x93: "more messages in flight than the broker wants; lower `window`",
    0x95: "the message is larger than the broker accepts; raise its limit, or lower batch.size",
    0x97: "a quota is used up at the broker; see its limits on queued messages and storage",
    0x99: "the broker does not accept the message's form",
    0x9A: "the broker does not keep retained messages; it must",
    0x9B: "the broker does not offer QoS 1; it must",
    0x9F: "too many connections in a short time",
}


_NOT_ACCEPTED = frozenset({0x86, 0x87})
CERTIFICATE_REFUSED = (
    "not authorized: this agent's certificate is not accepted; it was revoked, or the broker does not know it. Enrol "
    "the agent again with a new code (`afkobling agent invite` at the server, `afkobling edge enrol` here)"
)


def is_not_accepted(reason: ReasonCode) -> bool:
    """Whether it is about who we are, and not about what we say."""
    return reason.value in _NOT_ACCEPTED


def explain(reason: ReasonCode) -> str:
    """A reason code of MQTT 5 in plain words."""
    return _WORDS.get(reason.value, str(reason).lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the broker said of itself: answers it may owe us, and the largest packet it takes (none: any)."""

    receive_maximum: int
    max_packet_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who connects, what to hear (kinds by topic), and what the broker says for us when we are gone."""

    client_id: str
    subscriptions: Mapping[str, Kind]
    will_topic: str
    will_payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The broker's answer to one publish."""

    mid: int
    reason: ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message for us. `is_retained`: the broker had kept it, for however long."""

    kind: Kind
    payload: bytes
    is_retained: bool


class BrokerConnection:
    """Callbacks run in paho's thread; they only pass what happened to the event loop, and set `changed`."""

    def __init__(self, url: BrokerUrl, tls: TlsSettings, identity: Identity, changed: asyncio.Event) -> None:
        """`changed` is set whenever something came; the caller waits for it, and may share it."""
        self.answers: deque[Answer] = deque()
        self.arrivals: deque[Arrival] = deque()
        self._changed = changed
        self.lost: str | None = None
        """Why the connection ended; None while it lasts."""
        self._url = url
        self._tls = tls
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._connack: asyncio.Future[Limits] = self._loop.create_future()

    async def open(self) -> Limits:
        """Connect and subscribe. Raises BrokerUnavailableError that says why not, in words for a technician."""
        self._client = client = self._make_client()
        try:
            await asyncio.to_thread(
                client.connect,
                self._url.host,
                self._url.port,
                keepalive=_KEEPALIVE_S,
                clean_start=False,
                properties=_properties(PacketTypes.CONNECT, SessionExpiryInterval=_SESSION_S),
            )
        except (OSError, ValueError) as error:
            raise BrokerUnavailableError(f"no connection to {self._url}: {error}") from error
        client.loop_start()
        try:
            async with asyncio.timeout(_CONNECT_S):
                limits = await self._connack
        except TimeoutError:
            raise BrokerUnavailableError(
                f"{self._url} does not answer as an MQTT broker within {_CONNECT_S} s"
            ) from None
        client.subscribe([(topic, 1) for topic in self._identity.subscriptions])
        return limits

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> int | None:
        """Hand over a message with QoS 1; its number in `answers`, or None when the connection is gone.

        After `expiry_s` the broker forgets what it could not deliver.
        """
        assert self._client is not None  # noqa: S101 - only after open()
        properties = _properties(PacketTypes.PUBLISH, ContentType=JSON_TYPE)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    async def close(self, *, clean: bool, within_s: float = 2) -> None:
        """End the connection; a clean end keeps the broker from telling our will. Safe twice, and before `open`."""
        client, self._client = self._client, None
        if client is None:
            return
        if clean and self.lost is None:
            client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while self.lost is None:
                        self._changed.clear()
                        await self._changed.wait()
        client.drop_out_messages()
        # The thread may hang on a dead peer; a socket that is shut down ends its waiting at once.
        live = client.socket()
        if live is not None:
            with contextlib.suppress(OSError, AttributeError):
                live.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        await asyncio.to_thread(client.loop_stop)
        for name in ("on_connect", "on_disconnect", "on_publish", "on_subscribe", "on_message"):
            setattr(client, name, None)
        # An exception in the old one refers to this connection, which would keep paho's sockets open until cycles are
        # looked for.
        self._connack.cancel()
        self._connack = self._loop.create_future()
        self._connack.cancel()

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._identity.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        # We keep the window ourselves; paho's own would hold messages back unseen.
        client.max_inflight_messages_set(_ANY_RECEIVE_MAXIMUM)
        client.connect_timeout = _CONNECT_S / 2
        client.will_set(
            self._identity.will_topic,
            self._identity.will_payload,
            qos=1,
            retain=True,
            properties=_properties(PacketTypes.WILLMESSAGE, ContentType=JSON_TYPE),
        )
        if self._url.user is not None:
            client.username_pw_set(self._url.user, self._url.password)
        if self._url.is_encrypted:
            client.tls_set_context(self._tls_context())
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _tls_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._tls.authority and str(self._tls.authority))
            if self._tls.certificate is not None:
                context.load_cert_chain(self._tls.certificate, self._tls.key)
        except (OSError, ssl.SSLError) as error:
            files = [str(path) for path in (self._tls.authority, self._tls.certificate, self._tls.key) if path]
            raise BrokerUnavailableError(f"a file of `tls` cannot be used ({', '.join(files)}): {error}") from error
        return context

    def _tell(self, act: Callable[[], None]) -> None:
        def told() -> None:
            act()
            self._changed.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
            self._loop.call_soon_threadsafe(told)

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        limits = Limits(
            receive_maximum=getattr(properties, "ReceiveMaximum", _ANY_RECEIVE_MAXIMUM),
            max_packet_bytes=getattr(properties, "MaximumPacketSize", None),
        )

        def act() -> None:
            if self._connack.done():
                return
            if reason.is_failure:
                self._connack.set_exception(self._refusal(reason))
            else:
                self._connack.set_result(limits)

        self._tell(act)

    def _refusal(self, reason: ReasonCode) -> BrokerUnavailableError:
        if self._tls.certificate is not None and is_not_accepted(reason):
            return BrokerRefusesError(f"{self._url} refuses the connection: {CERTIFICATE_REFUSED}")
        return BrokerUnavailableError(f"{self._url} refuses the connection: {explain(reason)}")

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        words = f"the broker ended it: {explain(reason)}" if by_broker else "the connection broke"

        def act() -> None:
            self.lost = self.lost or words
            if not self._connack.done():
                self._connack.set_exception(BrokerUnavailableError(f"{self._url}: {words}"))

        self._tell(act)

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._tell(lambda: self.answers.append(Answer(mid=mid, reason=reason)))

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._tell(lambda: self.answers.extend(Answer(mid=mid, reason=reason) for reason in reasons))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        kind = self._identity.subscriptions.get(message.topic)
        if kind is None:
            # Of a session from before, whose subscriptions the broker has kept.
            return
        arrival = Arrival(kind=kind, payload=bytes(message.payload), is_retained=message.retain)
        self._tell(lambda: self.arrivals.append(arrival))


def _properties(packet_type: int, **values: object) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
