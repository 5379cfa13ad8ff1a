"""A process that publishes the messages of some agents as fast as the broker takes them, until all are stored."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.bench.load import ORGANISATION, SITE, Load, agent_key, payloads
from schemas.broker_url import parse_broker_url
from schemas.topics import AgentAddress, Kind
from schemas.wire import Stored

PATIENCE_S = 600.0
_WINDOW = 20
"""Unacknowledged publishes: the fastest found (docs/performance.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """When the first message left and when the last one was confirmed as stored (Unix seconds)."""

    started: float
    confirmed: float


def publish(broker_url: str, load: Load, agents: list[int], epoch: str, barrier: Barrier, result: Connection) -> None:
    """Encode everything first, wait for the others, then publish and wait for *stored*. Sends back `Published`."""
    topics = {agent: _address(agent).topic(Kind.READINGS) for agent in agents}
    per_agent = [[(topics[agent], body) for body in payloads(load, agent, epoch)] for agent in agents]
    # Agents take turns, as they would in life.
    messages = [message for turn in zip(*per_agent, strict=True) for message in turn]
    waiting = {_address(agent).topic(Kind.STORED) for agent in agents}
    subscribed, confirmed = threading.Event(), threading.Event()

    def on_message(_client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        stored = Stored.model_validate_json(message.payload)
        if stored.epoch == epoch and stored.seq == load.messages:
            waiting.discard(message.topic)
            if not waiting:
                confirmed.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(_WINDOW)
    client.max_queued_messages_set(0)
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe([(topic, 1) for topic in waiting])
    client.on_subscribe = lambda *_: subscribed.set()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = load.encoding.content_type
    broker = parse_broker_url(broker_url)
    client.connect(broker.host, broker.port)
    client.loop_start()
    subscribed.wait(30)
    barrier.wait()
    started = time.time()
    for topic, body in messages:
        client.publish(topic, body, qos=1, properties=properties)
    result.send(Published(started=started, confirmed=time.time() if confirmed.wait(PATIENCE_S) else float("nan")))
    client.disconnect()
    client.loop_stop()


def _address(agent: int) -> AgentAddress:
    return AgentAddress(organisation=ORGANISATION, site=SITE, agent=agent_key(agent))
