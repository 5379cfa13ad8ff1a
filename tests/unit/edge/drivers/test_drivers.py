"""What every driver promises, and what each does on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.drivers import Driver, DriverContext, DriverSettings
from edge.drivers.pacing import next_due_ms, sleep_unless, ticks
from edge.drivers.replay import ReplayDriver, ReplaySettings
from edge.drivers.simulated import SimulatedDriver, SimulatedSettings
from edge.errors import EdgePermanentError
from edge.readings import Taken
from schemas.resources import MeterKind, Resource, RunState
from schemas.wire import OfferedMeter, RunSpan

NOW_MS = round(datetime(2026, 11, 21, 12, 14, 58, tzinfo=UTC).timestamp() * 1000)

PLAIN = """\
at,meter,value,unit,resource,kind
2026-06-01T00:00:00Z,oven,1,kWh,energy,counter
2026-06-01T00:00:01Z,oven,2,kWh,energy,counter
2026-06-01T00:00:02Z,oven,3,kWh,energy,counter
"""


class FakeWorkshop:
    """Registers that count milliseconds, an interval meter, and one run."""

    def offers(self, agent: str) -> Sequence[OfferedMeter]:
        if agent != "cabinet-1":
            raise ValueError(f"there is no agent {agent!r}; known: cabinet-1")
        energy = Resource.ENERGY
        return [
            OfferedMeter(meter="oven", resource=energy, unit="kWh", kind=MeterKind.COUNTER),
            OfferedMeter(meter="main", resource=energy, unit="kWh", kind=MeterKind.INTERVAL, cadence_ms=900_000),
        ]

    def read(self, agent: str, at_ms: int) -> Sequence[tuple[str, float, str]]:
        main = [("main", 5.0, "kWh")] if at_ms % 900_000 == 0 else []
        return [("oven", at_ms / 1000, "kWh"), *main]

    def runs_between(self, from_ms: int, to_ms: int) -> Sequence[RunSpan]:
        start = NOW_MS - 1_000
        if not from_ms <= start < to_ms:
            return []
        return [RunSpan(run="r", line="press", state=RunState.RUNNING, start=start, product="bracket")]


@pytest.fixture
def _fake_workshop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.drivers.simulated._build", lambda **_: FakeWorkshop())


async def _all(driver: Driver) -> list[Taken]:
    return [taken async for taken in driver.readings()]


class TestReplay:
    def driver(self, folder: Path, **settings: object) -> ReplayDriver:
        (folder / "plain.csv").write_text(PLAIN)
        model = ReplaySettings.model_validate({"name": "d", "driver": "replay", "path": "plain.csv", **settings})
        return ReplayDriver(model, DriverContext(agent="a", folder=folder))

    @pytest.mark.parametrize("speed", ["max", 100, "real"])
    async def test_all_of_the_file_in_order_then_the_end(self, tmp_path: Path, speed: object) -> None:
        driver = self.driver(tmp_path, speed=speed)
        await driver.start()
        taken = await _all(driver)
        assert [reading.value for one in taken for reading in one.readings] == [1, 2, 3]
        assert len(taken) == (1 if speed == "max" else 3)

    async def test_a_factor_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        driver = self.driver(tmp_path, speed=0.5)
        asked: list[float] = []

        async def note(_stop: asyncio.Event, seconds: float) -> bool:
            asked.append(round(seconds, 1))
            return False

        monkeypatch.setattr("edge.drivers.replay.sleep_unless", note)
        await driver.start()
        await _all(driver)
        assert asked == [0.0, 2.0, 4.0]

    def test_a_speed_that_is_none(self, tmp_path: Path) -> None:
        for speed in ("fast", 0, -1, True):
            with pytest.raises(ValueError, match="speed is real, max, or how many times"):
                self.driver(tmp_path, speed=speed)


@pytest.mark.usefixtures("_fake_workshop")
class TestSimulated:
    def driver(
        self, agent: str = "cabinet-1", now_ms: Callable[[], int] = lambda: NOW_MS, **settings: object
    ) -> SimulatedDriver:
        named = {name.removeprefix("settings_"): value for name, value in settings.items()}
        model = SimulatedSettings.model_validate({"name": "d", "driver": "simulated", **named})
        return SimulatedDriver(model, DriverContext(agent=agent, folder=Path(), now_ms=now_ms))

    async def taken(self, driver: SimulatedDriver, instants: list[int], monkeypatch: pytest.MonkeyPatch) -> list[Taken]:
        async def given(**_: object) -> AsyncIterator[int]:
            for at_ms in instants:
                yield at_ms

        monkeypatch.setattr("edge.drivers.simulated.ticks", given)
        await driver.start()
        return await _all(driver)

    async def test_a_quarter_between_ticks_is_not_missed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        quarter = NOW_MS + 2_000
        taken = await self.taken(self.driver(), [NOW_MS, NOW_MS + 5_000, NOW_MS + 10_000], monkeypatch)
        assert [[(r.meter, r.at_ms) for r in one.readings] for one in taken] == [
            [("oven", NOW_MS)],
            [("oven", quarter), ("main", quarter), ("oven", NOW_MS + 5_000)],
            [("oven", NOW_MS + 10_000)],
        ]

    async def test_the_open_run_is_told_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = await self.taken(self.driver(), [NOW_MS, NOW_MS + 5_000], monkeypatch)
        assert [len(one.runs) for one in taken] == [1, 0]
        taken = await self.taken(self.driver(runs=False), [NOW_MS], monkeypatch)
        assert [len(one.runs) for one in taken] == [0]

    def test_offers_keep_the_interval_of_interval_meters(self) -> None:
        assert [meter.cadence_ms for meter in self.driver(every="5s").offers()] == [5_000, 900_000]

    def test_an_agent_that_the_workshop_has_not(self) -> None:
        with pytest.raises(EdgePermanentError, match="known: cabinet-1"):
            self.driver(agent="other").offers()
        assert self.driver("other", settings_agent="cabinet-1").offers()

    def test_history_begins_two_years_before_and_the_end_is_far(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, datetime]] = []

        def build(**how: datetime) -> FakeWorkshop:
            asked.append(how)
            return FakeWorkshop()

        monkeypatch.setattr("edge.drivers.simulated._build", build)
        now = [NOW_MS]
        driver = self.driver(now_ms=lambda: now[0])
        driver.offers()
        driver.offers()
        assert asked[0]["start"] == datetime(2024, 1, 1, tzinfo=UTC)
        assert len(asked) == 1
        now[0] += 400 * 86_400_000
        driver.offers()
        assert len(asked) == 2


async def test_the_real_workshop_goes_on_where_its_history_ended(tmp_path: Path) -> None:
    model = SimulatedSettings.model_validate(
        {"name": "d", "driver": "simulated", "every": "10ms", "start": "2026-01-01"}
    )
    driver = SimulatedDriver(model, DriverContext(agent="cabinet-1", folder=tmp_path, now_ms=lambda: NOW_MS))
    await driver.start()
    async for taken in driver.readings():
        offered = {meter.meter for meter in driver.offers() if meter.kind is not MeterKind.INTERVAL}
        assert {reading.meter for reading in taken.readings} == offered
        assert all(reading.at_ms == NOW_MS for reading in taken.readings)
        assert any(run.end is None for run in taken.runs)
        await driver.stop()


def test_the_workshop_can_be_read_with_faults_in_it(tmp_path: Path) -> None:
    def driver(agent: str) -> SimulatedDriver:
        model = SimulatedSettings.model_validate(
            {"name": "d", "driver": "simulated", "start": "2026-01-01", "faults": NOW_MS - 60_000}
        )
        return SimulatedDriver(model, DriverContext(agent=agent, folder=tmp_path, now_ms=lambda: NOW_MS))

    # An agent that the workshop has not by itself, and whose meter no site model has.
    assert [offer.meter for offer in driver("cabinet-3").offers()] == ["paint-booth-electricity"]
    assert len(driver("cabinet-2").offers()) == 8


class TestPacing:
    def test_reads_fall_on_whole_periods_and_never_twice(self) -> None:
        assert next_due_ms(12_345, every_ms=1_000, last_ms=None) == 12_345
        assert next_due_ms(12_346, every_ms=1_000, last_ms=12_345) == 13_000
        assert next_due_ms(12_999, every_ms=1_000, last_ms=13_000) == 14_000
        assert next_due_ms(17_200, every_ms=1_000, last_ms=13_000) == 18_000

    def test_a_clock_that_was_set_back_starts_anew(self) -> None:
        assert next_due_ms(5_500, every_ms=1_000, last_ms=13_000) == 6_000

    async def test_ticks_end_at_stop(self) -> None:
        stop = asyncio.Event()
        seen = []
        async for due in ticks(every_ms=1, now_ms=lambda: NOW_MS, stop=stop):
            seen.append(due)
            if len(seen) == 2:
                stop.set()
        assert seen == [NOW_MS, NOW_MS + 1]
        assert await sleep_unless(stop, 1_000)

    def test_settings_of_drivers_refuse_what_they_do_not_know(self) -> None:
        with pytest.raises(ValueError, match="extra"):
            DriverSettings.model_validate({"name": "d", "driver": "x", "other": 1})
