"""How fast figures are told: of a site with 100 meters, 20 products and years of quarters, over HTTP.

Real processes throughout: TimescaleDB, `afkobling attribute once`, `afkobling api run`. *Cold* is the first request
that an API process gets, apart from whether it is ready.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import LiteralString
from zoneinfo import ZoneInfo

import httpx
import psutil
import psycopg

from api.site_model import apply_site_model
from deploy.bench import query_rows
from deploy.bench.query_clients import Waited, ask_at_once
from deploy.bench.query_rows import Span
from deploy.bench.query_site import ORGANISATION, SITE, site_model
from deploy.bench.scratch import scratch_database, scratch_stack
from deploy.commands.token import create_token
from deploy.demo.parts import Parts, free_port
from schemas.errors import TransientError

_ROUNDS = 5
_CLIENTS, _SECONDS = 20, 5.0
_PATIENCE_S = 3600.0
# So that the server has nothing left to do with what was written when it is asked.
_SETTLE: LiteralString = "VACUUM ANALYZE"
_KEPT: LiteralString = "SELECT count(*) FROM attributed_span WHERE NOT is_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """Milliseconds of the first request to a fresh API process, of several processes; then of the same one again.

    `cpu_ms` is what of the least the API itself used of a processor; the rest is the database's, and waiting.
    """

    question: str
    rounds: int
    min_ms: float
    median_ms: float
    cpu_ms: float
    again_ms: float
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryCase:
    """`cold` before any raw readings, `cold_with_readings` with `readings` of them.

    `ratio` is the sum of the least times with readings over that without. `table_first_ms` is the monthly table of all
    products and indicators when it is first asked for. After that, `same` are clients that ask for this one table, and
    `different` for several tables in turns, each of which has been asked for once.
    """

    meters: int
    products: int
    quarters: int
    runs: int
    days: int
    attributed_days_per_s: float
    readings: int
    cold: list[Cold]
    cold_with_readings: list[Cold]
    ratio: float
    table_first_ms: float
    same: Waited
    different: Waited


def bench_query(*, readings: int, years: int) -> QueryCase:
    """Build the site, share it out, and ask. Raises TransientError where anything but an answer comes back."""
    model = site_model()
    span = _span(years, ZoneInfo(model.site.time_zone))
    with scratch_stack() as servers, scratch_database(servers.database_url) as database_url:
        with psycopg.connect(database_url, autocommit=True) as connection:
            apply_site_model(connection, model)
            quarters = query_rows.fill_quarters(connection, model, span)
            runs = query_rows.fill_runs(connection, span)
            query_rows.fill_drivers(connection, span)
            query_rows.fill_factors(database_url, span)
            connection.execute(_SETTLE)
            days_per_s = _attribute(connection, database_url)
            connection.execute(_SETTLE)
            token = create_token(database_url, organisation=ORGANISATION, name="bench", scopes=["read"], days=1)[0]
            cold = _cold(database_url, token, span)
            with _api(database_url) as (url, _), _client(url, token) as client:
                tables = _monthly(span)
                first_ms, *_ = (_ask(client, table)[0] for table in tables)
                same = ask_at_once(url, token, tables[:1], clients=_CLIENTS, seconds=_SECONDS)
                different = ask_at_once(url, token, tables, clients=_CLIENTS, seconds=_SECONDS)
            stored = query_rows.fill_readings(connection, span, readings)
            connection.execute(_SETTLE)
        with_readings = _cold(database_url, token, span)
    return QueryCase(
        meters=len(model.meters),
        products=len(model.products),
        quarters=quarters,
        runs=runs,
        days=span.days,
        attributed_days_per_s=round(days_per_s, 1),
        readings=stored,
        cold=cold,
        cold_with_readings=with_readings,
        ratio=round(sum(one.min_ms for one in with_readings) / sum(one.min_ms for one in cold), 3),
        table_first_ms=round(first_ms, 1),
        same=same,
        different=different,
    )


def _span(years: int, zone: ZoneInfo) -> Span:
    today = datetime.now(zone).date()
    # The 29th of February is not in every year.
    return Span(first=date(today.year - years, today.month, min(today.day, 28)), end=today, zone=zone)


def _attribute(connection: psycopg.Connection, database_url: str) -> float:
    """Days a second that `afkobling attribute once` shares out."""
    with _parts(database_url) as parts:
        started = time.perf_counter()
        part = parts.start("attribute", "attribute", "once", may_end=True)
        parts.wait_for(lambda: part.process.poll() is not None, "the attribution", seconds=_PATIENCE_S)
        elapsed = time.perf_counter() - started
    (days,) = connection.execute(_KEPT).fetchone() or (0,)
    return float(days / elapsed)


def _cold(database_url: str, token: str, span: Span) -> list[Cold]:
    """Each question as the first of a fresh process, in turns, so that the machine's mood meets them all."""
    questions = _yearly(span)
    waits: list[list[float]] = [[] for _ in questions]
    cpu: list[list[float]] = [[] for _ in questions]
    again: list[list[float]] = [[] for _ in questions]
    sizes = [0] * len(questions)
    for _ in range(_ROUNDS):
        for i, path in enumerate(questions):
            with _api(database_url) as (url, process), _client(url, token) as client:
                before = sum(process.cpu_times()[:2])
                elapsed, sizes[i] = _ask(client, path)
                cpu[i].append((sum(process.cpu_times()[:2]) - before) * 1000)
                waits[i].append(elapsed)
                again[i].append(_ask(client, path)[0])
    return [
        Cold(
            question=path,
            rounds=_ROUNDS,
            min_ms=round(min(waits[i]), 1),
            median_ms=round(statistics.median(waits[i]), 1),
            cpu_ms=round(min(cpu[i])),
            again_ms=round(statistics.median(again[i]), 1),
            body_bytes=sizes[i],
        )
        for i, path in enumerate(questions)
    ]


def _yearly(span: Span) -> Sequence[str]:
    """The year before this one, and it beside the one before it."""
    year = span.end.year - 1
    verdict = f"/v1/sites/{SITE}/decoupling?base={year - 1}&period={year}"
    return (f"/v1/sites/{SITE}/intensity?period={year}&by=product", verdict, f"{verdict}&level=product")


def _monthly(span: Span) -> Sequence[str]:
    """Monthly tables of a year; the first one is the one of all products and indicators."""
    year = span.end.year - 1
    path = f"/v1/sites/{SITE}/intensity?period={year}&by=product&bucket=month"
    one = [f"{path}&indicator={name}" for name in ("energy", "water", "material", "waste", "co2_location")]
    return [path, *one, f"{path}&per=kg", *(path.replace("=product", f"={by}") for by in ("line", "family", "site"))]


def _ask(client: httpx.Client, path: str) -> tuple[float, int]:
    """Milliseconds until the last byte, and how many bytes."""
    started = time.perf_counter()
    with client.stream("GET", path) as response:
        size = sum(len(chunk) for chunk in response.iter_raw())
    elapsed = (time.perf_counter() - started) * 1000
    if response.status_code != httpx.codes.OK:
        raise TransientError(f"the API answered {response.status_code} to {path}; not measured")
    return elapsed, size


@contextmanager
def _api(database_url: str) -> Iterator[tuple[str, psutil.Process]]:
    """A fresh API process that is ready, and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _parts(database_url) as parts, httpx.Client(base_url=url, trust_env=False) as client:
        part = parts.start("api", "api", "run", "--port", str(port))

        def is_ready() -> bool:
            try:
                return client.get("/ready").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        parts.wait_for(is_ready, "the API", seconds=60)
        yield url, psutil.Process(part.process.pid)


@contextmanager
def _parts(database_url: str) -> Iterator[Parts]:
    with tempfile.TemporaryDirectory(prefix="afkobling-bench-") as folder:
        environment = {**os.environ, "AFKOBLING_DATABASE_URL": database_url}
        with Parts(folder=Path(folder), environment=environment) as parts:
            yield parts


def _client(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=120, trust_env=False)
