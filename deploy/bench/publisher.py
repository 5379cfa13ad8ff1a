"""A process that publishes the messages of some agents as fast as the broker takes them, until all are stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from collector.packets import Publish
from deploy.bench.courier import Courier, ready_made
from deploy.bench.load import ORGANISATION, SITE, Load, agent_key, payloads
from schemas.topics import AgentAddress, Kind
from schemas.wire import Stored

PATIENCE_S = 600.0
_WINDOW = 200
"""Messages that the broker has not answered yet, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """When the first message left and when the last one was confirmed as stored (Unix seconds), and the work of it."""

    started: float
    confirmed: float
    cpu_s: float


def publish(broker_url: str, load: Load, agents: list[int], epoch: str, barrier: Barrier, result: Connection) -> None:
    """Encode everything first, wait for the others, then publish and wait for *stored*. Sends back `Published`."""
    topics = {agent: _address(agent).topic(Kind.READINGS) for agent in agents}
    per_agent = [
        [ready_made(topics[agent], body, load.encoding.content_type) for body in payloads(load, agent, epoch)]
        for agent in agents
    ]
    # Agents take turns, as they would in life.
    messages = [message for turn in zip(*per_agent, strict=True) for message in turn]
    waiting = {_address(agent).topic(Kind.STORED) for agent in agents}

    def on_stored(message: Publish) -> None:
        stored = Stored.model_validate_json(message.payload)
        if stored.epoch == epoch and stored.seq == load.messages:
            waiting.discard(message.topic)

    courier = Courier(broker_url, window=_WINDOW, topics=sorted(waiting), on_message=on_stored)
    barrier.wait()
    started, cpu_s = time.time(), time.process_time()
    courier.send(messages)
    while waiting and time.time() < started + PATIENCE_S:
        courier.work(0.5)
    confirmed = float("nan") if waiting else time.time()
    result.send(Published(started=started, confirmed=confirmed, cpu_s=time.process_time() - cpu_s))
    courier.close()


def _address(agent: int) -> AgentAddress:
    return AgentAddress(organisation=ORGANISATION, site=SITE, agent=agent_key(agent))
