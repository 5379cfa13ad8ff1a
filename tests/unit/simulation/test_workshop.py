from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from edge.simulation.meters import STEPS_PER_UNIT
from edge.simulation.workshop import Workshop, build_workshop
from schemas.quantities import QUARTER_MS
from schemas.resources import MeterKind, Resource, RunState
from schemas.site import SiteModel
from schemas.wire import RunSpan
from tests.unit.simulation.conftest import ZONE

HOUR_MS = 4 * QUARTER_MS


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return round(datetime(year, month, day, hour, minute, tzinfo=ZONE).timestamp() * 1000)


def all_runs(workshop: Workshop) -> list[RunSpan]:
    return workshop.runs_between(workshop.start_ms, workshop.end_ms)


def test_the_site_model_holds_together(workshop: Workshop) -> None:
    model = workshop.site_model()
    assert model.problems() == []
    assert SiteModel.model_validate(model.model_dump(mode="json")) == model
    assert len(model.meters) == 20
    assert {meter.kind for meter in model.meters} == set(MeterKind)
    assert {meter.resource for meter in model.meters} == set(Resource)


def test_every_meter_is_offered_once_by_its_agent_and_then_read(workshop: Workshop) -> None:
    meters = {meter.id: meter for meter in workshop.site_model().meters}
    offers = {agent.id: workshop.offers(agent.id) for agent in workshop.site_model().agents}
    assert sorted(offer.meter for of_agent in offers.values() for offer in of_agent) == sorted(meters)
    for agent, of_agent in offers.items():
        readings = workshop.read(agent, workshop.start_ms + HOUR_MS)
        assert [(meter, unit) for meter, _, unit in readings] == [(offer.meter, offer.unit) for offer in of_agent]
        assert all(meters[offer.meter].agent == agent for offer in of_agent)


def test_the_end_is_included_and_nothing_beyond_it_is_known(workshop: Workshop) -> None:
    assert workshop.start_ms == at(2024, 1, 1)
    assert workshop.end_ms == at(2026, 1, 8)
    assert workshop.read("cabinet-1", workshop.end_ms)
    for beyond in (workshop.start_ms - 1, workshop.end_ms + 1):
        with pytest.raises(ValueError, match="build the workshop for longer"):
            workshop.read("cabinet-1", beyond)
    with pytest.raises(ValueError, match="build the workshop for longer"):
        workshop.runs_between(workshop.start_ms, workshop.end_ms + 1)


def test_what_is_not_there_is_refused_by_name(workshop: Workshop) -> None:
    with pytest.raises(ValueError, match="no agent 'cabinet-9'; known: cabinet-1, cabinet-2"):
        workshop.offers("cabinet-9")
    with pytest.raises(ValueError, match="no meter 'press-oil'; known: main-electricity"):
        workshop.registers("press-oil", np.array([workshop.start_ms]))
    with pytest.raises(ValueError, match="need a time zone"):
        build_workshop(seed=1, start=datetime(2024, 1, 1), end=datetime(2024, 2, 1, tzinfo=UTC))  # noqa: DTZ001
    with pytest.raises(ValueError, match="must be after start"):
        build_workshop(seed=1, start=datetime(2024, 2, 1, tzinfo=UTC), end=datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="whole quarters"):
        workshop.truth(workshop.start_ms, workshop.start_ms + 1000)


def test_counters_never_step_back_and_show_whole_steps(workshop: Workshop) -> None:
    for meter in workshop.site_model().meters:
        if meter.kind is not MeterKind.COUNTER:
            continue
        times = workshop.reading_times(meter.id, workshop.start_ms, workshop.end_ms, 300_000)
        values = workshop.registers(meter.id, times)
        assert np.all(np.diff(values) >= 0), meter.id
        steps = values * STEPS_PER_UNIT[meter.unit]
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-5)


def test_registers_tell_the_truth_to_a_step(workshop: Workshop) -> None:
    from_ms, to_ms = at(2024, 3, 4), at(2025, 3, 4)
    truth = workshop.truth(from_ms, to_ms)
    for meter in workshop.site_model().meters:
        if meter.kind is MeterKind.COUNTER:
            first, last = workshop.registers(meter.id, np.array([from_ms, to_ms]))
            step = meter.to_canonical / STEPS_PER_UNIT[meter.unit]
            assert (last - first) * meter.to_canonical == pytest.approx(truth.consumption[meter.id], abs=1.01 * step)


def test_the_interval_meter_answers_at_interval_ends_and_adds_up(workshop: Workshop) -> None:
    from_ms, to_ms = workshop.start_ms, at(2024, 3, 1)
    times = workshop.reading_times("mixed-waste", from_ms, to_ms + 1, 300_000)
    assert times[0] == from_ms + QUARTER_MS
    assert times[-1] == to_ms
    assert set(np.diff(times).tolist()) == {QUARTER_MS}
    values = workshop.registers("mixed-waste", times)
    assert values.min() >= 0
    assert values.sum() == pytest.approx(workshop.truth(from_ms, to_ms).consumption["mixed-waste"], abs=0.11)
    within = {meter for meter, _, _ in workshop.read("cabinet-1", int(times[3]) + 1000)}
    assert "mixed-waste" not in within
    assert "mixed-waste" in {meter for meter, _, _ in workshop.read("cabinet-1", int(times[3]))}
    with pytest.raises(ValueError, match="end of an interval"):
        workshop.registers("mixed-waste", times + 1000)


@pytest.mark.parametrize("every_ms", [60_000, 300_000, 900_000])
def test_the_rate_meter_by_trapezoid_is_the_truth(workshop: Workshop, every_ms: int) -> None:
    from_ms, to_ms = at(2024, 2, 1), at(2024, 5, 1)
    times = workshop.reading_times("ventilation-power", from_ms, to_ms + 1, every_ms)
    power_kw = workshop.registers("ventilation-power", times)
    energy_kwh = float(np.sum((power_kw[:-1] + power_kw[1:]) / 2 * np.diff(times)) / 3_600_000)
    assert energy_kwh == pytest.approx(workshop.truth(from_ms, to_ms).consumption["ventilation-power"], rel=1e-4)


def test_reading_times_are_whole_multiples_within_the_span(workshop: Workshop) -> None:
    from_ms = workshop.start_ms + 1
    times = workshop.reading_times("press-good", from_ms, from_ms + HOUR_MS, 60_000)
    assert times.size == 60
    assert times[0] == workshop.start_ms + 60_000
    assert times.dtype == np.int64
    before = workshop.reading_times("press-good", 0, workshop.start_ms + 1, 60_000)
    assert before.tolist() == [workshop.start_ms]
    assert workshop.reading_times("press-good", workshop.end_ms, workshop.end_ms + HOUR_MS, 60_000).size == 1


def test_a_single_reading_is_the_history_at_that_instant(workshop: Workshop) -> None:
    instant = at(2025, 5, 6, 10, 7) + 13_000
    for agent in ("cabinet-1", "cabinet-2"):
        for meter, value, _ in workshop.read(agent, instant):
            assert value == workshop.registers(meter, np.array([instant]))[0]


def test_pieces_come_whole_and_one_by_one(workshop: Workshop) -> None:
    times = np.arange(at(2024, 1, 2, 8), at(2024, 1, 2, 9), 1000)
    pieces = workshop.registers("press-good", times)
    assert set(np.diff(pieces).tolist()) == {0.0, 1.0}


def test_main_meters_hold_their_parts(workshop: Workshop) -> None:
    model = workshop.site_model()
    for quarter in range(96 * 14):
        truth = workshop.truth(at(2025, 6, 2) + quarter * QUARTER_MS, at(2025, 6, 2) + (quarter + 1) * QUARTER_MS)
        for parent in ("main-electricity", "compressor-electricity", "main-water"):
            parts = sum(truth.consumption[meter.id] for meter in model.meters if meter.parent == parent)
            assert truth.consumption[parent] > parts


def test_runs_cover_all_time_of_each_line_without_overlap(workshop: Workshop) -> None:
    for line in ("press", "furnace"):
        runs = [run for run in all_runs(workshop) if run.line == line]
        assert runs[0].start == workshop.start_ms
        assert [run.end for run in runs[:-1]] == [run.start for run in runs[1:]]
        assert runs[-1].end is None
        assert all(run.start % QUARTER_MS == 0 for run in runs)
        assert {run.state for run in runs} == set(RunState)
        assert len({run.run for run in runs}) == len(runs)


def test_a_changeover_takes_half_an_hour_and_leads_to_what_runs_next(workshop: Workshop) -> None:
    for line in ("press", "furnace"):
        runs = [run for run in all_runs(workshop) if run.line == line]
        working = [run for run in runs if run.product is not None]
        for before, run, after in zip(working[:-2], working[1:-1], working[2:], strict=True):
            assert (before.product != run.product) == (run.state is RunState.CHANGEOVER)
            if run.state is RunState.CHANGEOVER:
                assert run.end is not None
                assert run.end - run.start == 2 * QUARTER_MS
                assert after.product == run.product
                assert after.state is RunState.RUNNING


def test_runs_of_a_span_are_those_that_start_or_end_in_it(workshop: Workshop) -> None:
    from_ms, to_ms = at(2024, 1, 2, 5), at(2024, 1, 2, 7)
    runs = [run for run in workshop.runs_between(from_ms, to_ms) if run.line == "press"]
    assert [(run.run, run.state, run.end) for run in runs] == [
        ("press-20240101-0000", RunState.IDLE, at(2024, 1, 2, 6)),
        ("press-20240102-0600", RunState.RUNNING, None),
    ]
    assert runs[1].order == "2024-W01-bracket"


def test_walking_through_time_tells_the_same_runs_as_looking_back(workshop: Workshop) -> None:
    from_ms, to_ms = at(2024, 3, 28), at(2024, 4, 6)
    walked: dict[str, RunSpan] = {}
    for start in range(from_ms, to_ms, HOUR_MS):
        walked |= {run.run: run for run in workshop.runs_between(start, start + HOUR_MS)}
    assert walked == {run.run: run for run in workshop.runs_between(from_ms, to_ms)}


def test_revenue_is_told_by_whole_month(workshop: Workshop) -> None:
    values = workshop.driver_values()
    assert len(values) == 24
    assert values[0].from_date == date(2024, 1, 1)
    assert [value.to_date for value in values[:-1]] == [value.from_date for value in values[1:]]
    assert values[-1].to_date == date(2026, 1, 1)
    assert {(value.driver, value.unit, value.price_year) for value in values} == {("revenue", "DKK", 2024)}
    year = sum(value.value for value in values[:12])
    assert year == pytest.approx(workshop.truth(at(2024, 1, 1), at(2025, 1, 1)).revenue_dkk, abs=12)


def test_same_seed_same_workshop_other_seed_another() -> None:
    span = {"start": datetime(2024, 1, 1, tzinfo=ZONE), "end": datetime(2024, 1, 20, tzinfo=ZONE)}
    one, same, other = (build_workshop(seed=seed, **span) for seed in (7, 7, 8))
    times = one.reading_times("main-electricity", one.start_ms, one.end_ms, 60_000)
    for meter in ("main-electricity", "furnace-gas", "press-good"):
        assert np.array_equal(one.registers(meter, times), same.registers(meter, times))
        assert not np.array_equal(one.registers(meter, times), other.registers(meter, times))
    assert all_runs(one) == all_runs(same) != all_runs(other)
    assert one.truth(one.start_ms, one.end_ms) == same.truth(one.start_ms, one.end_ms)


def test_a_later_end_changes_nothing_of_what_was_before(workshop: Workshop) -> None:
    shorter = build_workshop(
        seed=1, start=datetime(2024, 1, 1, tzinfo=ZONE), end=datetime(2025, 4, 9, 15, 20, tzinfo=UTC)
    )
    assert shorter.end_ms == at(2025, 4, 10)
    for meter in shorter.site_model().meters:
        times = shorter.reading_times(meter.id, shorter.start_ms, shorter.end_ms + 1, 300_000)
        assert np.array_equal(shorter.registers(meter.id, times), workshop.registers(meter.id, times))
    span = (shorter.start_ms, shorter.end_ms)
    assert shorter.runs_between(*span) == workshop.runs_between(*span)
    assert shorter.truth(*span) == workshop.truth(*span)
    assert shorter.driver_values() == workshop.driver_values()[:15]
