"""How fast readings get into the archive, and how small they become: a slice of a country, and a factory."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray

from collector.archive.archiver import Archiver
from collector.archive.settings import ArchiveSettings
from collector.archive.state import read_state
from collector.binary_copy import READING_TYPES, encode_rows
from collector.connection import connect
from deploy.bench.rows import CADENCE_MS
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError

_METERS = 100
_HOUR_MS = 3_600_000
_START_MS = 1_788_220_800_000
"""A Tuesday at noon (UTC), 2026-09-01, so that neither slice reaches into another chunk too soon."""
_BATCH = 200_000

_MODEL: tuple[LiteralString, ...] = (
    "INSERT INTO organisation (key, name) SELECT 'plant-' || s, 'plant' FROM generate_series(1, %(sites)s) AS s",
    "INSERT INTO site (organisation_id, key, name, time_zone) SELECT id, 'hall', 'hall', 'Europe/Copenhagen' "
    "FROM organisation",
    "INSERT INTO agent (site_id, key, name) SELECT id, 'cabinet', 'cabinet' FROM site",
    "INSERT INTO meter (site_id, key, name, agent_id, resource, carrier, kind, unit, canonical_unit, to_canonical, "
    "max_gap_ms) SELECT site_id, 'meter-' || m, 'meter', id, 'energy', 'electricity', 'counter', 'kWh', 'kWh', 1, "
    "1800000 FROM agent, generate_series(1, %(meters)s) AS m ORDER BY agent.id, m",
    "UPDATE rollup_progress SET closed_to = now(), computed_to = now()",
)


class Slice(StrEnum):
    """Whose readings: an hour of many sites, or days of one; each meter speaks every ten seconds."""

    COUNTRY = "country"
    FACTORY = "factory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCase:
    """A slice, archived in one pass: copied, written, read back, compared and dropped.

    CPU seconds are the archiver's, and those of the server's process that worked for it; `readings_per_cpu_s` counts
    both, as on a machine of one core. Hot bytes are the table's with its index, archived ones the files' with their
    manifests. `rss_mb` is the archiver's memory at its largest.
    """

    slice: Slice
    sites: int
    meters: int
    readings: int
    files: int
    seconds: float
    readings_per_s: int
    archiver_cpu_s: float
    server_cpu_s: float
    readings_per_cpu_s: int
    hot_bytes_per_reading: float
    archived_bytes_per_reading: float
    manifest_bytes_per_reading: float
    rss_mb: float


def bench_archive(*, readings: int, slices: list[Slice], one_core: bool = False) -> list[ArchiveCase]:
    """Archive about that many readings of each slice. `one_core`: archiver and server share one."""
    with scratch_stack() as servers:
        return [_bench(servers.database_url, which, readings, one_core) for which in slices]


def _bench(server_url: str, which: Slice, readings: int, one_core: bool) -> ArchiveCase:
    instants = _HOUR_MS // CADENCE_MS if which is Slice.COUNTRY else max(1, readings // _METERS)
    sites = max(1, readings // (instants * _METERS)) if which is Slice.COUNTRY else 1
    folder = Path(tempfile.mkdtemp(prefix="afkobling-bench-archive-"))
    try:
        with scratch_database(server_url) as database_url, connect(database_url, role="bench") as connection:
            connection.execute("SET timezone = 'UTC'")
            for statement in _MODEL:
                connection.execute(statement, {"sites": sites, "meters": _METERS})
            if which is Slice.COUNTRY:
                connection.execute("SELECT set_chunk_time_interval('reading', interval '1 hour')")
            count = _fill(connection, sites * _METERS, instants)
            connection.execute("VACUUM ANALYZE reading")
            return _measure(connection, database_url, folder, which, count, one_core)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(
    connection: psycopg.Connection[Any], database_url: str, folder: Path, which: Slice, count: int, one_core: bool
) -> ArchiveCase:
    settings = ArchiveSettings(database_url=database_url, archive_url=str(folder), archive_retention=1)
    hot = read_state(connection, url=None, now=datetime.now(UTC), retention=settings.retention)
    server, own = psutil.Process(connection.info.backend_pid), psutil.Process()
    with _on_one_core([server, own] if one_core else []):
        server_before, own_before = sum(server.cpu_times()[:2]), time.process_time()
        done = Archiver(settings).once(connection)
        server_s, own_s = sum(server.cpu_times()[:2]) - server_before, time.process_time() - own_before
    if done.readings != count or done.problems:
        raise TransientError(f"{done.readings} of {count} readings were archived {done.problems}; not measured")
    row = connection.execute("SELECT sum(manifest_bytes)::float8, count(DISTINCT site_id) FROM archive_file").fetchone()
    manifests, sites = row or (0.0, 0)
    return ArchiveCase(
        slice=which,
        sites=sites,
        meters=sites * _METERS,
        readings=count,
        files=done.files,
        seconds=round(done.seconds, 2),
        readings_per_s=round(count / done.seconds),
        archiver_cpu_s=round(own_s, 2),
        server_cpu_s=round(server_s, 2),
        readings_per_cpu_s=round(count / (own_s + server_s)),
        hot_bytes_per_reading=round(hot.hot_bytes / count, 1),
        archived_bytes_per_reading=round(done.bytes / count, 2),
        manifest_bytes_per_reading=round(manifests / count, 2),
        rss_mb=round(_peak_mb(), 1),
    )


@contextmanager
def _on_one_core(processes: list[psutil.Process]) -> Iterator[None]:
    before = [(process, process.cpu_affinity()) for process in processes]
    try:
        for process in processes:
            process.cpu_affinity([min(os.sched_getaffinity(0))])
        yield
    finally:
        for process, cores in before:
            process.cpu_affinity(cores)


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _fill(connection: psycopg.Connection[Any], meters: int, instants: int) -> int:
    """Readings as they would have come: instant after instant, some milliseconds apart from cycle to cycle."""
    ids = np.array([row[0] for row in connection.execute("SELECT id FROM meter ORDER BY id").fetchall()], np.int32)
    rng = np.random.default_rng(7)
    at_once = max(1, _BATCH // meters)
    phase = np.arange(meters) // _METERS * 7919 % (CADENCE_MS - 1000)
    state = rng.uniform(100, 90_000, meters)
    for begin in range(0, instants, at_once):
        nth = np.arange(begin, min(begin + at_once, instants))
        # All meters of a site are read in one cycle, each a little after the one before.
        jitter = rng.integers(0, 9, (len(nth), meters // _METERS)).repeat(_METERS, axis=1)
        at = _START_MS + nth[:, None] * CADENCE_MS + phase + jitter + np.arange(meters) % _METERS * 5
        value, state = _values(rng, state, nth)
        rows = (np.broadcast_to(ids, at.shape).ravel(), at.ravel(), value.ravel(), np.zeros(at.size, np.int16))
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.write(encode_rows(READING_TYPES, rows))
    return meters * instants


def _values(
    rng: np.random.Generator, state: NDArray[np.float64], nth: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What five kinds of meters say, a fifth of them each: energy with two decimals and with three, power with two
    decimals and as a 32-bit float, water by the litre. Returns the values and the state to go on from.
    """
    shape = (len(nth), len(state))
    load = np.abs(20 + 8 * np.sin(nth / 400)[:, None] + rng.normal(0, 1.5, shape))
    energy = state + np.cumsum(load, axis=0) / 360
    water = state + np.cumsum(rng.random(shape) < 0.15, axis=0) / 1000
    kind = np.broadcast_to(np.arange(len(state)) % 5, shape)
    value = np.choose(
        kind,
        [np.round(energy, 2), np.round(energy, 3), np.round(load, 2), load.astype(np.float32), np.round(water, 3)],
    )
    return value, np.where(np.arange(len(state)) % 5 == 4, water[-1], energy[-1])
