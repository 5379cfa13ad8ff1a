"""Readings as columns, on their way from the table to a file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
PACKED = np.dtype([("meter_id", "<i4"), ("at_us", "<i8"), ("value", "<f8"), ("quality", "<i2")])
"""A reading on the disk, between two sortings."""


def instant(us: int) -> datetime:
    """The instant of Unix microseconds, in UTC."""
    return _EPOCH + us * _MICROSECOND


def unix_us(at: datetime) -> int:
    """Unix microseconds of an aware datetime."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Readings; `at_us` is Unix microseconds, as fine as the database keeps it."""

    meter_id: NDArray[np.int32]
    at_us: Ints
    value: NDArray[np.float64]
    quality: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.meter_id)

    def select(self, rows: NDArray[Any] | slice) -> Rows:
        """Some of them."""
        return Rows(
            meter_id=self.meter_id[rows], at_us=self.at_us[rows], value=self.value[rows], quality=self.quality[rows]
        )

    def by_meter(self) -> Rows:
        """Sorted by meter and instant."""
        return self.select(np.lexsort((self.at_us, self.meter_id)))

    def pack(self) -> NDArray[Any]:
        """As records of PACKED."""
        records = np.empty(len(self), dtype=PACKED)
        for name in PACKED.names or ():
            records[name] = getattr(self, name)
        return records


def unpack(records: NDArray[Any]) -> Rows:
    """What was packed."""
    return Rows(
        meter_id=records["meter_id"].astype(np.int32),
        at_us=records["at_us"].astype(np.int64),
        value=records["value"].astype(np.float64),
        quality=records["quality"].astype(np.int16),
    )


def join(parts: Sequence[Rows]) -> Rows:
    """All of them, in that order."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        meter_id=np.concatenate([part.meter_id for part in parts] or [np.empty(0, np.int32)]),
        at_us=np.concatenate([part.at_us for part in parts] or [np.empty(0, np.int64)]),
        value=np.concatenate([part.value for part in parts] or [np.empty(0, np.float64)]),
        quality=np.concatenate([part.quality for part in parts] or [np.empty(0, np.int16)]),
    )


def of_batch(batch: pa.RecordBatch | pa.Table) -> Rows:
    """Rows of a file's columns meter_id, at, value and quality."""
    return Rows(
        meter_id=_column(batch, "meter_id"),
        at_us=_column(batch, "at").astype("datetime64[us]").astype(np.int64),
        value=_column(batch, "value"),
        quality=_column(batch, "quality"),
    )


def _column(batch: pa.RecordBatch | pa.Table, name: str) -> NDArray[Any]:
    column = batch.column(name)
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
