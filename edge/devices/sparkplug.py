"""An edge node that does not exist and speaks Sparkplug B. Needs the extra `sparkplug`, and a broker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.drivers.sparkplug.host import BD_SEQ
from edge.drivers.sparkplug.metrics import DataType, Metric, Payload
from edge.drivers.sparkplug.payload import decode, encode
from edge.drivers.sparkplug.topics import REBIRTH, MessageType, Node
from edge.errors import BrokerUnavailableError
from schemas.broker_url import parse_broker_url

_DEADLINE_S = 30.0


class SparkplugNode:
    """Devices by name (None: the node itself), each with its metrics. Answers requests for rebirth unless silent.

    Each metric has an alias, which data go by. Values are told as doubles, unless they are given as metrics.
    """

    def __init__(self, url: str, place: Node, metrics: Mapping[str | None, Mapping[str, float]]) -> None:
        self._url = parse_broker_url(url)
        self._place = place
        self._values = {device: dict(named) for device, named in metrics.items()}
        places = [(device, name) for device, named in self._values.items() for name in named]
        self._aliases = {where: number for number, where in enumerate(places)}
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._bd_seq = -1
        self._seq = 0
        self.is_silent = False
        self.rebirths = 0
        """How often it was asked."""

    async def start(self) -> None:
        """Connect and be born. Safe while it is there."""
        await asyncio.to_thread(self._start)

    async def say(self, device: str | None, values: Mapping[str, float | Metric]) -> None:
        """Tell what changed; its births tell it too from now on. A metric travels as it is, and is not kept."""
        with self._lock:
            told: list[Metric] = []
            for name, value in values.items():
                if isinstance(value, Metric):
                    told.append(value)
                else:
                    self._values[device][name] = value
                    told.append(Metric(alias=self._aliases[device, name], at_ms=_now_ms(), value=value))
            self._tell(MessageType.NODE_DATA if device is None else MessageType.DEVICE_DATA, device, told)

    async def say_bytes(self, device: str, payload: bytes) -> None:
        """Anything at all, where data are expected."""
        with self._lock:
            if self._client is not None:
                self._client.publish(self._place.topic(MessageType.DEVICE_DATA, device), payload)

    def skip(self, messages: int = 1) -> None:
        """So many messages get lost on their way."""
        with self._lock:
            self._seq = (self._seq + messages) % 256

    async def lose_device(self, device: str) -> None:
        """It says that its device is away."""
        with self._lock:
            self._tell(MessageType.DEVICE_DEATH, device, [])

    async def be_born(self) -> None:
        """Tell all its births, asked or not."""
        with self._lock:
            self._be_born()

    async def vanish(self) -> None:
        """Pulled out: the broker tells its death. Safe while it is away."""
        await asyncio.to_thread(self._leave, is_clean=False)

    async def stop(self) -> None:
        """Switched off: it tells its own death. Safe twice, and before `start`."""
        await asyncio.to_thread(self._leave, is_clean=True)

    def _start(self) -> None:
        if self._client is not None and self._client.is_connected():
            return
        self._leave(is_clean=False)
        self._bd_seq = (self._bd_seq + 1) % 256
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False)
        client.will_set(self._place.topic(MessageType.NODE_DEATH), self._death(), qos=1)
        subscribed = threading.Event()
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._on_message
        try:
            client.connect(self._url.host, self._url.port)
        except OSError as error:
            raise BrokerUnavailableError(f"no connection to {self._url}: {error}") from error
        client.loop_start()
        if not subscribed.wait(_DEADLINE_S):
            raise BrokerUnavailableError(f"{self._url} does not answer")
        with self._lock:
            self._client = client
            self._be_born()

    def _leave(self, *, is_clean: bool) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is None:
            return
        if is_clean and client.is_connected():
            client.publish(self._place.topic(MessageType.NODE_DEATH), self._death(), qos=1).wait_for_publish(
                _DEADLINE_S
            )
            client.disconnect()
        live: Any = client.socket()
        if live is not None and not is_clean:
            with contextlib.suppress(OSError):
                live.shutdown(socket.SHUT_RDWR)
        client.loop_stop()

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe(self._place.topic(MessageType.NODE_COMMAND), qos=1)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        named = {metric.name for metric in decode(bytes(message.payload)).metrics}
        if REBIRTH in named:
            with self._lock:
                self.rebirths += 1
                if not self.is_silent:
                    self._be_born()

    def _be_born(self) -> None:
        self._seq = 0
        sequence = Metric(name=BD_SEQ, at_ms=_now_ms(), datatype=DataType.INT64, value=self._bd_seq)
        self._tell(MessageType.NODE_BIRTH, None, [sequence, *self._metrics(None)])
        for device in self._values:
            if device is not None:
                self._tell(MessageType.DEVICE_BIRTH, device, self._metrics(device))

    def _metrics(self, device: str | None) -> list[Metric]:
        return [
            Metric(
                name=name,
                alias=self._aliases[device, name],
                at_ms=_now_ms(),
                datatype=DataType.DOUBLE,
                value=float(value),
            )
            for name, value in self._values.get(device, {}).items()
        ]

    def _tell(self, kind: MessageType, device: str | None, metrics: list[Metric]) -> None:
        if self._client is None:
            return
        payload = encode(Payload(at_ms=_now_ms(), seq=self._seq, metrics=metrics))
        self._client.publish(self._place.topic(kind, device), payload)
        self._seq = (self._seq + 1) % 256

    def _death(self) -> bytes:
        return encode(
            Payload(at_ms=_now_ms(), metrics=[Metric(name=BD_SEQ, datatype=DataType.INT64, value=self._bd_seq)])
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
