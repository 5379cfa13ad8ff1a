"""The rows of a file of measurements in pieces, of which few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa


class Table(Protocol):
    """An opened file. `counted` says what its rows are counted by: lines, or rows."""

    @property
    def path(self) -> Path: ...

    @property
    def header(self) -> list[str]: ...

    @property
    def counted(self) -> str: ...

    def types(self) -> dict[str, pa.DataType]:
        """What each column holds."""
        ...

    def pieces(self, columns: Sequence[int]) -> Iterator[Piece]:
        """The rows, in order. Raises ImportRefusedError that says where the file is broken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Rows of a file. `rows` has their number in its first column, then those that were asked for, by place."""

    rows: pa.RecordBatch


def pieces_of(table: Table, columns: Sequence[int], rows: int) -> Iterator[pa.RecordBatch]:
    """The file in pieces of exactly so many rows, but for the last: the same ones whenever it is read."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for piece in table.pieces(columns):
        waiting.append(piece.rows)
        count += piece.rows.num_rows
        if count < rows:
            continue
        whole = pa.Table.from_batches(waiting)
        start = 0
        while count - start >= rows:
            yield _one(whole.slice(start, rows))
            start += rows
        rest = whole.slice(start)
        waiting, count = (rest.to_batches() if rest.num_rows else []), rest.num_rows
    if count:
        yield _one(pa.Table.from_batches(waiting))


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]
