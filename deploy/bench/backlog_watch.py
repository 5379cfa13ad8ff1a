"""What is looked at while a bench runs: memory of processes, and how soon live readings can be queried."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import paho.mqtt.client as mqtt
import psutil
import psycopg

from api.broker_client import new_client
from deploy.bench.backlog_plan import Fleet, meter_key
from schemas.broker_url import parse_broker_url

_SAMPLE_S = 0.5
_POLL_S = 0.2
_MOST_LOOKED_FOR = 2_000
_FIND: LiteralString = """
    SELECT k.nth FROM unnest(%s::int4[], %s::int8[]) WITH ORDINALITY AS k(meter_id, at_ms, nth)
    CROSS JOIN LATERAL (
        SELECT FROM reading WHERE meter_id = k.meter_id AND at = to_timestamp(k.at_ms / 1000.0) LIMIT 1
    ) AS found
"""
# Else what looks on would read the whole table, and be what is measured.
_BY_INDEX = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off"
_STORE_TOPIC = "$SYS/broker/store/messages/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of a process in MB: at first, at a quarter of the run, at most, at last."""

    start: float
    quarter: float
    peak: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from a live reading's instant until a query finds it, as seen by looking every 0.2 s."""

    samples: int
    median: float
    p99: float
    max: float


class MemoryWatch:
    """Samples processes from `__enter__` to `__exit__`."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = processes
        self._samples: dict[str, list[float]] = {name: [] for name in processes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def found(self) -> dict[str, Memory]:
        """So far."""
        return {
            name: Memory(start=seen[0], quarter=seen[len(seen) // 4], peak=max(seen), end=seen[-1])
            for name, seen in self._samples.items()
            if seen
        }

    def _run(self) -> None:
        while True:
            for name, process in self._processes.items():
                try:
                    held = process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                # One that has ended holds none, until somebody asks how.
                if held:
                    self._samples[name].append(round(held / 1e6, 1))
            if self._stop.wait(_SAMPLE_S):
                return


class BrokerWatch:
    """The most that the broker held, as Mosquitto tells it every ten seconds: messages and bytes."""

    def __init__(self, broker_url: str) -> None:
        self.most: dict[str, int] = {"count": 0, "bytes": 0}
        broker = parse_broker_url(broker_url)
        self._client = new_client(broker)
        self._client.on_connect = lambda client, *_: client.subscribe(_STORE_TOPIC + "#")
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)

    def __enter__(self) -> BrokerWatch:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        what = message.topic.removeprefix(_STORE_TOPIC)
        self.most[what] = max(self.most.get(what, 0), int(message.payload))


class LatencyWatch:
    """Looks for the first meter of each live message of a fleet until it is there."""

    def __init__(self, database_url: str, fleets: Mapping[str, Fleet]) -> None:
        self._database_url = database_url
        self._fleets = fleets
        self._found: dict[str, list[float]] = {name: [] for name in fleets}
        # By fleet, agent and seq: the meter and its instant.
        self._pending: dict[tuple[str, int, int], tuple[int, int]] = {}
        self._next = {(name, a): fleet.backlog + 1 for name, fleet in fleets.items() for a in fleet.agents}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LatencyWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def found(self) -> dict[str, Latency | None]:
        """So far; None where nothing was found."""
        return {name: _latency(seen) for name, seen in self._found.items()}

    @property
    def unseen(self) -> int:
        """Messages that are due and not there yet."""
        return len(self._pending)

    def _run(self) -> None:
        connection: psycopg.Connection | None = None
        meters: dict[int, int] = {}
        while not self._stop.wait(_POLL_S):
            try:
                if connection is None:
                    connection = psycopg.connect(
                        self._database_url, autocommit=True, connect_timeout=5, options=_BY_INDEX
                    )
                    meters = meters or _first_meters(connection, self._fleets)
                self._look(connection, meters)
            except psycopg.OperationalError:
                connection = None
        if connection is not None:
            connection.close()

    def _look(self, connection: psycopg.Connection, meters: Mapping[int, int]) -> None:
        now_ms = time.time() * 1000
        for (name, agent), seq in self._next.items():
            fleet = self._fleets[name]
            last = fleet.last_seq(agent, now_ms)
            for one in range(seq, last + 1):
                self._pending[name, agent, one] = (meters[agent], fleet.at_ms(agent, one))
            self._next[name, agent] = max(seq, last + 1)
        keys = list(self._pending)[:_MOST_LOOKED_FOR]
        ids, instants = [self._pending[key][0] for key in keys], [self._pending[key][1] for key in keys]
        rows = connection.execute(_FIND, [ids, instants]).fetchall()
        seen_ms = time.time() * 1000
        for (nth,) in rows:
            key = keys[nth - 1]
            _, at_ms = self._pending.pop(key)
            self._found[key[0]].append((seen_ms - at_ms) / 1000)


def _first_meters(connection: psycopg.Connection, fleets: Mapping[str, Fleet]) -> dict[int, int]:
    agents = [agent for fleet in fleets.values() for agent in fleet.agents]
    keys = {meter_key(agent, 0): agent for agent in agents}
    rows = connection.execute("SELECT key, id FROM meter WHERE key = ANY(%s)", [list(keys)]).fetchall()
    return {keys[key]: number for key, number in rows}


def _latency(seen: Sequence[float]) -> Latency | None:
    if not seen:
        return None
    median, p99 = np.percentile(seen, [50, 99])
    return Latency(samples=len(seen), median=round(median, 2), p99=round(p99, 2), max=round(max(seen), 2))
