"""What an agent costs on its device: start, memory, processor, bytes to flash, and how fast it drains a backlog.

Real throughout: `afkobling edge run`, with the libraries of a device alone, over Modbus TCP to simulated meters, a
broker, a collector and TimescaleDB. Only the agent's process is measured; the others share the machine with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psutil
import psycopg
import yaml

from deploy.bench.edge_backlog import fill_backlog
from deploy.bench.edge_meters import driver_entries, simulated_meters
from deploy.bench.on_device import command
from deploy.bench.processes import collector_process, cpu_s, peak_mb
from deploy.bench.rows import make_model
from deploy.bench.scratch import scratch_database, scratch_stack
from deploy.demo.parts import free_port
from edge.outbox_depth import read_depth
from schemas.errors import TransientError

_UP_S = 60.0
_WARM_S = 10.0
_PATIENCE_S = 3_600.0
_WEEK_READINGS = 7 * 86_400
"""Of one meter that is read each second."""
_NEWEST: LiteralString = "SELECT extract(epoch FROM now() - max(at)) FROM reading WHERE at > to_timestamp(%s)"
"""Of readings taken since then: those of the backlog are older."""
_STORED: LiteralString = "SELECT stored_seq FROM ledger WHERE agent = 'agent-0'"
_COUNT: LiteralString = "SELECT count(*) FROM reading"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """An agent that reads for a while. `core_share`: of one core. Bytes are those that the process gave to its disk."""

    batch_age: str
    seconds: float
    readings: int
    readings_wanted: int
    core_share: float
    resident_mb: float
    peak_mb: float
    written_bytes_a_reading: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A backlog that drains while the meters are read on. Ages: of the newest reading in the database, each 0.2 s."""

    backlog_readings: int
    outbox_mb: float
    outbox_bytes_a_reading: float
    week_of_these_meters_gb: float
    start_s: float
    drain_s: float
    readings_per_s: int
    live_age_median_s: float
    live_age_max_s: float
    resident_mb: float
    peak_mb: float
    all_stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCase:
    """`start_s`: from the command to the first connection's outbox; `first_reading_s`: to the first reading taken."""

    meters: int
    every: str
    start_s: float
    first_reading_s: float
    steady: list[Steady]
    drain: Drain | None
    load_average: float


def bench_edge(*, meters: int, seconds: int, backlog_hours: float, report: Report) -> EdgeCase:
    """Measure with so many meters at one second, `seconds` for each batch age, and a backlog of so many hours."""
    load_average = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="afkobling-bench-edge-", dir="/var/tmp"))
    try:
        with (
            scratch_stack() as servers,
            scratch_database(servers.database_url) as database_url,
            simulated_meters(meters) as ports,
            psycopg.connect(database_url, autocommit=True) as connection,
        ):
            make_model(connection, agents=1, meters=meters)
            bench = _Bench(folder=folder, broker_url=servers.broker_url, ports=ports, report=report)
            with collector_process(database_url, servers.broker_url, shared=False):
                bench.measure_start()
                steady = [bench.measure_steady(age, seconds) for age in ("100ms", "10s")]
                drain = bench.measure_drain(connection, round(backlog_hours * 3600)) if backlog_hours else None
        return EdgeCase(
            meters=meters,
            every="1s",
            start_s=bench.start_s,
            first_reading_s=bench.first_reading_s,
            steady=steady,
            drain=drain,
            load_average=round(load_average, 2),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Agent:
    """A running `afkobling edge run`."""

    def __init__(self, config: Path, port: int) -> None:
        self.began_s = time.monotonic()
        self._port = port
        self._log = config.with_name("agent.log")
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command("edge", "run", "--config", str(config)), stdout=sink, stderr=sink
            )
        self.process = psutil.Process(self._process.pid)

    def wait_for(self, metric: str, least: float) -> float:
        """Seconds from the command until a metric is as much."""
        while time.monotonic() - self.began_s < _UP_S:
            if self._process.poll() is not None:
                last = "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-10:])
                raise TransientError(f"the agent ended early; not measured. Its last words:\n{last}")
            value = self.metric(metric)
            if value is not None and value >= least:
                return round(time.monotonic() - self.began_s, 3)
            time.sleep(0.01)
        raise TransientError(f"the agent's {metric} did not become {least}; not measured")

    def metric(self, name: str) -> float | None:
        """The sum over labels; None while the agent doesn't answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except (urllib.error.URLError, OSError):
            return None
        found = [line.rsplit(" ", 1)[1] for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(map(float, found)) if found else None

    def written_bytes(self) -> int:
        """What the process has given to its disk so far."""
        counters = self.process.io_counters()
        return int(counters.write_bytes)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


@dataclass(slots=True, kw_only=True)
class _Bench:
    folder: Path
    broker_url: str
    ports: list[int]
    report: Report
    start_s: float = 0.0
    first_reading_s: float = 0.0

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox.sqlite"

    @contextmanager
    def agent(self, *, age: str = "100ms") -> Iterator[_Agent]:
        port = free_port()
        settings: dict[str, Any] = {
            "organisation": "bench",
            "site": "bench",
            "agent": "agent-0",
            "broker": self.broker_url,
            "outbox": {"path": self.outbox.name, "max_size": "4GB"},
            "batch": {"age": age},
            "metrics_port": port,
            "drivers": driver_entries(self.ports, every="1s"),
        }
        config = self.folder / "edge.yaml"
        # It holds the broker's password.
        config.touch(0o600)
        config.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
        agent = _Agent(config, port)
        try:
            yield agent
        finally:
            agent.stop()

    def measure_start(self) -> None:
        """Once before, so that Python has its compiled files."""
        for _ in range(2):
            with self.agent() as agent:
                self.start_s = agent.wait_for("afkobling_edge_outbox_limit_bytes", 1)
                self.first_reading_s = agent.wait_for("afkobling_edge_readings_taken_total", 1)
        self.report(f"started in {self.start_s} s, first reading after {self.first_reading_s} s")

    def measure_steady(self, age: str, seconds: int) -> Steady:
        with self.agent(age=age) as agent:
            agent.wait_for("afkobling_edge_readings_taken_total", len(self.ports))
            time.sleep(_WARM_S)
            before = (agent.metric("afkobling_edge_readings_taken_total") or 0, cpu_s(agent.process))
            written, began_s = agent.written_bytes(), time.monotonic()
            time.sleep(seconds)
            took_s = time.monotonic() - began_s
            used_s = cpu_s(agent.process) - before[1]
            wrote = agent.written_bytes() - written
            readings = round((agent.metric("afkobling_edge_readings_taken_total") or 0) - before[0])
            found = Steady(
                batch_age=age,
                seconds=round(took_s, 1),
                readings=readings,
                readings_wanted=round(len(self.ports) * took_s),
                core_share=round(used_s / took_s, 4),
                resident_mb=round(agent.process.memory_info().rss / 1e6, 1),
                peak_mb=round(peak_mb(agent.process), 1),
                written_bytes_a_reading=round(wrote / max(1, readings), 1),
            )
        self.report(f"steady with batch age {age}: {found}")
        return found

    def measure_drain(self, connection: psycopg.Connection, seconds: int) -> Drain:
        """Fill the outbox as the agent would have in so many seconds without a broker, and let it drain."""
        for path in self.folder.glob("outbox.sqlite*"):
            path.unlink()
        self.report(f"filling an outbox with {seconds * len(self.ports):,} readings")
        last_seq = fill_backlog(self.outbox, meters=len(self.ports), seconds=seconds)
        size = self.outbox.stat().st_size
        backlog = seconds * len(self.ports)
        before = _one(connection, _COUNT)
        ages: list[float] = []
        with self.agent() as agent:
            start_s = agent.wait_for("afkobling_edge_outbox_limit_bytes", 1)
            agent.wait_for("afkobling_edge_broker_online", 1)
            began_s, began_at_s = time.monotonic(), time.time()
            said_s = began_s
            # The ledger's row may still be of the outbox before.
            while (stored := _one(connection, _STORED + " AND epoch = %s", self._epoch())) < last_seq:
                if time.monotonic() - began_s > _PATIENCE_S:
                    raise TransientError("the backlog did not drain in an hour; not measured")
                if (age := connection.execute(_NEWEST, [began_at_s]).fetchone()) and age[0] is not None:
                    ages.append(float(age[0]))
                if time.monotonic() - said_s > 10:
                    said_s = time.monotonic()
                    self.report(f"drained {stored / last_seq:.0%}")
                time.sleep(0.2)
            took_s = time.monotonic() - began_s
            resident = agent.process.memory_info().rss / 1e6
            peak = peak_mb(agent.process)
        depth = read_depth(self.outbox)
        return Drain(
            backlog_readings=backlog,
            outbox_mb=round(size / 1e6, 1),
            outbox_bytes_a_reading=round(size / backlog, 1),
            week_of_these_meters_gb=round(size / backlog * _WEEK_READINGS * len(self.ports) / 1e9, 2),
            start_s=start_s,
            drain_s=round(took_s, 1),
            readings_per_s=round(backlog / took_s),
            live_age_median_s=round(median(ages), 2) if ages else float("nan"),
            live_age_max_s=round(max(ages), 2) if ages else float("nan"),
            resident_mb=round(resident, 1),
            peak_mb=round(peak, 1),
            all_stored=_one(connection, _COUNT) - before >= backlog and depth is not None and depth.messages == 0,
        )

    def _epoch(self) -> str:
        depth = read_depth(self.outbox)
        return "" if depth is None else depth.epoch


def _one(connection: psycopg.Connection, statement: LiteralString, *values: Any) -> int:
    with closing(connection.execute(statement, values)) as cursor:
        row = cursor.fetchone()
    return 0 if row is None else int(row[0])
