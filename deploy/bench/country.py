"""Whether the roll-up keeps up with ingest: agents publish at a steady rate, as a country's factories would.

Real processes throughout: publishers, Mosquitto, `afkobling collector run`, the roll-up, TimescaleDB. The data's clock
is set back so that a quarter of an hour ends while the bench looks on.
"""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import LiteralString

import psutil
import psycopg

from collector.rollup_runner import RollupRunner
from collector.settings import RollupSettings
from deploy.bench.pacing import Paced, publish_paced
from deploy.bench.processes import ServersUsed, collector_process, cpu_s, peak_mb, servers_used
from deploy.bench.rows import CADENCE_MS, make_model
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError
from schemas.quantities import QUARTER_MS

_METERS = 100
_PUBLISHERS = 2
_EDGE = 0.6
"""After which part of the run a quarter ends."""
_SAMPLE_S = 2.0
_PATIENCE_S = 300.0
_PROGRESS: LiteralString = """
    SELECT (SELECT (extract(epoch FROM max(at)) * 1000)::int8 FROM reading),
           (SELECT (extract(epoch FROM computed_to) * 1000)::int8 FROM rollup_progress)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowCase:
    """A run of `seconds`. Lags are seconds behind the present, in the first and in the last third of the run (mean).

    `quarter_lag_s`: how long after a quarter's end its consumption stood in the table, of `quarter_rows` meters.
    `follow_lag_…`: how far behind the roll-up is with reading; it waits on purpose for what is still to arrive.
    Cores used are processor seconds by seconds, between the first message and the last; None for a server that is not
    on this machine. Memory (MB) is that at a tenth of the run, in its middle and at its end, and the most there was.
    """

    seconds: int
    meters: int
    asked_readings_per_s: int
    stored_readings_per_s: int
    readings: int
    ingest_lag_first_s: float | None
    ingest_lag_last_s: float | None
    follow_lag_first_s: float | None
    follow_lag_last_s: float | None
    quarter_lag_s: float
    quarter_rows: int
    our_cores: float
    collector_cores: float
    rollup_cores: float
    database_cores: float | None
    broker_cores: float | None
    publisher_cores: float
    collector_mb: tuple[float, float, float]
    collector_peak_mb: float
    rollup_mb: tuple[float, float, float]
    rollup_peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Seconds since the start, how far behind (seconds) ingest and roll-up are, and the memory that they hold (MB)."""

    at_s: float
    ingest_s: float
    follow_s: float | None
    collector_mb: float
    rollup_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """Processor seconds at one moment."""

    at_s: float
    collector: float
    rollup: float
    publishers: float
    servers: ServersUsed


def bench_follow(*, seconds: int, readings_per_s: int) -> FollowCase:
    """Publish at that rate for so long, with a reading of each meter in CADENCE_MS."""
    agents = max(_PUBLISHERS, readings_per_s * CADENCE_MS // 1000 // _METERS)
    with (
        scratch_stack() as servers,
        scratch_database(servers.database_url) as database_url,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):
        make_model(connection, agents=agents, meters=_METERS)
        connection.execute("ANALYZE")
        with collector_process(database_url, servers.broker_url, shared=False) as collector:
            return _run(connection, collector, database_url, servers.broker_url, agents=agents, seconds=seconds)


def _run(
    connection: psycopg.Connection,
    collector: psutil.Process,
    database_url: str,
    broker_url: str,
    *,
    agents: int,
    seconds: int,
) -> FollowCase:
    now_ms = int(time.time() * 1000)
    ends_ms = now_ms + int(_EDGE * seconds * 1000)
    edge_ms = ends_ms // QUARTER_MS * QUARTER_MS
    behind_ms = ends_ms - edge_ms
    context = multiprocessing.get_context("spawn")
    stop, ready = context.Event(), context.Barrier(_PUBLISHERS + 1)
    receiver, sender = context.Pipe(duplex=False)
    rollup = context.Process(target=_roll_up, args=(database_url, behind_ms, stop, sender), daemon=True)
    rollup.start()
    plan = Paced(agents=agents, meters=_METERS, seconds=seconds, behind_ms=behind_ms, epoch=uuid.uuid4().hex)
    publishers = [
        context.Process(target=publish_paced, args=(broker_url, plan, part, _PUBLISHERS, ready), daemon=True)
        for part in range(_PUBLISHERS)
    ]
    for publisher in publishers:
        publisher.start()
    ready.wait(120)
    ours = _Processes(
        collector=collector,
        rollup=psutil.Process(rollup.pid),
        publishers=tuple(psutil.Process(publisher.pid) for publisher in publishers),
    )
    before = ours.used(connection, broker_url)
    try:
        samples, quarter_lag, after = _watch(connection, receiver, plan, ours, broker_url, edge_ms=edge_ms)
        for publisher in publishers:
            publisher.join(_PATIENCE_S)
        stored = _wait_for(connection, plan.readings)
        rows = connection.execute(
            "SELECT count(*) FROM consumption WHERE quarter = to_timestamp(%s / 1000.0)", [edge_ms - QUARTER_MS]
        ).fetchone()
        peaks = peak_mb(ours.collector), peak_mb(ours.rollup)
    finally:
        stop.set()
        rollup.join(30)
    third = plan.seconds / 3
    wall_s = after.at_s - before.at_s
    collector_cores = (after.collector - before.collector) / wall_s
    rollup_cores = (after.rollup - before.rollup) / wall_s
    servers = after.servers.since(before.servers)
    first = [s for s in samples if s.at_s < third]
    last = [s for s in samples if s.at_s > 2 * third]
    return FollowCase(
        seconds=seconds,
        meters=agents * _METERS,
        asked_readings_per_s=agents * _METERS * 1000 // CADENCE_MS,
        stored_readings_per_s=round(plan.readings / stored),
        readings=plan.readings,
        ingest_lag_first_s=_mean([s.ingest_s for s in first]),
        ingest_lag_last_s=_mean([s.ingest_s for s in last]),
        follow_lag_first_s=_mean([s.follow_s for s in first if s.follow_s is not None]),
        follow_lag_last_s=_mean([s.follow_s for s in last if s.follow_s is not None]),
        quarter_lag_s=round(quarter_lag, 1),
        quarter_rows=rows[0] if rows else 0,
        our_cores=round(collector_cores + rollup_cores, 3),
        collector_cores=round(collector_cores, 3),
        rollup_cores=round(rollup_cores, 3),
        database_cores=_cores(servers.database_cpu_s, wall_s),
        broker_cores=_cores(servers.broker_cpu_s, wall_s),
        publisher_cores=round((after.publishers - before.publishers) / wall_s, 3),
        collector_mb=_three([s.collector_mb for s in samples]),
        collector_peak_mb=round(peaks[0], 1),
        rollup_mb=_three([s.rollup_mb for s in samples]),
        rollup_peak_mb=round(peaks[1], 1),
    )


def _roll_up(database_url: str, behind_ms: int, stop: Event, sender: Connection) -> None:
    """The roll-up as a process, by the data's clock; tells once in a while how far it has followed."""
    import threading

    runner = RollupRunner(
        RollupSettings(database_url=database_url), clock_ms=lambda: time.time_ns() // 1_000_000 - behind_ms
    )

    def tell() -> None:
        while not stop.wait(_SAMPLE_S / 2):
            sender.send(runner.metrics.followed_to._value.get())  # noqa: SLF001 - prometheus has no other way
        runner.stop()

    threading.Thread(target=tell, daemon=True).start()
    runner.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Processes:
    """Those of a run."""

    collector: psutil.Process
    rollup: psutil.Process
    publishers: tuple[psutil.Process, ...]

    def used(self, connection: psycopg.Connection, broker_url: str) -> _Used:
        """What they and the servers have used up to now."""
        return _Used(
            at_s=time.time(),
            collector=cpu_s(self.collector),
            rollup=cpu_s(self.rollup),
            publishers=sum(map(cpu_s, self.publishers)),
            servers=servers_used(connection, broker_url),
        )


def _watch(
    connection: psycopg.Connection,
    followed: Connection,
    plan: Paced,
    ours: _Processes,
    broker_url: str,
    *,
    edge_ms: int,
) -> tuple[list[_Sample], float, _Used]:
    """Look on until the run is over and the quarter complete.

    Returns samples, the quarter's lag in seconds, and what was used up to just before the end of the run.
    """
    samples: list[_Sample] = []
    used = ours.used(connection, broker_url)
    started = time.time()
    followed_s = 0.0
    quarter_lag: float | None = None
    while time.time() - started < plan.seconds or quarter_lag is None:
        if time.time() - started > plan.seconds + _PATIENCE_S:
            raise TransientError("the quarter was not completed in time; not measured")
        time.sleep(_SAMPLE_S)
        while followed.poll():
            followed_s = followed.recv()
        newest_ms, computed_ms = connection.execute(_PROGRESS).fetchone() or (None, None)
        data_s = time.time() - plan.behind_ms / 1000
        if quarter_lag is None and computed_ms is not None and computed_ms >= edge_ms:
            quarter_lag = data_s - edge_ms / 1000
        at_s = time.time() - started
        if newest_ms is not None and at_s < plan.seconds:
            follow_s = data_s - followed_s if followed_s else None
            samples.append(
                _Sample(
                    at_s=at_s,
                    ingest_s=data_s - newest_ms / 1000,
                    follow_s=follow_s,
                    collector_mb=ours.collector.memory_info().rss / 1e6,
                    rollup_mb=ours.rollup.memory_info().rss / 1e6,
                )
            )
        # The publishers end a little later.
        if at_s < plan.seconds - _SAMPLE_S:
            used = ours.used(connection, broker_url)
    return samples, quarter_lag, used


def _wait_for(connection: psycopg.Connection, readings: int) -> float:
    """Until all are stored. Returns the seconds between the first and the last reading."""
    deadline = time.time() + _PATIENCE_S
    while True:
        row = connection.execute("SELECT sum(stored), extract(epoch FROM max(last_at) - min(first_at)) FROM ledger")
        stored, seconds = row.fetchone() or (0, 1)
        if stored == readings:
            return float(seconds)
        if time.time() > deadline:
            raise TransientError(f"{stored} of {readings} readings were stored; not measured")
        time.sleep(1)


def _cores(cpu_s: float | None, wall_s: float) -> float | None:
    return None if cpu_s is None else round(cpu_s / wall_s, 3)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    """At a tenth, in the middle, at the end."""
    if not values:
        raise TransientError("the run was too short to look at; not measured")
    last = len(values) - 1
    tenth, middle, end = (round(values[place], 1) for place in (last // 10, last // 2, last))
    return tenth, middle, end


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None
