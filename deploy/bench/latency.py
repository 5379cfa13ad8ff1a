"""How long it takes from the instant of a reading until a query sees it, at a steady load.

Real processes throughout: publishers, Mosquitto, `afkobling collector run`, `afkobling rollup run`, TimescaleDB. An
agent of its own among the load sends one reading at a time, and a second connection looks for it again and again.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

import numpy as np
import psutil
import psycopg

from deploy.bench.courier import Courier, ready_made
from deploy.bench.load import ORGANISATION, SITE, UNIT, agent_key
from deploy.bench.pacing import Paced, publish_paced
from deploy.bench.processes import collector_process, cpu_s
from deploy.bench.rows import CADENCE_MS, make_model
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError
from schemas.topics import AgentAddress, Kind
from schemas.wire import JSON_TYPE

_METERS = 100
_PUBLISHERS = 2
_WARM_UP_S = 5.0
_LOOK_S = 0.002
_BETWEEN_S = (0.02, 0.08)
"""Between two readings that are looked for: at random, so as not to march in step with the batches."""
_PATIENCE_S = 30.0

_SEEN: LiteralString = """
    SELECT (extract(epoch FROM at) * 1000)::int8 FROM reading WHERE meter_id = %s AND at = ANY (%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCase:
    """From the instant of a reading until it was first seen, over `probes` readings, in milliseconds.

    `resolution_ms`: the prober looks so often (99th percentile of the time between two looks), so each figure may be
    that much too high. Cores used are processor seconds by seconds.
    """

    readings_per_s: int
    meters: int
    seconds: int
    probes: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    longest_ms: float
    resolution_ms: float
    collector_cores: float
    rollup_cores: float


def bench_latency(*, rates: Sequence[int], seconds: int) -> list[LatencyCase]:
    """Measure at each rate (readings a second), each in a database of its own, for so many seconds after a warm-up."""
    with scratch_stack() as servers:
        cases = []
        for rate in rates:
            with scratch_database(servers.database_url) as database_url:
                cases.append(_measure(database_url, servers.broker_url, rate, seconds))
    return cases


def _measure(database_url: str, broker_url: str, rate: int, seconds: int) -> LatencyCase:
    agents = max(_PUBLISHERS, rate * CADENCE_MS // 1000 // _METERS)
    with psycopg.connect(database_url, autocommit=True) as connection:
        # One agent more than the load has: the prober.
        make_model(connection, agents=agents + 1, meters=_METERS)
        connection.execute("ANALYZE")
        with (
            collector_process(database_url, broker_url, shared=False) as collector,
            _rollup_process(database_url) as rollup,
            _load(broker_url, agents=agents, seconds=int(_WARM_UP_S) + seconds + 2),
        ):
            _probe(connection, broker_url, agent=agents, seconds=_WARM_UP_S)
            before, started = (cpu_s(collector), cpu_s(rollup)), time.monotonic()
            latencies, gaps = _probe(connection, broker_url, agent=agents, seconds=seconds)
            wall_s = time.monotonic() - started
            used = cpu_s(collector) - before[0], cpu_s(rollup) - before[1]
    median, p90, p99, longest = (round(float(x), 1) for x in np.percentile(latencies, [50, 90, 99, 100]))
    return LatencyCase(
        readings_per_s=agents * _METERS * 1000 // CADENCE_MS,
        meters=agents * _METERS,
        seconds=seconds,
        probes=len(latencies),
        median_ms=median,
        p90_ms=p90,
        p99_ms=p99,
        longest_ms=longest,
        resolution_ms=round(float(np.percentile(gaps, 99)), 1),
        collector_cores=round(used[0] / wall_s, 3),
        rollup_cores=round(used[1] / wall_s, 3),
    )


def _probe(
    connection: psycopg.Connection, broker_url: str, *, agent: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Send readings and look for them. Returns their latencies and the times between looks, in milliseconds."""
    row = connection.execute("SELECT id FROM meter WHERE key = %s", [_meter(agent)]).fetchone()
    if row is None:
        raise TransientError("the prober's meter is not set up; not measured")
    epoch, seq = uuid.uuid4().hex, 0
    topic = AgentAddress(organisation=ORGANISATION, site=SITE, agent=agent_key(agent)).topic(Kind.READINGS)
    waiting: dict[int, datetime] = {}
    latencies: list[float] = []
    gaps: list[float] = []
    ends = time.time() + seconds
    next_at = looked = time.time()
    with closing(Courier(broker_url, window=1_000)) as courier:
        while time.time() < ends or waiting:
            if time.time() > ends + _PATIENCE_S:
                raise TransientError(f"{len(waiting)} readings were not seen within {_PATIENCE_S:.0f} s; not measured")
            if next_at <= time.time() < ends:
                seq += 1
                at_ms = time.time_ns() // 1_000_000
                courier.send([ready_made(topic, _message(agent, epoch, seq, at_ms), JSON_TYPE)])
                waiting[at_ms] = datetime.fromtimestamp(at_ms / 1000, UTC)
                next_at = time.time() + random.uniform(*_BETWEEN_S)  # noqa: S311 - no secret
            courier.work(_LOOK_S)
            if waiting:
                seen = connection.execute(_SEEN, [row[0], list(waiting.values())]).fetchall()
                now = time.time()
                gaps.append((now - looked) * 1000)
                latencies += [now * 1000 - at_ms for (at_ms,) in seen]
                for (at_ms,) in seen:
                    del waiting[at_ms]
            looked = time.time()
    return latencies, gaps


def _meter(agent: int) -> str:
    return f"{agent_key(agent)}-m0"


def _message(agent: int, epoch: str, seq: int, at_ms: int) -> bytes:
    return (
        f'{{"v":1,"epoch":"{epoch}","seq":{seq},"sent_at":{at_ms},"meters":["{_meter(agent)}"],"units":["{UNIT}"],'
        f'"meter":[0],"at":[{at_ms}],"value":[{1000 + seq}]}}'
    ).encode()


@contextmanager
def _load(broker_url: str, *, agents: int, seconds: int) -> Iterator[None]:
    """Publishers of a reading of each meter in a cadence, from when they have begun."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(_PUBLISHERS + 1)
    plan = Paced(agents=agents, meters=_METERS, seconds=seconds, behind_ms=0, epoch=uuid.uuid4().hex)
    publishers = [
        context.Process(target=publish_paced, args=(broker_url, plan, part, _PUBLISHERS, ready), daemon=True)
        for part in range(_PUBLISHERS)
    ]
    for publisher in publishers:
        publisher.start()
    ready.wait(120)
    try:
        yield
        if not all(publisher.is_alive() or publisher.exitcode == 0 for publisher in publishers):
            raise TransientError("a publisher ended early; is the broker up? not measured")
    finally:
        for publisher in publishers:
            publisher.terminate()
            publisher.join(10)


@contextmanager
def _rollup_process(database_url: str) -> Iterator[psutil.Process]:
    environment = {**os.environ, "AFKOBLING_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "deploy.cli", "rollup", "run"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
