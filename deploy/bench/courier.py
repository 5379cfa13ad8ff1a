"""One MQTT connection that sends ready-made messages of QoS 1 by the thousand, at little cost to what is measured."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from collector.mqtt_client import new_client
from collector.packets import PUBLISH, Publish, encode_publish_around_id
from schemas.broker_url import parse_broker_url
from schemas.errors import TransientError

_CONNECT_S = 30.0
_LONGEST_WAIT_S = 0.5
_REFUSED = 128

Message = tuple[bytes, bytes]
"""A packet before and after its packet id."""


def ready_made(topic: str, body: bytes, content_type: str) -> Message:
    """A message of QoS 1, encoded but for its packet id."""
    return encode_publish_around_id(topic.encode(), body, content_type=content_type.encode())


class Courier:
    """Connected and subscribed once it is made. Never more than `window` messages are unanswered."""

    def __init__(
        self,
        broker_url: str,
        *,
        window: int,
        topics: Sequence[str] = (),
        on_message: Callable[[Publish], None] = lambda _: None,
    ) -> None:
        self._window = window
        self._unanswered = 0
        self._last_id = 0
        self._is_ready = False
        broker = parse_broker_url(broker_url)
        self._on_message = on_message
        self._client = new_client(broker, "", on_received=self._received, on_answered=self._answered)
        self._client.on_connect = self._connected(topics)
        self._client.on_subscribe = self._subscribed
        self._client.connect(broker.host, broker.port)
        deadline = time.monotonic() + _CONNECT_S
        while not self._is_ready:
            self.work(_LONGEST_WAIT_S)
            if time.monotonic() > deadline:
                raise TransientError(f"the broker at {broker} did not answer within {_CONNECT_S:.0f} s; not measured")

    def send(self, messages: Sequence[Message]) -> None:
        """Send all, waiting for the broker whenever the window is full."""
        start = 0
        while start < len(messages):
            end = start + self._window - self._unanswered
            if end > start:
                self._client.send(PUBLISH, b"".join(self._with_id(message) for message in messages[start:end]))
                start = end
            self.work(_LONGEST_WAIT_S if start < len(messages) else 0.0)

    def settle(self, within_s: float) -> None:
        """Wait until the broker has answered everything. Raises TransientError."""
        deadline = time.monotonic() + within_s
        while self._unanswered:
            self.work(_LONGEST_WAIT_S)
            if time.monotonic() > deadline:
                raise TransientError(f"the broker left {self._unanswered} messages unanswered; not measured")

    def work_until(self, at_s: float) -> None:
        """Keep the connection going until that Unix time."""
        while (left := at_s - time.time()) > 0:
            self.work(min(left, _LONGEST_WAIT_S))

    def work(self, wait_s: float) -> None:
        """Read and write what can be read and written, waiting for it up to `wait_s`."""
        connection = self._client.socket()
        if connection is None:
            raise TransientError("the broker closed a publisher's connection; not measured")
        writing = [connection] if self._client.want_write() else []
        readable, writable, _ = select.select([connection], writing, [], wait_s)
        if readable:
            self._client.loop_read()
        if writable or self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def close(self) -> None:
        """Disconnect in order."""
        self._client.disconnect()
        self._client.loop_write()

    def _with_id(self, message: Message) -> bytes:
        self._unanswered += 1
        self._last_id = self._last_id % 65_535 + 1
        head, tail = message
        return head + self._last_id.to_bytes(2) + tail

    def _answered(self, _packet_id: int, reason: int) -> None:
        if reason >= _REFUSED:
            raise TransientError(f"the broker refuses messages, reason {reason}; not measured")
        self._unanswered -= 1

    def _received(self, messages: list[Publish]) -> None:
        for message in messages:
            self._on_message(message)
        self._client.acknowledge([message.packet_id for message in messages if message.packet_id])

    def _connected(self, topics: Sequence[str]) -> mqtt.CallbackOnConnect_v2:
        def on_connect(
            client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
        ) -> None:
            if reason.is_failure:
                raise TransientError(f"the broker refuses a publisher: {reason}; not measured")
            if topics:
                client.subscribe([(topic, 1) for topic in topics])
            else:
                self._is_ready = True

        return on_connect

    def _subscribed(self, *_: object) -> None:
        self._is_ready = True
