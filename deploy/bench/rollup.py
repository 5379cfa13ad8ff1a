"""How fast readings become consumption: everything computed anew, beside plain SQL over the same rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import LiteralString

import psutil
import psycopg

from collector.rollup_runner import roll_up_all
from collector.settings import RollupSettings
from deploy.bench.rows import CADENCE_MS, fill_readings, make_model
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError
from schemas.quantities import QUARTER_MS

_AGENTS, _METERS = 500, 100
_QUARTERS = 2

_AGGREGATE: LiteralString = """
    CREATE TABLE aggregate AS
    SELECT meter_id, time_bucket('15 minutes', at) AS quarter, last(value, at) - first(value, at) AS used, count(*) AS n
    FROM reading GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildCase:
    """Rows of raw readings a second: the roll-up from nothing, and a plain aggregate of first and last by quarter.

    Both write what they come to into a table. `ratio` is the one over the other, `parallel_ratio` with the aggregate
    spread over the server's parallel workers; `rss_mb` is the roll-up's memory at the end.
    """

    meters: int
    readings: int
    quarters: int
    readings_per_s: float
    sql_rows_per_s: float
    sql_parallel_rows_per_s: float
    ratio: float
    parallel_ratio: float
    rss_mb: float


def bench_rebuild(*, readings: int) -> RebuildCase:
    """Compute about that many readings from scratch, and the aggregate before and after."""
    with scratch_stack() as servers, scratch_database(servers.database_url) as database_url:
        agents = max(1, readings // (_METERS * _QUARTERS * QUARTER_MS // CADENCE_MS))
        start_ms = (int(time.time() * 1000) // QUARTER_MS - 10 * _QUARTERS) * QUARTER_MS
        with psycopg.connect(database_url, autocommit=True) as connection:
            make_model(connection, agents=agents, meters=_METERS)
            count = fill_readings(connection, start_ms=start_ms, instants=_QUARTERS * QUARTER_MS // CADENCE_MS)
            connection.execute("ANALYZE reading")
            before = _aggregate(connection, count, workers=0)
            elapsed, quarters = _roll_up(database_url, start_ms + (_QUARTERS + 1) * QUARTER_MS)
            after = _aggregate(connection, count, workers=0)
            parallel = _aggregate(connection, count, workers=2)
    # The machine's mood changes within a run: the plain figure is taken before and after.
    plain, rate = 2 / (1 / before + 1 / after), count / elapsed
    return RebuildCase(
        meters=agents * _METERS,
        readings=count,
        quarters=quarters,
        readings_per_s=round(rate),
        sql_rows_per_s=round(plain),
        sql_parallel_rows_per_s=round(parallel),
        ratio=round(rate / plain, 3),
        parallel_ratio=round(rate / parallel, 3),
        rss_mb=round(psutil.Process().memory_info().rss / 1e6, 1),
    )


def _roll_up(database_url: str, due_ms: int) -> tuple[float, int]:
    started = time.perf_counter()
    step = roll_up_all(RollupSettings(database_url=database_url), due_ms=due_ms)
    elapsed = time.perf_counter() - started
    if step.quarters == 0 or step.is_behind:
        raise TransientError("the roll-up did not come to its end; not measured")
    return elapsed, step.quarters


def _aggregate(connection: psycopg.Connection, count: int, *, workers: int) -> float:
    connection.execute("SELECT set_config('max_parallel_workers_per_gather', %s, false)", [str(workers)])
    started = time.perf_counter()
    connection.execute(_AGGREGATE)
    elapsed = time.perf_counter() - started
    connection.execute("DROP TABLE aggregate")
    connection.execute("RESET max_parallel_workers_per_gather")
    return count / elapsed
