"""Real agents as processes: the whole of `edge.agent` on an outbox file that holds a backlog, with a live driver."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import structlog

from deploy.bench.backlog_plan import METERS, Fleet, address, meter_key, value
from deploy.bench.load import UNIT
from edge.agent import run_agent
from edge.batch import Draft, Gathering
from edge.configuration import BatchSettings, Configured, EdgeConfiguration, OutboxSettings, TlsSettings
from edge.counters import Counters
from edge.drivers import DriverContext, DriverKind, DriverSettings
from edge.outbox import Outbox
from edge.readings import Reading, Taken
from schemas.broker_url import parse_broker_url
from schemas.wire import OfferedMeter, OutboxState

_APPENDED_AT_ONCE = 100
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEnd:
    """How a real agent's outbox stood when it ended, and what it published, copies among it."""

    outbox: OutboxState
    published: int
    copies: int


def fill_outbox(path: Path, fleet: Fleet, agent: int) -> None:
    """The agent's backlog, as the agent itself would have written it."""
    with closing(_outbox(path)) as outbox:
        drafts: list[Draft] = []
        for taken in (_taken(fleet, agent, seq) for seq in range(1, fleet.backlog + 1)):
            gathering = Gathering(max_readings=METERS, max_age_s=0, max_bytes=256_000)
            gathering.add(taken, 0)
            drafts += gathering.take(now_ms=_now_ms)
            if len(drafts) >= _APPENDED_AT_ONCE:
                outbox.append(drafts)
                drafts = []
        outbox.append(drafts)


def run_real_agent(broker_url: str, path: Path, fleet: Fleet, agent: int, finish: Event, sender: Connection) -> None:
    """The process: until `finish` is set and everything is confirmed; sends back an `AgentEnd`."""
    # Standard output is the bench's own.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    counters = Counters()
    asyncio.run(_run(broker_url, path, fleet, agent, finish, counters))
    with closing(_outbox(path)) as outbox:
        state = outbox.state()
    published, copies = (
        int(counters.registry.get_sample_value(f"afkobling_edge_messages_{what}_total") or 0)
        for what in ("published", "resent")
    )
    sender.send(AgentEnd(outbox=state, published=published, copies=copies))


async def _run(broker_url: str, path: Path, fleet: Fleet, agent: int, finish: Event, counters: Counters) -> None:
    def create(_settings: DriverSettings, _context: DriverContext) -> _LiveDriver:
        return _LiveDriver(fleet, agent, finish)

    settings = DriverSettings(name="live", driver="live")
    configuration = EdgeConfiguration(
        address=address(agent),
        broker=parse_broker_url(broker_url),
        tls=TlsSettings(),
        outbox=OutboxSettings(path=path),
        batch=BatchSettings(readings=METERS),
        window=20,
        resend_after=30_000,
        metrics_port=None,
        drivers=(Configured(kind=DriverKind(settings=DriverSettings, create=create), settings=settings),),
        folder=path.parent,
    )
    await run_agent(configuration, stop=asyncio.Event(), until_stored=True, counters=counters)


class _LiveDriver:
    """A message's worth of readings at each of the plan's moments, until told to end."""

    def __init__(self, fleet: Fleet, agent: int, finish: Event) -> None:
        self._fleet = fleet
        self._agent = agent
        self._finish = finish

    def offers(self) -> list[OfferedMeter]:
        return []

    async def start(self) -> None: ...

    async def readings(self) -> AsyncIterator[Taken]:
        seq = self._fleet.backlog
        while not self._finish.is_set():
            last = self._fleet.last_seq(self._agent, time.time() * 1000)
            for one in range(seq + 1, last + 1):
                yield _taken(self._fleet, self._agent, one)
            seq = max(seq, last)
            await asyncio.sleep(_LOOK_S)

    async def stop(self) -> None: ...


def _taken(fleet: Fleet, agent: int, seq: int) -> Taken:
    at_ms = fleet.at_ms(agent, seq)
    return Taken(readings=list(_readings(agent, seq, at_ms)))


def _readings(agent: int, seq: int, at_ms: int) -> Iterator[Reading]:
    for meter in range(METERS):
        yield Reading(meter=meter_key(agent, meter), at_ms=at_ms, value=value(seq, meter), unit=UNIT)


def _outbox(path: Path) -> Outbox:
    settings = OutboxSettings()
    return Outbox(path, max_bytes=settings.max_size, when_full=settings.when_full, now_ms=_now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
