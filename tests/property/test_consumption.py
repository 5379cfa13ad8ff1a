"""What must hold for any readings: nothing is invented, nothing lost, and the neighbourhood decides."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.metering.consumption import roll_up
from collector.metering.sums import QuarterTable
from collector.metering.tables import KindCode, MeterRules, ReadingTable, billionths
from schemas.quantities import QUARTER_MS, SCALE

START = 1_795_298_400_000 // QUARTER_MS * QUARTER_MS
SPAN = 40 * QUARTER_MS


def rules(kind: KindCode, *, to_canonical: float = 1.0, max_gap_ms: int = 2 * QUARTER_MS) -> MeterRules:
    return MeterRules(
        kind=np.array([kind], np.int8),
        to_canonical=np.array([to_canonical]),
        max_gap_ms=np.array([max_gap_ms]),
        interval_ms=np.array([QUARTER_MS if kind is KindCode.INTERVAL else 0]),
        width=np.array([0]),
        rated=np.array([np.inf]),
        dip_window_ms=np.array([QUARTER_MS]),
        frozen_after_ms=np.array([0]),
    )


def table(at: list[int], value: list[float], quality: list[int] | None = None) -> ReadingTable:
    return ReadingTable(
        meter=np.zeros(len(at), np.int64),
        at=np.array(at, np.int64),
        value=np.array(value, np.float64),
        quality=np.array(quality or [0] * len(at), np.int16),
    )


def everything(readings: ReadingTable, of: MeterRules) -> QuarterTable:
    return roll_up(
        readings,
        of,
        from_ms=np.array([START - 10 * QUARTER_MS]),
        to_ms=np.array([START + SPAN + 10 * QUARTER_MS]),
    )


def total(quarters: QuarterTable) -> int:
    return int(quarters.measured.sum() + quarters.estimated.sum())


@given(st.floats(-8e9, 8e9))
def test_a_quantity_is_the_nearest_billionth(amount: float) -> None:
    exact = Fraction(amount) * SCALE
    assert abs(int(billionths(np.array([amount]))[0]) - exact) <= Fraction(1, 2) + Fraction(1, 1000)


instants = st.lists(st.integers(START, START + SPAN), min_size=2, max_size=60, unique=True).map(sorted)


@st.composite
def registers(draw: st.DrawFn) -> ReadingTable:
    at = draw(instants)
    steps = draw(st.lists(st.integers(0, 10**6), min_size=len(at), max_size=len(at)))
    return table(at, list(np.round(np.cumsum(steps) / 100, 2)))


@st.composite
def nasty(draw: st.DrawFn) -> ReadingTable:
    """A register that also falls, and whose source doubts some of it."""
    at = draw(instants)
    value = draw(st.lists(st.floats(0, 1e8), min_size=len(at), max_size=len(at)))
    quality = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=len(at), max_size=len(at)))
    return table(at, value, quality)


@given(registers(), st.sampled_from([1.0, 1e-3, 1000.0, 11.0, 1 / 3.6]))
def test_buckets_sum_to_the_difference_of_the_registers_exactly(readings: ReadingTable, to_canonical: float) -> None:
    quarters = everything(readings, rules(KindCode.COUNTER, to_canonical=to_canonical))
    first, last = (int(billionths(readings.value[i : i + 1] * to_canonical)[0]) for i in (0, len(readings.at) - 1))
    assert total(quarters) == last - first
    assert (quarters.measured >= 0).all()
    assert (quarters.estimated >= 0).all()


@given(nasty(), st.integers(-10, 50))
def test_any_window_gives_the_same_numbers_as_the_whole(readings: ReadingTable, cut: int) -> None:
    for kind in KindCode:
        of = rules(kind)
        edge = START + cut * QUARTER_MS
        whole = everything(readings, of)
        parts = [
            roll_up(readings, of, from_ms=np.array([a]), to_ms=np.array([b]))
            for a, b in ((START - 10 * QUARTER_MS, edge), (edge, START + SPAN + 10 * QUARTER_MS))
        ]
        for name in ("quarter", "measured", "estimated", "covered_ms"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(joined, getattr(whole, name)), name


@given(nasty(), st.integers(0, 39))
def test_a_quarter_hangs_on_its_neighbourhood_alone(readings: ReadingTable, nth: int) -> None:
    """Only the readings in the quarter and the next ones around it are given: the same whole numbers come out.

    Of a counter that has to be judged more is needed: see test_neighbourhood.
    """
    start, end = START + nth * QUARTER_MS, START + (nth + 1) * QUARTER_MS
    before = readings.at[readings.at < start][-1:]
    after = readings.at[readings.at >= end + (QUARTER_MS if (nth % 2) else 0)][:1]
    near = (readings.at >= (before[0] if len(before) else start)) & (
        readings.at <= (after[0] if len(after) else readings.at[-1])
    )
    part = ReadingTable(
        meter=readings.meter[near], at=readings.at[near], value=readings.value[near], quality=readings.quality[near]
    )
    for kind in (KindCode.COUNTER, KindCode.RATE):
        of = rules(kind)
        if kind is KindCode.COUNTER:
            readings = replace(readings, value=np.sort(readings.value))
            part = replace(part, value=readings.value[near])
        whole, local = (roll_up(t, of, from_ms=np.array([start]), to_ms=np.array([end])) for t in (readings, part))
        for name in ("quarter", "measured", "estimated", "covered_ms"):
            assert np.array_equal(getattr(whole, name), getattr(local, name)), (kind, name)


@given(nasty())
def test_coverage_never_passes_the_quarter_and_needs_measured_readings(readings: ReadingTable) -> None:
    for kind in KindCode:
        quarters = everything(readings, rules(kind))
        assert (quarters.covered_ms >= 0).all()
        assert (quarters.covered_ms <= QUARTER_MS).all()
        if kind is not KindCode.RATE:
            assert (quarters.measured[quarters.covered_ms == 0] == 0).all()


@given(st.lists(nasty(), min_size=1, max_size=5))
def test_meters_do_not_touch_each_other(tables: list[ReadingTable]) -> None:
    kinds = [KindCode(i % 3) for i in range(len(tables))]
    each = [rules(kind) for kind in kinds]
    together = roll_up(
        ReadingTable(
            meter=np.concatenate([np.full(len(t.at), i) for i, t in enumerate(tables)]),
            at=np.concatenate([t.at for t in tables]),
            value=np.concatenate([t.value for t in tables]),
            quality=np.concatenate([t.quality for t in tables]),
        ),
        MeterRules(
            **{name: np.concatenate([getattr(r, name) for r in each]) for name in MeterRules.__dataclass_fields__}
        ),
        from_ms=np.full(len(tables), START - 10 * QUARTER_MS),
        to_ms=np.full(len(tables), START + SPAN + 10 * QUARTER_MS),
    )
    for i, (readings, of) in enumerate(zip(tables, each, strict=True)):
        alone, mine = everything(readings, of), together.meter == i
        for name in ("quarter", "measured", "estimated", "covered_ms"):
            assert np.array_equal(getattr(together, name)[mine], getattr(alone, name))


@given(instants, st.floats(0, 1e4))
@settings(max_examples=50)
def test_a_constant_rate_gives_rate_times_time(at: list[int], rate: float) -> None:
    quarters = everything(table(at, [rate] * len(at)), rules(KindCode.RATE, max_gap_ms=SPAN + 1))
    hours = (at[-1] - at[0]) / 3_600_000
    # Each quarter is rounded once, to a billionth.
    assert abs(total(quarters) - rate * hours * SCALE) <= len(quarters.quarter) + 1e-9 * rate * hours * SCALE
