"""What people enter of dials: what is refused with which words, and that nothing entered is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main
from edge.drivers import DriverContext
from edge.drivers.manual.driver import ManualDriver
from edge.drivers.manual.entry import Entry, EntryRefusedError, parse_instant, parse_value
from edge.drivers.manual.settings import ManualSettings
from edge.drivers.manual.spool import SpoolUnavailableError, enter, waiting
from edge.drivers.quantity import Quantity
from edge.readings import Taken

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
COUNTER = Quantity.model_validate({"unit": "kWh", "resource": "energy", "kind": "counter"})


@pytest.fixture
def _copenhagen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Copenhagen")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def entry(value: float, *, days_ago: float = 0, **about: Any) -> Entry:
    told = {"meter": "oven", "unit": "kWh", "at": NOW - timedelta(days=days_ago), "entered_at": NOW, **about}
    return Entry.model_validate({"value": value, **told})


def put(spool: Path, *entries: Entry, quantity: Quantity = COUNTER) -> None:
    for one in entries:
        enter(spool, one, quantity, now=NOW)


class TestWords:
    @pytest.mark.parametrize(
        ("text", "value"), [("12345.6", 12345.6), (" 12345,6", 12345.6), ("-3", -3), ("12 345", 12345)]
    )
    def test_numbers_as_on_a_dial(self, text: str, value: float) -> None:
        assert parse_value(text) == value

    @pytest.mark.parametrize("text", ["", "12.345,6", "1_000", "nan", "1e5", "12 kWh", "12."])
    def test_what_is_no_number(self, text: str) -> None:
        with pytest.raises(EntryRefusedError, match="without separators"):
            parse_value(text)

    @pytest.mark.usefixtures("_copenhagen")
    @pytest.mark.parametrize(
        ("text", "iso"),
        [
            ("2026-11-22 07:15", "2026-11-22T06:15:00+00:00"),
            ("2026-07-01 7:15", "2026-07-01T05:15:00+00:00"),
            ("07:15", "2026-11-22T06:15:00+00:00"),
            ("2026-10-25T02:30+01:00", "2026-10-25T01:30:00+00:00"),
            ("2026-10-25 02:30 +0200", "2026-10-25T00:30:00+00:00"),
            ("2026-11-22T06:15:30Z", "2026-11-22T06:15:30+00:00"),
        ],
    )
    def test_instants(self, text: str, iso: str) -> None:
        assert parse_instant(text, now=NOW).isoformat() == iso

    @pytest.mark.usefixtures("_copenhagen")
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("2026-10-25 02:30", r"twice.*2026-10-25T02:30\+02:00 for the first time or 2026-10-25T02:30\+01:00"),
            ("2026-03-29 02:30", "did not exist here"),
            ("2026-11-22", "not a day and a time"),
            ("2026-11-22+01:00", "not a day and a time"),
            ("22.11.2026 07:30", "write it as 2026-11-22 07:30"),
            ("2026-02-30 07:30", "not a day and a time"),
            ("25:00", "not a day and a time"),
            ("yesterday", "not a day and a time"),
        ],
    )
    def test_instants_that_are_not_certain(self, text: str, words: str) -> None:
        with pytest.raises(EntryRefusedError, match=words):
            parse_instant(text, now=NOW)


class TestPlausible:
    @pytest.mark.parametrize(
        ("before", "now", "words"),
        [
            ([], entry(1, days_ago=-1), "still to come"),
            ([], entry(1, unit="MWh"), "entered in kWh, not in MWh"),
            ([entry(100, days_ago=1)], entry(99), "does not run backwards"),
            ([entry(100, days_ago=1)], entry(101, days_ago=1), "was entered already"),
            ([entry(100, days_ago=1)], entry(101, days_ago=1, is_forced=True), "was entered already"),
            ([entry(100, days_ago=1)], entry(101, days_ago=2), "does not run backwards"),
            ([entry(100, days_ago=2), entry(110, days_ago=1)], entry(1200), "109 times faster"),
        ],
    )
    def test_refused(self, tmp_path: Path, before: list[Entry], now: Entry, words: str) -> None:
        put(tmp_path, *before)
        with pytest.raises(EntryRefusedError, match=words):
            put(tmp_path, now)
        assert sorted((one.entry for one in waiting(tmp_path)), key=lambda one: one.at) == before

    @pytest.mark.parametrize(
        ("before", "now"),
        [
            ([entry(100, days_ago=1)], entry(100)),
            ([entry(100, days_ago=1)], entry(3, is_exchange=True)),
            ([entry(100, days_ago=1)], entry(99, is_forced=True)),
            ([entry(100, days_ago=1)], entry(90, days_ago=2)),
            ([entry(100, days_ago=1)], entry(5, meter="tap")),
            ([entry(100, days_ago=2), entry(110, days_ago=1)], entry(1200, is_forced=True)),
            ([entry(100, days_ago=3), entry(3, days_ago=2, is_exchange=True), entry(8, days_ago=1)], entry(20)),
            ([entry(100, days_ago=1), entry(110, days_ago=0.02)], entry(210)),
        ],
    )
    def test_taken(self, tmp_path: Path, before: list[Entry], now: Entry) -> None:
        put(tmp_path, *before, now)
        assert now in [one.entry for one in waiting(tmp_path)]

    def test_what_is_certain_of_the_type_is_used(self, tmp_path: Path) -> None:
        narrow = COUNTER.model_copy(update={"register_width": 1000.0, "rated_maximum": 2.0})
        put(tmp_path, entry(990, days_ago=1), quantity=narrow)
        with pytest.raises(EntryRefusedError, match="goes from 0 to 1000 kWh"):
            put(tmp_path, entry(1000), quantity=narrow)
        with pytest.raises(EntryRefusedError, match=r"70 kWh since .* is more than it can count"):
            put(tmp_path, entry(60), quantity=narrow)
        put(tmp_path, entry(8), quantity=narrow)

    def test_a_rate_may_fall(self, tmp_path: Path) -> None:
        rate = Quantity.model_validate({"unit": "kW", "resource": "energy", "kind": "rate"})
        put(tmp_path, entry(9, days_ago=1, unit="kW"), entry(3, unit="kW"), quantity=rate)

    def test_the_last_values_are_known_after_the_agent_has_taken_them(self, tmp_path: Path) -> None:
        put(tmp_path, entry(100, days_ago=1))
        for one in waiting(tmp_path):
            one.path.unlink()
        with pytest.raises(EntryRefusedError, match="below 100 kWh"):
            put(tmp_path, entry(99))

    def test_a_kill_before_the_history_was_written_forgets_nothing(self, tmp_path: Path) -> None:
        put(tmp_path, entry(100, days_ago=1))
        (tmp_path / "history.json").unlink()
        with pytest.raises(EntryRefusedError, match="below 100 kWh"):
            put(tmp_path, entry(99))
        (tmp_path / "history.json").write_text("{")
        with pytest.raises(EntryRefusedError, match="below 100 kWh"):
            put(tmp_path, entry(99))

    def test_a_spool_that_cannot_be_used_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "spool").write_text("")
        with pytest.raises(SpoolUnavailableError, match="the agent's own user"):
            put(tmp_path / "spool", entry(1))


class TestDriver:
    def driver(self, folder: Path, *, trial: bool = False) -> ManualDriver:
        meters = {"oven": {"unit": "kWh", "resource": "energy", "kind": "counter"}}
        told = {"name": "d", "driver": "manual", "meters": meters, "every": "5ms", "spool": "spool"}
        return ManualDriver(ManualSettings.model_validate(told), DriverContext(agent="a", folder=folder, trial=trial))

    async def first(self, driver: ManualDriver) -> Taken:
        await driver.start()
        async with asyncio.timeout(60):
            taken = await anext(aiter(driver.readings()))
        await driver.stop()
        return taken

    async def test_its_file_goes_when_it_is_kept_and_not_before(self, tmp_path: Path) -> None:
        put(tmp_path / "spool", entry(100, note="read by torch light"))
        for driver in (self.driver(tmp_path), self.driver(tmp_path)):
            taken = await self.first(driver)
            assert [(r.meter, r.value, r.unit, r.at_ms) for r in taken.readings] == [
                ("oven", 100.0, "kWh", round(NOW.timestamp() * 1000))
            ]
            assert len(waiting(tmp_path / "spool")) == 1
        assert taken.kept is not None
        taken.kept()
        assert waiting(tmp_path / "spool") == []
        # A second word of it harms nobody.
        taken.kept()

    async def test_what_does_not_fit_the_settings_waits_and_holds_up_nothing(self, tmp_path: Path) -> None:
        put(tmp_path / "spool", entry(1, meter="gone", entered_at=NOW - timedelta(hours=1)), entry(100))
        taken = await self.first(self.driver(tmp_path))
        assert [reading.meter for reading in taken.readings] == ["oven"]
        assert len(waiting(tmp_path / "spool")) == 2

    async def test_a_look_moves_nothing(self, tmp_path: Path) -> None:
        put(tmp_path / "spool", entry(100))
        (tmp_path / "spool" / "entry-0-x.json").write_text("{")
        await self.first(self.driver(tmp_path, trial=True))
        assert (tmp_path / "spool" / "entry-0-x.json").exists()
        await self.first(self.driver(tmp_path))
        assert (tmp_path / "spool" / "refused-entry-0-x.json").exists()


class TestCommand:
    @pytest.fixture
    def config(self, tmp_path: Path) -> str:
        path = tmp_path / "edge.yaml"
        path.write_text(
            "organisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://127.0.0.1:1\ndrivers:\n"
            "- {name: dials, driver: manual, meters: {oven: {unit: kWh, resource: energy, kind: counter, scale: 10}}}\n"
        )
        return str(path)

    def test_enter_and_list(self, config: str, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["edge", "enter", "--config", config]
        assert main([*words, "oven", "123,5", "--at", "2026-01-05T06:00Z", "--note", "after the holidays"]) == 0
        assert "oven: 1235 kWh" in capsys.readouterr().out
        assert main([*words, "--list"]) == 0
        assert "after the holidays" in capsys.readouterr().out
        assert main([*words, "--list", "--json"]) == 0
        [told] = json.loads(capsys.readouterr().out)
        assert (told["value"], told["at"], told["note"]) == (1235.0, "2026-01-05T06:00:00Z", "after the holidays")
        assert main([*words, "oven", "3", "--exchange", "--unit", "kWh"]) == 0
        assert "afkobling exchange" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["oven", "12", "--unit", "MWh"], "entered in kWh, not in MWh"),
            (["tap", "12"], "no meter tap is entered by hand; known: oven"),
            (["oven", "twelve"], "not a number"),
            (["oven", "12", "--at", "2999-01-01 12:00"], "still to come"),
        ],
    )
    def test_refused_with_words(
        self, config: str, capsys: pytest.CaptureFixture[str], more: list[str], words: str
    ) -> None:
        assert main(["edge", "enter", "--config", config, *more]) == 1
        assert words in capsys.readouterr().err
        assert main(["edge", "enter", "--config", config, "--list"]) == 0
        assert "has taken all" in capsys.readouterr().out

    @pytest.mark.parametrize("more", [[], ["oven"], ["--list", "oven"]])
    def test_wrong_usage(self, config: str, more: list[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["edge", "enter", "--config", config, *more])

    def test_an_agent_without_such_a_driver(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "edge.yaml"
        path.write_text(
            "organisation: acme\nsite: hall\nagent: cabinet-1\nbroker: mqtt://127.0.0.1:1\n"
            "drivers: [{name: s, driver: simulated}]\n"
        )
        assert main(["edge", "enter", "--config", str(path), "oven", "1"]) == 1
        assert "has no driver for what people enter; add one" in capsys.readouterr().err
        assert [one.name for one in tmp_path.iterdir()] == ["edge.yaml"]
