"""How fast history gets from files into the table, beside raw COPY of the same rows, before and after.

The whole of an import is measured: a look over the file, reading, conversion, all checks, ledger, and the notes for
the roll-up, whose time has passed as it does for history.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collector.connection import connect
from collector.importing.importer import import_file
from collector.importing.prepared import Wanted, prepare
from collector.importing.rehearsal import rehearse
from deploy.bench.rows import make_model, raw_copy
from deploy.bench.scratch import scratch_database, scratch_stack
from schemas.errors import TransientError
from schemas.mapping import Mapping

METERS = 100
_CADENCE_S = 900
_ZONE = "Europe/Copenhagen"
_CLOSE = "UPDATE rollup_progress SET closed_to = now()"


class FileShape(StrEnum):
    """A file's form, and whether a row has a column for each meter or one value."""

    CSV_WIDE = "csv-wide"
    CSV_LONG = "csv-long"
    PARQUET_LONG = "parquet-long"
    ARROW_WIDE = "arrow-wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCase:
    """One measured file. `ratio` is readings_per_s over raw_copy_rows_per_s; `notes` are those left for the roll-up."""

    shape: FileShape
    file_mb: float
    readings: int
    look_s: float
    import_s: float
    dry_run_s: float
    readings_per_s: int
    raw_copy_rows_per_s: int
    ratio: float
    notes: int
    rss_mb: float


def bench_import(*, shapes: Sequence[FileShape], readings: int) -> list[ImportCase]:
    """Measure every shape, each in an empty database. `readings` is how many a file holds, about."""
    instants = max(2, readings // METERS)
    cases: list[ImportCase] = []
    with scratch_stack() as servers, tempfile.TemporaryDirectory(prefix="afkobling-bench-") as folder:
        for shape in shapes:
            with scratch_database(servers.database_url) as database_url:
                cases.append(_measure(shape, instants, database_url, Path(folder)))
    return cases


def _measure(shape: FileShape, instants: int, database_url: str, folder: Path) -> ImportCase:
    at, value = _rows(instants)
    path = folder / f"{shape}.{shape.split('-')[0]}"
    mapping = _WRITERS[shape](path, at, value)
    with connect(database_url, role="bench") as connection:
        make_model(connection, agents=1, meters=METERS)
        connection.execute(_CLOSE)
        before = _raw_copy(connection, at, value)
        wanted = Wanted(path=path, organisation="bench", site="bench", author="bench", mapping=mapping)
        started = time.perf_counter()
        prepared = prepare(connection, wanted)
        looked = time.perf_counter()
        rehearsal = rehearse(connection, prepared)
        tried = time.perf_counter()
        done = import_file(connection, prepared)
        ended = time.perf_counter()
        count = connection.execute("SELECT count(*) FROM reading").fetchone()
        if not count == (value.size,) == (done.record.stored,) == (rehearsal.new,):
            raise TransientError(f"{count} readings are in the table, the file has {value.size}; not measured")
        (notes,) = connection.execute("SELECT count(*) FROM pending").fetchone() or (0,)
        connection.execute("TRUNCATE reading")
        after = _raw_copy(connection, at, value)
    elapsed = looked - started + ended - tried
    # The machine's mood changes within a run: the raw figure is taken before and after.
    raw = 2 / (1 / before + 1 / after)
    case = ImportCase(
        shape=shape,
        file_mb=round(path.stat().st_size / 1e6, 1),
        readings=value.size,
        look_s=round(looked - started, 2),
        import_s=round(ended - tried, 2),
        dry_run_s=round(tried - looked, 2),
        readings_per_s=round(value.size / elapsed),
        raw_copy_rows_per_s=round(raw),
        ratio=round(value.size / elapsed / raw, 3),
        notes=notes,
        rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    )
    path.unlink()
    return case


def _rows(instants: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Instants in seconds, whole quarters in the past, and the registers of all meters at each."""
    end = int(time.time()) // _CADENCE_S * _CADENCE_S - 86_400
    at = end - _CADENCE_S * np.arange(instants, 0, -1, dtype=np.int64)
    risen = np.arange(instants, dtype=np.float64)[:, None] * 0.37
    return at, np.round(1000 * np.arange(METERS, dtype=np.float64) + risen, 2)


def _raw_copy(connection: psycopg.Connection, at: NDArray[np.int64], value: NDArray[np.float64]) -> float:
    """Rows per second of binary COPY, ready encoded, into the empty table; empties it again."""
    ids = np.array([row[0] for row in connection.execute("SELECT id FROM meter ORDER BY id").fetchall()], np.int32)
    return raw_copy(connection, np.tile(ids, len(at)), np.repeat(at * 1000, METERS), value.ravel())


def _clock(at: NDArray[np.int64]) -> pa.Array:
    """What clocks in Copenhagen showed."""
    shown = pc.local_timestamp(pa.array(at, pa.timestamp("s", tz="UTC")).cast(pa.timestamp("s", tz=_ZONE)))
    return pc.strftime(shown, "%d-%m-%Y %H:%M")


def _key(meter: int) -> str:
    return f"agent-0-m{meter}"


def _wide(at: NDArray[np.int64], value: NDArray[np.float64]) -> pa.Table:
    return pa.table({"time": _clock(at)} | {f"Meter {i} (kWh)": value[:, i] for i in range(METERS)})


def _long(at: NDArray[np.int64], value: NDArray[np.float64]) -> pa.Table:
    names = pa.array([_key(i) for i in range(METERS)])
    return pa.table(
        {
            "time": _clock(at).take(pa.array(np.repeat(np.arange(len(at)), METERS))),
            "meter": names.take(pa.array(np.tile(np.arange(METERS), len(at)))),
            "value": value.ravel(),
        }
    )


def _mapping(*, is_wide: bool) -> Mapping:
    time_column = {"column": "time", "format": "%d-%m-%Y %H:%M", "zone": _ZONE, "label": "interval_end"}
    whole = {"name": "bench", "description": "bench", "match": ["time"], "time": time_column}
    meter = {"resource": "energy", "carrier": "electricity", "unit": "kWh", "kind": "counter"}
    if is_wide:
        meters = [meter | {"meter": _key(i), "column": f"Meter {i} (kWh)"} for i in range(METERS)]
        return Mapping.model_validate(whole | {"meters": meters})
    return Mapping.model_validate(whole | {"long": {}})


def _csv_wide(path: Path, at: NDArray[np.int64], value: NDArray[np.float64]) -> Mapping:
    pv.write_csv(_wide(at, value), path, pv.WriteOptions(quoting_style="none"))
    return _mapping(is_wide=True)


def _csv_long(path: Path, at: NDArray[np.int64], value: NDArray[np.float64]) -> Mapping:
    pv.write_csv(_long(at, value), path, pv.WriteOptions(quoting_style="none"))
    return _mapping(is_wide=False)


def _parquet_long(path: Path, at: NDArray[np.int64], value: NDArray[np.float64]) -> Mapping:
    pq.write_table(_long(at, value), path)
    return _mapping(is_wide=False)


def _arrow_wide(path: Path, at: NDArray[np.int64], value: NDArray[np.float64]) -> Mapping:
    table = _wide(at, value)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=10_000)
    return _mapping(is_wide=True)


_WRITERS: dict[FileShape, Callable[[Path, NDArray[np.int64], NDArray[np.float64]], Mapping]] = {
    FileShape.CSV_WIDE: _csv_wide,
    FileShape.CSV_LONG: _csv_long,
    FileShape.PARQUET_LONG: _parquet_long,
    FileShape.ARROW_WIDE: _arrow_wide,
}
