"""The collector's side of MQTT: messages in, acknowledgements and `stored` out.

Each message comes with what acknowledges it. Nothing is acknowledged by itself: the collector does so after the
commit, in order of arrival.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from collector.buffer import Buffer
from collector.delivery import Delivery, deliver
from collector.errors import SetupError
from collector.mqtt_client import Client, new_client
from collector.packets import PUBLISH, Publish
from collector.stored_window import StoredWindow
from schemas.broker_tls import BrokerTls
from schemas.broker_url import parse_broker_url
from schemas.topics import ROOT, VERSION, AgentAddress, Kind
from schemas.wire import Stored

_LOG = structlog.get_logger(__name__)
_SESSION_SECONDS = 7 * 86_400
_KEEPALIVE_SECONDS = 30
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LOOK_UP_SECONDS = 1.0
_LEAVE_SECONDS = 5.0
"""How long a stop waits for the broker to take the last words."""
_REFUSED = 128


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
        most_message_bytes: int,
        buffer: Buffer,
        tls: BrokerTls | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._buffer = buffer
        self._clock_ms = clock_ms
        self._share_group = share_group
        self._receive_maximum = receive_maximum
        self._most_message_bytes = most_message_bytes
        self._connection = 0
        self._stored = StoredWindow()
        self._broker_takes = 0
        self._was_refused = False
        self._trouble: str | None = None
        # Plain numbers, read at each scrape: they cost nothing here.
        self.connections = 0
        self.failures = 0
        self.stored_said = 0
        self.unacknowledged = 0
        self._host, self._port, self._client = self._new_client(broker_url, client_id, tls)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
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
            return [self._trouble or "not connected to the broker yet; readings wait with the agents"]
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
                self._note_failure(_away(error))
                _LOG.warning("the broker is away, trying again", action="broker.away", error=str(error))
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
        leave_at: float | None = None
        while (connection := self._client.socket()) is not None:
            writing = [connection] if self._client.want_write() else []
            wait_s = 0.0 if self._client.is_readable() else _LOOK_UP_SECONDS
            readable, writable, _ = select.select([connection, self._woken], writing, [], wait_s)
            if self._woken in readable:
                self._woken.recv(4096)
            self._send_confirmations()
            if (connection in readable or not wait_s) and self._client.loop_read() is not mqtt.MQTT_ERR_SUCCESS:
                break
            self._send_stored()
            if (writable or self._client.want_write()) and self._client.loop_write() is not mqtt.MQTT_ERR_SUCCESS:
                break
            self._client.loop_misc()
            was_subscribed |= self.subscribed.is_set()
            if self._is_stopping.is_set():
                leave_at = leave_at or time.monotonic() + _LEAVE_SECONDS
                if self._has_said_all() or time.monotonic() > leave_at:
                    self._client.disconnect()
                    self._client.loop_write()
                    break
        return was_subscribed

    def _has_said_all(self) -> bool:
        return not (self._to_confirm or self._stored.is_talking or self._client.want_write())

    def _send_confirmations(self) -> None:
        packet_ids: list[int] = []
        while self._to_confirm:
            confirmation = self._to_confirm.popleft()
            # One of an earlier connection comes again; one of QoS 0 wants none.
            packet_ids += [
                delivery.packet_id
                for delivery in confirmation.deliveries
                if delivery.packet_id and delivery.connection == self._connection
            ]
            self._stored.add(confirmation.stored)
        if packet_ids:
            self._client.acknowledge(packet_ids)
            self.unacknowledged -= len(packet_ids)

    def _send_stored(self) -> None:
        if self._stored.has_to_send:
            self._client.send(PUBLISH, self._stored.take())

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
            self._note_failure(
                f"the broker refuses the connection ({reason}); check user, password and the broker's access list"
            )
            _LOG.error("broker refused the connection", action="broker.refused", reason=str(reason))
            return
        self._connection += 1
        self.connections += 1
        self.unacknowledged = 0
        self._broker_takes = getattr(properties, "ReceiveMaximum", 65_535)
        client.subscribe(self._subscriptions())
        _LOG.info("connected", action="broker.connected", session_present=flags.session_present)

    def _on_subscribe(
        self, client: mqtt.Client, userdata: object, mid: int, reasons: list[ReasonCode], properties: object
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._trouble = f"the broker refuses the subscription ({', '.join(refused)}); let this client read {ROOT}/#"
            _LOG.error("broker refused the subscription", action="subscription.refused", reasons=refused)
        else:
            self._stored.open(self._broker_takes)
            self.subscribed.set()
            self._trouble = None
            _LOG.info("subscribed", action="broker.subscribed")

    def _on_disconnect(
        self, client: mqtt.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        # Acknowledgements of this connection must not reach the next one, whose packet ids start anew.
        self._connection += 1
        self._stored.shut()
        self._was_refused = False
        self.subscribed.clear()
        self.unacknowledged = 0
        if self._is_stopping.is_set():
            return
        if self._trouble is None:
            self._note_failure(f"the connection to the broker broke ({reason}); it is tried again")
        _LOG.warning("disconnected", action="broker.lost", reason=str(reason))

    def _note_failure(self, trouble: str) -> None:
        self.failures += 1
        self._trouble = trouble

    def _on_answered(self, packet_id: int, reason: int) -> None:
        """The broker has what we said to an agent, or refuses it: then the agent keeps its readings and sends again."""
        address = self._stored.answered(packet_id)
        self.stored_said += address is not None and reason < _REFUSED
        if reason >= _REFUSED and not self._was_refused:
            self._was_refused = True
            _LOG.error(
                "the broker refuses what agents are to be told; may this client publish to their topics `stored`?",
                action="stored.refused",
                agent=str(address),
                reason=reason,
            )

    def _on_received(self, received: list[Publish]) -> None:
        # Decoded here, between two reads of the socket, while another thread prepares the batch before
        # (docs/performance.md).
        now_ms, now_s = self._clock_ms(), time.monotonic()
        self.unacknowledged += sum(message.packet_id != 0 for message in received)
        self._buffer.put(
            [
                deliver(
                    message,
                    connection=self._connection,
                    most_bytes=self._most_message_bytes,
                    now_ms=now_ms,
                    now_s=now_s,
                )
                for message in received
            ]
        )

    def _new_client(self, broker_url: str, client_id: str, tls: BrokerTls | None) -> tuple[str, int, Client]:
        try:
            broker = parse_broker_url(broker_url)
        except ValueError as error:
            raise SetupError(f"AFKOBLING_BROKER_URL: {error}") from None
        client = new_client(broker, client_id, on_received=self._on_received, on_answered=self._on_answered, tls=tls)
        return broker.host, broker.port, client


def _away(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (
            f"no encrypted connection to the broker ({error}); check AFKOBLING_BROKER_AUTHORITY, and where the broker "
            "wants a certificate, AFKOBLING_BROKER_CERTIFICATE"
        )
    return f"the broker is away ({error}); is it running, and is AFKOBLING_BROKER_URL right?"
