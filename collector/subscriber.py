"""The collector's side of MQTT: messages in, acknowledgements and `stored` out.

Each message comes with what acknowledges it. Nothing is acknowledged by itself: the collector does so after the
commit, in order of arrival.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from collector.decode import Decoded, Incoming, ReadingsMessage, Reason, Refused, decode
from collector.errors import SetupError
from schemas.broker_url import parse_broker_url
from schemas.topics import ROOT, VERSION, AgentAddress, Kind
from schemas.wire import JSON_TYPE, Stored

_LOG = structlog.get_logger(__name__)
_SESSION_SECONDS = 7 * 86_400
_KEEPALIVE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A decoded message, its size in memory, and where its acknowledgement belongs.

    A packet id holds for one connection only.
    """

    decoded: Decoded
    size: int
    packet_id: int
    connection: int

    @property
    def readings(self) -> int:
        """How much it adds to a batch; a message without readings counts as one."""
        return len(self.decoded.meter) if isinstance(self.decoded, ReadingsMessage) else 1


class Buffer:
    """Messages between the network thread and the writer, bounded in number and bytes: `put` waits for room."""

    def __init__(self, *, most_messages: int, most_bytes: int) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._bytes = 0
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, delivery: Delivery) -> None:
        """Add one; waits while full. After `close` it is dropped, unacknowledged, for the broker to keep."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room(delivery.size))
            if not self._is_closed:
                self._deliveries.append(delivery)
                self._bytes += delivery.size
                if len(self._deliveries) == 1:
                    self._changed.notify_all()

    def take(self, *, timeout: float, most_readings: int) -> list[Delivery]:
        """What is there, of about `most_readings` and at least one, waiting up to `timeout` seconds for the first."""
        taken: list[Delivery] = []
        readings = 0
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._deliveries), timeout=timeout)
            while self._deliveries and readings < most_readings:
                delivery = self._deliveries.popleft()
                self._bytes -= delivery.size
                readings += delivery.readings
                taken.append(delivery)
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._deliveries)

    def _has_room(self, size: int) -> bool:
        # A message larger than the whole buffer still gets through, alone.
        return not self._deliveries or (
            len(self._deliveries) < self._most_messages and self._bytes + size <= self._most_bytes
        )


class Subscriber:
    """One MQTT 5 connection that reconnects for ever."""

    def __init__(
        self, *, broker_url: str, client_id: str, share_group: str | None, receive_maximum: int, buffer: Buffer
    ) -> None:
        self._buffer = buffer
        self._share_group = share_group
        self._receive_maximum = receive_maximum
        self._connection = 0
        self._host, self._port, self._client = _new_client(broker_url, client_id)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._is_started = False
        self.subscribed = threading.Event()

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._receive_maximum
        # With a shared subscription a session that outlives its collector would keep its share from the others.
        properties.SessionExpiryInterval = 0 if self._share_group else _SESSION_SECONDS
        self._client.connect_async(
            self._host,
            self._port,
            keepalive=_KEEPALIVE_SECONDS,
            clean_start=self._share_group is not None,
            properties=properties,
        )
        self._client.loop_start()
        self._is_started = True

    def stop(self) -> None:
        """Disconnect; what is not acknowledged stays with the broker. Safe before `start` and twice."""
        self._buffer.close()
        if self._is_started:
            self._is_started = False
            self._client.disconnect()
            self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        return self.subscribed.is_set()

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that a message is committed; one of an earlier connection, or of QoS 0, is left out."""
        if delivery.packet_id and delivery.connection == self._connection:
            self._client.ack(delivery.packet_id, 1)

    def publish_stored(self, address: AgentAddress, stored: Stored) -> None:
        """Tell an agent up to which seq everything is committed (retained)."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = JSON_TYPE
        self._client.publish(
            address.topic(Kind.STORED), stored.model_dump_json(), qos=1, retain=True, properties=properties
        )

    def _subscriptions(self) -> list[tuple[str, SubscribeOptions]]:
        everything = f"{ROOT}/#"
        if self._share_group is None:
            return [(everything, SubscribeOptions(qos=1, noLocal=True))]
        # Retained messages do not come through a shared subscription, so reports are read by every collector.
        reports = [f"{ROOT}/{VERSION}/+/+/+/{kind}" for kind in (Kind.METERS, Kind.STATUS)]
        return [
            (f"$share/{self._share_group}/{everything}", SubscribeOptions(qos=1)),
            *((topic, SubscribeOptions(qos=1)) for topic in reports),
        ]

    def _on_connect(
        self, client: mqtt.Client, userdata: object, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            _LOG.error("broker refused the connection", action="connect", reason=str(reason))
            return
        self._connection += 1
        client.subscribe(self._subscriptions())
        _LOG.info("connected", action="connect", session_present=flags.session_present)

    def _on_subscribe(
        self, client: mqtt.Client, userdata: object, mid: int, reasons: list[ReasonCode], properties: object
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            _LOG.error("broker refused the subscription", action="subscribe", reasons=refused)
        else:
            self.subscribed.set()
            _LOG.info("subscribed", action="subscribe")

    def _on_disconnect(
        self, client: mqtt.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        # Acknowledgements of this connection must not reach the next one, whose packet ids start anew.
        self._connection += 1
        self.subscribed.clear()
        _LOG.warning("disconnected", action="disconnect", reason=str(reason))

    def _on_message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        # Decoded here, between two reads of the socket: a thread of its own for it would fight this one for the
        # interpreter at every read (docs/performance.md).
        incoming = Incoming(
            topic=message.topic,
            payload=bytes(message.payload),
            content_type=getattr(message.properties, "ContentType", None),
        )
        decoded = _decode_at_all_costs(incoming)
        self._buffer.put(
            Delivery(
                decoded=decoded,
                size=_size(incoming, decoded),
                packet_id=message.mid,
                connection=self._connection,
            )
        )


def _decode_at_all_costs(incoming: Incoming) -> Decoded:
    """An error here would end the network's thread, and with it everybody's readings."""
    try:
        return decode(incoming)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RecursionError) as error:
        _LOG.exception("a message could not be decoded", action="decode", topic=incoming.topic)
        return Refused(incoming=incoming, reason=Reason.MALFORMED, detail=f"{type(error).__name__}: {error}")


def _size(incoming: Incoming, decoded: Decoded) -> int:
    """What it takes in memory: a small Arrow message can unfold to a thousand times its size."""
    if isinstance(decoded, ReadingsMessage):
        return max(
            len(incoming.payload),
            sum(column.nbytes for column in (decoded.meter, decoded.at, decoded.value, decoded.quality)),
        )
    return len(incoming.payload)


def _new_client(broker_url: str, client_id: str) -> tuple[str, int, mqtt.Client]:
    try:
        broker = parse_broker_url(broker_url)
    except ValueError as error:
        raise SetupError(f"AFKOBLING_BROKER_URL: {error}") from None
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=True)
    client.reconnect_delay_set(min_delay=1, max_delay=30)
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_encrypted:
        client.tls_set()
    return broker.host, broker.port, client
