"""What the agents of a backlog have to say: each message by its number, made when it is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.bench.load import ORGANISATION, SITE, UNIT, agent_key
from deploy.bench.rows import CADENCE_MS
from schemas.topics import AgentAddress

METERS = 100
"""Of each agent; a message holds a reading of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`count` agents from number `first` on: each has `backlog` messages, and one more every `cadence_ms`.

    The backlog is of one message every CADENCE_MS before `start_ms`; the agents' moments are spread over the cadence.
    """

    first: int
    count: int
    backlog: int
    cadence_ms: int
    start_ms: int

    @property
    def agents(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)

    @property
    def backlog_readings(self) -> int:
        """Of all together."""
        return self.count * self.backlog * METERS

    def at_ms(self, agent: int, seq: int) -> int:
        """The instant of a message's readings."""
        if seq <= self.backlog:
            return self.start_ms - (self.backlog - seq + 1) * CADENCE_MS
        spread = (agent - self.first) * self.cadence_ms // self.count
        return self.start_ms + spread + (seq - self.backlog - 1) * self.cadence_ms

    def last_seq(self, agent: int, now_ms: float) -> int:
        """The newest message that is there at `now_ms`."""
        since_ms = now_ms - self.at_ms(agent, self.backlog + 1)
        return self.backlog + (0 if since_ms < 0 else int(since_ms // self.cadence_ms) + 1)

    def part(self, nth: int, parts: int) -> list[int]:
        """Every `parts`-th agent, from the `nth` on."""
        return list(self.agents[nth::parts])


def address(agent: int) -> AgentAddress:
    """Where the agent of that number publishes."""
    return AgentAddress(organisation=ORGANISATION, site=SITE, agent=agent_key(agent))


def meter_key(agent: int, meter: int) -> str:
    """A meter of the model that `deploy.bench.rows.make_model` makes."""
    return f"{agent_key(agent)}-m{meter}"


def value(seq: int, meter: int) -> float:
    """What a meter shows in a message: registers as meters show them, with two decimals, rising."""
    return round(1000 + meter + seq * 0.01, 2)


def message_head(agent: int, epoch: str) -> str:
    """A message up to its number: what stays the same from one to the next."""
    names = ",".join(f'"{meter_key(agent, meter)}"' for meter in range(METERS))
    units = ",".join([f'"{UNIT}"'] * METERS)
    rows = ",".join(map(str, range(METERS)))
    return f'{{"v":1,"epoch":"{epoch}","meters":[{names}],"units":[{units}],"meter":[{rows}],"seq":'


def message(head: str, seq: int, at_ms: int) -> bytes:
    """The whole message."""
    base = seq * 0.01 + 1000
    values = ",".join(f"{base + meter:.2f}" for meter in range(METERS))
    return f'{head}{seq},"sent_at":{at_ms},"at":[{",".join([str(at_ms)] * METERS)}],"value":[{values}]}}'.encode()
