"""How fast readings get from publishers through broker and collector into the table, beside raw COPY of the same rows.

Real processes throughout: publishers, Mosquitto, `afkobling collector run`, TimescaleDB. A case ends when the
publishers have been told that everything is stored.
"""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import psycopg

from api.site_model import apply_site_model
from deploy.bench.load import METERS_PER_AGENT, Encoding, Load, Shape, columns, payloads, site_model
from deploy.bench.processes import collector_process, cpu_s, peak_mb, servers_used
from deploy.bench.publisher import PATIENCE_S, Published, publish
from deploy.bench.rows import raw_copy
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError

_PUBLISHERS = 2
_AGENTS = 10
_MOST_MESSAGES = {Encoding.JSON: 40_000, Encoding.ARROW: 8_000}
"""A case of small messages is as long as these take: the cost is the message's, not the reading's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCase:
    """One measured case. `ratio` is readings_per_s over raw_copy_rows_per_s.

    Processor seconds are those between the first message and the last confirmation; None for a server that is not on
    this machine. `peak_mb` is the most memory that a collector had.
    """

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
    collectors_cpu_s: float
    collectors_us_per_message: float
    publishers_cpu_s: float
    broker_cpu_s: float | None
    database_cpu_s: float | None
    peak_mb: float


def cases_of(
    *, shapes: Sequence[Shape], sizes: Sequence[int], encodings: Sequence[Encoding], collectors: Sequence[int]
) -> list[tuple[Shape, int, Encoding, int]]:
    """Every combination: shape, readings a message, encoding, collectors. One reading is deep and wide: once."""
    only_once = Shape.WIDE if Shape.WIDE in shapes else Shape.DEEP
    return [
        (shape, size, encoding, count)
        for size in sizes
        for shape in shapes
        if size > 1 or shape is only_once
        for encoding in encodings
        for count in collectors
    ]


def bench_ingest(
    cases: Sequence[tuple[Shape, int, Encoding, int]], *, readings: int, on_case: Callable[[IngestCase], None]
) -> list[IngestCase]:
    """Measure each, in an empty database. `readings` is how many a case sends, about; small messages: fewer."""
    measured: list[IngestCase] = []
    with scratch_stack() as servers:
        for shape, size, encoding, count in cases:
            load = _load(shape, size, encoding, readings)
            with scratch_database(servers.database_url) as database_url:
                measured.append(_measure(load, count, database_url, servers.broker_url))
            on_case(measured[-1])
    return measured


def _load(shape: Shape, size: int, encoding: Encoding, readings: int) -> Load:
    messages = max(1, min(readings // size, _MOST_MESSAGES[encoding]) // _AGENTS)
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
            servers_before, ours_before = servers_used(connection, broker_url), sum(map(cpu_s, processes))
            published, size = _publish(load, broker_url)
            servers = servers_used(connection, broker_url).since(servers_before)
            ours_s = sum(map(cpu_s, processes)) - ours_before
            peak = max(map(peak_mb, processes))
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
        collectors_cpu_s=round(ours_s, 2),
        collectors_us_per_message=round(1e6 * ours_s / load.total_messages, 1),
        publishers_cpu_s=round(sum(p.cpu_s for p in published), 2),
        broker_cpu_s=servers.broker_cpu_s,
        database_cpu_s=servers.database_cpu_s,
        peak_mb=round(peak, 1),
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
    return raw_copy(connection, meter_id, at, value)


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
