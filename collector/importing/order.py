"""Rows in the order of a file: it tells which showing of the clock is meant, and what stands out of order.

Of each meter the row before decides, as in `schemas.local_time.place`. In a file with the newest row first that is the
row behind, which is not read yet: `Survey` has looked ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collector.importing.clock import Flags, Micros, Shown

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Rows with a time: their numbers, the meter of each, the time as it was `told`, and when the clock showed it."""

    row: Ints
    meter: NDArray[np.int32]
    told: Micros
    shown: Shown

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The instant of each row (microseconds, UTC), and whether its time is before that of the row before it."""

    at: Micros
    is_out_of_order: Flags


@dataclass(slots=True, kw_only=True)
class Order:
    """Remembers the last row of each meter. `seconds`: of a file that runs backwards, rows that mean a second showing;
    None for a file that runs with time.
    """

    seconds: Ints | None = None
    _told: Micros = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _at: Micros = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _state: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype=np.int8))

    def place(self, rows: Stand) -> Ordered:
        """The next rows of the file."""
        if not len(rows):
            return Ordered(at=np.empty(0, dtype=np.int64), is_out_of_order=np.empty(0, dtype=np.bool_))
        self._grow(int(rows.meter.max()) + 1)
        order = np.argsort(rows.meter, kind="stable") if rows.meter.any() else np.arange(len(rows))
        meter, told = rows.meter[order], rows.told[order]
        first, second = rows.shown.first[order], rows.shown.second[order]
        is_ambiguous = second > first
        begins = np.r_[True, meter[1:] != meter[:-1]]
        at = first.copy()
        if self.seconds is None:
            self._tell_apart(at, second, meter, begins, np.flatnonzero(is_ambiguous))
        else:
            is_second = is_ambiguous & np.isin(rows.row[order], self.seconds)
            at[is_second] = second[is_second]
        found = Ordered(at=np.empty_like(at), is_out_of_order=np.empty(len(at), dtype=np.bool_))
        found.at[order] = at
        found.is_out_of_order[order] = self._steps_back(told, meter, begins, is_ambiguous)
        ends = np.flatnonzero(np.r_[begins[1:], True])
        self._told[meter[ends]], self._at[meter[ends]] = told[ends], at[ends]
        self._state[meter[ends]] = 1 + is_ambiguous[ends]
        return found

    def _tell_apart(
        self, at: Micros, second: Micros, meter: NDArray[np.int32], begins: Flags, ambiguous: NDArray[np.intp]
    ) -> None:
        """Of times that were shown twice the second is meant where the row before is at the first already."""
        for i in ambiguous.tolist():
            has_before = not begins[i] or self._state[meter[i]]
            before = self._at[meter[i]] if begins[i] else at[i - 1]
            if has_before and before >= at[i]:
                at[i] = second[i]

    def _steps_back(self, told: Micros, meter: NDArray[np.int32], begins: Flags, is_ambiguous: Flags) -> Flags:
        before = np.r_[told[:1], told[:-1]]
        was_ambiguous = np.r_[is_ambiguous[:1], is_ambiguous[:-1]]
        has_before = ~begins
        starts = np.flatnonzero(begins)
        before[starts], has_before[starts] = self._told[meter[starts]], self._state[meter[starts]] > 0
        was_ambiguous[starts] = self._state[meter[starts]] == 2
        runs_with_time = self.seconds is None
        steps_back: Flags = ~is_ambiguous & (told < before) if runs_with_time else ~was_ambiguous & (before < told)
        return has_before & steps_back

    def _grow(self, meters: int) -> None:
        more = max(0, meters - len(self._told))
        if more:
            self._told, self._at = (np.r_[known, np.zeros(more, dtype=np.int64)] for known in (self._told, self._at))
            self._state = np.r_[self._state, np.zeros(more, dtype=np.int8)]


@dataclass(slots=True, kw_only=True)
class LookAhead:
    """Gathers, over a whole file, the rows whose time was shown twice, and of each meter the one behind them."""

    _parts: list[tuple[Ints, Ints, Ints, Ints]] = field(default_factory=list)
    _follows: Flags = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def take(self, rows: Stand) -> None:
        """The next rows of the file."""
        if not len(rows):
            return
        most = int(rows.meter.max()) + 1
        if most > len(self._follows):
            self._follows = np.r_[self._follows, np.zeros(most - len(self._follows), dtype=np.bool_)]
        is_ambiguous = rows.shown.is_ambiguous
        if not (is_ambiguous.any() or self._follows.any()):
            return
        order = np.argsort(rows.meter, kind="stable")
        meter, is_ambiguous = rows.meter[order], is_ambiguous[order]
        begins = np.r_[True, meter[1:] != meter[:-1]]
        follows = np.r_[False, is_ambiguous[:-1]]
        follows[begins] = self._follows[meter[begins]]
        kept = np.flatnonzero(is_ambiguous | follows)
        row, first, second = rows.row[order], rows.shown.first[order], rows.shown.second[order]
        self._parts.append((meter[kept].astype(np.int64), row[kept], first[kept], second[kept]))
        ends = np.flatnonzero(np.r_[begins[1:], True])
        self._follows[meter[ends]] = is_ambiguous[ends]

    def seconds(self) -> Ints:
        """The rows that mean a second showing, if the file runs backwards."""
        if not self._parts:
            return np.empty(0, dtype=np.int64)
        meter, row, first, second = (np.concatenate([part[i] for part in self._parts]) for i in range(4))
        found: list[int] = []
        before: tuple[int, int] | None = None
        for i in np.lexsort((-row, meter)).tolist():
            at = int(first[i])
            if second[i] > first[i] and before is not None and before[0] == meter[i] and before[1] >= at:
                at = int(second[i])
                found.append(int(row[i]))
            before = (int(meter[i]), at)
        return np.array(sorted(found), dtype=np.int64)
