"""Readings into a Parquet file, and what a file turns out to hold when it is read back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collector.archive.checksum import Hashes, hash_readings
from collector.archive.errors import NotVerifiedError
from collector.archive.rows import Ints, Rows, of_batch
from collector.archive.store import ArchiveStore, sha256_of
from schemas.archive import ARCHIVE_SCHEMA, COLUMNS, ROW_GROUP_READINGS
from schemas.archive_store import footer_digest

# Measured on registers and powers of a few decimals (docs/performance.md): instants as differences, values as they are,
# in both of which zstd finds what repeats.
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 5,
    "use_dictionary": ["meter", "quality"],
    "column_encoding": {"meter_id": "DELTA_BINARY_PACKED", "at": "DELTA_BINARY_PACKED", "value": "PLAIN"},
    "write_page_checksum": True,
    "sorting_columns": [pq.SortingColumn(0), pq.SortingColumn(2)],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a file of `size` bytes holds by meter: readings, first and last instant (Unix microseconds), values."""

    size: int
    sha256: bytes
    footer_sha256: bytes
    meter_id: NDArray[np.int32]
    readings: Ints
    first_us: Ints
    last_us: Ints
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    checksum: Hashes


class FileWriter:
    """One file, written piece by piece; pieces come sorted by meter and instant."""

    def __init__(self, sink: Any) -> None:
        self._hashing = _Hashing(sink)
        self._writer = pq.ParquetWriter(pa.PythonFile(self._hashing, mode="w"), ARCHIVE_SCHEMA, **_OPTIONS)

    def write(self, rows: Rows, keys: dict[int, str]) -> None:
        """Add readings; `keys` has the key of each meter among them."""
        meters, index = np.unique(rows.meter_id, return_inverse=True)
        table = pa.Table.from_arrays(
            [
                pa.array(rows.meter_id),
                pa.DictionaryArray.from_arrays(
                    pa.array(index.astype(np.int32)), pa.array([keys[meter] for meter in meters.tolist()], pa.string())
                ),
                pa.array(rows.at_us).cast(pa.timestamp("us", tz="UTC")),
                pa.array(rows.value),
                pa.array(rows.quality),
            ],
            schema=ARCHIVE_SCHEMA,
        )
        self._writer.write_table(table, row_group_size=ROW_GROUP_READINGS)

    def close(self) -> bytes:
        """Write the file's end. Returns the SHA-256 of all that was written."""
        self._writer.close()
        return self._hashing.sha256.digest()


class _Hashing:
    """Passes on what is written, and keeps its SHA-256."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self._sink.write(data)
        return len(data)

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        """The sink is closed by whoever opened it."""


def read_back(store: ArchiveStore, path: str, sha256: bytes) -> Held:
    """What the store gives for a file that was written with that SHA-256, row by row.

    Raises NotVerifiedError where it is another file or its rows are not in order, pa.ArrowInvalid, ArchiveDamagedError
    or OSError where it can't be read whole.
    """
    with store.open(path) as file:
        _require_same(file, path, sha256)
        size, footer_sha256 = int(file.size()), footer_digest(file)
        file.seek(0)
        parts = [_measure(rows, path) for rows in _batches(file)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else _nothing()
    return Held(size=size, sha256=sha256, footer_sha256=footer_sha256, **_merge(columns, path))


def read_rows_of(store: ArchiveStore, path: str, meters: NDArray[Any]) -> Rows:
    """The readings of some meters in a file that was read back just now."""
    with store.open(path) as file:
        table = pq.read_table(
            file,
            columns=list(COLUMNS),
            filters=[("meter_id", "in", [int(meter) for meter in meters])],
            page_checksum_verification=True,
        )
        return of_batch(table)


def rows_of_file(store: ArchiveStore, path: str, sha256: bytes) -> Iterator[Rows]:
    """All readings of a file, some at a time. Raises as `read_back` does."""
    with store.open(path) as file:
        _require_same(file, path, sha256)
        file.seek(0)
        yield from _batches(file)


def _require_same(file: pa.NativeFile, path: str, sha256: bytes) -> None:
    # Before anything is parsed: over some damages Arrow ends the process.
    found = sha256_of(file)
    if found != sha256:
        raise NotVerifiedError(f"{path} has the SHA-256 {found.hex()}, not {sha256.hex()}: it is not what was written")


def _batches(file: pa.NativeFile) -> Iterator[Rows]:
    source = pq.ParquetFile(file, page_checksum_verification=True)
    for batch in source.iter_batches(batch_size=ROW_GROUP_READINGS, columns=list(COLUMNS)):
        yield of_batch(batch)


def _measure(rows: Rows, path: str) -> dict[str, NDArray[Any]]:
    is_same = rows.meter_id[1:] == rows.meter_id[:-1]
    if np.any(rows.meter_id[1:] < rows.meter_id[:-1]) or np.any(is_same & (rows.at_us[1:] <= rows.at_us[:-1])):
        raise NotVerifiedError(f"{path}: readings are out of order, or one stands twice")
    begins = np.flatnonzero(np.r_[True, ~is_same])
    ends = np.r_[begins[1:], len(rows)]
    hashes = hash_readings(rows.meter_id, rows.at_us, rows.value, rows.quality)
    return {
        "meter_id": rows.meter_id[begins],
        "readings": ends - begins,
        "first_us": rows.at_us[begins],
        "last_us": rows.at_us[ends - 1],
        "least": np.minimum.reduceat(rows.value, begins),
        "most": np.maximum.reduceat(rows.value, begins),
        "checksum": np.bitwise_xor.reduceat(hashes, begins),
    }


def _merge(columns: dict[str, NDArray[Any]], path: str) -> dict[str, NDArray[Any]]:
    """Parts of one meter together: it may go on in the next batch."""
    meter_id = columns["meter_id"]
    if len(meter_id) == 0:
        return columns
    goes_on = meter_id[1:] == meter_id[:-1]
    if np.any(meter_id[1:] < meter_id[:-1]) or np.any(goes_on & (columns["first_us"][1:] <= columns["last_us"][:-1])):
        raise NotVerifiedError(f"{path}: readings are out of order, or one stands twice")
    begins = np.flatnonzero(np.r_[True, ~goes_on])
    ends = np.r_[begins[1:], len(meter_id)]
    return {
        "meter_id": meter_id[begins],
        "readings": np.add.reduceat(columns["readings"], begins),
        "first_us": columns["first_us"][begins],
        "last_us": columns["last_us"][ends - 1],
        "least": np.minimum.reduceat(columns["least"], begins),
        "most": np.maximum.reduceat(columns["most"], begins),
        "checksum": np.bitwise_xor.reduceat(columns["checksum"], begins),
    }


def _nothing() -> dict[str, NDArray[Any]]:
    integers = np.empty(0, dtype=np.int64)
    return {
        "meter_id": np.empty(0, dtype=np.int32),
        "readings": integers,
        "first_us": integers,
        "last_us": integers,
        "least": np.empty(0),
        "most": np.empty(0),
        "checksum": np.empty(0, dtype=np.uint64),
    }
