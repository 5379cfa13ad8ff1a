"""A year of a nasty meter against the simulated truth: every kind of fault, planted and known exactly.

The register counts in hundredths of a kWh, so the truth is whole numbers and nothing has to be forgiven.
"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from collector.metering.consumption import judge_readings
from collector.metering.sums import finish_quarters, sum_by_quarter
from collector.metering.tables import Event, Exchange, Facts, KindCode, ReadingTable, make_rules
from schemas.events import Decision, EventKind
from schemas.quantities import QUARTER_MS, SCALE

MIN, DAY_MS = 60_000, 86_400_000
CADENCE = 5 * MIN
A_DAY = DAY_MS // CADENCE
START = 1_735_689_600_000
"""2025-01-01 in UTC, a quarter's beginning."""
TICKS = 100
"""Of the register, in a kWh."""
WIDTH = 10_000 * TICKS
RATED = 120.0
MOST = round(RATED * TICKS * CADENCE / 3_600_000)
"""Ticks from one reading to the next, at most."""
MAX_GAP, DIP_WINDOW, FROZEN_AFTER = 30 * MIN, 60 * MIN, 4 * 60 * MIN
LOW, HIGH = WIDTH * 15 // 100, WIDTH * 85 // 100
"""Faults begin while the register is between these: none looks like a rollover, nor like one that was missed."""
Ints = NDArray[np.int64]
Found = tuple[EventKind, int, int, Decision]


class NastyMeter:
    """A meter, reading by reading. `used[i]` is the truth from reading i − 1 to i, `said[i]` what it says; in ticks."""

    def __init__(self, seed: int, *, days: int = 365) -> None:
        self._rng = random.Random(seed)
        self.count = days * A_DAY
        self.used = self._use(days)
        self.said = np.zeros(self.count, np.int64)
        self.is_heard = np.ones(self.count, np.bool_)
        self.events: list[Found] = []
        self.exchanges: list[Exchange] = []
        self.unknown = np.zeros(self.count, np.int64)
        """Of `used`, what nobody can know."""
        self.is_rough = np.zeros(self.count, np.bool_)
        """Readings up to which time is not simply measured."""
        self._register = 1_000 * TICKS
        self._plans = self._plan(days)
        row = 0
        while row < self.count:
            row = self._say(row)

    def readings(self) -> ReadingTable:
        """What arrives."""
        row = np.flatnonzero(self.is_heard)
        return ReadingTable(
            meter=np.zeros(len(row), np.int64),
            at=START + row * CADENCE,
            value=self.said[row] / TICKS,
            quality=np.zeros(len(row), np.int16),
        )

    def _use(self, days: int) -> Ints:
        """A factory by day and by night, never quite nothing; some days it is switched off for hours."""
        hour = np.arange(self.count) % A_DAY * CADENCE / 3_600_000
        noise = np.random.default_rng(self._rng.randrange(2**32)).random(self.count)
        used = np.rint(np.where((hour >= 6) & (hour < 18), 0.7, 0.15) * MOST * (0.5 + noise / 2)).astype(np.int64)
        return np.maximum(used, 1)

    def _plan(self, days: int) -> dict[int, str]:
        """A fault on most days, at a random hour of the first half."""
        kinds = ["dip", "zeros", "spike", "jump", "reset", "exchange", "step up", "step back", "gap", "frozen", ""]
        return {
            day * A_DAY + self._rng.randrange(A_DAY // 8, A_DAY // 2): self._rng.choice(kinds)
            for day in range(1, days - 1)
        }

    def _say(self, row: int) -> int:
        """One reading, or a whole fault that begins with it. Returns the next row."""
        kind = self._plans.get(row, "")
        if kind and LOW < self._register < HIGH:
            return int(getattr(self, f"_plant_{kind.replace(' ', '_')}")(row))
        return self._go_on(row)

    def _go_on(self, row: int, shown: int | None = None) -> int:
        """Count what is used, and say that, or what is `shown` instead."""
        self._register += int(self.used[row])
        if self._register >= WIDTH:
            self._register -= WIDTH
            self._note(EventKind.ROLLOVER, row, row, Decision.ROLLOVER)
        self.said[row] = self._register if shown is None else shown
        return row + 1

    def _note(self, kind: EventKind, first: int, last: int, decision: Decision) -> None:
        self.events.append((kind, START + first * CADENCE, START + last * CADENCE, decision))

    def _off_the_line(self, row: int, kind: EventKind, shown: list[int]) -> int:
        for value in shown:
            row = self._go_on(row, value)
        first = row - len(shown)
        self._note(kind, first, row - 1, Decision.SET_ASIDE)
        if (len(shown) + 1) * CADENCE > MAX_GAP:
            self._note(EventKind.GAP, first - 1, row, Decision.COUNT)
        # The next reading is back on it.
        self.is_rough[first : row + 1] = True
        return self._go_on(row)

    def _plant_dip(self, row: int) -> int:
        below = int(self.said[row - 2])
        return self._off_the_line(row, EventKind.DIP, [below - self._rng.randint(1, below)] * self._rng.randint(1, 11))

    def _plant_zeros(self, row: int) -> int:
        return self._off_the_line(row, EventKind.DIP, [0] * self._rng.randint(1, 11))

    def _plant_spike(self, row: int) -> int:
        return self._off_the_line(row, EventKind.SPIKE, [self._register + self._rng.randint(20 * MOST, WIDTH)])

    def _plant_jump(self, row: int) -> int:
        length = self._rng.randint(2, 11)
        far = self._register + self._rng.randint(20 * MOST, WIDTH)
        return self._off_the_line(row, EventKind.SPIKE, [far + i for i in range(length)])

    def _begin_anew(self, row: int, register: int, kind: EventKind, decision: Decision, *, lost: int) -> int:
        """Between the last reading and this one the register was set; `lost` was used until then."""
        self._register = register - lost
        self.unknown[row] = lost
        self.is_rough[row] = True
        self._note(kind, row, row, decision)
        return self._go_on(row)

    def _plant_reset(self, row: int) -> int:
        lost = self._rng.randint(0, int(self.used[row]))
        return self._begin_anew(row, 0, EventKind.RESET, Decision.RESET, lost=lost)

    def _plant_step_up(self, row: int) -> int:
        far = self._register + self._rng.randint(20 * MOST, 40 * MOST)
        return self._begin_anew(row, far, EventKind.SPIKE, Decision.RESTART, lost=int(self.used[row]))

    def _plant_step_back(self, row: int) -> int:
        low = self._rng.randint(20 * MOST, self._register - 20 * MOST)
        return self._begin_anew(row, low, EventKind.RESET, Decision.RESTART, lost=int(self.used[row]))

    def _plant_exchange(self, row: int) -> int:
        minutes = self._rng.randint(1, CADENCE // MIN - 1)
        before = int(self.used[row]) * minutes * MIN // CADENCE
        first_new = self._rng.randint(0, HIGH)
        at = START + (row - 1) * CADENCE + minutes * MIN
        self.exchanges.append(
            Exchange(meter=0, at=at, last_old=(self._register + before) / TICKS, first_new=first_new / TICKS)
        )
        self.events.append((EventKind.EXCHANGE, at, at, Decision.COUNT))
        self._register = first_new - before
        self.is_rough[row] = True
        return self._go_on(row)

    def _plant_gap(self, row: int) -> int:
        length = self._rng.randint(MAX_GAP // CADENCE, 96)
        self.is_heard[row : row + length] = False
        self.is_rough[row : row + length + 1] = True
        self._note(EventKind.GAP, row - 1, row + length, Decision.COUNT)
        for silent in range(row, row + length + 1):
            self._go_on(silent)
        return row + length + 1

    def _plant_frozen(self, row: int) -> int:
        """It stands still because nothing is used."""
        length = FROZEN_AFTER // CADENCE + self._rng.randint(1, 40)
        self.used[row : row + length] = 0
        self._note(EventKind.FROZEN, row - 1, row + length - 1, Decision.COUNT)
        for still in range(row, row + length):
            self._go_on(still)
        return row + length


def _found(event: Event) -> Found:
    return event.kind, event.at, event.until, event.decision


@pytest.mark.parametrize("seed", range(4))
def test_a_year_of_a_nasty_meter(seed: int) -> None:
    meter = NastyMeter(seed)
    planted = Counter(f"{kind}, {decision}" for kind, *_, decision in meter.events)
    print(planted)
    assert len(planted) == 9
    assert min(planted.values()) > 10
    end = START + meter.count * CADENCE
    rules = make_rules(
        kind=np.array([KindCode.COUNTER], np.int8),
        to_canonical=np.ones(1),
        max_gap_ms=np.array([float(MAX_GAP)]),
        interval_ms=np.zeros(1),
        register_width=np.array([WIDTH / TICKS]),
        rated_maximum=np.array([RATED]),
        dip_window_ms=np.array([float(DIP_WINDOW)]),
        frozen_after_ms=np.array([float(FROZEN_AFTER)]),
    )
    judged = judge_readings(meter.readings(), rules, Facts(exchanges=meter.exchanges), known_to=end + DIP_WINDOW)
    found, expected = set(map(_found, judged.events)), set(meter.events)
    assert (sorted(found - expected), sorted(expected - found)) == ([], [])
    assert len(judged.events) == len(meter.events)
    # All that was used, to the last tick, but for what nobody can know.
    known = meter.used - meter.unknown
    known[0] = 0  # used before the first reading
    quarters = finish_quarters(sum_by_quarter(judged.spans))
    assert int(quarters.measured.sum() + quarters.estimated.sum()) == int(known.sum()) * (SCALE // TICKS)
    _check_calm_quarters(meter, quarters.quarter, quarters.measured, quarters.covered_ms)


def _check_calm_quarters(meter: NastyMeter, quarter: Ints, measured: Ints, covered_ms: Ints) -> None:
    """Where nothing was planted, each quarter holds what was used in it and is measured throughout."""
    per_quarter = QUARTER_MS // CADENCE
    # A quarter's readings end its thirds: the first of them ends its first third.
    used = meter.used[1:].reshape(-1)[: (meter.count - 1) // per_quarter * per_quarter].reshape(-1, per_quarter)
    rough = meter.is_rough[1:][: used.size].reshape(-1, per_quarter).any(axis=1)
    calm = np.flatnonzero(~rough)
    assert len(calm) > 0.8 * len(used)
    rows = np.searchsorted(quarter, START + calm * QUARTER_MS)
    assert np.array_equal(quarter[rows], START + calm * QUARTER_MS)
    assert np.array_equal(measured[rows], used[calm].sum(axis=1) * (SCALE // TICKS))
    assert (covered_ms[rows] == QUARTER_MS).all()
