"""What the benches of backlogs and outages share: processes of ours, agents of both kinds, and the account."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import psutil
import psycopg

from deploy.bench.backlog_agents import AgentEnd, fill_outbox, run_real_agent
from deploy.bench.backlog_plan import METERS, Fleet
from deploy.bench.backlog_publisher import Progress, publish_fleets
from deploy.bench.load import agent_key
from schemas.errors import TransientError

PUBLISHERS = 2
PATIENCE_S = 1_200.0
_UP_S = 60.0
_NONE = Progress(last=0, stored=0, backlog_left=0, published=0, copies=0, copy_bytes=0)
_ACCOUNT: LiteralString = """
    SELECT (SELECT count(*) FROM reading WHERE at > now() - interval '1 day'),
           (SELECT coalesce(sum(readings), 0)::int8 FROM ledger), (SELECT coalesce(sum(stored), 0)::int8 FROM ledger),
           (SELECT coalesce(sum(repeated), 0)::int8 FROM ledger),
           (SELECT coalesce(sum(quarantined), 0)::int8 FROM ledger),
           (SELECT coalesce(sum(stored_seq), 0)::int8 FROM ledger), (SELECT count(*) FROM ledger_ahead)
"""
_REAL: LiteralString = "SELECT coalesce(min(stored_seq), 0) FROM ledger WHERE agent = ANY(%s)"
Sent = TypeVar("Sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Readings that agents had, and what became of them; messages up to which all is stored, and beyond a hole.

    `copies` are messages that agents published again, `copy_bytes` those of the agents that have no outbox file.
    """

    readings_sent: int
    readings_stored: int
    ledger_stored: int
    ledger_repeated: int
    quarantined: int
    messages_sent: int
    messages_published: int
    copies: int
    copy_bytes: int
    is_exactly_once: bool


class Agents:
    """Agents of some fleets without outbox files, in a few processes, and real ones, each in a process of its own."""

    def __init__(self, broker_url: str, fleets: Sequence[Fleet], real: Fleet, folder: Path) -> None:
        self._broker_url = broker_url
        self._fleets = fleets
        self._real = real
        self._folder = folder
        self._epoch = uuid.uuid4().hex
        self._context = multiprocessing.get_context("spawn")
        self._finish = self._context.Event()
        self._publishers: list[tuple[Any, Connection]] = []
        self._reals: list[tuple[Any, Connection]] = []
        self._latest: list[Progress] = []

    def fill(self) -> None:
        """Write the real agents' outboxes."""
        for agent in self._real.agents:
            if self._real.backlog:
                fill_outbox(self._outbox(agent), self._real, agent)

    def start(self) -> None:
        for nth in range(PUBLISHERS):
            agents = [(fleet, agent) for fleet in self._fleets for agent in fleet.part(nth, PUBLISHERS)]
            if agents:
                waiting = sum(fleet.backlog for fleet, _ in agents)
                self._latest.append(replace(_NONE, backlog_left=waiting))
                self._publishers.append(
                    self._spawn(publish_fleets, (self._broker_url, agents, self._epoch, self._finish))
                )
        for agent in self._real.agents:
            own = (self._broker_url, self._outbox(agent), self._real, agent, self._finish)
            self._reals.append(self._spawn(run_real_agent, own))

    @property
    def processes(self) -> dict[str, psutil.Process]:
        """The first real agent, to look at."""
        return {"real_agent": psutil.Process(self._reals[0][0].pid)} if self._reals else {}

    def progress(self) -> Progress:
        """Of those without outbox files, the latest word."""
        for nth, (process, receiver) in enumerate(self._publishers):
            while receiver.poll():
                self._latest[nth] = receiver.recv()
            if process.exitcode not in {None, 0}:
                raise TransientError("a publisher ended early; not measured")
        return _sum(self._latest)

    def is_backlog_stored(self, connection: psycopg.Connection) -> bool:
        """Whether everything that was there at the start is stored."""
        progress = self.progress()
        if progress.backlog_left or progress.last == 0:
            return False
        keys = [agent_key(agent) for agent in self._real.agents]
        stored = connection.execute(_REAL, [keys]).fetchone()
        return not keys or (stored is not None and stored[0] >= self._real.backlog)

    def finish(self, connection: psycopg.Connection) -> Account:
        """No more live readings; wait until all is confirmed, and see what the database says."""
        self._finish.set()
        last = [_last(process, receiver, Progress) for process, receiver in self._publishers]
        ends = [_last(process, receiver, AgentEnd) for process, receiver in self._reals]
        total = _sum(last)
        messages = total.last + sum(end.outbox.last_seq for end in ends)
        row = connection.execute(_ACCOUNT).fetchone()
        if row is None:
            raise TransientError("the database gives no account")
        count, readings, stored, repeated, quarantined, stored_seq, ahead = row
        sent = METERS * total.last + sum(end.outbox.readings for end in ends)
        return Account(
            readings_sent=sent,
            readings_stored=count,
            ledger_stored=stored,
            ledger_repeated=repeated,
            quarantined=quarantined,
            messages_sent=messages,
            messages_published=total.published + sum(end.published for end in ends),
            copies=total.copies + sum(end.copies for end in ends),
            copy_bytes=total.copy_bytes,
            is_exactly_once=sent == count == stored + repeated == readings - quarantined
            and stored_seq == messages
            and ahead == quarantined == 0
            and not any(end.outbox.waiting or end.outbox.dropped_readings for end in ends),
        )

    def kill(self) -> None:
        """End what is left of them."""
        for process, _ in (*self._publishers, *self._reals):
            if process.is_alive():
                process.terminate()
            process.join(10)

    def _outbox(self, agent: int) -> Path:
        return self._folder / f"{agent_key(agent)}.sqlite"

    def _spawn(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(*arguments, sender), daemon=True)
        process.start()
        sender.close()
        return process, receiver


@contextmanager
def our_processes(database_url: str, broker_url: str, folder: Path) -> Iterator[dict[str, psutil.Process]]:
    """A collector that has subscribed, and a roll-up; their logs are in `folder`."""
    environment = {
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        "AFKOBLING_COLLECTOR_ID": f"bench-{uuid.uuid4().hex[:8]}",
    }
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(_process(folder / f"{name}.log", (name, "run"), environment))
            for name in ("collector", "rollup")
        }
        wait_until(lambda: '"subscribed"' in (folder / "collector.log").read_text("utf-8"), "a subscription", _UP_S)
        yield found


def broker_process(port: int) -> psutil.Process | None:
    """The process that listens there, if it may be seen."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Seconds it took. Raises TransientError when it does not come about."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TransientError(f"waited {seconds:.0f} s in vain for {what}; not measured")
        time.sleep(0.1)
    return time.monotonic() - started


@contextmanager
def _process(log: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    # To a file: an hour's warnings would fill a pipe that nobody reads, and stop the process.
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=sink, stderr=sink)  # noqa: S603
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _last(process: Any, receiver: Connection, kind: type[Sent]) -> Sent:
    found: Sent | None = None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if receiver.poll(1):
                found = receiver.recv()
        except EOFError:
            break
    process.join(10)
    if not isinstance(found, kind):
        raise TransientError("an agent ended without a word; not measured")
    return found


def _sum(parts: Sequence[Progress]) -> Progress:
    names = ("last", "stored", "backlog_left", "published", "copies", "copy_bytes")
    return Progress(**{name: sum(getattr(part, name) for part in parts) for name in names})
