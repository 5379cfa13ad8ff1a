"""Metrics as edge nodes tell them, and the numbers in them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class DataType(IntEnum):
    """The types of Sparkplug B that matter here, by their numbers."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


_BITS = {
    DataType.INT8: 8,
    DataType.INT16: 16,
    DataType.INT32: 32,
    DataType.INT64: 64,
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
}
_SIGNED = {DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64}

_GOOD = range(192, 256)
"""The specification has 192 alone; some nodes tell more of it in the lower bits, as OPC does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a message. `value` is as the wire has it: `number` reads it by its type. `at_ms` Unix ms UTC.

    `quality`: 192 is good, 0 bad, 500 stale; good where it says nothing.
    """

    name: str | None = None
    alias: int | None = None
    at_ms: int | None = None
    datatype: int | None = None
    value: int | float | bool | str | None = None
    unit: str | None = None
    quality: int | None = None
    is_historical: bool = False
    is_transient: bool = False
    is_null: bool = False

    def is_good(self) -> bool:
        return self.quality is None or self.quality in _GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A whole message."""

    at_ms: int | None = None
    seq: int | None = None
    metrics: Sequence[Metric] = ()


def number(value: float | bool | str | None, datatype: int | None) -> int | float | None:
    """The number that a metric of that type says; None where it is none. Negative ones come as two's complement."""
    if isinstance(value, bool | str) or value is None:
        return None
    if datatype in _BITS and isinstance(value, int):
        bits = _BITS[DataType(datatype)]
        raw = value & ((1 << bits) - 1)
        return raw - (1 << bits) if datatype in _SIGNED and raw >> (bits - 1) else raw
    if isinstance(value, int) or datatype not in {DataType.FLOAT, DataType.DOUBLE} or not math.isfinite(value):
        return None
    return value
