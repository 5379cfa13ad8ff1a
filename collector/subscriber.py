"""The collector's side of MQTT: messages in, acknowledgements and `stored` out.

Each message comes with what acknowledges it. Nothing is acknowledged by itself: the collector does so after the
commit, in order of arrival.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from collector.buffer import Buffer, Delivery
from collector.decode import Decoded, Incoming, ReadingsMessage, Refused, decode
from collector.errors import SetupError
from schemas.broker_url import parse_broker_url
from schemas.quarantine import Reason
from schemas.topics import ROOT, VERSION, AgentAddress, Kind
from schemas.wire import JSON_TYPE, Stored

_LOG = structlog.get_logger(__name__)
_SESSION_SECONDS = 7 * 86_400
_KEEPALIVE_SECONDS = 30
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LOOK_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A committed batch: what to acknowledge, in order of arrival, and what to tell which agent."""

    deliveries: list[Delivery]
    stored: list[tuple[AgentAddress, Stored]]


class Subscriber:
    """One MQTT 5 connection that reconnects for ever, in a thread of its own.

    Only that thread touches the connection. Acknowledging from another would cost a system call and a fight for the
    interpreter for each message (docs/performance.md); so what is to be sent is left here, and the thread woken once.
    """

    def __init__(
        self,
        *,
        broker_url: str,
        client_id: str,
        share_group: str | None,
        receive_maximum: int,
        buffer: Buffer,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._buffer = buffer
        self._clock_ms = clock_ms
        self._share_group = share_group
        self._receive_maximum = receive_maximum
        self._connection = 0
        self._host, self._port, self._client = _new_client(broker_url, client_id)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        # With this set, the client queues what it is given, and our loop sends it.
        self._client.on_socket_register_write = lambda *_: None
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._to_confirm: deque[Confirmation] = deque()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._is_stopping = threading.Event()
        self.subscribed = threading.Event()

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is left to confirm and disconnect; the broker keeps the rest. Safe before `start` and twice."""
        self._is_stopping.set()
        self._buffer.close()
        if self._thread.ident is not None:
            self._wake()
            self._thread.join()
        for end in (self._woken, self._waker):
            end.close()

    def problems(self) -> list[str]:
        """What keeps messages from coming in, in plain words; empty when all is well."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return ["the thread that talks to the broker has ended; restart the collector and report its log"]
        if not self.subscribed.is_set():
            return ["no subscription at the broker; is it running, and may this client subscribe?"]
        return []

    def confirm(self, confirmation: Confirmation) -> None:
        """Acknowledge what is committed, and tell the agents. Returns at once."""
        self._to_confirm.append(confirmation)
        self._wake()

    def _wake(self) -> None:
        # A full pipe means that the thread is about to wake anyway; a closed one, that it has ended.
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"!")

    def _run(self) -> None:
        wait = wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S) + wait_random(0, _FIRST_WAIT_S)
        attempts = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
        while not self._is_stopping.is_set():
            try:
                self._connect()
            except OSError as error:
                _LOG.warning("the broker is away, trying again", action="connect", error=str(error))
            else:
                if self._serve():
                    attempts = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
            if self._is_stopping.wait(wait(attempts)):
                break
            attempts.attempt_number += 1

    def _connect(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._receive_maximum
        # With a shared subscription a session that outlives its collector would keep its share from the others.
        properties.SessionExpiryInterval = 0 if self._share_group else _SESSION_SECONDS
        self._client.connect(
            self._host,
            self._port,
            keepalive=_KEEPALIVE_SECONDS,
            clean_start=self._share_group is not None,
            properties=properties,
        )

    def _serve(self) -> bool:
        """Until the connection ends. Whether it was ever subscribed."""
        was_subscribed = False
        while (connection := self._client.socket()) is not None:
            writing = [connection] if self._client.want_write() else []
            readable, writable, _ = select.select([connection, self._woken], writing, [], _LOOK_UP_SECONDS)
            if self._woken in readable:
                self._woken.recv(4096)
            self._send_confirmations()
            if connection in readable and self._client.loop_read() is not mqtt.MQTT_ERR_SUCCESS:
                break
            if (writable or self._client.want_write()) and self._client.loop_write() is not mqtt.MQTT_ERR_SUCCESS:
                break
            self._client.loop_misc()
            was_subscribed |= self.subscribed.is_set()
            if self._is_stopping.is_set() and not self._to_confirm and not self._client.want_write():
                self._client.disconnect()
                self._client.loop_write()
                break
        return was_subscribed

    def _send_confirmations(self) -> None:
        while self._to_confirm:
            confirmation = self._to_confirm.popleft()
            for delivery in confirmation.deliveries:
                # One of an earlier connection comes again; one of QoS 0 wants none.
                if delivery.packet_id and delivery.connection == self._connection:
                    self._client.ack(delivery.packet_id, 1)
            for address, stored in confirmation.stored:
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
        # Decoded here, between two reads of the socket, while another thread prepares the batch before
        # (docs/performance.md).
        incoming = Incoming(
            topic=message.topic,
            payload=bytes(message.payload),
            content_type=getattr(message.properties, "ContentType", None),
            arrived_ms=None if message.retain else self._clock_ms(),
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
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_encrypted:
        client.tls_set()
    return broker.host, broker.port, client
