"""paho's MQTT 5 client, with a way of its own for the packets that come and go by the thousand.

paho reads the socket byte by byte and builds a table of all properties for each message: more work than decoding and
checking its readings (docs/performance.md). Here the socket is read in large pieces, messages and acknowledgements are
parsed in `packets`, and all other packets, connecting, keep-alive and writing stay paho's.

This uses names that paho does not promise to keep: pyproject.toml admits only versions that were tried with it, and
tests/contract/test_mqtt_client.py compares the two.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from collector.packets import (
    KIND,
    PUBACK,
    PUBLISH,
    BrokenPacketError,
    PacketStream,
    Publish,
    encode_pubacks,
    parse_puback,
    parse_publish,
)
from schemas.broker_tls import BrokerTls
from schemas.broker_url import BrokerUrl

_RECEIVE_BYTES = 262_144
_LARGEST_WRITE = 65_536


class Client(mqtt.Client):
    """Not for threads: one loop calls `loop_read`, `loop_write`, `loop_misc` and everything else.

    `on_received` gets what one reading of the socket brought, in order; nothing of it is acknowledged by itself.
    `on_answered` gets the packet id and the reason code of each message of ours that the broker has answered.
    """

    def __init__(
        self,
        client_id: str,
        *,
        on_received: Callable[[list[Publish]], None],
        on_answered: Callable[[int, int], None],
    ) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=True)
        self._on_received = on_received
        self._on_answered = on_answered
        self._stream = PacketStream()
        # With this set, paho queues what it is given, and the loop sends it.
        self.on_socket_register_write = lambda *_: None

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; what was left unread of the connection before is forgotten."""
        self._stream = PacketStream()
        return super().reconnect()

    def is_readable(self) -> bool:
        """Whether something is left to read that waiting for the socket would not show: encryption has its buffer."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read once from the socket, all that is there up to a bound, and hand on what came whole.

        `max_packets` says nothing, as in paho.
        """
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data = self._sock_recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        try:
            return self._handle(self._stream.feed(data))
        except (BrokenPacketError, MalformedPacket):
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Queue acknowledgements, in this order."""
        self.send(PUBACK, encode_pubacks(packet_ids))

    def send(self, kind: int, packets: bytes) -> None:
        """Queue ready-made packets of one kind, `PUBLISH` of QoS 1 or `PUBACK`, to be written in pieces."""
        for start in range(0, len(packets), _LARGEST_WRITE):
            self._packet_queue(kind, packets[start : start + _LARGEST_WRITE], 0, 1)

    def _handle(self, packets: list[tuple[int, bytes]]) -> MQTTErrorCode:
        received: list[Publish] = []
        try:
            for first, body in packets:
                kind = first & KIND
                if kind == PUBLISH:
                    received.append(parse_publish(first, body))
                elif kind == PUBACK:
                    self._on_answered(*parse_puback(body))
                else:
                    # It may end the connection, and what came before belongs to this one.
                    if received:
                        self._on_received(received)
                        received = []
                    code = self._hand_to_paho(first, body)
                    if code > 0:
                        return self._loop_rc_handle(code)
                    if self._sock is None:
                        return MQTTErrorCode.MQTT_ERR_NO_CONN
        finally:
            if received:
                self._on_received(received)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hand_to_paho(self, first: int, body: bytes) -> MQTTErrorCode:
        self._in_packet = {
            "command": first,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        return self._packet_handle()


def new_client(
    broker: BrokerUrl,
    client_id: str,
    *,
    on_received: Callable[[list[Publish]], None],
    on_answered: Callable[[int, int], None],
    tls: BrokerTls | None = None,
) -> Client:
    """A client with the name, password and encryption that the broker's address asks for, not yet connected.

    Raises BrokerTlsError.
    """
    client = Client(client_id, on_received=on_received, on_answered=on_answered)
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_encrypted:
        client.tls_set_context((tls or BrokerTls()).context())
    return client
