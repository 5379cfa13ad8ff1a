"""Parquet files, and Arrow's own: files (Feather, too) and streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collector.errors import ImportRefusedError
from collector.importing.files import Piece

_BATCH_ROWS = 65_536
_FILE_MARK = b"ARROW1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _TypedTable:
    path: Path
    schema: pa.Schema
    counted: str = "row"

    @property
    def header(self) -> list[str]:
        """The names of its columns."""
        return list(self.schema.names)

    def types(self) -> dict[str, pa.DataType]:
        """What each holds."""
        return {field.name: field.type for field in self.schema}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetTable(_TypedTable):
    """A Parquet file."""

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Read the schema. Raises ImportRefusedError."""
        with _refusing(path, "Parquet"), pq.ParquetFile(path) as file:
            return cls(path=path, schema=file.schema_arrow)

    def pieces(self, columns: Sequence[int]) -> Iterator[Piece]:
        names = [self.schema.names[i] for i in columns]
        with _refusing(self.path, "Parquet"), pq.ParquetFile(self.path, pre_buffer=False) as file:
            yield from _numbered(file.iter_batches(batch_size=_BATCH_ROWS, columns=names, use_threads=False), names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrowTable(_TypedTable):
    """An Arrow file, read through a map of memory, or a stream."""

    is_stream: bool

    @classmethod
    def open(cls, path: Path) -> ArrowTable:
        """Read the schema. Raises ImportRefusedError."""
        with _refusing(path, "Arrow"), pa.memory_map(str(path)) as file:
            is_stream = file.read(len(_FILE_MARK)) != _FILE_MARK
            file.seek(0)
            reader = pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file)
            return cls(path=path, schema=reader.schema, is_stream=is_stream)

    def pieces(self, columns: Sequence[int]) -> Iterator[Piece]:
        names = [self.schema.names[i] for i in columns]
        with _refusing(self.path, "Arrow"), pa.memory_map(str(self.path)) as file:
            yield from _numbered(self._batches(file), names)

    def _batches(self, file: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
        if self.is_stream:
            yield from pa.ipc.open_stream(file)
            return
        reader = pa.ipc.open_file(file)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _numbered(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[Piece]:
    before = 0
    for whole in batches:
        batch = whole.select(list(names))
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            numbers = pa.array(np.arange(before + 1, before + part.num_rows + 1))
            cells = [_plain(column) for column in part.columns]
            before += part.num_rows
            yield Piece(rows=pa.record_batch([numbers, *cells], names=[str(i) for i in range(len(cells) + 1)]))


def _plain(column: pa.Array) -> pa.Array:
    """Without a dictionary, whose entries may change from piece to piece, and text in one type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.string())
    return column


@contextmanager
def _refusing(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportRefusedError(f"{path} cannot be read as {what}: {told}; it may be cut off or damaged") from error
