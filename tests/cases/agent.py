"""An agent as small as can be: it publishes, and waits for the word *stored*."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from api.broker_client import new_client
from schemas.broker_url import parse_broker_url
from schemas.topics import AgentAddress, Kind
from schemas.wire import JSON_TYPE

WAIT_S = 30.0


class Agent:
    """One connection that speaks as the agent of one address after the other."""

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._heard = threading.Condition()
        self._address: AgentAddress | None = None
        self._subscribed: set[int] = set()
        self._stored_seq = 0
        self._seq = 0
        client.on_subscribe = self._note_subscription
        client.on_message = self._note_stored

    def become(self, address: AgentAddress) -> None:
        """Speak as this agent from now on."""
        with self._heard:
            self._address, self._seq, self._stored_seq = address, 0, 0
            _, number = self._client.subscribe(address.topic(Kind.STORED), qos=1)
            assert self._heard.wait_for(lambda: number in self._subscribed, WAIT_S), "the broker took no subscription"

    def publish(self, kind: Kind, body: dict[str, Any]) -> None:
        """Send one message, and wait until the collector has said that it is stored."""
        assert self._address is not None, "nobody has said whose messages these are"
        self._seq += 1
        payload = {"v": 1, "epoch": "case", "seq": self._seq, **body}
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.ContentType = JSON_TYPE
        self._client.publish(self._address.topic(kind), json.dumps(payload), qos=1, properties=properties)
        with self._heard:
            is_stored = self._heard.wait_for(lambda: self._stored_seq >= self._seq, WAIT_S)
        assert is_stored, f"the collector did not confirm message {self._seq} within {WAIT_S:g} s"

    def _note_subscription(self, _client: mqtt.Client, _data: object, number: int, *_: object) -> None:
        with self._heard:
            self._subscribed.add(number)
            self._heard.notify_all()

    def _note_stored(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._heard:
            if self._address is not None and message.topic == self._address.topic(Kind.STORED):
                self._stored_seq = max(self._stored_seq, json.loads(message.payload)["seq"])
                self._heard.notify_all()


@contextmanager
def connected_agent(broker_url: str) -> Iterator[Agent]:
    """An agent on that broker, up to the end of the `with`."""
    parts = urlsplit(broker_url)
    client = new_client(parse_broker_url(broker_url))
    agent = Agent(client)
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    try:
        yield agent
    finally:
        client.disconnect()
        client.loop_stop()
