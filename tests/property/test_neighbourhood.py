"""What is computed again around changed readings is what computing everything gives, and all else stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from collector.metering.consumption import judge_readings
from collector.metering.neighbourhood import CHAIN_KINDS, Loaded, Stretch, compute_neighbourhood
from collector.metering.sums import Sums, sum_by_quarter
from collector.metering.tables import NO_FACTS, Event, Exchange, Facts, KindCode, MeterRules, ReadingTable, Told
from schemas.events import Decision, EventKind
from schemas.quantities import QUARTER_MS, SCALE

START = 1_795_298_400_000 // QUARTER_MS * QUARTER_MS
MIN = 60_000
SPAN = 40 * QUARTER_MS
DIP_MS = 20 * MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    readings: ReadingTable
    rules: MeterRules
    facts: Facts
    first: int
    last: int
    look: int


@st.composite
def meter_rules(draw: st.DrawFn) -> MeterRules:
    return MeterRules(
        kind=np.array([draw(st.sampled_from([KindCode.COUNTER] * 4 + [KindCode.INTERVAL, KindCode.RATE]))], np.int8),
        to_canonical=np.array([1.0]),
        max_gap_ms=np.array([draw(st.sampled_from([10, 45])) * MIN]),
        interval_ms=np.array([15 * MIN]),
        width=np.array([draw(st.sampled_from([0, 100 * SCALE]))]),
        rated=np.array([draw(st.sampled_from([np.inf, 300.0 * SCALE]))]),
        dip_window_ms=np.array([DIP_MS]),
        frozen_after_ms=np.array([draw(st.sampled_from([0, 15 * MIN]))]),
    )


@st.composite
def registers(draw: st.DrawFn) -> ReadingTable:
    """Mostly a register that rises, now and then by too much, or that falls, to somewhere or to where it was."""
    steps = draw(st.lists(st.sampled_from([1, 2, 3, 3, 3, 4, 5, 12, 30]), min_size=5, max_size=150))
    at = START + np.cumsum(steps) * MIN
    value, values = 20.0, []
    for kind in draw(st.lists(st.integers(0, 40), min_size=len(steps), max_size=len(steps))):
        match kind:
            case 0:
                value = 0.0
            case 1:
                value = max(value - 5, 0)
            case 2:
                value += 50
            case 3:
                value = 99.0
            case 4:
                value = -3.0
            case 5 | 6:
                pass
            case _:
                value += 0.5
        values.append(value)
        if kind in {2, 0} and draw(st.booleans()):
            value = values[-2] if len(values) > 1 else 20.0
    return ReadingTable(
        meter=np.zeros(len(at), np.int64),
        at=at.astype(np.int64),
        value=np.array(values),
        quality=np.zeros(len(at), np.int16),
    )


@st.composite
def stated(draw: st.DrawFn, readings: ReadingTable) -> Facts:
    if draw(st.integers(0, 3)):
        return NO_FACTS
    row = draw(st.integers(0, len(readings.at) - 1))
    until = draw(st.integers(row, min(row + 5, len(readings.at) - 1)))
    told = Told(
        meter=0,
        kind=draw(st.sampled_from([EventKind.SPIKE, EventKind.DIP, EventKind.RESET, EventKind.GAP, EventKind.FROZEN])),
        at=int(readings.at[row]),
        until=int(readings.at[until]),
        decision=draw(st.sampled_from([Decision.SET_ASIDE, Decision.COUNT, Decision.RESET, Decision.RESTART])),
    )
    # Never after the last reading: what is stated of the future is not looked at yet.
    place = int(readings.at[draw(st.integers(0, len(readings.at) - 1))])
    exchange = Exchange(meter=0, at=place - draw(st.sampled_from([0, 7])), last_old=60, first_new=2)
    return Facts(exchanges=[exchange] if draw(st.booleans()) else [], told=[told] if draw(st.booleans()) else [])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    readings = draw(registers())
    first = draw(st.integers(0, len(readings.at) - 1))
    return Case(
        readings=readings,
        rules=draw(meter_rules()),
        facts=draw(stated(readings)),
        first=first,
        last=draw(st.integers(first, min(first + 4, len(readings.at) - 1))),
        look=draw(st.sampled_from([20, 45, 90, 180, 400])) * MIN,
    )


def _whole(readings: ReadingTable, case: Case) -> tuple[Sums, list[Event]]:
    known_to = int(case.readings.at[-1]) + 1
    judged = judge_readings(readings, case.rules, case.facts, known_to=known_to)
    return sum_by_quarter(judged.spans), judged.events


def _rows(sums: Sums) -> dict[int, tuple[int, ...]]:
    names = [name for name in Sums.__dataclass_fields__ if name not in {"meter", "quarter"}]
    columns = zip(*(getattr(sums, name).tolist() for name in names), strict=True)
    return dict(zip(sums.quarter.tolist(), columns, strict=True))


@given(cases())
@settings(max_examples=1500, deadline=None)
def test_a_neighbourhood_is_all_that_changes(case: Case) -> None:
    readings, rules = case.readings, case.rules
    late = np.zeros(len(readings.at), np.bool_)
    late[case.first : case.last + 1] = True
    known_to = int(readings.at[-1]) + 1
    from_at, to_at = int(readings.at[case.first]), int(readings.at[case.last])
    before, before_events = _whole(readings.select(~late), case)
    after, after_events = _whole(readings, case)
    first_at = min([int(readings.at[0])] + [exchange.at for exchange in case.facts.exchanges])
    from_ms = max(from_at - case.look, first_at)
    to_ms = min(to_at + case.look, known_to)
    near = (readings.at >= from_ms) & (readings.at < to_ms)
    loaded = Loaded(
        readings=readings.select(near),
        from_ms=from_ms,
        to_ms=to_ms,
        begins=from_ms <= first_at,
        ends=to_ms >= known_to,
        was_judged=any(
            e.decision is Decision.UNDECIDED or (e.until >= from_ms - DIP_MS and e.at < to_ms + DIP_MS)
            for e in before_events
            if e.kind in CHAIN_KINDS
        ),
        facts=Facts(
            exchanges=[e for e in case.facts.exchanges if from_ms <= e.at < to_ms],
            told=[t for t in case.facts.told if t.until >= from_ms and t.at < to_ms],
        ),
    )
    found = compute_neighbourhood(Stretch(meter=0, from_ms=from_at, to_ms=to_at), loaded, rules)
    if loaded.begins and loaded.ends:
        assert found is not None
    assume(found is not None)
    assert found is not None
    event(f"ends {loaded.ends}, begins {loaded.begins}, judged {loaded.was_judged}")

    def is_inside(quarter: int) -> bool:
        return found.start <= quarter < found.end

    old, new = _rows(before), _rows(after)
    assert {q: row for q, row in new.items() if is_inside(q)} == _rows(found.sums)
    assert {q: row for q, row in new.items() if not is_inside(q)} == {q: r for q, r in old.items() if not is_inside(q)}

    def reaches(one: Event) -> bool:
        return one.until >= found.start and one.at < found.end

    kept = [e for e in before_events if not reaches(e)]
    assert sorted(kept + found.events, key=repr) == sorted(after_events, key=repr)


@given(cases(), st.integers(0, 150))
@settings(max_examples=500, deadline=None)
def test_what_is_settled_stays(case: Case, cut: int) -> None:
    """Readings after the last one change nothing before the instant that was told as settled."""
    readings = case.readings
    seen = readings.select(np.arange(len(readings.at)) < max(cut, 2))
    known_to = int(seen.at[-1]) + 1
    rules = replace(case.rules, kind=np.array([KindCode.COUNTER], np.int8), max_gap_ms=np.array([10**12]))
    judged = judge_readings(seen, rules, known_to=known_to)
    settled = judged.settled.get(0, int(seen.at[-2]))
    later = judge_readings(readings, rules, known_to=int(readings.at[-1]) + 1)
    upto = settled // QUARTER_MS * QUARTER_MS
    sums = [sum_by_quarter(spans) for spans in (judged.spans, later.spans)]
    first, second = (_rows(part.select(part.quarter < upto)) for part in sums)
    assert first == second
