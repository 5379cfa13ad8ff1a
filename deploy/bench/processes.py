"""The processes that a bench runs or looks at: what they have used of the processor, and the most memory they had."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from schemas.broker_url import parse_broker_url
from schemas.errors import TransientError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersUsed:
    """Processor seconds of PostgreSQL and of the broker; None where they run out of our sight."""

    database_cpu_s: float | None
    broker_cpu_s: float | None

    def since(self, before: ServersUsed) -> ServersUsed:
        """What has been used between then and now."""
        return ServersUsed(
            database_cpu_s=_difference(self.database_cpu_s, before.database_cpu_s),
            broker_cpu_s=_difference(self.broker_cpu_s, before.broker_cpu_s),
        )


def servers_used(connection: psycopg.Connection, broker_url: str) -> ServersUsed:
    """What the servers have used since they were started."""
    return ServersUsed(
        database_cpu_s=_database_cpu_s(connection.info.backend_pid), broker_cpu_s=_listener_cpu_s(broker_url)
    )


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_mb(process: psutil.Process) -> float:
    """The most memory that a process has held; where the system does not tell, what it holds now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    peaks = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return (peaks[0] * 1024 if peaks else process.memory_info().rss) / 1e6


@contextmanager
def collector_process(
    database_url: str, broker_url: str, *, shared: bool, settings: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """`afkobling collector run` from when it has subscribed until the `with` is left."""
    environment = {
        **os.environ,
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        "AFKOBLING_COLLECTOR_ID": f"bench-{uuid.uuid4().hex[:8]}",
        **({"AFKOBLING_SHARE_GROUP": "bench"} if shared else {}),
        **(settings or {}),
    }
    command = [sys.executable, "-m", "deploy.cli", "collector", "run"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603
    log = process.stderr or io.StringIO()
    # Read to the end, as a full pipe would stop the collector.
    reader = threading.Thread(target=deque, args=(log, 0), daemon=True)
    try:
        if not any('"action": "broker.subscribed"' in line for line in log):
            raise TransientError("the collector ended before it had subscribed")
        reader.start()
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if reader.ident is not None:
            reader.join(60)
        log.close()


def _database_cpu_s(backend_pid: int) -> float | None:
    """Of the server that this process of its serves, all its processes, also those that have ended."""
    try:
        server = psutil.Process(backend_pid).parent()
        if server is None or not server.name().startswith("postgres"):
            return None
        times = server.cpu_times()
        ended = float(times.children_user + times.children_system)
        return cpu_s(server) + ended + sum(cpu_s(child) for child in server.children())
    except psutil.Error:
        return None


def _listener_cpu_s(broker_url: str) -> float | None:
    port = parse_broker_url(broker_url).port
    try:
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if is_it and connection.pid:
                return cpu_s(psutil.Process(connection.pid))
    except psutil.Error:
        return None
    return None


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else round(now - before, 2)
