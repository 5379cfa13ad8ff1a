"""The driver takes nothing that is not in its journal, and hands over after a kill what may not have been kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.chaos.clock import SPEED, FastClock, clock_for
from deploy.chaos.driver import KIND, Orders, WitnessDriver, WitnessSettings, read_orders
from deploy.chaos.journal import last_entry, read_truth, readings_in
from deploy.chaos.meters import AGENTS, BOILER, CLOCK, METERS, meters_of
from edge.drivers import DriverContext
from edge.readings import Reading

ENOUGH = 6


def make(folder: Path, agent: str = BOILER, seed: int = 1) -> WitnessDriver:
    now_ms = time.time_ns() // 1_000_000
    clock = clock_for(now_ms, span_s=600)
    settings = WitnessSettings(
        name="meters",
        driver="witness",
        seed=seed,
        truth=Path("truth"),
        orders=Path("orders.json"),
        origin_ms=clock.origin_ms,
        begin_ms=clock.begin_ms,
    )
    return KIND.create(settings, DriverContext(agent=agent, folder=folder))  # type: ignore[return-value]


async def take(driver: WitnessDriver, folder: Path, *, least: int = 0) -> list[Reading]:
    """Until `least` readings came, and then to the end."""
    taken: list[Reading] = []
    await driver.start()
    async for some in driver.readings():
        assert some.readings
        taken += some.readings
        # Durable before it is handed over.
        truth = readings_in(read_truth(folder / "truth"))
        assert all(truth[reading.meter, reading.at_ms] == reading.value for reading in some.readings)
        if len(taken) >= least:
            Orders(is_last=True, burst=read_orders(folder / "orders.json").burst).write(folder / "orders.json")
    return taken


async def test_what_was_taken_is_handed_over_again_after_a_kill(tmp_path: Path):
    Orders().write(tmp_path / "orders.json")
    first = await take(make(tmp_path), tmp_path, least=ENOUGH)
    assert len(first) >= ENOUGH
    assert await take(make(tmp_path), tmp_path) == first


async def test_registers_go_on_where_they_were(tmp_path: Path):
    Orders().write(tmp_path / "orders.json")
    first = await take(make(tmp_path), tmp_path, least=3)
    Orders().write(tmp_path / "orders.json")
    both = await take(make(tmp_path), tmp_path, least=len(first) + 3)
    assert both[: len(first)] == first
    assert [reading.at_ms for reading in both] == sorted({reading.at_ms for reading in both})
    assert [reading.value for reading in both] == sorted(reading.value for reading in both)


async def test_a_burst_is_read_once_and_to_its_end(tmp_path: Path):
    Orders(burst=1, readings=1_200, is_last=True).write(tmp_path / "orders.json")
    taken = await take(make(tmp_path), tmp_path, least=10_000)
    assert {reading.meter for reading in taken} == {"steam"}
    assert len({reading.at_ms for reading in taken}) == len(taken) == 1_200
    assert last_entry(tmp_path / "truth").done == 1_200


async def test_a_wrong_clock_is_in_the_truth_too(tmp_path: Path):
    Orders(skew_ms=86_400_000).write(tmp_path / "orders.json")
    taken = await take(make(tmp_path, CLOCK), tmp_path, least=2)
    last = last_entry(tmp_path / "truth")
    assert last.skew_ms == 86_400_000
    assert taken[-1].at_ms == last.ticked_ms + 86_400_000


def test_each_meter_is_offered_by_one_agent(tmp_path: Path):
    offered = [offer.meter for agent in AGENTS for offer in make(tmp_path, agent).offers()]
    assert sorted(offered) == sorted(meter.key for meter in METERS)
    assert all(meters_of(agent) for agent in AGENTS)


@pytest.mark.parametrize("real_s", [0, 1, 600, 10**6])
def test_the_fast_clock_never_comes_near_the_real_one(real_s: int):
    clock = FastClock(origin_ms=10**12, begin_ms=10**12 - 10**9)
    real_ms = 10**12 + real_s * 1000
    assert clock.at(real_ms) == min(10**12 - 10**9 + real_s * 1000 * SPEED, real_ms - 45 * 60_000)


def test_a_clock_has_room_for_its_span():
    clock = clock_for(10**12, span_s=60)
    assert clock.at(10**12 + 60_000) == clock.begin_ms + 60_000 * SPEED
