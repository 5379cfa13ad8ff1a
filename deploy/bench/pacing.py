"""A process that publishes the messages of many agents at a steady rate: each agent one message in each cadence."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from deploy.bench.courier import Courier, Message, ready_made
from deploy.bench.load import ORGANISATION, SITE, UNIT, agent_key
from deploy.bench.rows import CADENCE_MS
from schemas.topics import AgentAddress, Kind
from schemas.wire import JSON_TYPE

_WINDOW = 1_000
_BEAT_S = 0.02
"""What is due within it is sent together."""
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """Each of `agents` sends a message with a reading of each of its `meters` once in a cadence, for `seconds`.

    Readings bear the time `behind_ms` ago.
    """

    agents: int
    meters: int
    seconds: int
    behind_ms: int
    epoch: str

    @property
    def rounds(self) -> int:
        """Messages of each agent."""
        return max(1, self.seconds * 1000 // CADENCE_MS)

    @property
    def readings(self) -> int:
        """Of all agents together."""
        return self.agents * self.meters * self.rounds


def publish_paced(broker_url: str, plan: Paced, part: int, parts: int, ready: Barrier) -> None:
    """Publish every `parts`-th agent's messages, each at its moment or a beat later; none is left out."""
    agents = range(part, plan.agents, parts)
    heads = [_head(plan, agent) for agent in agents]
    topics = [
        AgentAddress(organisation=ORGANISATION, site=SITE, agent=agent_key(agent)).topic(Kind.READINGS)
        for agent in agents
    ]
    courier = Courier(broker_url, window=_WINDOW)
    ready.wait(120)
    started_ms = time.time() * 1000
    for nth in range(plan.rounds):
        values = ",".join(f"{1000 + meter + nth * 0.01:.2f}" for meter in range(plan.meters))
        due: list[Message] = []
        for place, (head, topic) in enumerate(zip(heads, topics, strict=True)):
            due_ms = started_ms + nth * CADENCE_MS + place * CADENCE_MS / len(heads)
            if due_ms > time.time() * 1000:
                courier.send(due)
                due = []
                courier.work_until(max(due_ms / 1000, time.time() + _BEAT_S))
            at = str(int(due_ms) - plan.behind_ms)
            body = f'{head}{nth + 1},"sent_at":{at},"at":[{",".join([at] * plan.meters)}],"value":[{values}]}}'
            due.append(ready_made(topic, body.encode(), JSON_TYPE))
        courier.send(due)
    courier.settle(_PATIENCE_S)
    courier.close()


def _head(plan: Paced, agent: int) -> str:
    """A message up to its number: what stays the same from one to the next."""
    names = ",".join(f'"{agent_key(agent)}-m{meter}"' for meter in range(plan.meters))
    units = ",".join([f'"{UNIT}"'] * plan.meters)
    rows = ",".join(map(str, range(plan.meters)))
    return f'{{"v":1,"epoch":"{plan.epoch}","meters":[{names}],"units":[{units}],"meter":[{rows}],"seq":'
