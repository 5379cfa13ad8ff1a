"""Somebody else at the broker: listens to what agents publish, says it again, and says what nobody can store."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from api.broker_client import new_client
from deploy.chaos.poison import Poison
from schemas.broker_url import parse_broker_url
from schemas.topics import ROOT, VERSION, Kind
from schemas.wire import JSON_TYPE

_REMEMBERED = 5_000
_ANSWER_S = 5
_NOBODY_LISTENS = 0x10
_NOT_OURS = SubscribeOptions(qos=1, noLocal=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message of readings as an agent published it."""

    topic: str
    payload: bytes


class Outsider:
    """One connection, which comes back by itself. What is published here has the broker's guarantee only."""

    def __init__(self, broker_url: str, organisation: str) -> None:
        self._broker = parse_broker_url(broker_url)
        self._topic = f"{ROOT}/{VERSION}/{organisation}/+/+/{Kind.READINGS}"
        self._heard: deque[Heard] = deque(maxlen=_REMEMBERED)
        self._refused: set[int] = set()
        self._lock = threading.Lock()
        self._client = client = new_client(self._broker)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        client.on_connect = lambda client, *_: client.subscribe(self._topic, options=_NOT_OURS)
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def start(self) -> None:
        """Connect, now or as soon as the broker is there."""
        self._client.connect_async(self._broker.host, self._broker.port)
        self._client.loop_start()

    def stop(self) -> None:
        """Leave. Safe twice, and before `start`."""
        self._client.disconnect()
        self._client.loop_stop()

    def heard(self, rng: random.Random, most: int) -> list[Heard]:
        """Some of what was published, old and new, in any order."""
        with self._lock:
            known = list(self._heard)
        return rng.sample(known, min(most, len(known)))

    def publish(self, topic: str, payload: bytes, content_type: str = JSON_TYPE) -> bool:
        """Whether the broker took it, and somebody listened."""
        if not self._client.is_connected():
            return False
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = content_type
        info = self._client.publish(topic, payload, qos=1, properties=properties)
        try:
            info.wait_for_publish(_ANSWER_S)
        except (ValueError, RuntimeError):
            return False  # the connection ended meanwhile
        return info.is_published() and info.mid not in self._refused

    def give(self, poison: Poison) -> bool:
        """Whether the broker took it."""
        return self.publish(poison.topic, poison.payload, poison.content_type)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self._heard.append(Heard(topic=message.topic, payload=bytes(message.payload)))

    def _on_publish(
        self, _client: mqtt.Client, _data: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure or reason.value == _NOBODY_LISTENS:
            self._refused.add(mid)
        else:
            self._refused.discard(mid)
