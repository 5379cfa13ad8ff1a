"""A host's connection: what a bridge hears by, with a last will and a voice of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from paho.mqtt.client import Client

from edge.drivers.mqtt_connection import MqttConnection, Target


class HostConnection(MqttConnection):
    """Has the broker say that the host is offline when the connection breaks; without a state topic, tells nothing."""

    def __init__(
        self, target: Target, *, state_topic: str | None, changed: asyncio.Event, now_ms: Callable[[], int]
    ) -> None:
        super().__init__(target, changed=changed, now_ms=now_ms)
        self._state_topic = state_topic
        # Both states of a connection carry the time of its beginning: an older one's will is known as such.
        self._began_ms = now_ms()

    def publish(self, topic: str, payload: bytes) -> None:
        """With QoS 0, as Sparkplug asks; nobody says whether it arrived."""
        if self._client is not None and self.lost is None:
            self._client.publish(topic, payload, qos=0)

    def tell_state(self, *, is_online: bool) -> None:
        """Retained, so that nodes that come later find it."""
        if self._client is not None and self.lost is None and self._state_topic is not None:
            self._client.publish(self._state_topic, self._state(is_online=is_online), qos=1, retain=True)

    async def close(self, *, within_s: float = 2) -> None:
        if self._connack.done() and not self._connack.cancelled() and self._connack.exception() is None:
            self.tell_state(is_online=False)
        await super().close(within_s=within_s)

    def _make_client(self) -> Client:
        client = super()._make_client()
        if self._state_topic is not None:
            client.will_set(self._state_topic, self._state(is_online=False), qos=1, retain=True)
        return client

    def _state(self, *, is_online: bool) -> bytes:
        return json.dumps({"online": is_online, "timestamp": self._began_ms}).encode()
