"""Where a file has what a mapping wants: its columns, checked before a row is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.errors import ImportRefusedError
from collector.importing.clock import Clock, Flags, Micros, Shown, clock_of
from collector.importing.files import Table, pieces_of
from collector.importing.time_cells import Times, parse_times, why_not
from schemas.mapping import Mapping, Midnight, recognise, shipped_mappings, unrecognised

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Some rows of a file: their numbers, and the columns that were asked for, by name."""

    row: NDArray[np.int64]
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The time of each row as it was `told` and as it is `meant` (0:00 may end its day), and whether there is one."""

    times: Times
    meant: Micros
    is_moved: Flags


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A file and the mapping that reads it."""

    table: Table
    mapping: Mapping

    @cached_property
    def clock(self) -> Clock | None:
        """Of the mapping's zone."""
        zone = self.mapping.time.zone
        return clock_of(ZoneInfo(zone)) if zone else None

    def has(self, name: str) -> bool:
        """Whether the file has such a column."""
        return name in self.table.header

    def read(self, names: Sequence[str], rows: int) -> Iterator[Cells]:
        """These columns in pieces of exactly so many rows, but for the last. Raises ImportRefusedError."""
        distinct = list(dict.fromkeys(names))
        places = [self.table.header.index(name) for name in distinct]
        for batch in pieces_of(self.table, places, rows):
            yield Cells(
                row=batch.column(0).to_numpy(),
                columns={name: batch.column(i) for i, name in enumerate(distinct, start=1)},
            )

    def labels(self, cells: Cells) -> Labels:
        """The times of these rows."""
        time = self.mapping.time
        ends_day = time.midnight is Midnight.END_OF_DAY
        times = parse_times(self._time_cells(cells), time.format, with_wall=ends_day)
        is_moved = times.is_good & (times.wall % _DAY_US == 0) if ends_day else np.zeros(len(cells), dtype=np.bool_)
        return Labels(times=times, meant=times.micros + is_moved * _DAY_US, is_moved=is_moved)

    def shown(self, labels: Labels) -> Shown:
        """When the clock showed what is meant; a time with an offset is an instant already."""
        meant, is_zoned = labels.meant, labels.times.is_zoned
        if self.clock is None or is_zoned.all():
            return Shown(first=meant, second=meant)
        shown = self.clock.shown(meant)
        return Shown(first=np.where(is_zoned, meant, shown.first), second=np.where(is_zoned, meant, shown.second))

    def has_instant(self, labels: Labels, shown: Shown, *, ends_interval: bool) -> Flags:
        """Which rows have an instant: not one that was skipped, unless an interval ends as the clock is changed."""
        has = labels.times.is_good & ~shown.is_missing
        if self.clock is None:
            return has & labels.times.is_zoned
        if ends_interval:
            missing = np.flatnonzero(labels.times.is_good & shown.is_missing)
            has[missing] = self.clock.is_moment_of_change(labels.meant[missing])
        return has

    def why_no_time(self, cells: Cells, i: int, labels: Labels) -> str:
        """What is wrong with the time of that row."""
        time = self.mapping.time
        if not labels.times.is_good[i]:
            told = [_as_python(cells.columns[name][i]) for name in time.columns]
            cell = told[0] if len(told) == 1 else " ".join(str(part or "").strip() for part in told)
            return why_not(cell, time.format)
        label = (_1970 + timedelta(microseconds=int(labels.meant[i]))).replace(tzinfo=None)
        if time.zone is None:
            return f"time {label} has no offset from UTC, and the mapping names no zone"
        return f"{label} did not exist in {time.zone}: the clock was put forward past it"

    def _time_cells(self, cells: Cells) -> pa.Array:
        found = [cells.columns[name] for name in self.mapping.time.columns]
        if len(found) == 1:
            return found[0]
        parts = [pc.fill_null(pc.utf8_trim_whitespace(texts(column)), "") for column in found]
        return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " "))


def texts(cells: pa.Array) -> pa.Array:
    """A column as text, as Python would write it."""
    if pa.types.is_string(cells.type):
        return cells
    if pa.types.is_integer(cells.type):
        return cells.cast(pa.string())
    return pa.array([None if cell is None else str(cell) for cell in cells.to_pylist()], pa.string())


def _as_python(cell: pa.Scalar) -> object:
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        # An instant beyond the year 9999.
        return cell.cast(pa.int64()).as_py()


def lay_out(table: Table, mapping: Mapping | None) -> Layout:
    """With this mapping, or the shipped one that the header fits. Raises ImportRefusedError, MappingError."""
    if mapping is None:
        known = shipped_mappings()
        mapping = recognise(table.header, known)
        if mapping is None:
            raise ImportRefusedError(unrecognised(str(table.path), table.header, known, option="--mapping FILE.yaml"))
    needed = list(dict.fromkeys(mapping.needed_columns(meters_are_known=True)))
    missing = [name for name in needed if name not in table.header]
    if missing:
        raise ImportRefusedError(
            f"{table.path} lacks the columns {', '.join(missing)} of mapping {mapping.name}; it has: "
            f"{', '.join(table.header)}"
        )
    doubled = [name for name in needed if table.header.count(name) > 1]
    if doubled:
        raise ImportRefusedError(
            f"{table.path} has the column {', '.join(doubled)} more than once; give each a name of its own"
        )
    _check_types(table, mapping)
    return Layout(table=table, mapping=mapping)


def _check_types(table: Table, mapping: Mapping) -> None:
    types = table.types()
    values = [mapping.long.value] if mapping.long else [meter.column for meter in mapping.meters]
    wanted: list[tuple[str, str, Callable[[pa.DataType], bool]]] = [
        *((name, "times", _holds_times) for name in mapping.time.columns),
        *((name, "numbers", _holds_numbers) for name in values),
        *((name, "names", _is_flat) for name in ([mapping.long.meter] if mapping.long else [])),
    ]
    for name, what, holds in wanted:
        kind = types[name]
        if not holds(kind.value_type if pa.types.is_dictionary(kind) else kind):
            raise ImportRefusedError(f"{table.path}: column {name} is of type {kind}, which holds no {what}")


def _is_flat(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


def _holds_times(kind: pa.DataType) -> bool:
    return _is_flat(kind) and not (pa.types.is_boolean(kind) or pa.types.is_duration(kind))


def _holds_numbers(kind: pa.DataType) -> bool:
    return _is_flat(kind) and not (pa.types.is_temporal(kind) or pa.types.is_fixed_size_binary(kind))
