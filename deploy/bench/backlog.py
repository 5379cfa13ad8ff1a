"""A backlog drains while live readings come in, and a database that is away while they do.

Real processes throughout: Mosquitto, `afkobling collector run`, `afkobling rollup run`, TimescaleDB. Most agents are
kept in a few processes and make their messages when they are due, by the edge's own window; some are real, with
outbox files.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg

from deploy.bench.backlog_plan import METERS, Fleet, meter_key
from deploy.bench.backlog_run import (
    PATIENCE_S,
    Account,
    Agents,
    broker_process,
    our_processes,
    wait_until,
)
from deploy.bench.backlog_watch import BrokerWatch, Latency, LatencyWatch, Memory, MemoryWatch
from deploy.bench.rows import CADENCE_MS, make_model
from deploy.bench.scratch import scratch_database, scratch_stack
from deploy.migrate import migrate
from deploy.stack import Endpoints, down, restart_database, up
from deploy.stack.addresses import given_servers
from deploy.stack.folders import data_folder
from deploy.stack.postgres import stop as stop_database
from schemas.broker_url import parse_broker_url
from schemas.errors import PermanentError

_MESSAGES_EACH = 1_000
_LIVE_MS = 1_000
_REAL_MS = 1_000
_AHEAD_MS = 3_000
_AFTER_S = 3.0
_WARM_S = 5.0
_REPORT_S = 10.0
_LATE_S = 600.0
_SEED: LiteralString = """
    INSERT INTO reading (meter_id, at, value, quality)
    SELECT id, now() - interval '1 day', 1, 0 FROM meter WHERE key = %s
"""
_IS_CLOSED: LiteralString = "SELECT closed_to IS NOT NULL FROM rollup_progress"
_PENDING: LiteralString = "SELECT EXISTS (SELECT FROM pending)"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogCase:
    """`live` by who sent it: agents without a backlog, agents that have one, and real agents that have one.

    `drain_s` is from the first message until the whole backlog was stored, `rolled_up_s` from the end until the roll-up
    had recomputed all that was late; None where it took longer than ten minutes. Memory in MB; the broker's most is
    what it held for the collector and in retained messages.
    """

    backlog_readings: int
    agents: int
    live_readings_per_s: int
    drain_s: float
    drain_readings_per_s: int
    live: dict[str, Latency | None]
    memory: dict[str, Memory]
    broker_most_messages: int
    broker_most_bytes: int
    rolled_up_s: float | None
    load_average: float
    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageCase:
    """The database was away for `seconds` while agents went on; `drain_s` from its return until all had caught up.

    Copies are of the time until it returned. `live` is of real agents after all had caught up.
    """

    seconds: int
    agents: int
    readings_per_s: int
    behind_readings: int
    drain_s: float
    drain_readings_per_s: int
    copies_while_away: int
    copy_bytes_while_away: int
    memory: dict[str, Memory]
    broker_most_messages: int
    broker_most_bytes: int
    load_average: float
    account: Account


def bench_backlog(
    *, readings: int, live_per_s: int, real_agents: int, outbox_readings: int, report: Report
) -> BacklogCase:
    """Agents with about that many readings in all come back, while `live_per_s` are taken."""
    count = max(2, round(readings / METERS / _MESSAGES_EACH))
    backlog = max(1, readings // METERS // count)
    others = max(1, (live_per_s - count * METERS * 1000 // CADENCE_MS) // METERS)
    start_ms = int(time.time() * 1000) + _AHEAD_MS
    with (
        scratch_stack() as servers,
        scratch_database(servers.database_url) as database_url,
        _scene(database_url, servers.broker_url, agents=count + others + real_agents) as scene,
    ):
        own = Fleet(first=0, count=count, backlog=backlog, cadence_ms=CADENCE_MS, start_ms=start_ms)
        live = Fleet(first=count, count=others, backlog=0, cadence_ms=_LIVE_MS, start_ms=start_ms)
        real = Fleet(
            first=count + others,
            count=real_agents,
            backlog=outbox_readings // METERS,
            cadence_ms=_REAL_MS,
            start_ms=start_ms,
        )
        agents = Agents(servers.broker_url, [own, live], real, scene.folder)
        agents.fill()
        total = own.backlog_readings + real.backlog_readings
        watched = {"agents_with_none": live, "agents_with_a_backlog": own, "real_agents_with_a_backlog": real}
        with ExitStack() as stack:
            stack.callback(agents.kill)
            latency = stack.enter_context(LatencyWatch(scene.database_url, watched))
            agents.start()
            memory = stack.enter_context(MemoryWatch({**scene.processes, **agents.processes}))
            broker = stack.enter_context(BrokerWatch(servers.broker_url))
            wait_until(lambda: agents.progress().published > 0, "the first message", PATIENCE_S)
            said = _Told(report)

            def is_drained() -> bool:
                progress = agents.progress()
                said(f"{own.backlog_readings - progress.backlog_left * METERS:,} of {own.backlog_readings:,} readings")
                return agents.is_backlog_stored(scene.connection)

            drain_s = wait_until(is_drained, "the backlog to be stored", PATIENCE_S + readings / 10_000)
            found, load = latency.found(), psutil.getloadavg()[0]
            time.sleep(_AFTER_S)
            account = agents.finish(scene.connection)
            rolled_up_s = _roll_up_s(scene.connection)
            kept = memory.found()
    return BacklogCase(
        backlog_readings=total,
        agents=count + others + real_agents,
        live_readings_per_s=_rate(own) + _rate(live) + _rate(real),
        drain_s=round(drain_s, 1),
        drain_readings_per_s=round(total / drain_s),
        live=found,
        memory=kept,
        broker_most_messages=broker.most["count"],
        broker_most_bytes=broker.most["bytes"],
        rolled_up_s=rolled_up_s,
        load_average=round(load, 2),
        account=account,
    )


def bench_outage(*, seconds: int, readings_per_s: int, real_agents: int, report: Report) -> OutageCase:
    """Stop the database of a stack of our own for so long, while `readings_per_s` are taken."""
    count = max(2, readings_per_s * CADENCE_MS // 1000 // METERS)
    with (
        _own_stack() as (servers, folder),
        _scene(servers.database_url, servers.broker_url, agents=count + real_agents) as scene,
    ):
        start_ms = int(time.time() * 1000) + _AHEAD_MS
        fleet = Fleet(first=0, count=count, backlog=0, cadence_ms=CADENCE_MS, start_ms=start_ms)
        real = Fleet(first=count, count=real_agents, backlog=0, cadence_ms=_REAL_MS, start_ms=start_ms)
        agents = Agents(servers.broker_url, [fleet], real, scene.folder)
        with ExitStack() as stack:
            stack.callback(agents.kill)
            agents.start()
            memory = stack.enter_context(MemoryWatch({**scene.processes, **agents.processes}))
            broker = stack.enter_context(BrokerWatch(servers.broker_url))
            said = _Told(report)
            time.sleep(_WARM_S + _AHEAD_MS / 1000)
            wait_until(lambda: agents.progress().stored > 0, "the first readings", PATIENCE_S)
            scene.connection.close()
            stop_database(data_folder(folder))
            report(f"the database is away for {seconds} s")
            before, away_until = agents.progress(), time.monotonic() + seconds
            while time.monotonic() < away_until:
                time.sleep(min(1.0, max(0.0, away_until - time.monotonic())))
                progress = agents.progress()
                said(f"{(progress.last - progress.stored) * METERS:,} readings wait, {progress.copies:,} copies")
            away = agents.progress()
            behind = (away.last - away.stored) * METERS
            restart_database(folder, report=lambda _: None)
            report(f"the database is back; {behind:,} readings wait")
            near = 3 * count * 1000 // CADENCE_MS + count // 10

            def has_caught_up() -> bool:
                progress = agents.progress()
                said(f"{(progress.last - progress.stored) * METERS:,} readings wait")
                return progress.last - progress.stored <= near

            drain_s = wait_until(has_caught_up, "the agents to catch up", PATIENCE_S + behind / 10_000)
            load = psutil.getloadavg()[0]
            with psycopg.connect(scene.database_url, autocommit=True) as connection:
                account = agents.finish(connection)
            kept = memory.found()
    return OutageCase(
        seconds=seconds,
        agents=count + real_agents,
        readings_per_s=_rate(fleet) + _rate(real),
        behind_readings=behind,
        drain_s=round(drain_s, 1),
        drain_readings_per_s=round((behind + drain_s * _rate(fleet)) / drain_s),
        copies_while_away=away.copies - before.copies,
        copy_bytes_while_away=away.copy_bytes - before.copy_bytes,
        memory=kept,
        broker_most_messages=broker.most["count"],
        broker_most_bytes=broker.most["bytes"],
        load_average=round(load, 2),
        account=account,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A database with its model, our processes on it, and a folder for logs and outboxes."""

    database_url: str
    connection: psycopg.Connection
    processes: dict[str, psutil.Process]
    folder: Path


class _Told:
    """Reports now and then."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._next_s = 0.0

    def __call__(self, words: str) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _REPORT_S
            self._report(words)


@contextmanager
def _scene(database_url: str, broker_url: str, *, agents: int) -> Iterator[_Scene]:
    with (
        tempfile.TemporaryDirectory(prefix="afkobling-bench-") as folder,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):
        # One more, with the only reading that was there before: from then on there are quarters that are closed.
        make_model(connection, agents=agents + 1, meters=METERS)
        connection.execute(_SEED, [meter_key(agents, 0)])
        connection.execute("ANALYZE")
        with our_processes(database_url, broker_url, Path(folder)) as processes:
            wait_until(lambda: connection.execute(_IS_CLOSED).fetchone() == (True,), "the roll-up", PATIENCE_S)
            broker = broker_process(parse_broker_url(broker_url).port)
            watched = processes if broker is None else {**processes, "broker": broker}
            yield _Scene(database_url=database_url, connection=connection, processes=watched, folder=Path(folder))


@contextmanager
def _own_stack() -> Iterator[tuple[Endpoints, Path]]:
    """Servers that nobody else uses, as one of them is stopped, with an empty, migrated database."""
    given = given_servers()
    if given.database_url or given.broker_url:
        raise PermanentError(
            "this bench stops its database: it starts servers of its own; unset AFKOBLING_DATABASE_URL and "
            "AFKOBLING_BROKER_URL"
        )
    folder = Path(tempfile.mkdtemp(prefix="afkobling-bench-"))
    # PostgreSQL runs as an unprivileged user when root runs the bench, and must get through.
    folder.chmod(0o755)
    try:
        servers = up(folder)
        migrate(servers.database_url)
        yield servers, folder
    finally:
        down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _roll_up_s(connection: psycopg.Connection) -> float | None:
    started = time.monotonic()
    while connection.execute(_PENDING).fetchone() == (True,):
        if time.monotonic() - started > _LATE_S:
            return None
        time.sleep(1)
    return round(time.monotonic() - started, 1)


def _rate(fleet: Fleet) -> int:
    return fleet.count * METERS * 1000 // fleet.cadence_ms
