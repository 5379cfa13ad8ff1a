"""Registers, intervals and rates by the quarter, on cases small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from collector.metering.consumption import roll_up
from collector.metering.sums import QuarterTable
from collector.metering.tables import KindCode, ReadingTable, make_rules
from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import Quality

T0 = 1_795_298_400_000 // QUARTER_MS * QUARTER_MS
MIN = 60_000


def _roll_up(
    kind: KindCode,
    readings: list[tuple[float, float]],
    *,
    quality: list[int] | None = None,
    max_gap_min: float = 30,
    interval_min: float = 15,
    dip_window_min: float = 60,
) -> list[tuple[int, float, float, float]]:
    """From (minutes after T0, value) to (nth quarter, measured, estimated, covered minutes)."""
    at = np.array([T0 + int(minutes * MIN) for minutes, _ in readings], np.int64)
    found: QuarterTable = roll_up(
        ReadingTable(
            meter=np.zeros(len(at), np.int64),
            at=at,
            value=np.array([value for _, value in readings]),
            quality=np.array(quality or [0] * len(at), np.int16),
        ),
        make_rules(
            kind=np.array([kind], np.int8),
            to_canonical=np.array([1.0]),
            max_gap_ms=np.array([max_gap_min * MIN]),
            interval_ms=np.array([interval_min * MIN]),
            register_width=np.array([0.0]),
            rated_maximum=np.array([np.inf]),
            dip_window_ms=np.array([dip_window_min * MIN]),
            frozen_after_ms=np.array([0.0]),
        ),
        from_ms=np.array([T0 - 4 * QUARTER_MS]),
        to_ms=np.array([T0 + 400 * QUARTER_MS]),
    )
    return [
        ((q - T0) // QUARTER_MS, m / SCALE, e / SCALE, c / MIN)
        for q, m, e, c in zip(
            found.quarter.tolist(),
            found.measured.tolist(),
            found.estimated.tolist(),
            found.covered_ms.tolist(),
            strict=True,
        )
    ]


def test_a_register_is_split_by_time_at_the_edge_of_a_quarter() -> None:
    assert _roll_up(KindCode.COUNTER, [(10, 100), (25, 103)]) == [(0, 1.0, 0.0, 5.0), (1, 2.0, 0.0, 10.0)]


def test_a_gap_keeps_its_total_but_is_estimated_and_not_covered() -> None:
    assert _roll_up(KindCode.COUNTER, [(0, 100), (45, 109), (60, 110)]) == [
        (0, 0.0, 3.0, 0.0),
        (1, 0.0, 3.0, 0.0),
        (2, 0.0, 3.0, 0.0),
        (3, 1.0, 0.0, 15.0),
    ]


def test_a_gap_as_long_as_allowed_is_still_measured() -> None:
    assert [row[2] for row in _roll_up(KindCode.COUNTER, [(0, 0), (30, 1)])] == [0.0, 0.0]


def test_a_register_that_stands_still_has_used_nothing_which_is_not_the_same_as_unknown() -> None:
    assert _roll_up(KindCode.COUNTER, [(0, 5), (15, 5)]) == [(0, 0.0, 0.0, 15.0)]


def test_a_fall_is_unknown_neither_zero_nor_negative() -> None:
    """METHODS §1: the rule of 'below 90 % of the previous' would turn 100, 105, 94, 97 into more than 100."""
    readings: list[tuple[float, float]] = [(0, 100), (15, 105), (30, 94), (45, 97)]
    assert _roll_up(KindCode.COUNTER, readings, dip_window_min=10) == [(0, 5.0, 0.0, 15.0), (2, 3.0, 0.0, 15.0)]


def test_a_fall_that_may_yet_be_a_dip_counts_nothing_so_far() -> None:
    readings: list[tuple[float, float]] = [(0, 100), (15, 105), (30, 94), (45, 97)]
    assert _roll_up(KindCode.COUNTER, readings) == [(0, 5.0, 0.0, 15.0)]
    assert _roll_up(KindCode.COUNTER, [*readings, (60, 106)]) == [
        (0, 5.0, 0.0, 15.0),
        (1, 0.0, pytest.approx(1 / 3, abs=1e-9), 0.0),
        (2, 0.0, pytest.approx(1 / 3, abs=1e-9), 0.0),
        (3, 0.0, pytest.approx(1 / 3, abs=1e-9), 0.0),
    ]


def test_one_reading_alone_says_nothing() -> None:
    assert _roll_up(KindCode.COUNTER, [(5, 100)]) == []
    assert _roll_up(KindCode.RATE, [(5, 100)]) == []


def test_an_interval_reading_speaks_of_the_time_before_it() -> None:
    assert _roll_up(KindCode.INTERVAL, [(15, 4.0), (45, 6.0)]) == [(0, 4.0, 0.0, 15.0), (2, 6.0, 0.0, 15.0)]


def test_an_interval_across_two_quarters_is_split_by_time() -> None:
    assert _roll_up(KindCode.INTERVAL, [(20, 3.0)]) == [(0, 2.0, 0.0, 10.0), (1, 1.0, 0.0, 5.0)]


def test_a_rate_is_integrated_by_the_trapezoid() -> None:
    """From 0 to 60 kW in 30 min: a mean of 15 kW, then of 45 kW, for a quarter of an hour each."""
    assert _roll_up(KindCode.RATE, [(0, 0), (30, 60)]) == [(0, 3.75, 0.0, 15.0), (1, 11.25, 0.0, 15.0)]


def test_a_rate_beyond_the_gap_is_unknown() -> None:
    assert _roll_up(KindCode.RATE, [(0, 60), (15, 60), (60, 60)]) == [(0, 15.0, 0.0, 15.0)]


@pytest.mark.parametrize("doubt", [Quality.ESTIMATED, Quality.SUSPECT])
def test_what_the_source_doubts_is_estimated(doubt: Quality) -> None:
    assert _roll_up(KindCode.COUNTER, [(0, 0), (15, 1), (30, 2)], quality=[0, 0, doubt]) == [
        (0, 1.0, 0.0, 15.0),
        (1, 0.0, 1.0, 0.0),
    ]
    assert _roll_up(KindCode.INTERVAL, [(15, 1)], quality=[doubt]) == [(0, 0.0, 1.0, 0.0)]


def test_a_dial_read_by_a_person_is_measured() -> None:
    assert _roll_up(KindCode.COUNTER, [(0, 0), (15, 1)], quality=[0, Quality.MANUAL]) == [(0, 1.0, 0.0, 15.0)]


def test_a_large_register_keeps_its_last_digit() -> None:
    rows = _roll_up(KindCode.COUNTER, [(0, 8_999_999_999.5), (7, 8_999_999_999.75), (20, 9_000_000_000.0)])
    assert sum(row[1] for row in rows) == 0.5
