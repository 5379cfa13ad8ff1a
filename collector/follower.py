"""The roll-up's memory: each meter's last reading, and the sums of the quarters that are not closed for good.

It holds nothing that could not be read again: after a stop it begins at the last quarter that stands in the table.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from collector.metering.following import follow, no_tails
from collector.metering.neighbourhood import Neighbourhood, Stretch
from collector.metering.sums import QuarterTable, Sums, finish_quarters, merge_sums, no_sums, sum_by_quarter
from collector.metering.tables import Event, Ints, MeterRules, ReadingTable
from schemas.quantities import QUARTER_MS

LOOK_MS = 15_000
"""How far beyond a quarter's end readings are waited for, as the first of them tells how the quarter ended."""
_NOT_YET = 2**62


class Follower:
    """Follows all meters from slice to slice. Instants are Unix milliseconds, meters are their ids."""

    def __init__(self, rules: MeterRules, *, from_ms: int, computed_to: int) -> None:
        self.rules = rules
        self.followed_to = from_ms
        self.computed_to = computed_to
        self.kept_from = from_ms
        self.first_at = np.full(len(rules.kind), _NOT_YET, dtype=np.int64)
        self.rough: dict[int, int] = {}
        """Meters that have to be judged, and from which instant on."""
        self.new_meters: dict[int, int] = {}
        """Meters that have spoken for the first time since they were last noted, and when."""
        self.frozen: list[Event] = []
        self._tails = no_tails(len(rules.kind))
        self._is_rough = np.zeros(len(rules.kind), dtype=np.bool_)
        self._kept = no_sums()
        self._touched: list[tuple[Ints, Ints]] = []

    def remember(self, readings: ReadingTable) -> None:
        """Readings just before the first slice: each meter's last one is what the next is compared with."""
        lasts = np.flatnonzero(np.r_[readings.meter[1:] != readings.meter[:-1], True][: len(readings.meter)])
        own = readings.select(lasts[self.rules.kind[readings.meter[lasts]] >= 0])
        # A meter whose standing still is watched is judged from its stretch's beginning.
        watched = self.rules.frozen_after_ms[own.meter] > 0
        own = own.select(~watched)
        self._tails.replace(own.meter, at=own.at, value=own.value, quality=own.quality, still_since=own.at)

    def note_first(self, first_at: Iterable[tuple[int, int]]) -> None:
        """When meters first spoke, as it was noted before."""
        for meter, at in first_at:
            if meter < len(self.first_at):
                self.first_at[meter] = min(self.first_at[meter], at)

    def see_first(self, meter: int, at: int) -> None:
        """A meter spoke at `at`, perhaps for the first time."""
        if at < self.first_at[meter]:
            self.first_at[meter] = at
            self.new_meters[meter] = at

    def make_rough(self, meter: int, from_ms: int) -> None:
        """The meter has to be judged from there on."""
        self.rough[meter] = min(self.rough.get(meter, _NOT_YET), from_ms)
        self._is_rough[meter] = True

    def take(self, readings: ReadingTable, to_ms: int) -> None:
        """Follow the readings of [followed_to, to_ms)."""
        readings = readings.select(self.rules.kind[readings.meter] >= 0)
        self._see_new(readings)
        readings = readings.select(~self._is_rough[readings.meter])
        found = follow(readings, self.rules, self._tails, kept_from=self.kept_from, first_at=self.first_at)
        for meter, at in zip(found.rough.tolist(), found.rough_from.tolist(), strict=True):
            self.make_rough(meter, at)
        self.frozen += found.frozen
        spans = found.spans
        crossing = np.flatnonzero((spans.start < self.computed_to) & (spans.end > self.computed_to + LOOK_MS))
        if len(crossing):
            # What was written of the quarter behind ended with the last reading in it.
            self._touched.append((spans.meter[crossing], np.maximum(spans.start[crossing], self.kept_from)))
        self._kept = merge_sums(self._kept, sum_by_quarter(spans))
        self.followed_to = to_ms

    def stretches(self) -> list[Stretch]:
        """What is to be judged before a quarter can be completed."""
        return [
            Stretch(meter=meter, from_ms=from_ms, to_ms=max(self.followed_to - 1, from_ms))
            for meter, from_ms in self.rough.items()
        ]

    def accept(self, found: list[Neighbourhood]) -> None:
        """Put what was judged in place of what was followed; from here on calm meters are followed again."""
        whole = [neighbourhood for neighbourhood in found if neighbourhood.ends]
        if not whole:
            return
        start = np.full(len(self.rules.kind), _NOT_YET, dtype=np.int64)
        for neighbourhood in whole:
            start[neighbourhood.meter] = neighbourhood.start
        kept = self._kept.select(self._kept.quarter < start[self._kept.meter])
        self._kept = merge_sums(kept, *(n.sums.select(n.sums.quarter >= self.kept_from) for n in whole))
        for neighbourhood in whole:
            self._accept_tail(neighbourhood)

    def complete(self, to_ms: int) -> tuple[QuarterTable, QuarterTable]:
        """Quarters up to `to_ms`: those not written yet, and those that came to more after they were written."""
        kept = self._kept
        fresh = kept.select((kept.quarter >= self.computed_to) & (kept.quarter < to_ms))
        again = self._touched_rows()
        self.computed_to = to_ms
        self.kept_from = max(self.kept_from, to_ms - QUARTER_MS)
        self._kept = kept.select(kept.quarter >= self.kept_from)
        self._touched = []
        return finish_quarters(fresh), finish_quarters(again)

    def _touched_rows(self) -> Sums:
        kept = self._kept
        if not self._touched:
            return kept.select(np.empty(0, dtype=np.int64))
        since = np.full(len(self.rules.kind), _NOT_YET, dtype=np.int64)
        for meter, start in self._touched:
            np.minimum.at(since, meter, start // QUARTER_MS * QUARTER_MS)
        return kept.select((kept.quarter < self.computed_to) & (kept.quarter >= since[kept.meter]))

    def _see_new(self, readings: ReadingTable) -> None:
        firsts = np.flatnonzero(np.r_[True, readings.meter[1:] != readings.meter[:-1]][: len(readings.meter)])
        meter = readings.meter[firsts]
        new = firsts[self.first_at[meter] == _NOT_YET]
        self.first_at[readings.meter[new]] = readings.at[new]
        self.new_meters.update(zip(readings.meter[new].tolist(), readings.at[new].tolist(), strict=True))

    def _accept_tail(self, found: Neighbourhood) -> None:
        if found.tail is None:
            return
        meter = np.array([found.meter])
        tail = found.tail
        self._tails.replace(
            meter,
            at=np.array([tail.at]),
            value=np.array([tail.value]),
            quality=np.array([tail.quality], dtype=np.int16),
            still_since=np.array([tail.still_since]),
        )
        self.rough.pop(found.meter, None)
        self._is_rough[found.meter] = False
        if found.rough_from is not None:
            self.make_rough(found.meter, found.rough_from)
