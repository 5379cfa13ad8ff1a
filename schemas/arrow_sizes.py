"""What an Arrow IPC stream would take in memory, read from what it declares before any of it is unfolded. Pure.

A small message may unfold to gigabytes: compressed buffers, dictionaries that grow from batch to batch. Its size is
declared, and the reader allocates and fills just that: rows and buffers in each message's metadata, the size of a
compressed buffer in the eight bytes before it (https://arrow.apache.org/docs/format/Columnar.html). The metadata are
FlatBuffers tables, of which these few fields are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY, _RECORDS = 2, 3
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
_ID, _DATA, _IS_DELTA = 0, 1, 2
_IS_RAW = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSizes:
    """Of a whole stream: batches and dictionaries, rows of the batches, entries of the largest dictionary, bytes."""

    messages: int
    rows: int
    entries: int
    unfolded_bytes: int


def declared_sizes(payload: bytes) -> DeclaredSizes:
    """Read what a stream declares. Raises pyarrow's errors, ValueError and struct.error where it can't be read."""
    messages = rows = entries = unfolded = 0
    held: dict[int, int] = {}
    reader = pa.ipc.MessageReader.open_stream(payload)
    for message in _messages(reader):
        header = _Table(bytes(message.metadata), 0).table(_HEADER)
        kind = _Table(bytes(message.metadata), 0).number(_HEADER_TYPE, "<B")
        if kind not in {_DICTIONARY, _RECORDS} or header is None:
            continue
        messages += 1
        batch = header if kind == _RECORDS else header.table(_DATA)
        if batch is None:
            raise ValueError("a dictionary without data")
        size = _unfolded(batch, message.body)
        length = batch.number(_LENGTH, "<q")
        longest = max([length, *(node for node, _ in batch.pairs(_NODES))])
        if kind == _RECORDS:
            rows += longest
        else:
            entries = max(entries, longest)
            number = header.number(_ID, "<q")
            # Each batch keeps the dictionary as it was then, and a delta makes a longer one of it.
            size += held.get(number, 0) if header.number(_IS_DELTA, "<B") else 0
            held[number] = size
        unfolded += size
    return DeclaredSizes(messages=messages, rows=rows, entries=entries, unfolded_bytes=unfolded)


def _messages(reader: pa.ipc.MessageReader) -> Iterator[pa.ipc.Message]:
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _unfolded(batch: _Table, body: pa.Buffer | None) -> int:
    whole = memoryview(body) if body is not None else memoryview(b"")
    is_compressed = batch.table(_COMPRESSION) is not None
    size = 0
    for offset, length in batch.pairs(_BUFFERS):
        if offset < 0 or length < 0 or offset + length > len(whole):
            raise ValueError("a buffer lies outside of its message")
        declared = struct.unpack_from("<q", whole, offset)[0] if is_compressed and length >= 8 else _IS_RAW
        if declared < _IS_RAW:
            raise ValueError("a compressed buffer declares a size below zero")
        size += length if declared == _IS_RAW else declared
    return size


class _Table:
    """A table of FlatBuffers within `data`; the fields of its kind are numbered. Raises struct.error outside of it."""

    def __init__(self, data: bytes, at: int) -> None:
        """`at`: where its offset stands."""
        self._data = data
        self._at = at + self._read("<I", at)
        self._fields = self._at - self._read("<i", self._at)
        self._end = self._fields + self._read("<H", self._fields)

    def number(self, field: int, form: str) -> int:
        """A number; 0, as everywhere in Arrow's metadata, where it is left out."""
        place = self._place(field)
        return 0 if place is None else self._read(form, place)

    def table(self, field: int) -> _Table | None:
        """A table within this one; None where it is left out."""
        place = self._place(field)
        return None if place is None else _Table(self._data, place)

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two 64-bit numbers each."""
        place = self._place(field)
        if place is None:
            return []
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        end = start + 4 + 16 * count
        if end > len(self._data):
            raise ValueError("a vector goes beyond its message")
        return list(struct.iter_unpack("<qq", self._data[start + 4 : end]))

    def _place(self, field: int) -> int | None:
        entry = self._fields + 4 + 2 * field
        if entry + 2 > self._end:
            return None
        offset = self._read("<H", entry)
        return self._at + offset if offset else None

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise ValueError("an offset points before its message")
        return int(struct.unpack_from(form, self._data, at)[0])
