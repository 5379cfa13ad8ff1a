"""Planted faults: each is where it says, what is not planted is as before, and everybody sees the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from edge.simulation.faults import (
    DAY_MS,
    FIRST_NEW_REGISTER,
    HOUR_MS,
    REGISTER_WIDTH,
    SKEWED_AGENT,
    UNKNOWN_METER,
    FaultyWorkshop,
    Planted,
)
from edge.simulation.workshop import build_workshop
from schemas.events import EventKind
from schemas.findings import FindingKind
from tests.unit.simulation.conftest import ZONE

STEP_MS = 300_000
AT_MS = int(datetime(2025, 11, 20, 8, 7, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def faulty(workshop) -> FaultyWorkshop:
    return FaultyWorkshop(workshop, at_ms=AT_MS)


def planted(faulty, kind) -> Any:
    (found,) = [one for one in faulty.planted if one.kind is kind]
    assert isinstance(found, Planted)
    return found


def read(faulty, meter, from_ms, to_ms) -> Any:
    at = faulty.reading_times(meter, from_ms, to_ms, STEP_MS)
    return at, faulty.registers(meter, at)


def around(faulty, kind, meter=None) -> Any:
    """Instants and steps of the register within an hour of the fault's beginning."""
    one = planted(faulty, kind)
    at, value = read(faulty, meter or one.meter, one.from_ms - HOUR_MS, one.from_ms + HOUR_MS)
    return one, at, value


def test_every_kind_of_event_and_more_is_planted_in_the_last_four_weeks(faulty):
    kinds = [one.kind for one in faulty.planted]
    assert len(kinds) == len(set(kinds)) == 13
    assert {FindingKind(kind) for kind in EventKind} < set(kinds)
    for one in faulty.planted:
        assert AT_MS - 28 * DAY_MS < one.from_ms <= AT_MS
        assert one.from_ms % STEP_MS == 0


def test_meters_that_nothing_was_planted_in_are_as_before(workshop, faulty):
    touched = {one.meter for one in faulty.planted} | {"ventilation-power", "main-water"}
    for meter in workshop.site_model().meters:
        at = workshop.reading_times(meter.id, AT_MS - 30 * DAY_MS, AT_MS, STEP_MS)
        is_same = np.array_equal(workshop.registers(meter.id, at), faulty.registers(meter.id, at))
        is_told = np.array_equal(faulty.reading_times(meter.id, AT_MS - 30 * DAY_MS, AT_MS, STEP_MS), at)
        # A negative rest is told of the whole; what is wrong there are its parts.
        assert (is_same and is_told) == (meter.id not in touched - {"main-electricity"}), meter.id


def test_a_register_passes_its_width(faulty):
    one, at, value = around(faulty, FindingKind.ROLLOVER)
    (fall,) = np.flatnonzero(np.diff(value) < 0)
    assert at[fall + 1] == one.from_ms
    assert 0 <= value[fall + 1] + REGISTER_WIDTH - value[fall] < 10
    model = {meter.id: meter for meter in faulty.site_model().meters}
    assert model[one.meter].register_width == REGISTER_WIDTH


@pytest.mark.parametrize(("kind", "readings"), [(FindingKind.DIP, 2), (FindingKind.SPIKE, 1)])
def test_a_dip_and_a_spike_come_back(workshop, faulty, kind, readings):
    one, at, value = around(faulty, kind)
    wrong = np.flatnonzero(value != workshop.registers(one.meter, at))
    assert at[wrong].tolist() == list(range(one.from_ms, one.from_ms + readings * STEP_MS, STEP_MS))
    assert at[wrong][-1] == one.to_ms
    assert (value[wrong] == 0).all() if kind is FindingKind.DIP else (value[wrong] > value[wrong[0] - 1] + 10_000).all()


@pytest.mark.parametrize(("kind", "first"), [(FindingKind.RESET, 0.0), (FindingKind.EXCHANGE, FIRST_NEW_REGISTER)])
def test_a_register_begins_again_and_counts_on(workshop, faulty, kind, first):
    one, at, value = around(faulty, kind)
    new = at >= one.from_ms
    assert value[new][0] == first
    true = workshop.registers(one.meter, at)
    assert np.diff(value[new]) == pytest.approx(np.diff(true[new]))
    assert np.array_equal(value[~new], true[~new])
    if kind is FindingKind.EXCHANGE:
        (exchange,) = faulty.exchanges
        assert (exchange.meter, exchange.at_ms, exchange.first_new) == (one.meter, one.from_ms, first)
        assert exchange.last_old == true[new][0]


def test_a_register_stands_still_while_its_line_runs(workshop, faulty):
    one = planted(faulty, FindingKind.FROZEN)
    _, value = read(faulty, one.meter, one.from_ms, one.to_ms + 1)
    assert len(set(value.tolist())) == 1
    runs = workshop.runs_between(one.from_ms - DAY_MS, one.to_ms + DAY_MS)
    (during,) = [run for run in runs if run.line == "press" and run.start <= one.from_ms and (run.end or 0) > one.to_ms]
    assert during.state == "running"
    assert np.diff(workshop.registers(one.meter, np.array([one.from_ms, one.to_ms])))[0] > 100


def test_a_gap_and_a_silence_have_no_readings(faulty):
    gap, silence = planted(faulty, FindingKind.GAP), planted(faulty, FindingKind.SILENT)
    at, _ = read(faulty, gap.meter, gap.from_ms - HOUR_MS, gap.to_ms + HOUR_MS)
    assert not ((at >= gap.from_ms) & (at < gap.to_ms)).any()
    assert len(at) == 24
    assert len(faulty.reading_times(silence.meter, silence.from_ms, AT_MS, STEP_MS)) == 0
    assert silence.meter not in {meter for meter, _, _ in faulty.read("cabinet-2", AT_MS)}
    assert silence.meter in {offer.meter for offer in faulty.offers("cabinet-2")}


def test_a_leak_runs_through_the_meters_before_it(workshop, faulty):
    one = planted(faulty, FindingKind.LEAK)
    at = np.array([one.from_ms, one.from_ms + 10 * HOUR_MS])
    for meter in (one.meter, "main-water"):
        more = faulty.registers(meter, at) - workshop.registers(meter, at)
        assert more == pytest.approx([0, 4.0], abs=0.002)
    assert one.to_ms is None


def test_parts_count_more_than_the_whole_for_three_days(workshop, faulty):
    one = planted(faulty, FindingKind.NEGATIVE_REST)
    parts = ("compressor-electricity", "press-electricity", "furnace-electricity")
    at = np.array([one.from_ms, one.to_ms])
    hours = (one.to_ms - one.from_ms) / HOUR_MS
    power = faulty.registers("ventilation-power", np.arange(one.from_ms, one.to_ms, HOUR_MS)).mean()
    total = sum(np.diff(workshop.registers(part, at))[0] for part in parts) + power * hours
    assert total > 2 * np.diff(workshop.registers(one.meter, at))[0]


def test_a_rate_is_negative_for_two_hours(faulty):
    one = planted(faulty, FindingKind.EXPORT)
    at, value = read(faulty, one.meter, one.from_ms - HOUR_MS, one.to_ms + HOUR_MS)
    assert at[value < 0].tolist() == list(range(one.from_ms, one.to_ms + 1, STEP_MS))


def test_an_agent_offers_a_meter_that_the_model_has_not(faulty):
    (offer,) = faulty.offers(SKEWED_AGENT)
    assert offer.meter == UNKNOWN_METER not in {meter.id for meter in faulty.site_model().meters}
    assert SKEWED_AGENT in {agent.id for agent in faulty.site_model().agents}
    ((meter, early, unit),) = faulty.read(SKEWED_AGENT, AT_MS)
    ((_, late, _),) = faulty.read(SKEWED_AGENT, AT_MS + HOUR_MS)
    assert (meter, unit) == (UNKNOWN_METER, "kWh")
    assert late - early == pytest.approx(12)


def test_a_live_agent_reads_what_the_past_led_up_to(faulty):
    """An agent builds the workshop for itself, for longer, and at another moment of the same five minutes."""
    again = FaultyWorkshop(
        build_workshop(seed=1, start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2026, 3, 1, tzinfo=ZONE)),
        at_ms=AT_MS // STEP_MS * STEP_MS,
    )
    assert again.planted == faulty.planted
    for agent in ("cabinet-1", "cabinet-2", SKEWED_AGENT):
        assert again.read(agent, AT_MS + 5 * HOUR_MS) == faulty.read(agent, AT_MS + 5 * HOUR_MS)


@pytest.mark.parametrize(
    "day", ["2025-01-06", "2025-04-22", "2025-07-29", "2025-08-04", "2025-10-27", "2025-12-27", "2026-01-05"]
)
def test_there_is_always_a_time_to_plant_them(workshop, day):
    """After shutdown, Easter, Christmas, and when clocks change."""
    at = datetime.fromisoformat(f"{day}T03:00").replace(tzinfo=ZONE)
    assert len(FaultyWorkshop(workshop, at_ms=int(at.timestamp() * 1000)).planted) == 13


def test_a_workshop_that_is_too_young_is_refused(workshop):
    with pytest.raises(ValueError, match="thirty days"):
        FaultyWorkshop(workshop, at_ms=workshop.start_ms + 29 * DAY_MS)
