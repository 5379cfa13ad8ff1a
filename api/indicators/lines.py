"""What lines did in each quarter of an hour: runs laid over the grid of quarters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from api.indicators.splitting import Ints, cut
from schemas.quantities import QUARTER_MS
from schemas.resources import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The quarters `first`, `first + 1`, …, `count` of them; a quarter's number is its Unix milliseconds / 900,000."""

    first: int
    count: int

    @property
    def length_ms(self) -> int:
        return self.count * QUARTER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A span of one state of a line, in Unix milliseconds. `product` is what it made or what a changeover leads to."""

    line: str
    state: RunState
    product: str | None
    start_ms: int
    end_ms: int


class Phase(StrEnum):
    """What the time, and what was used in it, is counted as."""

    PROCESSING = "processing"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """Where a quantity goes: a product's processing or changeover, or the line's idle or unattributed part."""

    phase: Phase
    product: str | None = None


NOWHERE = Slot(Phase.UNATTRIBUTED)
_IDLE = Slot(Phase.IDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTime:
    """Each quarter of a line divided into slots: entry i gives `quarter[i]` (index in the grid) `weight[i]` ms of
    `slots[slot[i]]`. Entries are sorted by quarter; `upto` is the running sum within the quarter and `of` its end.
    Time without any run is an entry of NOWHERE, so every quarter has entries.
    """

    grid: Grid
    slots: tuple[Slot, ...]
    quarter: Ints
    slot: Ints
    weight: Ints
    upto: Ints
    of: Ints

    def divide(self, amount: Ints) -> Ints:
        """Amounts by quarter, shape (grid.count,), summed by slot, shape (len(slots),); nothing is lost."""
        by_entry = amount[self.quarter]
        parts = cut(by_entry, upto=self.upto, of=self.of) - cut(by_entry, upto=self.upto - self.weight, of=self.of)
        return self._by_slot(parts)

    def milliseconds(self) -> Ints:
        """The time of each slot over the whole grid."""
        return self._by_slot(self.weight)

    def running_ms(self) -> Ints:
        """The time in which the line made something, by quarter."""
        running = np.array([slot.phase is Phase.PROCESSING for slot in self.slots])[self.slot]
        total = np.zeros(self.grid.count, np.int64)
        np.add.at(total, self.quarter[running], self.weight[running])
        return total

    def while_running(self) -> LineTime:
        """The same line with only its running time in the quarters that have any; the others stay as they are.

        Pieces come out of a line that runs: those of a quarter in which it ran for five minutes are from these five.
        """
        running = np.array([slot.phase is Phase.PROCESSING for slot in self.slots])[self.slot]
        keep = running | (self.running_ms()[self.quarter] == 0)
        return _line_time(self.grid, self.slots, self.quarter[keep], self.slot[keep], self.weight[keep])

    def _by_slot(self, values: Ints) -> Ints:
        total = np.zeros(len(self.slots), np.int64)
        np.add.at(total, self.slot, values)
        return total


def lay_out(grid: Grid, runs: Sequence[Run]) -> LineTime:
    """The runs of one line over the grid. Runs that overlap share the time that both claim, as if both were half."""
    placed = _slots_of(runs)
    slots = tuple(sorted({NOWHERE, *placed}))
    numbers = {slot: i for i, slot in enumerate(slots)}
    quarters, slot_numbers, weights = [], [], []
    for run, slot in zip(runs, placed, strict=True):
        quarter, weight = _overlap(grid, run)
        quarters.append(quarter)
        weights.append(weight)
        slot_numbers.append(np.full(len(quarter), numbers[slot], np.int64))
    quarter = _joined(quarters)
    busy = np.zeros(grid.count, np.int64)
    np.add.at(busy, quarter, _joined(weights))
    free = np.flatnonzero(busy < QUARTER_MS).astype(np.int64)
    return _line_time(
        grid,
        slots,
        _joined([quarter, free]),
        _joined([*slot_numbers, np.full(len(free), numbers[NOWHERE], np.int64)]),
        _joined([*weights, QUARTER_MS - busy[free]]),
    )


def _line_time(grid: Grid, slots: tuple[Slot, ...], quarter: Ints, slot: Ints, weight: Ints) -> LineTime:
    order = np.lexsort((slot, quarter))
    quarter, slot, weight = quarter[order], slot[order], weight[order]
    running = np.cumsum(weight)
    per_quarter = np.zeros(grid.count, np.int64)
    np.add.at(per_quarter, quarter, weight)
    before = np.cumsum(per_quarter) - per_quarter
    return LineTime(
        grid=grid,
        slots=slots,
        quarter=quarter,
        slot=slot,
        weight=weight,
        upto=running - before[quarter],
        of=per_quarter[quarter],
    )


def _overlap(grid: Grid, run: Run) -> tuple[Ints, Ints]:
    """The quarters (indices in the grid) that a run touches, and for how long each."""
    start = max(run.start_ms - grid.first * QUARTER_MS, 0)
    end = min(run.end_ms - grid.first * QUARTER_MS, grid.length_ms)
    if end <= start:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    quarter = np.arange(start // QUARTER_MS, -(-end // QUARTER_MS), dtype=np.int64)
    weight = np.full(len(quarter), QUARTER_MS, np.int64)
    weight[0] -= start - quarter[0] * QUARTER_MS
    weight[-1] -= (quarter[-1] + 1) * QUARTER_MS - end
    return quarter, weight


def _slots_of(runs: Sequence[Run]) -> list[Slot]:
    """Where each run's time goes. `runs` may reach beyond the grid so that the last changeover finds its run."""
    following = sorted((run for run in runs if run.state is RunState.RUNNING), key=lambda run: run.start_ms)
    starts = [run.start_ms for run in following]

    def slot(run: Run) -> Slot:
        match run.state:
            case RunState.RUNNING:
                return Slot(Phase.PROCESSING, run.product) if run.product else NOWHERE
            case RunState.CHANGEOVER:
                after = bisect_left(starts, run.end_ms)
                product = run.product or (following[after].product if after < len(following) else None)
                return Slot(Phase.CHANGEOVER, product) if product else NOWHERE
            case _:
                return _IDLE

    return [slot(run) for run in runs]


def _joined(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
