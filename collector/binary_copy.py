"""PostgreSQL's binary COPY format for rows of fixed width, to and from numpy.

Format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 ("Binary Format"). Every field is
big-endian behind its length; instants are microseconds since 2000-01-01.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
_TRAILER = b"\xff\xff"
_EPOCH_2000_MS = 946_684_800_000
_ARRAY_HEADER = 20

_WIDTHS = {"int2": 2, "int4": 4, "int8": 8, "float8": 8, "timestamptz": 8}
_CODES = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float8": ">f8", "timestamptz": ">i8"}

READING_TYPES = ("int4", "timestamptz", "float8", "int2")
"""Columns meter_id, at, value, quality."""
CONSUMPTION_TYPES = ("int4", "timestamptz", "int8", "int8", "int4")
"""Columns meter_id, quarter, measured, estimated, covered_ms."""


def _row_type(types: tuple[str, ...]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for i, name in enumerate(types):
        fields += [(f"length{i}", ">i4"), (f"value{i}", _CODES[name])]
    return np.dtype(fields)


def encode_rows(types: tuple[str, ...], columns: tuple[NDArray[Any], ...]) -> bytes:
    """Rows as a whole binary COPY stream. Instants are given in Unix milliseconds."""
    rows = np.empty(len(columns[0]), dtype=_row_type(types))
    rows["fields"] = len(types)
    for i, (name, column) in enumerate(zip(types, columns, strict=True)):
        rows[f"length{i}"] = _WIDTHS[name]
        rows[f"value{i}"] = (column - _EPOCH_2000_MS) * 1000 if name == "timestamptz" else column
    # Bytes are joined, as numpy's concatenate would fall back to the machine's byte order.
    return b"".join((_SIGNATURE, rows.tobytes(), _TRAILER))


def decode_rows(types: tuple[str, ...], stream: bytes) -> tuple[NDArray[Any], ...]:
    """Columns of a whole binary COPY stream without nulls; instants become Unix milliseconds, floored."""
    rows = np.frombuffer(stream, dtype=_row_type(types), offset=len(_SIGNATURE), count=_row_count(types, stream))
    columns = []
    for i, name in enumerate(types):
        column = rows[f"value{i}"].astype(rows[f"value{i}"].dtype.newbyteorder("="))
        columns.append(column // 1000 + _EPOCH_2000_MS if name == "timestamptz" else column)
    return tuple(columns)


def _row_count(types: tuple[str, ...], stream: bytes) -> int:
    body = len(stream) - len(_SIGNATURE) - len(_TRAILER)
    count, left = divmod(body, _row_type(types).itemsize)
    if left:
        raise ValueError(f"binary COPY of {types}: {left} bytes left over; a null, or other types than expected")
    return count


def decode_array(kind: str, field: bytes) -> NDArray[Any]:
    """A one-dimensional array without nulls, as PostgreSQL sends it in binary; instants become Unix milliseconds.

    Nothing at all, as an aggregate over no rows gives, is an array of none. Format: array_send in PostgreSQL's
    src/backend/utils/adt/arrayfuncs.c: dimensions, flags, type, length, lower bound, then each element behind its
    length.
    """
    element = np.dtype([("length", ">i4"), ("value", _CODES[kind])])
    values = np.frombuffer(field, dtype=element, offset=_ARRAY_HEADER) if field else np.empty(0, dtype=element)
    column = values["value"].astype(values["value"].dtype.newbyteorder("="))
    return column // 1000 + _EPOCH_2000_MS if kind == "timestamptz" else column
