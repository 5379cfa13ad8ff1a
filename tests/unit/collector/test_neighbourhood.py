"""How much has to be at hand before a neighbourhood is computed again, on cases small enough to see through."""

from __future__ import annotations

import pytest

from collector.metering.flows import DAY_MS
from collector.metering.neighbourhood import Loaded, Stretch, compute_neighbourhood
from collector.metering.tables import NO_FACTS, KindCode, ReadingTable
from schemas.quantities import QUARTER_MS, SCALE
from tests.unit.collector.test_registers import MIN, T0, Reading, rules, table

RATE = rules(KindCode.RATE, rated=90, max_gap=40)
POWERS: list[Reading] = [(0, 10), (14, 100), (30, 6), (35, 6), (58, 6), (60, 6), (65, 6)]
"""A spike at 14 min: what is known of the time from 0 to 30 min hangs on the readings on either side of it."""


def _loaded(readings: ReadingTable, from_min: int, to_min: int) -> Loaded:
    from_ms, to_ms = T0 + from_min * MIN, T0 + to_min * MIN
    here = (readings.at >= from_ms) & (readings.at < to_ms)
    return Loaded(
        readings=readings.select(here),
        from_ms=from_ms,
        to_ms=to_ms,
        begins=from_min <= 0,
        ends=False,
        was_judged=False,
        facts=NO_FACTS,
    )


@pytest.mark.parametrize(("from_min", "is_enough"), [(-5, False), (-20, True)])
def test_a_spike_before_the_edge_does_not_tell_what_crosses_it(from_min: int, is_enough: bool) -> None:
    """At midnight, beyond which no event reaches: what was used from then to 2 min hangs on the reading at -15 min."""
    midnight = (DAY_MS - T0 % DAY_MS) // MIN
    powers = [(-15, 10), (-1, 100), (2, 6), (7, 6), (36, 6), (58, 6), (65, 6)]
    readings = table([(midnight + minute, power) for minute, power in powers])
    at = T0 + (midnight + 36) * MIN
    loaded = _loaded(readings, midnight + from_min, midnight + 66)
    found = compute_neighbourhood(Stretch(meter=0, from_ms=at, to_ms=at), loaded, RATE)
    assert (found is not None) == is_enough
    assert found is None or int(found.sums.estimated[0]) > 0


def test_what_crosses_the_edge_of_a_neighbourhood_is_in_it() -> None:
    readings = table([*POWERS[:2], (29, 6), *POWERS[3:]])
    stretch = Stretch(meter=0, from_ms=T0 + 35 * MIN, to_ms=T0 + 35 * MIN)
    found = compute_neighbourhood(stretch, _loaded(readings, 0, 61), RATE)
    assert found is not None
    assert found.start == T0 + QUARTER_MS
    first = found.sums.select(found.sums.quarter == found.start)
    # From 15 to 29 min a line from 10 kW at 0 to 6 kW at 29 min, less than half of it seen.
    at_15 = 10 - 4 * 15 / 29
    assert int(first.estimated[0]) == pytest.approx((at_15 + 6) / 2 * 14 / 60 * SCALE, abs=1)


def test_a_meter_that_begins_with_spikes_is_told_from_its_first_one() -> None:
    """Four hours later the next one is taken back: the event that spanned both is told anew, and so begins there."""
    readings = table([(0, 500), (300, 6), (315, 6), (330, 6)])
    stretch = Stretch(meter=0, from_ms=T0 + 240 * MIN, to_ms=T0 + 240 * MIN)
    found = compute_neighbourhood(stretch, _loaded(readings, 0, 331), RATE)
    assert found is not None
    assert found.start == T0
    assert [(event.kind, event.at) for event in found.events] == [("spike", T0)]
