"""From pieces of a file to readings, whole columns at once, in the order of the file.

Row by row it comes to the same as the agent's reading of a file (edge/measurements.py); a property test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.importing import number_cells
from collector.importing.clock import Flags, Micros, Shown
from collector.importing.findings import Findings
from collector.importing.layout import Cells, Labels, Layout, texts
from collector.importing.meters import FoundMeter
from collector.importing.number_cells import Numbers, parse_numbers
from collector.importing.order import Order, Ordered, Stand
from schemas.mapping import LongColumns
from schemas.wire import MAX_READINGS

_MINUS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Readings of a piece: the row that each stands in, its meter (a place in the list of the file's meters), instant
    (Unix milliseconds), value, and unit (a place in `units`; -1: the meter's own)."""

    row: NDArray[np.int64]
    meter: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]
    unit: NDArray[np.int32]
    units: Sequence[str]

    def __len__(self) -> int:
        return len(self.row)


class Converter:
    """Reads a file from its beginning, once. `findings` grow with every piece."""

    def __init__(self, layout: Layout, meters: Sequence[FoundMeter], *, seconds: NDArray[np.int64] | None) -> None:
        """`seconds` is the survey's."""
        self._layout = layout
        self._meters = meters
        self.findings = Findings(meters=len(meters))
        # Rows of a time that was skipped are none to some meters and the end of an interval to others.
        self._orders = {ends: Order(seconds=seconds) for ends in (False, True)}
        self._order = Order(seconds=seconds)
        self._interval_us = np.array([meter.interval_ms * 1000 for meter in meters], dtype=np.int64)
        self._ends = np.array([meter.ends_interval for meter in meters], dtype=np.bool_)

    @property
    def rows_a_piece(self) -> int:
        """So many that a piece has at most as many readings as a message may; the mapping alone decides it."""
        mapping = self._layout.mapping
        return MAX_READINGS if mapping.long else max(1, MAX_READINGS // len(mapping.meters))

    def pieces(self) -> Iterator[Converted]:
        """All readings, piece by piece, some of them empty. Raises ImportRefusedError."""
        long = self._layout.mapping.long
        time = self._layout.mapping.time.columns
        if long is None:
            for cells in self._layout.read([*time, *(m.name for m in self._meters)], self.rows_a_piece):
                yield self._counted(cells, self._wide(cells))
            return
        has_unit = self._layout.has(long.unit)
        for cells in self._layout.read([*time, long.meter, long.value, *([long.unit] * has_unit)], self.rows_a_piece):
            yield self._counted(cells, self._long(cells, long))

    def _counted(self, cells: Cells, converted: Converted) -> Converted:
        self.findings.rows += len(cells)
        self.findings.count_readings(converted.meter, converted.at)
        self.findings.listed.sort(key=lambda left_out: left_out.row)
        return converted

    def _wide(self, cells: Cells) -> Converted:
        labels = self._layout.labels(cells)
        shown = self._layout.shown(labels)
        at = np.zeros((len(cells), len(self._meters)), dtype=np.int64)
        is_good = np.zeros(at.shape, dtype=np.bool_)
        value = np.zeros(at.shape, dtype=np.float64)
        untimed: list[Flags] = []
        first_class = bool(self._ends[0]) if len(self._ends) else False
        for ends in sorted({first_class, *self._ends.tolist()}, key=lambda ends: ends != first_class):
            has = self._layout.has_instant(labels, shown, ends_interval=ends)
            rows = np.flatnonzero(has)
            ordered = self._orders[ends].place(_stand(cells, labels, shown, rows, np.zeros(len(rows), np.int32)))
            mine = np.flatnonzero(self._ends == ends)
            at[np.ix_(rows, mine)] = ordered.at[:, None]
            is_good[np.ix_(rows, mine)] = True
            untimed.append(~has)
            if ends == first_class:
                self._count_rows(labels, shown, rows, ordered)
        self._leave_out_times(cells, labels, np.any(untimed, axis=0))
        for i, meter in enumerate(self._meters):
            numbers = self._numbers(cells.columns[meter.name])
            value[:, i] = numbers.value
            self._leave_out_values(cells, numbers, is_good[:, i], column=meter.name, meters=meter.key)
            is_good[:, i] &= numbers.is_good
        at += self._interval_us
        row, column = np.nonzero(is_good)
        return _converted(cells.row[row], column.astype(np.int32), at[is_good], value[is_good])

    def _long(self, cells: Cells, long: LongColumns) -> Converted:
        labels = self._layout.labels(cells)
        shown = self._layout.shown(labels)
        meter = self._meter_codes(cells, long, labels)
        is_wanted = meter >= 0
        ends = is_wanted & self._ends[meter] if len(self._meters) else is_wanted
        has = np.where(
            ends,
            self._layout.has_instant(labels, shown, ends_interval=True),
            self._layout.has_instant(labels, shown, ends_interval=False),
        )
        self._leave_out_times(cells, labels, ~has & (is_wanted | ~labels.times.is_good))
        rows = np.flatnonzero(has & is_wanted)
        ordered = self._order.place(_stand(cells, labels, shown, rows, meter[rows]))
        self._count_rows(labels, shown, rows, ordered)
        numbers = self._numbers(cells.columns[long.value])
        is_timed = has & is_wanted
        self._leave_out_values(cells, numbers, is_timed, column=long.value, meters=meter)
        good = numbers.is_good[rows]
        at = ordered.at + self._interval_us[meter[rows]] if len(rows) else ordered.at
        kept = rows[good]
        found = _converted(cells.row[kept], meter[kept], at[good], numbers.value[kept])
        if not self._layout.has(long.unit):
            return found
        units = _trimmed(cells.columns[long.unit]).dictionary_encode()
        named = units.dictionary.to_pylist()
        codes = units.indices.to_numpy().astype(np.int32)[kept]
        blank = named.index("") if "" in named else None
        return replace(found, unit=np.where(codes == blank, _MINUS, codes).astype(np.int32), units=named)

    def _meter_codes(self, cells: Cells, long: LongColumns, labels: Labels) -> NDArray[np.int32]:
        """Which meter each row is of; -1 for none that is wanted."""
        encoded = _trimmed(cells.columns[long.meter]).dictionary_encode()
        names = encoded.dictionary.to_pylist()
        places = {meter.name: i for i, meter in enumerate(self._meters)}
        codes = encoded.indices.to_numpy()
        meter: NDArray[np.int32] = np.array([places.get(name, _MINUS) for name in names], dtype=np.int32)[codes]
        unwanted = np.bincount(codes[(meter < 0) & labels.times.is_good], minlength=len(names))
        for i in np.flatnonzero(unwanted).tolist():
            self.findings.unwanted[names[i]] += int(unwanted[i])
        return meter

    def _numbers(self, cells: pa.Array) -> Numbers:
        mapping = self._layout.mapping
        return parse_numbers(cells, mapping.decimal, mapping.thousands)

    def _count_rows(self, labels: Labels, shown: Shown, rows: NDArray[np.intp], ordered: Ordered) -> None:
        self.findings.ambiguous += int(shown.is_ambiguous[rows].sum())
        self.findings.moved_midnights += int(labels.is_moved[rows].sum())
        self.findings.out_of_order += int(ordered.is_out_of_order.sum())

    def _leave_out_times(self, cells: Cells, labels: Labels, without: Flags) -> None:
        rows = np.flatnonzero(without)
        self.findings.left_out += len(rows)
        for i in rows.tolist():
            if self.findings.is_list_full:
                return
            self.findings.list_left_out(int(cells.row[i]), self._layout.why_no_time(cells, i, labels))

    def _leave_out_values(
        self, cells: Cells, numbers: Numbers, is_timed: Flags, *, column: str, meters: str | NDArray[np.int32]
    ) -> None:
        """Count the rows that have a time and no number."""
        self.findings.blank += int((is_timed & numbers.is_blank).sum())
        rows = np.flatnonzero(is_timed & ~numbers.is_good & ~numbers.is_blank)
        self.findings.left_out += len(rows)
        mapping = self._layout.mapping
        for i in rows.tolist():
            if self.findings.is_list_full:
                return
            key = meters if isinstance(meters, str) else self._meters[int(meters[i])].key
            why = number_cells.why_not(cells.columns[column][i].as_py(), mapping.decimal, mapping.thousands)
            self.findings.list_left_out(int(cells.row[i]), f"{key}: {why}")


def _stand(cells: Cells, labels: Labels, shown: Shown, rows: NDArray[np.intp], meter: NDArray[np.int32]) -> Stand:
    return Stand(
        row=cells.row[rows],
        meter=meter,
        told=labels.times.micros[rows],
        shown=Shown(first=shown.first[rows], second=shown.second[rows]),
    )


def _converted(
    row: NDArray[np.int64], meter: NDArray[np.int32], at_us: Micros, value: NDArray[np.float64]
) -> Converted:
    unit = np.full(len(row), _MINUS, dtype=np.int32)
    return Converted(row=row, meter=meter, at=at_us // 1000, value=value, unit=unit, units=())


def _trimmed(cells: pa.Array) -> pa.Array:
    return pc.fill_null(pc.utf8_trim_whitespace(texts(cells)), "")
