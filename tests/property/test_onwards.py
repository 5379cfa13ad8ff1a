"""Quarters that go on: what is enough to tell them is enough, whatever was before."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from collector.metering.consumption import judge_readings
from collector.metering.neighbourhood import CHAIN_KINDS, Loaded, floor_quarter
from collector.metering.onwards import is_enough, sum_onwards
from collector.metering.sums import sum_by_quarter
from collector.metering.tables import NO_FACTS, Facts, KindCode
from schemas.events import Decision
from schemas.quantities import QUARTER_MS
from tests.property.test_consumption import rules, table
from tests.property.test_neighbourhood import DIP_MS, MIN, START, Case, _rows, cases


@given(cases(), st.floats(0.3, 1), st.sampled_from([6, 20, 20, 45, 45, 90, 180]))
@settings(max_examples=1500, deadline=None)
def test_what_is_enough_gives_what_everything_gives(case: Case, part: float, look_min: int) -> None:
    readings, own = case.readings, case.rules
    known_to = int(readings.at[-1]) + 1
    since = floor_quarter(int(START + part * (known_to - START)))
    whole = judge_readings(readings, own, case.facts, known_to=known_to)
    known = sum_by_quarter(whole.spans)
    # What the roll-up stored when the quarter began.
    stored = judge_readings(readings.select(readings.at < since), own, _within(case.facts, 0, since), known_to=since)
    first_at = min([int(readings.at[0])] + [exchange.at for exchange in case.facts.exchanges])
    from_ms = since - look_min * MIN
    loaded = Loaded(
        readings=readings.select(readings.at >= from_ms),
        from_ms=from_ms,
        to_ms=known_to,
        begins=from_ms <= first_at,
        ends=True,
        was_judged=any(
            e.decision is Decision.UNDECIDED or e.until >= from_ms - DIP_MS
            for e in stored.events
            if e.kind in CHAIN_KINDS
        ),
        facts=_within(case.facts, from_ms, known_to),
    )
    if loaded.begins:
        assert is_enough(since, loaded, own)
    found = is_enough(since, loaded, own)
    event(f"enough {found}, begins {loaded.begins}, judged {loaded.was_judged}")
    assert not found or _rows(sum_onwards(since, loaded, own)) == _rows(known.select(known.quarter >= since))


def _within(facts: Facts, from_ms: int, to_ms: int) -> Facts:
    return Facts(
        exchanges=[e for e in facts.exchanges if from_ms <= e.at < to_ms],
        told=[t for t in facts.told if t.until >= from_ms and t.at < to_ms],
    )


def test_the_last_two_readings_of_a_calm_register_are_enough() -> None:
    since = START + 4 * QUARTER_MS
    at, values = [since - 20_000, since - 10_000, since + 5_000], [5.0, 6.0, 7.0]
    for count, expected in ((3, True), (2, False)):
        loaded = Loaded(
            readings=table(at[-count:], values[-count:]),
            from_ms=since - 120_000,
            to_ms=since + 6_000,
            begins=False,
            ends=True,
            was_judged=False,
            facts=NO_FACTS,
        )
        assert is_enough(since, loaded, rules(KindCode.COUNTER)) is expected
