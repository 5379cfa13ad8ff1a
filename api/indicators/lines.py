"""What lines did in each quarter of an hour: runs laid over the grid of quarters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from api.indicators.splitting import Ints, cut
from schemas.quantities import QUARTER_MS
from schemas.resources import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The quarters `first`, `first + 1`, …, `count` of them; a quarter's number is its Unix milliseconds / 900,000.

    `starts` cuts them into spans: the indices in the grid at which they begin, ascending from 0. Sums are by span.
    """

    first: int
    count: int
    starts: tuple[int, ...] = (0,)

    @property
    def length_ms(self) -> int:
        return self.count * QUARTER_MS

    @property
    def span(self) -> Ints:
        """The number of the span of each quarter, shape (count,)."""
        marks = np.zeros(self.count, np.int64)
        marks[list(self.starts[1:])] = 1
        return np.cumsum(marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A span of one state of a line, in Unix milliseconds. `product` is what it made or what a changeover leads to.

    `number` is what it is known by where sums are wanted by run; 0: they are not.
    """

    line: str
    state: RunState
    product: str | None
    start_ms: int
    end_ms: int
    number: int = 0


class Phase(StrEnum):
    """What the time, and what was used in it, is counted as."""

    PROCESSING = "processing"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a quantity goes: a product's processing or changeover, or the line's idle or unattributed part.

    `run` is the number of the run that it is for; a changeover's is that of the run which follows.
    """

    phase: Phase
    product: str | None = None
    run: int = 0


NOWHERE = Slot(Phase.UNATTRIBUTED)
_IDLE = Slot(Phase.IDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BySlot:
    """Where sums by span and slot stand: entry i of a sum is of `span[i]` and `slots[slot[i]]`."""

    span: Ints
    slot: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTime:
    """Each quarter of a line divided into slots: entry i gives `quarter[i]` (index in the grid) `weight[i]` ms of
    `slots[slot[i]]`. Entries are sorted by quarter; `upto` is the running sum within the quarter and `of` its end.
    Time without any run is an entry of NOWHERE, so every quarter has entries.

    Sums come by span and slot, in the order of `by`; `order` and `heads` are what sums them.
    """

    grid: Grid
    slots: tuple[Slot, ...]
    quarter: Ints
    slot: Ints
    weight: Ints
    upto: Ints
    of: Ints
    by: BySlot
    order: NDArray[np.intp]
    heads: NDArray[np.intp]

    def divide(self, amount: Ints) -> Ints:
        """Amounts by quarter, shape (grid.count,), summed as `by` tells; nothing is lost."""
        by_entry = amount[self.quarter]
        parts = cut(by_entry, upto=self.upto, of=self.of) - cut(by_entry, upto=self.upto - self.weight, of=self.of)
        return self._sums(parts)

    def divide_by_power(self, amount: Ints, power_of: Ints) -> Ints:
        """The same, had a quarter with several slots been divided by time × typical power in place of time alone.

        Typical is the mean of `power_of` (amounts by quarter) over those quarters of the span which a phase of a
        product has for itself. The sums may differ from the amounts by roundings: this tells how far another rule is
        off, no more.
        """
        kinds = list(dict.fromkeys((slot.phase, slot.product) for slot in self.slots))
        numbers = np.array([kinds.index((slot.phase, slot.product)) for slot in self.slots])
        spans, span = len(self.grid.starts), self.grid.span
        kind = span[self.quarter] * len(kinds) + numbers[self.slot]
        alone = self.weight == self.of
        time_ms = np.bincount(kind[alone], self.weight[alone], spans * len(kinds))
        taken = np.bincount(kind[alone], power_of[self.quarter[alone]], spans * len(kinds))
        mean = np.bincount(span, power_of, spans) / (np.bincount(span, minlength=spans) * QUARTER_MS)
        power = np.where(time_ms > 0, taken / np.maximum(time_ms, 1), np.repeat(mean, len(kinds))).clip(min=0)
        weight = self.weight * power[kind]
        whole = np.bincount(self.quarter, weight, self.grid.count)[self.quarter]
        share = np.where(whole > 0, weight / np.where(whole > 0, whole, 1.0), self.weight / self.of)
        parts: Ints = np.rint(amount[self.quarter] * share).astype(np.int64)
        return self._sums(parts)

    def milliseconds(self) -> Ints:
        """The time of each slot, as `by` tells."""
        return self._sums(self.weight)

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

    def _sums(self, values: Ints) -> Ints:
        summed: Ints = np.add.reduceat(values[self.order], self.heads)
        return summed


def lay_out(grid: Grid, runs: Sequence[Run]) -> LineTime:
    """The runs of one line over the grid. Runs that overlap share the time that both claim, as if both were half."""
    placed = _slots_of(runs)
    slots = tuple(sorted({NOWHERE, *placed}, key=lambda slot: (slot.phase, slot.product or "", slot.run)))
    numbers = {slot: i for i, slot in enumerate(slots)}
    quarters, slot_numbers, weights = [], [], []
    for start, end, claiming in _claims(runs):
        quarter, weight = _overlap(grid, start, end)
        for i, claim in enumerate(claiming):
            quarters.append(quarter)
            weights.append(weight * (i + 1) // len(claiming) - weight * i // len(claiming))
            slot_numbers.append(np.full(len(quarter), numbers[placed[claim]], np.int64))
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
    place = grid.span[quarter] * len(slots) + slot
    sorting = np.argsort(place, kind="stable")
    found, heads = np.unique(place[sorting], return_index=True)
    return LineTime(
        grid=grid,
        slots=slots,
        quarter=quarter,
        slot=slot,
        weight=weight,
        upto=running - before[quarter],
        of=per_quarter[quarter],
        by=BySlot(span=found // len(slots), slot=found % len(slots)),
        order=sorting,
        heads=heads,
    )


def _claims(runs: Sequence[Run]) -> Iterator[tuple[int, int, list[int]]]:
    """Stretches of time in Unix milliseconds, each with the runs (their indices) that claim it: one, or all at once."""
    marks = [(at, i) for i, run in enumerate(runs) if run.end_ms > run.start_ms for at in (run.start_ms, run.end_ms)]
    claiming: dict[int, None] = {}
    reached = 0
    for at, i in sorted(marks):
        if claiming and at > reached:
            yield reached, at, list(claiming)
        reached = at
        if i in claiming:
            del claiming[i]
        else:
            claiming[i] = None


def _overlap(grid: Grid, start_ms: int, end_ms: int) -> tuple[Ints, Ints]:
    """The quarters (indices in the grid) that a stretch of time touches, and for how long each."""
    start = max(start_ms - grid.first * QUARTER_MS, 0)
    end = min(end_ms - grid.first * QUARTER_MS, grid.length_ms)
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
                return Slot(Phase.PROCESSING, run.product, run.number) if run.product else NOWHERE
            case RunState.CHANGEOVER:
                # The run that follows may begin before the changeover is over.
                after = bisect_left(starts, run.start_ms)
                leads_to = following[after] if after < len(following) else None
                product = run.product or (leads_to.product if leads_to else None)
                number = leads_to.number if leads_to and leads_to.product == product else 0
                return Slot(Phase.CHANGEOVER, product, number) if product else NOWHERE
            case _:
                return _IDLE

    return [slot(run) for run in runs]


def _joined(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
