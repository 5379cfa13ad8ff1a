"""Falls of a register that are easily taken for more than they are."""

from __future__ import annotations

import pytest

from collector.metering.tables import Facts
from schemas.events import Decision, EventKind
from tests.unit.collector.test_registers import judge, rules, told


@pytest.mark.parametrize("minutes", [5, 60, 1440])
@pytest.mark.parametrize("rated", [120.0, 1e9])
def test_a_step_back_is_no_beginning_however_long_the_register_had_for_it(minutes: int, rated: float) -> None:
    """METHODS §1: 100, 105, 94, 97 must not turn into +102, also where the rated maximum would allow 94."""
    values = (100, 105, 94, 97, 98)
    readings = [(float(nth * minutes), float(value)) for nth, value in enumerate(values)]
    found = judge(readings, rules(rated=rated, max_gap=2000), later=3000)
    assert found.total == 5 + 3 + 1
    assert [(kind, decision) for kind, _, _, decision, _ in found.events] == [("reset", "restart")]


@pytest.mark.parametrize(
    ("kind", "decision", "width", "before"),
    [
        (EventKind.ROLLOVER, Decision.ROLLOVER, 100_000, 99_998),
        (EventKind.RESET, Decision.RESET, 0, 5000),
    ],
)
def test_a_reading_that_comes_late_into_a_confirmed_fall_counts_nothing_twice(
    kind: EventKind, decision: Decision, width: float, before: float
) -> None:
    facts: Facts = told(kind, 10, 10, decision)
    confirmed = judge([(0, before), (10, 3), (15, 4)], rules(width=width), facts)
    late = judge([(0, before), (5, 1), (10, 3), (15, 4)], rules(width=width), facts)
    assert late.total == confirmed.total


def test_a_confirmed_fall_that_turns_out_to_be_a_jump_counts_no_more_than_the_meter_can() -> None:
    facts = told(EventKind.RESET, 10, 10, Decision.RESET)
    found = judge([(0, 5000), (5, 1), (10, 900), (15, 901)], rules(rated=120), facts)
    assert found.total == 1 + 1
