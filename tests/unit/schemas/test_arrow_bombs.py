"""Arrow streams that are small and would unfold to gigabytes: each is refused before it does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import arrow
from schemas.arrow_sizes import declared_sizes
from schemas.wire import MAX_PAYLOAD_BYTES, MAX_READINGS

HEADER = {"v": "1", "epoch": "E", "seq": "1", "sent_at": "1"}


def columns(rows: int, **changes: Any) -> dict[str, Any]:
    given = {
        "meter": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["oven"]),
        "unit": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["kWh"]),
        "at": pa.array(np.arange(rows), pa.timestamp("ms", tz="UTC")),
        "value": np.zeros(rows),
        "quality": np.zeros(rows, np.int16),
    }
    return given | changes


def stream(*tables: Any, compression: str | None = None, deltas: bool = False) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=deltas)
    schema = tables[0].schema.with_metadata(HEADER)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(HEADER))
    return bytes(sink.getvalue())


def many_rows() -> bytes:
    """300 million bytes of zeros."""
    return stream(pa.table(columns(10_000_000, at=np.zeros(10_000_000, "datetime64[ms]"))), compression="zstd")


def rows_in_many_batches() -> bytes:
    return stream(*[pa.table(columns(40_000)) for _ in range(20)], compression="zstd")


def empty_batches() -> bytes:
    return stream(*[pa.table(columns(1)) for _ in range(1_100)])


def long_name() -> bytes:
    name = pa.array(["x" * 300_000_000])
    return stream(pa.table(columns(1, meter=pa.DictionaryArray.from_arrays(pa.array([0]), name))), compression="zstd")


def many_names() -> bytes:
    names = pa.array([""] * 5_000_000)
    return stream(pa.table(columns(1, meter=pa.DictionaryArray.from_arrays(pa.array([0]), names))), compression="zstd")


def texts_for_values() -> bytes:
    """Cast, each row would become a number read from half a megabyte of text."""
    text = pa.array([" " * 400_000 + "1"])
    indices = pa.array(np.zeros(40_000, np.int8))
    return stream(pa.table(columns(40_000, value=pa.DictionaryArray.from_arrays(indices, text))), compression="zstd")


def views() -> bytes:
    """Many views of one long text."""
    return stream(pa.table(columns(2_000, meter=pa.array(["y" * 400] * 2_000, pa.string_view()))), compression="zstd")


def runs() -> bytes:
    """A run-end-encoded column: one run, a billion rows."""
    encoded = pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), pa.array([1.0]))
    return stream(pa.table({"value": encoded}))


def nothing() -> bytes:
    """A column of nulls takes no memory, however long; what is made of it does."""
    return stream(pa.table({"value": pa.nulls(10**9)}))


def extra_column() -> bytes:
    return stream(pa.table(columns(1, more=pa.array([b"z" * 200_000_000]))), compression="lz4")


def nested() -> bytes:
    return stream(pa.table(columns(1, more=pa.array([[1]]))))


def growing_dictionary() -> bytes:
    """Each batch adds a little to the dictionary, and keeps a longer one than the batch before."""
    tables = []
    names: list[str] = []
    for nth in range(300):
        names.append(f"{nth:04}" + "n" * 2_000)
        meter = pa.DictionaryArray.from_arrays(pa.array([nth], pa.int32()), list(names))
        tables.append(pa.table(columns(1, meter=meter)))
    return stream(*tables, deltas=True)


BOMBS = [
    many_rows,
    rows_in_many_batches,
    empty_batches,
    long_name,
    many_names,
    texts_for_values,
    views,
    runs,
    nothing,
    extra_column,
    nested,
    growing_dictionary,
]


@cache
def made(make: Callable[[], bytes]) -> bytes:
    return make()


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_a_bomb_is_refused(make: Callable[[], bytes]) -> None:
    payload = made(make)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    with pytest.raises(arrow.ArrowError) as refused:
        arrow.decode_readings(payload)
    assert len(str(refused.value)) > 20


_DECODE = """
import resource, sys
import pyarrow as pa
from schemas import arrow

def peaks():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pa.default_memory_pool().max_memory()

good, *bombs = (bytes.fromhex(line) for line in sys.stdin.read().split())
arrow.decode_readings(good)
before = peaks()
for bomb in bombs:
    try:
        arrow.decode_readings(bomb)
    except arrow.ArrowError:
        pass
    print(*(now - then for now, then in zip(peaks(), before)))
"""


def test_no_bomb_takes_memory() -> None:
    """Each would take hundreds of megabytes, or more than there are. The peaks of a process never fall."""
    payloads = [stream(pa.table(columns(10))), *(made(make) for make in BOMBS)]
    said = "\n".join(payload.hex() for payload in payloads)
    done = subprocess.run(
        [sys.executable, "-c", _DECODE], input=said, capture_output=True, text=True, check=True, timeout=120
    )
    for make, line in zip(BOMBS, done.stdout.splitlines(), strict=True):
        grown_kb, pool = map(int, line.split())
        assert grown_kb < 60_000, make.__name__
        assert pool < 2 * arrow.MAX_UNFOLDED_BYTES, make.__name__


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("rows", [0, 1, MAX_READINGS])
def test_the_largest_that_is_good_comes_through(compression: str | None, rows: int) -> None:
    names = [f"{nth:05}" + "å" * 45 for nth in range(max(rows, 1))]
    meter = pa.DictionaryArray.from_arrays(pa.array(np.arange(rows, dtype=np.int32)), names)
    payload = stream(pa.table(columns(rows, meter=meter)), compression=compression)
    found = arrow.decode_readings(payload)
    assert found.table.num_rows == rows
    assert arrow.to_columns(found.table).meters == names[:rows]


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=5),
    st.sampled_from([None, "lz4", "zstd"]),
    st.booleans(),
)
def test_what_is_declared_is_what_it_takes(sizes: list[int], compression: str | None, deltas: bool) -> None:
    tables = [pa.table(columns(rows)) for rows in sizes]
    payload = stream(*tables, compression=compression, deltas=deltas)
    declared = declared_sizes(payload)
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    assert declared.rows == table.num_rows == sum(sizes)
    # Buffers are padded to eight bytes where they are not compressed.
    assert declared.unfolded_bytes <= table.nbytes + 64 * 12 * len(sizes) + 200
    assert declared.unfolded_bytes >= sum(rows * (4 + 4 + 8 + 8 + 2) for rows in sizes)


@given(st.data())
def test_any_damage_is_an_arrow_error(data: st.DataObject) -> None:
    payload = bytearray(stream(pa.table(columns(20)), compression=data.draw(st.sampled_from([None, "zstd"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(payload), data.draw(st.integers(0, len(payload)))]))
    with contextlib.suppress(arrow.ArrowError):
        arrow.decode_readings(bytes(payload[:end]))
