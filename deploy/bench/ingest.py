"""How fast readings get from publishers through broker and collector into the table, beside raw COPY of the same rows.

Real processes throughout: publishers, Mosquitto, `afkobling collector run`, TimescaleDB. A case ends when the
publishers have been told that everything is stored.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import psutil
import psycopg

from api.site_model import apply_site_model
from collector.binary_copy import READING_TYPES, encode_rows
from deploy.bench.load import METERS_PER_AGENT, Encoding, Load, Shape, columns, payloads, site_model
from deploy.bench.publisher import PATIENCE_S, Published, publish
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError

_PUBLISHERS = 2
_AGENTS = 10
_MOST_MESSAGES = 50_000
_RAW_BATCH = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCase:
    """One measured case. `ratio` is readings_per_s over raw_copy_rows_per_s; cpu and memory are the collectors'."""

    shape: Shape
    readings_per_message: int
    encoding: Encoding
    collectors: int
    readings: int
    readings_per_s: float
    messages_per_s: float
    bytes_per_message: int
    raw_copy_rows_per_s: float
    ratio: float
    cpu_s: float
    rss_mb: float


def bench_ingest(
    *,
    shapes: Sequence[Shape],
    readings_per_message: Sequence[int],
    encodings: Sequence[Encoding],
    collectors: Sequence[int],
    readings: int,
) -> list[IngestCase]:
    """Measure every combination, each in an empty database. `readings` is how many a case sends, about."""
    cases: list[IngestCase] = []
    with scratch_stack() as servers:
        for shape in shapes:
            for size in readings_per_message:
                for encoding in encodings:
                    for count in collectors:
                        load = _load(shape, size, encoding, readings)
                        with scratch_database(servers.database_url) as database_url:
                            cases.append(_measure(load, count, database_url, servers.broker_url))
    return cases


def _load(shape: Shape, size: int, encoding: Encoding, readings: int) -> Load:
    messages = max(1, min(readings // size, _MOST_MESSAGES) // _AGENTS)
    return Load(
        shape=shape,
        readings=size,
        encoding=encoding,
        agents=_AGENTS,
        messages=messages,
        # Whole quarters back, so that every reading lies in the past.
        start_ms=(int(time.time() * 1000) // 900_000 - 800) * 900_000 - messages * size * 1000,
    )


def _measure(load: Load, collectors: int, database_url: str, broker_url: str) -> IngestCase:
    with psycopg.connect(database_url, autocommit=True) as connection:
        apply_site_model(connection, site_model(load.agents))
        before = _raw_copy(connection, load)
        with ExitStack() as stack:
            processes = [
                stack.enter_context(collector_process(database_url, broker_url, shared=collectors > 1))
                for _ in range(collectors)
            ]
            published, size = _publish(load, broker_url)
            cpu_s = sum(sum(process.cpu_times()[:2]) for process in processes)
            rss_mb = max(process.memory_info().rss for process in processes) / 1e6
        stored = connection.execute("SELECT count(*) FROM reading").fetchone()
        if stored != (load.total_readings,):
            raise TransientError(f"{stored} readings are in the table, {load.total_readings} were sent; not measured")
        connection.execute("TRUNCATE reading")
        after = _raw_copy(connection, load)
    elapsed = max(p.confirmed for p in published) - min(p.started for p in published)
    # The machine's mood changes within a run: the raw figure is taken before and after.
    raw = 2 / (1 / before + 1 / after)
    rate = load.total_readings / elapsed
    return IngestCase(
        shape=load.shape,
        readings_per_message=load.readings,
        encoding=load.encoding,
        collectors=collectors,
        readings=load.total_readings,
        readings_per_s=round(rate),
        messages_per_s=round(load.total_messages / elapsed),
        bytes_per_message=size,
        raw_copy_rows_per_s=round(raw),
        ratio=round(rate / raw, 3),
        cpu_s=round(cpu_s, 2),
        rss_mb=round(rss_mb, 1),
    )


def _raw_copy(connection: psycopg.Connection, load: Load) -> float:
    """Rows per second of binary COPY, ready encoded, of the load's rows into the empty table; empties it again."""
    ids: dict[str, int] = dict(connection.execute("SELECT key, id FROM meter").fetchall())
    meters = [
        np.array([ids[f"a{agent}-m{m}"] for m in range(METERS_PER_AGENT)], dtype=np.int32)
        for agent in range(load.agents)
    ]
    parts = [
        (meters[agent][meter], at, value)
        for message in range(load.messages)
        for meter, at, value in [columns(load, message)]
        for agent in range(load.agents)
    ]
    meter_id, at, value = (np.concatenate([part[i] for part in parts]) for i in range(3))
    quality = np.zeros(len(at), dtype=np.int16)
    streams = [
        encode_rows(READING_TYPES, (meter_id[i:j], at[i:j], value[i:j], quality[i:j]))
        for i in range(0, len(at), _RAW_BATCH)
        for j in [i + _RAW_BATCH]
    ]
    started = time.perf_counter()
    for stream in streams:
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.write(stream)
    elapsed = time.perf_counter() - started
    connection.execute("TRUNCATE reading")
    return len(at) / elapsed


@contextmanager
def collector_process(database_url: str, broker_url: str, *, shared: bool) -> Iterator[psutil.Process]:
    """`afkobling collector run` from when it has subscribed until the `with` is left."""
    environment = {
        **os.environ,
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        "AFKOBLING_COLLECTOR_ID": f"bench-{uuid.uuid4().hex[:8]}",
        **({"AFKOBLING_SHARE_GROUP": "bench"} if shared else {}),
    }
    command = [sys.executable, "-m", "deploy.cli", "collector", "run"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        for line in process.stderr or ():
            if '"action": "subscribe"' in line:
                break
        else:
            raise TransientError("the collector ended before it had subscribed")
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if process.stderr:
            process.stderr.close()


def _publish(load: Load, broker_url: str) -> tuple[list[Published], int]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(_PUBLISHERS)
    epoch = uuid.uuid4().hex
    running: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []
    for part in range(_PUBLISHERS):
        receiver, sender = context.Pipe(duplex=False)
        agents = list(range(part, load.agents, _PUBLISHERS))
        process = context.Process(target=publish, args=(broker_url, load, agents, epoch, barrier, sender), daemon=True)
        process.start()
        sender.close()
        running.append((process, receiver))
    try:
        published = [receiver.recv() for _, receiver in running]
    except EOFError:
        raise TransientError("a publisher ended early; is the broker up?") from None
    for publisher, _ in running:
        publisher.join()
    if any(np.isnan(p.confirmed) for p in published):
        raise TransientError(f"not everything was stored within {PATIENCE_S:.0f} s; not measured")
    return published, len(next(payloads(load, 0, epoch)))
