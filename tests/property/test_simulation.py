"""What holds for the simulated workshop whatever its seed, its span and the instants asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.simulation.emissions import HIGHEST, LOWEST
from edge.simulation.factory import PRODUCTS
from edge.simulation.meters import site_model
from edge.simulation.truth import USED
from edge.simulation.workshop import Workshop, build_workshop
from schemas.quantities import QUARTER_MS
from schemas.resources import MeterKind

COUNTERS = [meter.id for meter in site_model().meters if meter.kind is MeterKind.COUNTER]


@st.composite
def workshops(draw: st.DrawFn) -> Workshop:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=draw(st.integers(0, 24 * 1200)))
    return build_workshop(
        seed=draw(st.integers(0, 2**63)), start=start, end=start + timedelta(hours=draw(st.integers(1, 24 * 21)))
    )


@given(workshop=workshops(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_registers_never_step_back(workshop: Workshop, data: st.DataObject) -> None:
    meter = data.draw(st.sampled_from(COUNTERS))
    instants = data.draw(st.lists(st.integers(workshop.start_ms, workshop.end_ms), min_size=2, max_size=200))
    edges = np.arange(workshop.start_ms, workshop.end_ms + 1, QUARTER_MS)
    times = np.sort(np.concatenate((instants, edges, edges[1:] - 1)))
    assert np.all(np.diff(workshop.registers(meter, times)) >= 0)


@given(workshop=workshops(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_goes_in_comes_out(workshop: Workshop, data: st.DataObject) -> None:
    quarters = (workshop.end_ms - workshop.start_ms) // QUARTER_MS
    first = data.draw(st.integers(0, quarters - 1))
    after = data.draw(st.integers(first + 1, quarters))
    truth = workshop.truth(workshop.start_ms + first * QUARTER_MS, workshop.start_ms + after * QUARTER_MS)
    for resource in USED:
        marginal = sum(truth.products[product, resource].marginal for product in PRODUCTS)
        whole = marginal + truth.idle[resource] + truth.unattributed[resource]
        assert whole == pytest.approx(truth.totals[resource], rel=1e-9)
    for co2 in truth.co2.values():
        whole = sum(of.marginal for of in co2.products.values()) + co2.idle + co2.unattributed
        assert whole == pytest.approx(co2.total, rel=1e-9)
        loaded = sum(of.fully_loaded - of.marginal for of in co2.products.values())
        # Idle stays where it is on a line that made nothing.
        assert loaded <= co2.idle * (1 + 1e-9)
    assert all(quantity >= 0 for quantity in truth.consumption.values())


@given(workshop=workshops())
@settings(max_examples=60, deadline=None)
def test_runs_cover_all_time_without_overlap(workshop: Workshop) -> None:
    runs = workshop.runs_between(workshop.start_ms, workshop.end_ms)
    for line in ("press", "furnace"):
        spans = [(run.start, run.end) for run in runs if run.line == line]
        assert spans[0][0] == workshop.start_ms
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
        assert spans[-1][1] is None


@given(seed=st.integers(0, 2**63), hours=st.integers(1, 24 * 14), more=st.integers(1, 24 * 14))
@settings(max_examples=40, deadline=None)
def test_a_later_end_changes_nothing(seed: int, hours: int, more: int) -> None:
    start = datetime(2024, 3, 20, tzinfo=UTC)
    short = build_workshop(seed=seed, start=start, end=start + timedelta(hours=hours))
    longer = build_workshop(seed=seed, start=start, end=start + timedelta(hours=hours + more))
    span = (short.start_ms, short.end_ms)
    for meter in site_model().meters:
        times = short.reading_times(meter.id, span[0], span[1] + 1, 60_000)
        assert np.array_equal(short.registers(meter.id, times), longer.registers(meter.id, times))
    assert short.runs_between(*span) == longer.runs_between(*span)
    assert short.truth(*span) == longer.truth(*span)
    assert short.grid_factors() == longer.grid_factors()[: len(short.grid_factors())]


@given(workshop=workshops(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_co2_is_what_flowed_in_each_hour_by_the_factor_of_that_hour(workshop: Workshop, data: st.DataObject) -> None:
    factors = workshop.grid_factors()
    assert [factor.at_ms for factor in factors] == list(range(workshop.start_ms, workshop.end_ms, 4 * QUARTER_MS))
    assert all(LOWEST <= factor.kg_per_kwh <= HIGHEST for factor in factors)
    first = data.draw(st.integers(0, len(factors) - 1))
    hours = factors[first : data.draw(st.integers(first + 1, min(first + 48, len(factors))))]
    truth = workshop.truth(hours[0].at_ms, hours[-1].at_ms + 4 * QUARTER_MS)
    by_hour = [
        workshop.truth(hour.at_ms, hour.at_ms + 4 * QUARTER_MS).consumption["main-electricity"] for hour in hours
    ]
    scope_2 = sum(kwh * hour.kg_per_kwh for kwh, hour in zip(by_hour, hours, strict=True))
    assert truth.co2["location"].scope_2 == pytest.approx(scope_2, rel=1e-9)
    assert truth.co2["location"].scope_1 == truth.co2["market"].scope_1
