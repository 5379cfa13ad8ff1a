"""A process that publishes what many agents have to say, each by the edge's own rules: `edge.window`."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from threading import Event as ThreadEvent

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from api.broker_client import new_client
from deploy.bench.backlog_plan import Fleet, address, message, message_head
from edge.window import Window
from schemas.broker_url import parse_broker_url
from schemas.topics import Kind
from schemas.wire import JSON_TYPE, Stored

WINDOW = 20
WINDOW_BYTES = 1_000_000
RESEND_AFTER_S = 30.0
_IN_FLIGHT = 1_000
_TURN_S = 0.02
_LOOK_S = 1.0
_NO_SUBSCRIBERS = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a publisher has come to. Messages, but for the bytes; `copies` are those published again.

    `last` is the sum of the agents' newest numbers, `stored` of those up to which all is confirmed.
    """

    last: int
    stored: int
    backlog_left: int
    published: int
    copies: int
    copy_bytes: int


@dataclass(slots=True, kw_only=True)
class _Agent:
    fleet: Fleet
    number: int
    topic: str
    head: str
    window: Window
    stored: int = 0


class FleetPublisher:
    """Agents of some fleets over one connection."""

    def __init__(self, broker_url: str, agents: Sequence[tuple[Fleet, int]], epoch: str) -> None:
        now_s = time.monotonic()
        self._epoch = epoch
        self._agents = {
            address(number).topic(Kind.STORED): _Agent(
                fleet=fleet,
                number=number,
                topic=address(number).topic(Kind.READINGS),
                head=message_head(number, epoch),
                window=Window(
                    size=WINDOW,
                    in_flight=_IN_FLIGHT,
                    resend_after_s=RESEND_AFTER_S,
                    stored_seq=0,
                    now_s=now_s,
                    most_bytes=WINDOW_BYTES,
                ),
            )
            for fleet, number in agents
        }
        self._of_mid: dict[int, _Agent] = {}
        self._answers: deque[tuple[int, bool]] = deque()
        self._words: deque[tuple[str, bytes]] = deque()
        self._wake = ThreadEvent()
        self._published = self._copies = self._copy_bytes = 0
        self._broker = parse_broker_url(broker_url)
        self._client = new_client(self._broker)
        self._client.max_inflight_messages_set(65_535)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish

    def connect(self) -> None:
        """Returns when every agent's `stored` is subscribed to."""
        subscribed = ThreadEvent()
        topics = [(topic, 1) for topic in self._agents]
        parts = [topics[i : i + 500] for i in range(0, len(topics), 500)]
        left = [len(parts)]

        def on_subscribe(*_: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                subscribed.set()

        def on_connect(client: mqtt.Client, *_: object) -> None:
            for part in parts:
                client.subscribe(part)

        self._client.on_subscribe = on_subscribe
        self._client.on_connect = on_connect
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        subscribed.wait(60)

    def run(self, finish: Event, tell: Callable[[Progress], None]) -> None:
        """Until `finish` is set and all that was there then is stored. `tell` is called once a second."""
        look_at_s = 0.0
        end_ms: float | None = None
        due: list[_Agent] = []
        # When each has its next message; the topic settles ties.
        coming = [(a.fleet.at_ms(a.number, a.fleet.backlog + 1), topic, a) for topic, a in self._agents.items()]
        heapq.heapify(coming)
        while True:
            if end_ms is None and finish.is_set():
                end_ms = time.time() * 1000
            now_ms = time.time() * 1000 if end_ms is None else end_ms
            now_s = time.monotonic()
            while coming[0][0] <= now_ms:
                _, topic, agent = coming[0]
                due.append(agent)
                last = agent.fleet.last_seq(agent.number, now_ms)
                heapq.heapreplace(coming, (agent.fleet.at_ms(agent.number, last + 1), topic, agent))
            for agent in {id(one): one for one in (*due, *self._hear(now_s))}.values():
                self._publish(agent, now_ms)
            due = []
            if now_s >= look_at_s:
                look_at_s = now_s + _LOOK_S
                due = list(self._agents.values())
                progress = self._progress(now_ms)
                tell(progress)
                if end_ms is not None and progress.stored == progress.last:
                    break
            self._wake.wait(_TURN_S)
            self._wake.clear()
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, now_s: float) -> list[_Agent]:
        touched: list[_Agent] = []
        while self._answers:
            mid, was_taken = self._answers.popleft()
            agent = self._of_mid.pop(mid, None)
            if agent is not None:
                agent.window.note_answered(mid, was_taken=was_taken)
        while self._words:
            topic, payload = self._words.popleft()
            stored = Stored.model_validate_json(payload)
            agent = self._agents[topic]
            if stored.epoch == self._epoch and stored.seq > agent.stored:
                agent.stored = stored.seq
                agent.window.note_stored(stored.seq, now_s)
                touched.append(agent)
        return touched

    def _publish(self, agent: _Agent, now_ms: float) -> None:
        window = agent.window
        now_s = time.monotonic()
        for seq in window.overdue(now_s):
            self._copy_bytes += self._send(agent, seq)
            self._copies += 1
        last = agent.fleet.last_seq(agent.number, now_ms)
        for seq in window.fresh(last, now_s):
            self._send(agent, seq)

    def _send(self, agent: _Agent, seq: int) -> int:
        payload = message(agent.head, seq, agent.fleet.at_ms(agent.number, seq))
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = JSON_TYPE
        expiry_s = agent.window.expiry_s(seq)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        mid = self._client.publish(agent.topic, payload, qos=1, properties=properties).mid
        agent.window.note_sent(seq, mid, time.monotonic(), size=len(payload))
        self._of_mid[mid] = agent
        self._published += 1
        return len(payload)

    def _progress(self, now_ms: float) -> Progress:
        agents = self._agents.values()
        return Progress(
            last=sum(agent.fleet.last_seq(agent.number, now_ms) for agent in agents),
            stored=sum(agent.stored for agent in agents),
            backlog_left=sum(max(0, agent.fleet.backlog - agent.stored) for agent in agents),
            published=self._published,
            copies=self._copies,
            copy_bytes=self._copy_bytes,
        )

    def _on_message(self, _client: mqtt.Client, _data: object, word: mqtt.MQTTMessage) -> None:
        self._words.append((word.topic, bytes(word.payload)))
        self._wake.set()

    def _on_publish(self, _client: mqtt.Client, _data: object, mid: int, reason: object, _properties: object) -> None:
        code = getattr(reason, "value", 0)
        self._answers.append((mid, code < 0x80 and code != _NO_SUBSCRIBERS))


def publish_fleets(
    broker_url: str, agents: list[tuple[Fleet, int]], epoch: str, finish: Event, sender: Connection
) -> None:
    """The process: sends a `Progress` once a second, the last one when all is stored."""
    publisher = FleetPublisher(broker_url, agents, epoch)
    publisher.connect()
    publisher.run(finish, sender.send)
