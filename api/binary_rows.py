"""Rows of fixed width from the database, as one binary COPY: whole columns for the maths.

Format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 ("Binary Format").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from api.database import Connection

_HEADER_BYTES, _TRAILER_BYTES = 19, 2
_POSTGRES_EPOCH_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)


def row_type(**columns: str) -> np.dtype[Any]:
    """A row of these columns, as in `meter_id="i4"`: a count of fields, then length and value of each, big-endian."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, code in columns.items():
        fields += [(f"length of {name}", ">i4"), (name, f">{code}")]
    return np.dtype(fields)


async def copy_rows(
    connection: Connection, statement: LiteralString, values: Mapping[str, Any] | Sequence[Any], row: np.dtype[Any]
) -> NDArray[np.void]:
    """What `COPY (…) TO STDOUT (FORMAT binary)` gives; no field of it may be null."""
    chunks: list[bytes] = []
    async with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
        async for chunk in copy:
            chunks.append(bytes(chunk))  # noqa: PERF401 - `async for` in a comprehension would hide the copy
    return np.frombuffer(b"".join(chunks)[_HEADER_BYTES:-_TRAILER_BYTES], row)


def packed_type(**columns: str) -> np.dtype[Any]:
    """A row of these columns, as in `meter_id="i4"`, as `fetch_packed` gets it: nothing but values, big-endian."""
    return np.dtype([(name, f">{code}") for name, code in columns.items()])


async def fetch_packed(
    connection: Connection, statement: LiteralString, values: Sequence[Any], row: np.dtype[Any]
) -> NDArray[np.void]:
    """What a statement gives that strings the bytes of all rows together: one value `rows`, null where there are none.

    A binary COPY brings each row as a message of its own, and taking those in takes longer than to compute with them.
    """
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(statement, values)
        found = await cursor.fetchone()
    return np.frombuffer((found and found["rows"]) or b"", row)


def unix_ms(instants: NDArray[Any]) -> NDArray[np.int64]:
    """A column of instants as Unix milliseconds, floored."""
    return np.asarray(instants // 1000 + _POSTGRES_EPOCH_MS, dtype=np.int64)
