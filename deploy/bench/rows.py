"""Readings straight into the table, as a bench needs them: of many meters at one cadence, each a rising register."""

from __future__ import annotations

import time
from typing import LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from collector.binary_copy import READING_TYPES, encode_rows

CADENCE_MS = 10_000
_BATCH = 200_000
_RAW_BATCH = 50_000

# The site model's own way takes one site at a time, and its checks are not what is measured here.
_MODEL: tuple[LiteralString, ...] = (
    "INSERT INTO organisation (key, name) VALUES ('bench', 'bench')",
    "INSERT INTO site (organisation_id, key, name, time_zone) "
    "SELECT id, 'bench', 'bench', 'Europe/Copenhagen' FROM organisation",
    "INSERT INTO agent (site_id, key, name) "
    "SELECT site.id, 'agent-' || a, 'agent ' || a FROM site, generate_series(0, %(agents)s - 1) AS a",
    "INSERT INTO meter (site_id, key, name, agent_id, resource, carrier, kind, unit, canonical_unit, to_canonical, "
    "max_gap_ms, rated_maximum) "
    "SELECT site_id, key || '-m' || m, key || '-m' || m, id, 'energy', 'electricity', 'counter', 'kWh', 'kWh', 1, "
    "1800000, 1000 FROM agent, generate_series(0, %(meters)s - 1) AS m ORDER BY agent.id, m",
)


def make_model(connection: psycopg.Connection, *, agents: int, meters: int) -> None:
    """A site of that many agents with that many meters each."""
    with connection.transaction():
        for statement in _MODEL:
            connection.execute(statement, {"agents": agents, "meters": meters})


def fill_readings(connection: psycopg.Connection, *, start_ms: int, instants: int) -> int:
    """One reading of every meter every CADENCE_MS, as arriving: instant after instant. Returns how many."""
    ids = np.array([row[0] for row in connection.execute("SELECT id FROM meter ORDER BY id").fetchall()], np.int32)
    spread = np.arange(len(ids)) * 7919 % CADENCE_MS
    quality = np.zeros(len(ids), np.int16)
    for nth in range(instants):
        at, value = start_ms + nth * CADENCE_MS + spread, np.round(1000.0 + spread + nth * 0.01, 2)
        for begin in range(0, len(ids), _BATCH):
            part = slice(begin, begin + _BATCH)
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.write(encode_rows(READING_TYPES, (ids[part], at[part], value[part], quality[part])))
    return len(ids) * instants


def raw_copy(
    connection: psycopg.Connection, meter_id: NDArray[np.int32], at: NDArray[np.int64], value: NDArray[np.float64]
) -> float:
    """Rows per second of binary COPY, ready encoded, of these readings into the empty table; empties it again."""
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
