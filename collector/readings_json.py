"""Readings as JSON to columns, fast: what a collector does most.

The models in `schemas.wire` are the contract. This takes only what they take, and gives the same columns; what it gives
nothing for, the models judge and explain (tests/property/test_readings_json.py). From message to message only instants
and values change: names, units and the column that points to them are read once and known again by their bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw
from numpy.typing import NDArray

from schemas.wire import EPOCH_PATTERN, MAX_READINGS, MAX_SEQ, VERSION

_LARGEST_KEPT = 65_536
_MOST_KEPT = 32_000_000
_ENTRY_BYTES = 300
"""What an entry takes in memory besides, roughly: a hundred thousand short ones are no less."""
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_SYMBOL = re.compile(r"[^\x00-\x1f\x7f]{1,20}")
_EPOCH = re.compile(EPOCH_PATTERN)
_What = TypeVar("_What")

_Version = Annotated[int, Meta(ge=VERSION, le=VERSION)]
_NOT_GIVEN = Raw()


class _Table(msgspec.Struct, gc=False):
    """As `schemas.wire.Readings`; what repeats is left as bytes."""

    epoch: str
    seq: Annotated[int, Meta(ge=1, le=MAX_SEQ)]
    sent_at: int
    meters: Raw
    units: Raw
    meter: Raw
    at: list[int]
    value: list[float]
    quality: Raw = _NOT_GIVEN
    v: _Version = VERSION


class _Single(msgspec.Struct, gc=False):
    """As `schemas.wire.SingleReading`."""

    meter: str
    at: int
    value: float
    unit: str
    quality: int = 0
    v: _Version = VERSION
    epoch: Raw = _NOT_GIVEN


class ReadingColumns(NamedTuple):
    """A message's readings. `epoch` and `seq` are None for a plain reading.

    Lists and arrays may be shared with other messages: they are not to be changed.
    """

    epoch: str | None
    seq: int | None
    sent_at: int
    meters: list[str]
    units: list[str]
    meter: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.int16]


def read_columns(payload: bytes) -> ReadingColumns | None:
    """The columns of a table of readings or of a plain one; None for what is neither, or not in every detail."""
    if not payload.isascii() and not _is_text(payload):
        return None
    try:
        return _read_table(payload)
    except (msgspec.MsgspecError, RecursionError, OverflowError):
        pass
    try:
        return _read_single(payload)
    except (msgspec.MsgspecError, RecursionError, OverflowError):
        return None


def _read_table(payload: bytes) -> ReadingColumns | None:
    table = _TABLE.decode(payload)
    meters, units = _NAMES.read(table.meters), _NAMES.read(table.units)
    pointers = _POINTERS.read(table.meter)
    rows = len(pointers.column)
    if len(units) != len(meters) or pointers.highest >= len(meters) or not _EPOCH.fullmatch(table.epoch):
        return None
    if not rows == len(table.at) == len(table.value) or rows > MAX_READINGS:
        return None
    quality = _quality(table.quality, rows)
    if len(quality) != rows:
        return None
    return ReadingColumns(
        table.epoch,
        table.seq,
        table.sent_at,
        meters,
        units,
        pointers.column,
        np.array(table.at, dtype=np.int64),
        np.array(table.value, dtype=np.float64),
        quality,
    )


def _read_single(payload: bytes) -> ReadingColumns | None:
    single = _SINGLE.decode(payload)
    if single.epoch is not _NOT_GIVEN or not (_NAME.fullmatch(single.meter) and _SYMBOL.fullmatch(single.unit)):
        return None
    return ReadingColumns(
        None,
        None,
        single.at,
        [single.meter],
        [single.unit],
        _FIRST.column,
        np.array([single.at], dtype=np.int64),
        np.array([single.value], dtype=np.float64),
        np.array([single.quality], dtype=np.int16),
    )


@dataclass(frozen=True, slots=True)
class _Pointers:
    """The column `meter`, and the highest entry of the dictionary that it points to; none of them is negative."""

    column: NDArray[np.int32]
    highest: int


class _Repeated(Generic[_What]):
    """What was read of bytes that come again and again, bounded: when it is full it begins anew."""

    def __init__(self, read: Callable[[bytes], _What]) -> None:
        self._read = read
        self._kept: dict[bytes, _What] = {}
        self._bytes = 0

    def read(self, raw: Raw) -> _What:
        """What these bytes say. Raises what reading them raises."""
        key = bytes(raw)
        found = self._kept.get(key)
        if found is None:
            found = self._read(key)
            if len(key) <= _LARGEST_KEPT:
                size = len(key) + _ENTRY_BYTES
                if self._bytes + size > _MOST_KEPT:
                    self._kept.clear()
                    self._bytes = 0
                self._kept[key] = found
                self._bytes += size
        return found


def _read_pointers(raw: bytes) -> _Pointers:
    entries = _INTEGERS.decode(raw)
    if entries and min(entries) < 0:
        raise msgspec.ValidationError("a negative entry")
    return _Pointers(_unchangeable(np.array(entries, dtype=np.int32)), max(entries, default=-1))


def _read_quality(raw: bytes) -> NDArray[np.int16]:
    return _unchangeable(np.array(_INTEGERS.decode(raw), dtype=np.int16))


def _quality(raw: Raw, rows: int) -> NDArray[np.int16]:
    if raw is _NOT_GIVEN or bytes(raw) == b"null":
        return np.zeros(rows, dtype=np.int16)
    return _QUALITIES.read(raw)


def _unchangeable(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


_TABLE = msgspec.json.Decoder(_Table)
_SINGLE = msgspec.json.Decoder(_Single)
_INTEGERS = msgspec.json.Decoder(list[int])
_NAMES = _Repeated(msgspec.json.Decoder(list[str]).decode)
_POINTERS = _Repeated(_read_pointers)
_QUALITIES = _Repeated(_read_quality)
_FIRST = _read_pointers(b"[0]")
