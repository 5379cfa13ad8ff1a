"""What must hold for any register, however bad: no rule invents consumption, and glitches leave none behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from collector.metering.consumption import judge_readings
from collector.metering.sums import Spans, finish_quarters, sum_by_quarter
from collector.metering.tables import (
    HOUR_MS,
    NO_FACTS,
    Facts,
    KindCode,
    MeterRules,
    ReadingTable,
    Told,
    make_rules,
)
from schemas.events import Decision, EventKind
from schemas.quantities import QUARTER_MS, SCALE
from tests.property.test_neighbourhood import Case, cases

START = 1_741_000_000_000 // QUARTER_MS * QUARTER_MS
MIN = 60_000
CADENCE = 5 * MIN
WINDOW = 60 * MIN
RATED = 120.0
"""Kilowatt-hours an hour: ten from one reading to the next."""
WIDTH = 1000.0


def rules(*, rated: float = np.inf, width: float = 0.0) -> MeterRules:
    return make_rules(
        kind=np.array([KindCode.COUNTER], np.int8),
        to_canonical=np.ones(1),
        max_gap_ms=np.array([30.0 * MIN]),
        interval_ms=np.zeros(1),
        register_width=np.array([width]),
        rated_maximum=np.array([rated]),
        dip_window_ms=np.array([float(WINDOW)]),
        frozen_after_ms=np.zeros(1),
    )


def table(value: list[float], at: list[int] | None = None) -> ReadingTable:
    instants = at or [START + i * CADENCE for i in range(len(value))]
    return ReadingTable(
        meter=np.zeros(len(value), np.int64),
        at=np.array(instants, np.int64),
        value=np.array(value, np.float64),
        quality=np.zeros(len(value), np.int16),
    )


def spans_of(readings: ReadingTable, of: MeterRules, facts: Facts = NO_FACTS, *, later: int = 2 * WINDOW) -> Spans:
    return judge_readings(readings, of, facts, known_to=int(readings.at[-1]) + later).spans


@st.composite
def anything(draw: st.DrawFn) -> ReadingTable:
    """Values that hang together now and then, at instants that do."""
    steps = draw(st.lists(st.sampled_from([1, 5, 5, 5, 20, 45, 200]), min_size=2, max_size=60))
    value, values = 500.0, []
    for move in draw(st.lists(st.integers(0, 9), min_size=len(steps), max_size=len(steps))):
        match move:
            case 0:
                value = draw(st.sampled_from([0.0, 1.0, -2.0, 500.0, 999.0, WIDTH, 1e6]))
            case 1:
                value += draw(st.floats(-1000, 1000))
            case _:
                value = (value + draw(st.floats(0, 8))) % WIDTH
        values.append(value)
    return table(values, [START + int(at) * MIN for at in np.cumsum(steps)])


@given(anything(), st.sampled_from([0.0, WIDTH]), st.integers(0, 2 * WINDOW))
@settings(max_examples=300)
def test_nothing_counts_that_the_meter_can_not_count(readings: ReadingTable, width: float, later: int) -> None:
    """Whatever the rules take the values for: of no time more than the rated maximum, and never less than zero."""
    spans = spans_of(readings, rules(rated=RATED, width=width), later=later)
    most = RATED * (spans.end - spans.start) / HOUR_MS * SCALE
    assert (spans.quantity >= 0).all()
    assert (spans.quantity <= most + 1).all()


@given(anything(), st.sampled_from([0.0, WIDTH]), st.sampled_from([np.inf, RATED]))
def test_no_time_counts_twice(readings: ReadingTable, width: float, rated: float) -> None:
    spans = spans_of(readings, rules(rated=rated, width=width))
    assert (spans.start[1:] >= spans.end[:-1]).all()
    assert (spans.end > spans.start).all()


@given(st.lists(st.floats(600, 1000), min_size=2, max_size=40), st.sampled_from([np.inf, RATED]))
def test_a_register_that_stays_far_from_zero_never_counts_more_than_its_rises(value: list[float], rated: float) -> None:
    """No fall is taken for a new beginning here, so what counts is at most what was seen to rise."""
    readings = table(value)
    register = np.rint(readings.value * SCALE).astype(np.int64)
    rises = np.maximum(np.diff(register), 0).sum()
    # The register's whole billionths are rounded once a reading.
    assert spans_of(readings, rules(rated=rated)).quantity.sum() <= rises + len(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glitches:
    """A clean register, the same with glitches, and these as (kind, first row, last row)."""

    clean: ReadingTable
    readings: ReadingTable
    planted: list[tuple[EventKind, int, int]]


@st.composite
def glitches(draw: st.DrawFn) -> Glitches:
    """Dips and jumps of some readings, each over before the dip window is, and further apart than that."""
    moves = draw(st.lists(st.tuples(st.integers(13, 40), st.integers(1, 11), st.booleans()), min_size=1, max_size=5))
    count = sum(calm + length for calm, length, _ in moves) + draw(st.integers(2, 30))
    # In hundredths; at most what the meter can count, and not too near to zero.
    steps = draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count))
    clean = 20_000 + np.cumsum(steps)
    glitched = clean.copy()
    planted, row = [], 0
    for calm, length, is_dip in moves:
        first, row = row + calm, row + calm + length
        if is_dip:
            # Below the reading before the last, too: else it might be the last that is out of line.
            glitched[first:row] = draw(st.integers(-500, int(clean[first - 2]) - 1))
        else:
            glitched[first:row] = clean[first:row] + 1000 * (length + 2) + draw(st.integers(0, 10**6))
        planted.append((EventKind.DIP if is_dip else EventKind.SPIKE, first, row - 1))
    return Glitches(clean=table((clean / 100).tolist()), readings=table((glitched / 100).tolist()), planted=planted)


@given(glitches())
@settings(max_examples=200, deadline=None)
def test_glitches_leave_the_total_and_the_quarters_without_them(case: Glitches) -> None:
    event(f"{len(case.planted)} glitches")
    known_to = int(case.readings.at[-1]) + 2 * WINDOW
    judged = judge_readings(case.readings, rules(rated=RATED), known_to=known_to)
    clean = judge_readings(case.clean, rules(rated=RATED), known_to=known_to)
    assert clean.events == []
    assert judged.spans.quantity.sum() == clean.spans.quantity.sum()
    chain = [e for e in judged.events if e.kind is not EventKind.GAP]
    found = [(e.kind, (e.at - START) // CADENCE, (e.until - START) // CADENCE) for e in chain]
    assert found == case.planted
    assert {e.decision for e in chain} <= {Decision.SET_ASIDE}


@given(glitches())
@settings(max_examples=50, deadline=None)
def test_setting_a_glitch_aside_by_hand_changes_no_number(case: Glitches) -> None:
    """What the rules do of themselves and what a person confirms is the same."""
    known_to = int(case.readings.at[-1]) + 2 * WINDOW
    judged = judge_readings(case.readings, rules(rated=RATED), known_to=known_to)
    told = [
        Told(meter=0, kind=e.kind, at=e.at, until=e.until, decision=Decision.SET_ASIDE)
        for e in judged.events
        if e.kind is not EventKind.GAP
    ]
    confirmed = judge_readings(case.readings, rules(rated=RATED), Facts(told=told), known_to=known_to)
    assert confirmed.events == judged.events
    for name in ("start", "end", "quantity", "is_estimated"):
        assert np.array_equal(getattr(confirmed.spans, name), getattr(judged.spans, name)), name


@given(cases())
@settings(max_examples=300, deadline=None)
def test_quarters_sum_to_what_is_accepted(case: Case) -> None:
    """Also where people said something, and of registers of all kinds: whole numbers, to the last."""
    of = replace(case.rules, kind=np.array([KindCode.COUNTER], np.int8))
    spans = spans_of(case.readings, of, case.facts)
    quarters = finish_quarters(sum_by_quarter(spans))
    assert int(quarters.measured.sum()) == int(spans.quantity[~spans.is_estimated].sum())
    assert int(quarters.estimated.sum()) == int(spans.quantity[spans.is_estimated].sum())
    assert int(quarters.covered_ms.sum()) == int((spans.end - spans.start)[~spans.is_estimated].sum())


@given(cases(), st.integers(-1, 60))
@settings(max_examples=300, deadline=None)
def test_a_period_may_be_split_anywhere(case: Case, nth: int) -> None:
    spans = judge_readings(case.readings, case.rules, case.facts, known_to=int(case.readings.at[-1]) + 1).spans
    begin, end = (int(case.readings.at[i]) // QUARTER_MS * QUARTER_MS for i in (0, -1))
    begin, end = begin - 2 * QUARTER_MS, end + QUARTER_MS
    cut = min(max(begin + nth * QUARTER_MS, begin), end)
    whole, before, after = (
        finish_quarters(sum_by_quarter(spans, from_ms=np.array([a]), to_ms=np.array([b])))
        for a, b in ((begin, end), (begin, cut), (cut, end))
    )
    for name in ("quarter", "measured", "estimated", "covered_ms"):
        joined = np.concatenate([getattr(before, name), getattr(after, name)])
        assert np.array_equal(joined, getattr(whole, name)), name
