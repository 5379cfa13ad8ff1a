"""Worked examples of METHODS §1: each row of its table, as whole numbers of consumption and as events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from collector.metering.consumption import judge_readings
from collector.metering.tables import (
    NO_FACTS,
    Event,
    Exchange,
    Facts,
    KindCode,
    MeterRules,
    ReadingTable,
    Told,
    make_rules,
)
from schemas.events import Decision, EventKind
from schemas.quantities import QUARTER_MS, SCALE

MIN = 60_000
T0 = 1_741_000_000_000 // QUARTER_MS * QUARTER_MS
Reading = tuple[float, float]
"""Minutes after T0, and a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came out: totals in the canonical unit, and events as (kind, minutes from, to, decision, quantity)."""

    measured: float
    estimated: float
    events: list[tuple[str, float, float, str, float | None]]

    @property
    def total(self) -> float:
        return self.measured + self.estimated


def rules(kind: KindCode = KindCode.COUNTER, **changes: float) -> MeterRules:
    """One meter in kWh; spans in minutes, `width` and `rated` in its unit."""
    of = {"max_gap": 30.0, "interval": 15.0, "width": 0.0, "rated": np.inf, "dip_window": 60.0, "frozen_after": 0.0}
    assert changes.keys() <= of.keys()
    of |= changes
    return make_rules(
        kind=np.array([kind], np.int8),
        to_canonical=np.ones(1),
        max_gap_ms=np.array([of["max_gap"] * MIN]),
        interval_ms=np.array([of["interval"] * MIN]),
        register_width=np.array([of["width"]]),
        rated_maximum=np.array([of["rated"]]),
        dip_window_ms=np.array([of["dip_window"] * MIN]),
        frozen_after_ms=np.array([of["frozen_after"] * MIN]),
    )


def table(readings: Sequence[Reading]) -> ReadingTable:
    return ReadingTable(
        meter=np.zeros(len(readings), np.int64),
        at=np.array([T0 + round(minute * MIN) for minute, _ in readings], np.int64),
        value=np.array([value for _, value in readings], np.float64),
        quality=np.zeros(len(readings), np.int16),
    )


def judge(
    readings: Sequence[Reading], of: MeterRules | None = None, facts: Facts = NO_FACTS, *, later: float = 600
) -> Found:
    """All readings up to `later` minutes after the last one are known."""
    of = of or rules()
    known_to = T0 + round((readings[-1][0] + later) * MIN)
    judged = judge_readings(table(readings), of, facts, known_to=known_to)
    spans = judged.spans
    hours = (spans.end - spans.start) / 3_600_000
    amount = np.where(spans.is_rate, (spans.rate_from + spans.rate_to) / 2 * hours, spans.quantity / SCALE)
    return Found(
        measured=round(float(amount[~spans.is_estimated].sum()), 9),
        estimated=round(float(amount[spans.is_estimated].sum()), 9),
        events=[_told(event) for event in judged.events],
    )


def _told(event: Event) -> tuple[str, float, float, str, float | None]:
    quantity = None if event.quantity is None else event.quantity / SCALE
    return (event.kind.value, (event.at - T0) / MIN, (event.until - T0) / MIN, event.decision.value, quantity)


def told(kind: EventKind, at: float, until: float, decision: Decision) -> Facts:
    """What a person decided about the readings from minute `at` to minute `until`."""
    ms = [T0 + round(minute * MIN) for minute in (at, until)]
    return Facts(told=[Told(meter=0, kind=kind, at=ms[0], until=ms[1], decision=decision)])


class TestRollover:
    def test_a_dial_of_five_digits_passes_its_end(self):
        found = judge([(0, 99_998), (15, 3)], rules(width=100_000))
        assert (found.measured, found.events) == (5, [("rollover", 15, 15, "rollover", 5)])

    def test_without_a_width_it_can_only_be_a_reset(self):
        found = judge([(0, 99_998), (15, 3), (30, 4)])
        assert (found.measured, found.estimated) == (1, 3)
        assert found.events == [("reset", 15, 15, "reset", 3)]

    @pytest.mark.parametrize(("rated", "kind"), [(720, "rollover"), (719, "reset")])
    def test_the_rated_maximum_is_the_bound(self, rated, kind):
        # 180 in a quarter of an hour are 720 an hour.
        found = judge([(0, 850), (15, 30), (30, 31)], rules(width=1000, rated=rated))
        assert [event[0] for event in found.events] == [kind]

    def test_far_from_the_end_it_is_none_where_nothing_is_known_of_its_speed(self):
        found = judge([(0, 850), (15, 30), (30, 31)], rules(width=1000))
        assert found.events == [("reset", 15, 15, "reset", 30)]

    def test_a_zero_that_goes_away_again_is_a_dip_though_it_is_near_the_end(self):
        found = judge([(0, 99_990), (5, 99_991), (10, 0), (15, 99_992)], rules(width=100_000))
        assert (found.total, found.events) == (2, [("dip", 10, 10, "set_aside", 1)])


class TestDip:
    def test_it_is_set_aside_and_nothing_counts_twice(self):
        found = judge([(0, 100), (5, 105), (10, 94), (15, 97), (20, 106)])
        assert (found.measured, found.estimated) == (6, 0)
        assert found.events == [("dip", 10, 15, "set_aside", 1)]

    def test_to_zero_and_back(self):
        found = judge([(0, 5000), (5, 5001.5), (10, 0), (15, 5003)])
        assert (found.total, found.events) == (3, [("dip", 10, 10, "set_aside", 1.5)])

    def test_at_its_old_value_again_counts_as_back(self):
        assert judge([(0, 100), (5, 94), (10, 100)]).events == [("dip", 5, 5, "set_aside", 0)]

    @pytest.mark.parametrize(("later", "kind"), [(54, "dip"), (56, "reset")])
    def test_until_the_window_is_over_nobody_knows(self, later, kind):
        # The last reading is five minutes after the fall.
        found = judge([(0, 100), (5, 105), (10, 3), (15, 4)], later=later)
        assert [event[0] for event in found.events] == [kind]
        assert found.measured == (5 if kind == "dip" else 6)

    def test_what_comes_back_too_late_was_none(self):
        found = judge([(0, 100), (5, 105), (10, 3), (40, 4), (71, 106)])
        assert found.events[0] == ("reset", 10, 10, "reset", 3)


class TestReset:
    def test_what_it_shows_since_then_counts_and_nothing_is_extrapolated(self):
        found = judge([(0.25, 100), (0.5, 110), (0.75, 5), (1, 15), (1.25, 25)])
        assert (found.measured, found.estimated) == (30, 5)
        assert found.events == [("reset", 0.75, 0.75, "reset", 5)]

    def test_a_step_back_to_somewhere_between_invents_nothing(self):
        found = judge([(0, 100), (5, 110), (10, 80), (15, 85)])
        assert (found.total, found.events) == (15, [("reset", 10, 10, "restart", None)])

    def test_what_it_can_not_have_counted_since_zero_is_a_step_back(self):
        # 30 in five minutes are 360 an hour.
        found = judge([(0, 100), (5, 105), (10, 30), (15, 31)], rules(rated=300))
        assert (found.total, found.events) == (6, [("reset", 10, 10, "restart", None)])

    def test_below_zero_is_no_beginning(self):
        found = judge([(0, 100), (5, 105), (10, -3), (15, -2)])
        assert (found.total, found.events) == (6, [("reset", 10, 10, "restart", None)])


class TestSpike:
    def test_above_the_rated_maximum_it_is_set_aside(self):
        found = judge([(0, 100), (5, 102), (10, 400), (15, 401), (20, 108)], rules(rated=60))
        assert (found.measured, found.events) == (8, [("spike", 10, 15, "set_aside", 6)])

    def test_exactly_the_rated_maximum_is_none(self):
        assert judge([(0, 100), (5, 105)], rules(rated=60)).events == []

    def test_one_reading_off_the_line_is_one_whatever_the_maximum(self):
        found = judge([(0, 100), (5, 101), (10, 150), (15, 102), (20, 103)])
        assert (found.measured, found.events) == (3, [("spike", 10, 10, "set_aside", 1)])

    def test_a_step_up_that_stays_is_unknown(self):
        found = judge([(0, 100), (5, 102), (10, 142), (15, 144)], rules(rated=60))
        assert (found.total, found.events) == (4, [("spike", 10, 10, "restart", None)])

    def test_a_person_may_count_it(self):
        facts = told(EventKind.SPIKE, 10, 10, Decision.COUNT)
        found = judge([(0, 100), (5, 102), (10, 142), (15, 144)], rules(rated=60), facts)
        assert (found.total, found.events) == (44, [("spike", 10, 10, "count", 40)])

    def test_what_a_person_sets_aside_is_told_with_what_counts_instead(self):
        readings = [(0.0, 100.0), (5, 101), (10, 150), (15, 102)]
        facts = told(EventKind.SPIKE, 10, 10, Decision.SET_ASIDE)
        assert judge(readings, facts=facts) == judge(readings)

    @pytest.mark.parametrize("kind", [KindCode.RATE, KindCode.INTERVAL])
    def test_of_rates_and_intervals(self, kind):
        found = judge([(0, 10), (15, 12), (30, 5000), (45, 12)], rules(kind, rated=100))
        assert found.events == [("spike", 30, 30, "set_aside", None)]
        # The trapezoid of 10 and 12 kW, and half an hour of 12 in which one was set aside; three intervals of four.
        assert (found.measured, found.estimated) == ((2.75, 6) if kind is KindCode.RATE else (34, 0))

    def test_a_rate_is_estimated_where_a_person_set_a_reading_aside_as_where_the_rules_did(self):
        readings, of = [(0.0, 12.0), (15, 12), (30, 5000), (45, 12)], rules(KindCode.RATE, rated=100)
        facts = told(EventKind.SPIKE, 30, 30, Decision.SET_ASIDE)
        assert judge(readings, of, facts) == judge(readings, of)


class TestSparse:
    """A dial that is read once a day: the next reading comes long after any window."""

    DAY = 24 * 60

    def test_a_wrong_zero_makes_no_consumption(self) -> None:
        found = judge([(0, 99), (self.DAY, 100), (2 * self.DAY, 0), (3 * self.DAY, 101)], rules(max_gap=2 * self.DAY))
        assert (found.total, [event[0] for event in found.events if event[0] != "gap"]) == (2, ["spike"])

    def test_nor_does_one_that_is_far_too_high(self) -> None:
        of = rules(max_gap=2 * self.DAY, rated=10)
        found = judge([(0, 99), (self.DAY, 100), (2 * self.DAY, 90_000), (3 * self.DAY, 101)], of)
        assert (found.total, [event[0] for event in found.events if event[0] != "gap"]) == (2, ["spike"])

    def test_a_step_back_of_one_is_no_rollover_however_much_the_meter_could_have_counted(self) -> None:
        of = rules(max_gap=90 * self.DAY, rated=1000, width=100_000)
        month = 30 * self.DAY
        found = judge([(0, 1000), (month, 2000), (2 * month, 1999), (3 * month, 3000)], of)
        assert (found.total, [event[0] for event in found.events]) == (2000, ["spike"])

    def test_a_reset_is_told_with_the_next_reading_that_stays_low(self) -> None:
        found = judge([(0, 99), (self.DAY, 100), (2 * self.DAY, 4), (3 * self.DAY, 9)], rules(max_gap=2 * self.DAY))
        assert (found.measured, found.estimated) == (6, 4)
        assert [event[0] for event in found.events] == ["reset"]


class TestExchange:
    def test_both_registers_count(self):
        facts = Facts(exchanges=[Exchange(meter=0, at=T0 + 20 * MIN, last_old=1006, first_new=2)])
        found = judge([(0, 1000), (15, 1004), (30, 5), (45, 9)], facts=facts)
        assert (found.measured, found.estimated) == (13, 0)
        assert found.events == [("exchange", 20, 20, "count", 5)]

    def test_recorded_a_moment_after_a_reading_it_is_no_jump(self) -> None:
        """The old device's part would be 3,600 an hour by itself; both parts over both readings' time are 7.5."""
        facts = Facts(exchanges=[Exchange(meter=0, at=T0 + 10 * MIN + 1_000, last_old=1002, first_new=0)])
        found = judge([(0, 1000), (10, 1001), (26, 1), (36, 2)], rules(rated=20), facts)
        assert (found.measured, found.estimated) == (4, 0)
        assert [event[0] for event in found.events] == ["exchange"]

    def test_a_register_typed_wrongly_does_not_count(self) -> None:
        facts = Facts(exchanges=[Exchange(meter=0, at=T0 + 15 * MIN, last_old=10_020, first_new=0)])
        found = judge([(0, 1000), (10, 1001), (26, 1), (36, 2)], rules(rated=20), facts)
        assert found.total == 3
        assert {event[0] for event in found.events} == {"exchange", "spike"}

    def test_a_new_meter_that_stands_higher_than_the_old_one(self):
        facts = Facts(exchanges=[Exchange(meter=0, at=T0 + 20 * MIN, last_old=12, first_new=700)])
        assert judge([(0, 10), (15, 11), (30, 702)], facts=facts).total == 1 + 1 + 2

    def test_what_the_meter_said_at_that_very_instant_gives_way_to_the_record(self):
        facts = Facts(exchanges=[Exchange(meter=0, at=T0 + 15 * MIN, last_old=1006, first_new=2)])
        assert judge([(0, 1000), (15, 777), (30, 5)], facts=facts).total == 6 + 3


class TestSilence:
    def test_a_gap_keeps_its_total_as_estimated(self):
        found = judge([(0, 100), (15, 101), (195, 113)])
        assert (found.measured, found.estimated) == (1, 12)
        assert found.events == [("gap", 15, 195, "count", 12)]

    def test_as_long_as_allowed_is_none(self):
        assert judge([(0, 100), (30, 101)]).events == []

    def test_a_rollover_within_a_gap_is_both(self):
        found = judge([(0, 99_990), (180, 2)], rules(width=100_000))
        assert (found.estimated, found.measured) == (12, 0)
        assert found.events == [("gap", 0, 180, "count", 12), ("rollover", 180, 180, "rollover", 12)]

    @pytest.mark.parametrize("kind", [KindCode.RATE, KindCode.INTERVAL])
    def test_of_rates_and_intervals_it_is_unknown(self, kind):
        found = judge([(0, 10), (15, 10), (75, 10)], rules(kind))
        until = 75 if kind is KindCode.RATE else 60
        assert found.events == [("gap", 15, until, "restart", None)]
        assert found.total == (2.5 if kind is KindCode.RATE else 30)

    def test_a_register_that_stands_still_for_long_has_used_nothing_and_is_told(self):
        readings = [(minute, 11.0) for minute in range(0, 61, 15)]
        found = judge([*readings, (75, 12)], rules(frozen_after=30))
        assert (found.measured, found.estimated) == (1, 0)
        assert found.events == [("frozen", 0, 60, "count", None)]

    def test_zeros_that_are_not_believed_are_a_gap(self):
        readings = [(minute, 11.0) for minute in range(0, 61, 15)]
        facts = told(EventKind.FROZEN, 0, 60, Decision.SET_ASIDE)
        found = judge([*readings, (75, 12)], rules(frozen_after=30), facts)
        assert (found.measured, found.estimated) == (0, 1)
        assert found.events == [("frozen", 0, 60, "set_aside", None), ("gap", 0, 75, "count", 1)]


def test_a_rate_below_zero_counts_as_negative_and_is_told():
    found = judge([(0, 8), (15, 8), (30, -4), (45, -4), (60, 8)], rules(KindCode.RATE))
    assert found.measured == 2 + 0.5 - 1 + 0.5
    assert found.events == [("export", 30, 45, "count", None)]


@pytest.mark.parametrize(
    ("decision", "total", "quantity"),
    [
        (Decision.RESET, 2 + 0.5 + 5.5 + 8, 0.5),
        (Decision.RESTART, 2 + 5.5 + 8, None),
        (Decision.ROLLOVER, 2 + 88.5 + 5.5 + 8, 88.5),
        (Decision.SET_ASIDE, 2 + 2, 2),
    ],
)
def test_what_a_person_says_of_a_fall_is_done(decision: Decision, total: float, quantity: Any) -> None:
    facts = told(EventKind.DIP, 10, 15, decision)
    found = judge([(0, 10), (5, 12), (10, 0.5), (15, 6), (20, 14)], rules(width=100), facts)
    assert found.total == total
    assert [(event[0], event[3], event[4]) for event in found.events] == [("dip", decision, quantity)]
