"""`Readings` as an Arrow IPC stream, for backfill: the same columns, the header in the schema's metadata."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.arrow_sizes import declared_sizes
from schemas.errors import PermanentError
from schemas.wire import MAX_READINGS

MAX_BATCHES = 1_000
"""Record batches and dictionaries in one stream, at most."""
MAX_UNFOLDED_BYTES = 16_000_000
"""What one stream may take in memory, at most: MAX_READINGS rows of the longest names, and room to spare."""

READINGS_SCHEMA = pa.schema(
    [
        pa.field("meter", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("unit", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("quality", pa.int16(), nullable=False),
    ]
)
"""One row a reading. Metadata carries v, epoch, seq and sent_at as decimal text."""


class ArrowError(PermanentError):
    """The bytes are not a readings stream; the message says in which way."""


class ArrowTooLargeError(ArrowError):
    """The stream declares more than one message may hold; nothing of it was unfolded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowReadings:
    """A decoded stream: its header and the table of READINGS_SCHEMA."""

    epoch: str
    seq: int
    sent_at: int
    table: pa.Table


def encode_readings(table: pa.Table, *, epoch: str, seq: int, sent_at: int) -> bytes:
    """One message. `table` has the columns of READINGS_SCHEMA; plain strings are turned into dictionaries."""
    header = {"v": "1", "epoch": epoch, "seq": str(seq), "sent_at": str(sent_at)}
    schema = READINGS_SCHEMA.with_metadata(header)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table.select(READINGS_SCHEMA.names).cast(schema).combine_chunks())
    return bytes(sink.getvalue())


def decode_readings(payload: bytes) -> ArrowReadings:
    """Read one message. Raises ArrowError; what would unfold beyond the bounds above is refused before it does."""
    try:
        _refuse_large(payload)
        with pa.ipc.open_stream(payload) as reader:
            _refuse_types(reader.schema)
            table = reader.read_all()
        # Offsets and indices are trusted by everything that follows, down to memory: they are checked here, whole.
        table.validate(full=True)
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError, struct.error) as error:
        raise ArrowError(f"not a readable Arrow IPC stream: {error}") from error
    if metadata.get("v") != "1":
        raise ArrowError(f"version {metadata.get('v')!r} in the stream's metadata; this is 1")
    try:
        epoch, seq, sent_at = metadata["epoch"], int(metadata["seq"]), int(metadata["sent_at"])
        if "quality" not in table.column_names:
            table = table.append_column("quality", pa.array([0] * table.num_rows, pa.int16()))
        table = table.select(READINGS_SCHEMA.names).cast(READINGS_SCHEMA)
        table.validate(full=True)
        has_nulls = any(column.null_count for column in table.columns) or any(
            chunk.dictionary.null_count for name in ("meter", "unit") for chunk in table.column(name).chunks
        )
    except (pa.ArrowException, ValueError, LookupError, TypeError, MemoryError) as error:
        raise ArrowError(f"columns or metadata are not those of a readings stream: {error}") from error
    if has_nulls:
        raise ArrowError("a column has nulls; a reading that is missing is left out, never null")
    return ArrowReadings(epoch=epoch, seq=seq, sent_at=sent_at, table=table)


def _refuse_large(payload: bytes) -> None:
    sizes = declared_sizes(payload)
    for what, found, most in (
        ("rows", sizes.rows, MAX_READINGS),
        ("entries in a dictionary", sizes.entries, MAX_READINGS),
        ("record batches and dictionaries", sizes.messages, MAX_BATCHES),
        ("bytes when unfolded", sizes.unfolded_bytes, MAX_UNFOLDED_BYTES),
    ):
        if found > most:
            raise ArrowTooLargeError(f"{found} {what}; one message may hold {most}; send smaller batches")


def _refuse_types(schema: pa.Schema) -> None:
    """Types that could unfold by being cast, or nest; a column that is none of ours must be a plain one."""
    for field in schema:
        if not _is_fit(field.name, field.type):
            raise ArrowError(
                f"column {field.name!r} is of type {field.type}; see the readings stream in docs/messages.md"
            )


def _is_fit(name: str, kind: pa.DataType) -> bool:
    types = pa.types
    match name:
        case "meter" | "unit":
            text = kind.value_type if types.is_dictionary(kind) else kind
            return bool(types.is_string(text) or types.is_large_string(text))
        case "at":
            return bool(types.is_timestamp(kind) or types.is_int64(kind))
        case "value":
            return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind))
        case "quality":
            return bool(types.is_integer(kind))
        case _:
            return bool(types.is_primitive(kind) or types.is_string(kind) or types.is_binary(kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingColumns:
    """A table of READINGS_SCHEMA as numpy columns; `meter` points into `meters` and `units`."""

    meters: list[str]
    units: list[str]
    meter: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]


def to_columns(table: pa.Table) -> ReadingColumns:
    """The columns of a decoded table. Each pair of meter and unit that occurs becomes one dictionary entry."""
    meter = table.column("meter").unify_dictionaries().combine_chunks()
    unit = table.column("unit").unify_dictionaries().combine_chunks()
    names, symbols = meter.dictionary.to_pylist(), unit.dictionary.to_pylist()
    pair = meter.indices.to_numpy().astype(np.int64) * max(len(symbols), 1) + unit.indices.to_numpy()
    pairs, index = np.unique(pair, return_inverse=True)
    # Entries of the lists are the dictionaries' own: as many pairs as there are rows take no more texts.
    return ReadingColumns(
        meters=[names[p // len(symbols)] for p in pairs],
        units=[symbols[p % len(symbols)] for p in pairs],
        meter=index.astype(np.int32),
        at=table.column("at").to_numpy().astype("datetime64[ms]").astype(np.int64),
        value=table.column("value").to_numpy(),
        quality=table.column("quality").to_numpy(),
    )
