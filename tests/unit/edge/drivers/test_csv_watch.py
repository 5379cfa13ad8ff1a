"""A folder that is watched: what is read when, what is remembered, and what becomes of files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.drivers import DriverContext
from edge.drivers.csv_watch import piece as pieces
from edge.drivers.csv_watch.driver import CsvDriver
from edge.drivers.csv_watch.settings import CsvSettings
from edge.errors import EdgePermanentError
from edge.readings import Taken
from schemas.configuration import problems_in

DEADLINE_S = 60
HEAD = "at,meter,value,unit\n"
METERS = [{"meter": "oven", "resource": "energy", "unit": "kWh", "kind": "counter"}]
LOCAL = """\
name: local
description: a clock on the wall
match: [time]
time: {column: time, format: "%Y-%m-%d %H:%M", zone: Europe/Copenhagen}
meters:
- {meter: oven, column: oven, resource: energy, unit: kWh, kind: counter}
"""


def row(hour: int, value: float, meter: str = "oven") -> str:
    return f"2026-06-01T{hour:02d}:00:00Z,{meter},{value},kWh\n"


async def come_about(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what brings it about tells nobody
        await asyncio.sleep(0.005)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Watch:
    """A driver that runs, what it gave, and its failures."""

    def __init__(self, folder: Path, *, trial: bool = False, **settings: Any) -> None:
        waits = {"every": "10ms", "settle": "1ms", "timeout": "5s"}
        told = {"name": "d", "driver": "csv", "folder": "in", "meters": METERS, **waits, **settings}
        model = CsvSettings.model_validate({key: value for key, value in told.items() if value is not None})
        self.failures = 0
        self.taken: list[Taken] = []
        context = DriverContext(agent="a", folder=folder, count_failure=self._count, trial=trial)
        self.driver = CsvDriver(model, context)

    def _count(self) -> None:
        self.failures += 1

    @property
    def values(self) -> list[float]:
        return [reading.value for taken in self.taken for reading in taken.readings]

    @asynccontextmanager
    async def running(self, *, keep: bool = True) -> AsyncIterator[Watch]:
        async def read() -> None:
            await self.driver.start()
            async for taken in self.driver.readings():
                self.taken.append(taken)
                if keep and taken.kept is not None:
                    taken.kept()

        reading = asyncio.create_task(read())
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield self
        finally:
            await self.driver.stop()
            await reading

    async def until(self, *values: float) -> None:
        """These came, and no others; nor do they within some more looks at the folder."""
        await come_about(lambda: len(self.values) >= len(values))
        await asyncio.sleep(0.05)
        assert self.values == list(values)

    async def until_gone(self, path: Path) -> None:
        await come_about(lambda: not path.exists())


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


class TestWhole:
    async def test_files_are_read_in_the_order_of_their_age_and_never_again(self, tmp_path: Path, inbox: Path) -> None:
        for hour, name in ((2, "a.csv"), (1, "b.CSV")):
            (inbox / name).write_text(HEAD + row(hour, hour))
            os.utime(inbox / name, (hour * 1000, hour * 1000))
        for name in ("c.txt", ".d.csv", "e.csv.tmp", "~f.csv~"):
            (inbox / name).write_text(HEAD + row(9, 99))
        (inbox / "folder.csv").mkdir()
        async with Watch(tmp_path).running() as watch:
            await watch.until(1, 2)
        async with Watch(tmp_path).running() as again:
            (inbox / "g.csv").write_text(HEAD + row(3, 3))
            await again.until(3)

    async def test_a_file_that_is_still_written_waits_until_it_stands_still(self, tmp_path: Path, inbox: Path) -> None:
        path = inbox / "a.csv"
        path.write_text(HEAD + "2026-06-01T01:00:00Z,ov")
        watch = Watch(tmp_path, settle="1h")
        async with watch.running():
            await watch.until()
        assert watch.failures == 0

    async def test_the_last_line_needs_no_end_and_is_read_whole_when_more_comes(
        self, tmp_path: Path, inbox: Path
    ) -> None:
        path = inbox / "a.csv"
        path.write_text(HEAD + row(1, 1) + "2026-06-01T02:00:00Z,oven,2")
        async with Watch(tmp_path).running() as watch:
            await watch.until(1, 2)
            # The file was not finished after all.
            path.write_text(HEAD + row(1, 1) + "2026-06-01T02:00:00Z,oven,2.5,kWh\n" + row(3, 3))
            await watch.until(1, 2, 2.5, 3)

    async def test_a_file_that_was_replaced_is_read_from_its_beginning(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "a.csv").write_text(HEAD + row(1, 1) + row(2, 2))
        async with Watch(tmp_path).running() as watch:
            await watch.until(1, 2)
            (inbox / "a.csv").write_text(HEAD + row(3, 3))
            await watch.until(1, 2, 3)

    async def test_an_empty_file_is_no_fault(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "a.csv").write_text("")
        (inbox / "b.csv").write_text(HEAD)
        (inbox / "c.csv").write_text(HEAD + row(1, 1))
        async with Watch(tmp_path).running() as watch:
            await watch.until(1)
        assert watch.failures == 0

    async def test_moved_when_done_and_not_over_another(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "done").mkdir()
        (inbox / "done" / "a.csv").write_text("of yesterday")
        (inbox / "a.csv").write_text(HEAD + row(1, 1))
        async with Watch(tmp_path, done="move").running() as watch:
            await watch.until_gone(inbox / "a.csv")
        assert watch.values == [1]
        assert (inbox / "done" / "a.csv").read_text() == "of yesterday"
        assert (inbox / "done" / "a-2.csv").read_text() == HEAD + row(1, 1)

    async def test_deleted_only_when_kept(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "a.csv").write_text(HEAD + row(1, 1))
        async with Watch(tmp_path, done="delete").running(keep=False) as watch:
            await watch.until(1)
        assert (inbox / "a.csv").exists()
        assert not (tmp_path / "d-files.json").exists()
        # What comes after `stop` counts: the next run lets go of the file and reads nothing twice.
        for taken in watch.taken:
            assert taken.kept is not None
            taken.kept()
        async with Watch(tmp_path, done="delete").running() as again:
            await again.until_gone(inbox / "a.csv")
            await again.until()

    async def test_a_large_file_comes_in_pieces_and_moves_on_by_piece(
        self, tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
        (inbox / "a.csv").write_text(HEAD + "".join(row(hour, hour) for hour in range(10)))
        async with Watch(tmp_path).running(keep=False) as watch:
            await watch.until(0, 1, 2)
        async with Watch(tmp_path).running() as watch:
            await watch.until(*range(10))
        # What was given and kept is not read again, the rest is.
        state = json.loads((tmp_path / "d-files.json").read_text())["files"]["a.csv"]
        assert (state["readings"], state["lines"]) == (10, 11)

    async def test_parquet(self, tmp_path: Path, inbox: Path) -> None:
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {"at": ["2026-06-01T01:00:00Z"], "meter": ["oven"], "value": [1.5], "unit": ["kWh"]}
        parquet.write_table(arrow.table(columns), inbox / "a.parquet")
        async with Watch(tmp_path, pattern="*.parquet").running() as watch:
            await watch.until(1.5)


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"\xff\xfe\x00", "is not utf-8 text"),
            (HEAD.encode() + b'2026-06-01T01:00:00Z,oven,"1', "is not a CSV file"),
            (b"a,b\n1,2\n", "lacks the columns"),
            (HEAD.encode() + b"yesterday,oven,1,kWh\n", "no reading that could be used"),
        ],
    )
    async def test_it_is_moved_with_the_reason_and_others_go_on(
        self, tmp_path: Path, inbox: Path, data: bytes, words: str
    ) -> None:
        if data.startswith(b"\xff"):
            data += b"\n"
        (inbox / "a.csv").write_bytes(data)
        os.utime(inbox / "a.csv", (1, 1))
        (inbox / "b.csv").write_text(HEAD + row(1, 1))
        async with Watch(tmp_path, refused_folder="refused").running() as watch:
            await watch.until(1)
        assert watch.failures == 1
        assert (tmp_path / "refused" / "a.csv").read_bytes() == data
        assert words in (tmp_path / "refused" / "a.csv.txt").read_text()

    async def test_left_where_it_is_it_is_tried_again_only_when_it_changes(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "a.csv").write_text("a,b\n1,2\n")
        async with Watch(tmp_path).running() as watch:
            await come_about(lambda: watch.failures > 0)
            await watch.until()
            assert watch.failures == 1
            (inbox / "a.csv").write_text(HEAD + row(1, 1))
            await watch.until(1)
        async with Watch(tmp_path).running() as again:
            await again.until()


class TestGrowing:
    async def test_whole_lines_as_they_come(self, tmp_path: Path, inbox: Path) -> None:
        path = inbox / "log.csv"
        path.write_text(HEAD[:5])
        async with Watch(tmp_path, written="growing").running() as watch:
            for more, values in (
                (HEAD[5:] + row(1, 1)[:-7], []),
                (row(1, 1)[-7:], [1]),
                (row(2, 2) + row(3, 3), [1, 2, 3]),
            ):
                with path.open("a") as file:
                    file.write(more)
                await watch.until(*values)
        async with Watch(tmp_path, written="growing").running() as again:
            with path.open("a") as file:
                file.write(row(4, 4))
            await again.until(4)

    async def test_what_was_written_just_before_a_rotation_is_not_lost(self, tmp_path: Path, inbox: Path) -> None:
        path = inbox / "log.csv"
        path.write_text(HEAD + row(1, 1))
        async with Watch(tmp_path, written="growing").running() as watch:
            await watch.until(1)
        with path.open("a") as file:
            file.write(row(2, 2))
        path.rename(inbox / "log.1.csv")
        path.write_text(HEAD + row(3, 3))
        os.utime(inbox / "log.1.csv", (1, 1))
        async with Watch(tmp_path, written="growing").running() as again:
            await again.until(2, 3)

    async def test_one_bad_line_costs_its_own_values(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "log.csv").write_bytes(HEAD.encode() + b"\xff\x00\n" + row(1, 1).encode())
        async with Watch(tmp_path, written="growing").running() as watch:
            await watch.until(1)

    async def test_a_line_torn_within_quotes_costs_its_own_values(self, tmp_path: Path, inbox: Path) -> None:
        path = inbox / "log.csv"
        torn = '"2026-06-01T02:0"2026-06-01T02:00:00Z","oven","2","kWh"\n2026-06-01T03:00:00Z,oven,"3\n'
        path.write_text(HEAD + row(1, 1) + torn + row(4, 4))
        async with Watch(tmp_path, written="growing", refused_folder="refused").running() as watch:
            await watch.until(1, 4)
            with path.open("a") as file:
                file.write(row(5, 5))
            await watch.until(1, 4, 5)
        assert names(inbox) == ["log.csv"]

    async def test_the_hour_that_the_clock_shows_twice_goes_on_across_pieces(self, tmp_path: Path, inbox: Path) -> None:
        (tmp_path / "local.yaml").write_text(LOCAL)
        path = inbox / "log.csv"
        path.write_text("time,oven\n2026-10-25 02:30,1\n")
        async with Watch(tmp_path, written="growing", mapping="local.yaml", meters=None).running() as watch:
            await watch.until(1)
            with path.open("a") as file:
                file.write("2026-10-25 02:45,2\n2026-10-25 02:00,3\n")
            await watch.until(1, 2, 3)
        async with Watch(tmp_path, written="growing", mapping="local.yaml", meters=None).running() as again:
            with path.open("a") as file:
                file.write("2026-10-25 02:15,4\n")
            await again.until(4)
        instants = [reading.at_ms for one in (watch, again) for taken in one.taken for reading in taken.readings]
        assert [(at_ms - instants[0]) // 60_000 for at_ms in instants] == [0, 15, 30, 45]


class TestMemory:
    async def test_a_state_file_that_makes_no_sense_costs_a_second_reading(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "a.csv").write_text(HEAD + row(1, 1))
        (tmp_path / "d-files.json").write_text("{")
        async with Watch(tmp_path).running() as watch:
            await watch.until(1)
        async with Watch(tmp_path).running() as again:
            await again.until()

    async def test_a_state_that_cannot_be_written_stops_nothing(self, tmp_path: Path, inbox: Path) -> None:
        (tmp_path / "no-folder").write_text("")
        (inbox / "a.csv").write_text(HEAD + row(1, 1))
        async with Watch(tmp_path, state="no-folder/state.json").running() as watch:
            await watch.until(1)
        assert watch.failures > 0

    async def test_a_look_leaves_nothing_behind(self, tmp_path: Path, inbox: Path) -> None:
        (inbox / "bad.csv").write_text("a,b\n1,2\n")
        os.utime(inbox / "bad.csv", (1, 1))
        (inbox / "good.csv").write_text(HEAD + row(1, 1))
        look = Watch(tmp_path, trial=True, done="move", refused_folder="refused")
        async with look.running(keep=False):
            await look.until(1)
        assert look.failures == 1
        assert names(tmp_path) == ["in"]
        assert names(inbox) == ["bad.csv", "good.csv"]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"meters": None}, "leaves to the files what their meters are"),
            ({"mapping": "local.yaml"}, "says what its meters are; remove `meters`"),
            ({"mapping": "local.yaml", "meters": None, "written": "growing"}, "can't be read while they grow"),
        ],
    )
    def test_what_cannot_work_is_said_at_once(self, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
        (tmp_path / "local.yaml").write_text(LOCAL + "encoding: utf-16\n")
        with pytest.raises(EdgePermanentError, match=words):
            Watch(tmp_path, **settings)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"written": "growing", "done": "delete"}, "never done"),
            ({"done_folder": "x"}, "for `done: move` only"),
            ({"done": "move", "done_folder": "in"}, "where they are"),
            ({"pattern": "in/*.csv"}, "pattern"),
        ],
    )
    def test_what_does_not_fit_together(self, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words) as found:
            Watch(tmp_path, **settings)
        assert problems_in(found.value)  # type: ignore[arg-type]

    def test_offers(self, tmp_path: Path) -> None:
        [offer] = Watch(tmp_path).driver.offers()
        assert (offer.meter, offer.unit, offer.driver, offer.interval_ms) == ("oven", "kWh", "d", None)

    def test_interval_meters_need_a_mapping_that_says_how_they_are_labelled(self, tmp_path: Path) -> None:
        interval = [{"meter": "main", "resource": "energy", "unit": "kWh", "kind": "interval", "interval": "15min"}]
        [offer] = Watch(tmp_path, meters=interval).driver.offers()
        assert (offer.cadence_ms, offer.interval_ms) == (900_000, 900_000)
