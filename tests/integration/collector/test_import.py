"""History from files: what is stored, what is told, and what a file that is none is told."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from api.site_model import apply_site_model
from collector.importing import import_store
from deploy.cli import main
from schemas.configuration import parse_configuration
from schemas.quarantine import Reason
from schemas.site import SiteModel
from tests.integration.collector.conftest import query, read_ledger, read_quarantine

pytestmark = pytest.mark.stack

STEEL = Path(__file__).parents[4] / "shared" / "data" / "steel_industry_2018.csv"
SITE = """
organisation: {id: acme}
site: {id: hall, time_zone: Europe/Copenhagen}
agents: [{id: cabinet}, {id: pump-room}]
meters:
  - {id: power, agent: cabinet, resource: energy, carrier: electricity, unit: kWh, kind: counter}
  - {id: oven, agent: cabinet, resource: energy, carrier: electricity, unit: kWh, kind: interval, interval: 15min}
  - {id: water, agent: pump-room, resource: water, unit: m3, kind: counter}
  - {id: works-electricity, agent: cabinet, resource: energy, carrier: electricity, unit: kWh, kind: interval,
     interval: 15min}
"""
WIDE = """
name: mine
description: d
match: [when]
time: {column: when, format: "%Y-%m-%d %H:%M", zone: Europe/Copenhagen, label: interval_end}
meters:
  - {meter: power, column: Power, resource: energy, unit: kWh, kind: counter}
  - {meter: water, column: Water, resource: water, unit: m3, kind: counter}
"""
LONG = """
name: tags
description: d
match: [tag]
time: {column: at, format: iso, zone: UTC, label: interval_end}
long: {meter: tag}
"""
START = datetime(2024, 3, 1, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`afkobling …` at a site with two agents; gives status, what it said, and what it said of failures."""
    model = parse_configuration(SITE, name="site.yaml", model=SiteModel)
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
    (tmp_path / "wide.yaml").write_text(WIDE)
    (tmp_path / "long.yaml").write_text(LONG)

    def go(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words), "--database-url", database_url])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return go


@pytest.fixture
def answer(run: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The answer to the import of one file through a mapping."""

    def go(path: Path, mapping: str = "wide", *more: object, status: int = 0) -> dict[str, Any]:
        given = ["--mapping", tmp_path / f"{mapping}.yaml"] if mapping else []
        got, out, err = run("import", path, *given, "--json", *more)
        assert got == status, err or out
        (found,) = json.loads(out)["files"]
        assert isinstance(found, dict)
        return found

    return go


def write_wide(path: Path, rows: int = 200) -> Path:
    """Quarters of an hour of two registers."""
    times = [START + timedelta(minutes=15 * i) for i in range(rows)]
    lines = [f"{at:%Y-%m-%d %H:%M},{1000 + i},{round(5 + i / 8, 3)}\n" for i, at in enumerate(times)]
    content = ("when,Power,Water\n" + "".join(lines)).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def stored(database_url: str) -> list[Any]:
    return query(
        database_url,
        "SELECT meter.key, (extract(epoch FROM at) * 1000)::int8, value FROM reading "
        "JOIN meter ON meter.id = meter_id ORDER BY 1, 2",
    )


class TestOnce:
    def test_a_wide_file_is_stored_once(self, answer, database_url, tmp_path):
        path = write_wide(tmp_path / "meters.csv")
        tried = answer(path, "wide", "--dry-run")
        assert (tried["new"], tried["repeated"], tried["problems"]) == (400, 0, [])
        assert stored(database_url) == []
        assert query(database_url, "SELECT count(*) FROM file_import") == [(0,)]
        done = answer(path)
        assert (done["stored"], done["repeated"], done["quarantined"], done["was_done"]) == (400, 0, 0, False)
        # 2024-03-01 in Copenhagen is an hour ahead of UTC.
        first = int((START - timedelta(hours=1)).timestamp() * 1000)
        assert stored(database_url)[:2] == [("power", first, 1000), ("power", first + 900_000, 1001)]
        assert [(m["meter"], m["agent"], m["readings"]) for m in done["meters"]] == [
            ("power", "cabinet", 200),
            ("water", "pump-room", 200),
        ]
        again = answer(path)
        assert (again["was_done"], again["stored"]) == (True, 400)
        assert len(stored(database_url)) == 400
        tried = answer(path, "wide", "--dry-run")
        assert (tried["new"], tried["repeated"]) == (0, 400)
        # Each agent's ledger has the file as an epoch of its own, without holes.
        assert [row[1:] for row in read_ledger(database_url)] == [(1, 200, 200, 0, 0)] * 2

    def test_a_longer_file_adds_what_is_new_and_says_so(self, answer, run, database_url, tmp_path):
        answer(write_wide(tmp_path / "meters.csv", rows=100))
        longer = answer(write_wide(tmp_path / "meters.csv", rows=120))
        assert (longer["stored"], longer["repeated"]) == (40, 200)
        assert longer["namesake"]["rows"] == 100
        status, out, _ = run("imports")
        assert status == 0
        assert [line.split("  ")[1:3] for line in out.splitlines()] == [
            ["meters.csv", "done: 40 stored, 200 there already, 0 in quarantine"],
            ["meters.csv", "done: 200 stored, 0 there already, 0 in quarantine"],
        ]

    def test_all_forms_come_to_the_same(self, answer, database_url, tmp_path):
        table = pa.csv.read_csv(write_wide(tmp_path / "meters.csv"))
        assert answer(tmp_path / "meters.csv")["stored"] == 400
        expected = stored(database_url)
        pq.write_table(table, tmp_path / "meters.parquet", row_group_size=33)
        pyarrow.feather.write_feather(table, tmp_path / "meters.feather")
        with pa.ipc.new_stream(tmp_path / "meters.arrows", table.schema) as stream:
            stream.write_table(table, max_chunksize=17)
        write_wide(tmp_path / "meters.csv.gz")
        for name in ("meters.parquet", "meters.feather", "meters.arrows", "meters.csv.gz"):
            found = answer(tmp_path / name)
            assert (found["stored"], found["repeated"], found["quarantined"]) == (0, 400, 0), name
        assert stored(database_url) == expected

    def test_a_long_file_takes_what_meters_are_from_the_site_model(self, answer, database_url, tmp_path):
        (tmp_path / "long.csv").write_text(
            "at;tag;value\n2024-03-01T00:15:00Z;oven;1.5\n2024-03-01T00:15:00Z;water;7\n2024-03-01T00:30:00Z;oven;2.5\n"
        )
        assert answer(tmp_path / "long.csv", "long")["stored"] == 3
        ends = [1_709_252_100_000, 1_709_253_000_000]
        assert stored(database_url) == [("oven", ends[0], 1.5), ("oven", ends[1], 2.5), ("water", ends[0], 7)]


class TestChecks:
    def test_conflicts_and_what_no_meter_says_go_to_quarantine(self, answer, database_url, tmp_path):
        ahead = datetime.now(UTC) + timedelta(days=2)
        (tmp_path / "first.csv").write_text("when,Power,Water\n2024-03-01 00:15,1,2\n")
        answer(tmp_path / "first.csv")
        (tmp_path / "odd.csv").write_text(
            "when,Power,Water\n"
            "2024-03-01 00:15,9,2\n"
            "2024-03-01 00:30,3,1e300\n"
            "1971-03-01 00:30,3,4\n"
            f"{ahead:%Y-%m-%d %H:%M},3,4\n"
            "2024-03-01 00:45,n/a,\n"
            "2024-03-01 01:00,4,4\n"
            "2024-03-01 01:00,4,5\n"
        )
        tried = answer(tmp_path / "odd.csv", "wide", "--dry-run")
        refused = {Reason.CONFLICT: 2, Reason.OUT_OF_RANGE: 1, Reason.TOO_OLD: 2, Reason.FUTURE: 2}
        assert tried["quarantined"] == refused
        assert (tried["new"], tried["repeated"], tried["doubled"]) == (3, 2, 2)
        done = answer(tmp_path / "odd.csv")
        assert done["now"] == {"stored": 3, "repeated": 2, "quarantined": refused}
        assert (done["left_out"], done["blank"]) == (1, 1)
        assert done["listed"] == [{"row": 6, "reason": "power: 'n/a' is not a number"}]
        assert sum(readings for _, readings, _ in read_quarantine(database_url)) == 7

    def test_meters_that_the_site_lacks(self, answer, run, database_url, tmp_path):
        (tmp_path / "long.csv").write_text("at,tag,value\n2024-03-01T00:15Z,gas,1\n2024-03-01T00:15Z,power,2\n")
        tried = answer(tmp_path / "long.csv", "long", "--dry-run", status=1)
        assert (tried["new"], len(tried["problems"])) == (1, 1)
        assert "- id: gas\n  agent: cabinet\n" in tried["problems"][0]
        status, _, err = run("import", tmp_path / "long.csv", "--mapping", tmp_path / "long.yaml")
        assert status == 1
        assert "site hall has no meter gas" in err
        assert stored(database_url) == []
        done = answer(tmp_path / "long.csv", "long", "--known-only")
        assert (done["stored"], done["unwanted"]) == (1, {"gas": 1})
        # Set up by now, it is taken from the same file.
        model = parse_configuration(
            SITE + "  - {id: gas, agent: cabinet, resource: energy, unit: kWh, kind: counter}\n",
            name="site.yaml",
            model=SiteModel,
        )
        with psycopg.connect(database_url) as connection:
            apply_site_model(connection, model)
        done = answer(tmp_path / "long.csv", "long")
        assert (done["stored"], done["repeated"]) == (1, 1)

    def test_the_future_begins_where_the_collector_says(self, answer, run, monkeypatch, tmp_path):
        soon = datetime.now(UTC) + timedelta(minutes=30)
        (tmp_path / "soon.csv").write_text(f"at,tag,value\n{soon.isoformat()},power,1\n")
        assert answer(tmp_path / "soon.csv", "long", "--dry-run", status=1)["quarantined"] == {"time in the future": 1}
        monkeypatch.setenv("AFKOBLING_FUTURE_TOLERANCE_MS", "3600000")
        assert answer(tmp_path / "soon.csv", "long", "--dry-run")["quarantined"] == {}
        assert answer(tmp_path / "soon.csv", "long")["stored"] == 1
        monkeypatch.setenv("AFKOBLING_FUTURE_TOLERANCE_MS", "-1")
        status, _, err = run("import", tmp_path / "soon.csv", "--mapping", tmp_path / "long.yaml")
        assert (status, "setting AFKOBLING_FUTURE_TOLERANCE_MS: " in err) == (1, True)

    def test_columns_of_meters_that_the_site_lacks_are_left_out_by_name(self, run, tmp_path):
        gas = "  - {meter: gas, column: Gas, resource: energy, unit: kWh, kind: counter}\n"
        (tmp_path / "three.yaml").write_text(WIDE + gas)
        # The last line needs no break when it has all of its cells.
        (tmp_path / "three.csv").write_text("when,Power,Water,Gas\n2024-03-01 00:15,1,2,3")
        words = ("import", tmp_path / "three.csv", "--mapping", tmp_path / "three.yaml", "--known-only")
        for more in (["--dry-run"], []):
            status, out, _ = run(*words, *more)
            assert (status, "column 'Gas' is left out: the site model does not have its meter" in out) == (0, True)
        assert " UTC by " in run(*words)[1]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("meter: power, column: Power, resource: water, unit: m3", "is water in the file and energy in the site"),
            (
                "meter: power, column: Power, resource: energy, unit: MWh",
                "is in MWh in the file and in kWh in the site",
            ),
        ],
        ids=["resource", "unit"],
    )
    def test_what_the_mapping_and_the_site_say_otherwise(self, answer, database_url, tmp_path, change, words):
        text = WIDE.replace("meter: power, column: Power, resource: energy, unit: kWh", change)
        (tmp_path / "other.yaml").write_text(text)
        found = answer(write_wide(tmp_path / "meters.csv"), "other", status=1)
        assert words in found["error"]
        assert stored(database_url) == []

    def test_an_agent_is_held_to(self, answer, tmp_path):
        path = write_wide(tmp_path / "meters.csv")
        assert (
            "belongs to agent pump-room, not to cabinet"
            in answer(path, "wide", "--agent", "cabinet", status=1)["error"]
        )
        assert (
            "has no agent 'attic'; it has: cabinet, pump-room"
            in answer(path, "wide", "--agent", "attic", status=1)["error"]
        )

    def test_too_much_for_quarantine_stops_it_and_more_goes_on(self, answer, monkeypatch, tmp_path):
        answer(write_wide(tmp_path / "meters.csv", rows=60))
        path = tmp_path / "other.csv"
        path.write_text(re.sub(r",10(\d\d),", r",20\1,", (tmp_path / "meters.csv").read_text()))
        monkeypatch.setattr("collector.importing.importer._BATCH_READINGS", 20)
        monkeypatch.setattr("collector.importing.conversion.MAX_READINGS", 20)
        found = answer(path, "wide", "--most-quarantined", 15, status=1)
        assert "more than 15 readings went to quarantine" in found["error"]
        found = answer(path, "wide", "--most-quarantined", 1000)
        assert (found["quarantined"], found["resumed_at_row"], found["repeated"]) == (60, 20, 60)


class TestGoingOn:
    def test_killed_again_and_again_it_stores_each_reading_once(self, run, database_url, tmp_path):
        path = write_wide(tmp_path / "meters.csv", rows=20_000)
        # Small pieces, so that there are many moments to be killed at.
        (tmp_path / "sitecustomize.py").write_text(
            "import collector.importing.conversion, collector.importing.importer\n"
            "collector.importing.importer._BATCH_READINGS = 1000\n"
            "collector.importing.conversion.MAX_READINGS = 1000\n"
        )
        command = [sys.executable, "-m", "deploy.cli", "import", path, "--mapping", tmp_path / "wide.yaml"]
        command += ["--database-url", database_url]
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"}
        kills, seen = 0, 0
        while True:
            process = subprocess.Popen(
                list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            while process.poll() is None and kills < 2:
                ((count,),) = query(database_url, "SELECT count(*) FROM reading")
                if count > seen + 2_000:
                    process.kill()
                    kills, seen = kills + 1, count
                    break
                time.sleep(0.01)
            _, err = process.communicate(timeout=120)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, err
                break
        assert kills == 2
        # The hour that the clock skipped on 31 March 2024 has no time.
        expected = 2 * (20_000 - 4)
        assert query(database_url, "SELECT count(*), count(DISTINCT (meter_id, at)) FROM reading") == [(expected,) * 2]
        assert query(
            database_url,
            "SELECT rows, rows_done, stored, repeated, left_out FROM file_import WHERE finished_at IS NOT NULL",
        ) == [(20_000, 20_000, expected, 0, 4)]
        assert [row[1:] for row in read_ledger(database_url)] == [(40, expected // 2, expected // 2, 0, 0)] * 2

    def test_a_file_that_changes_meanwhile_is_told(self, answer, monkeypatch, tmp_path):
        path = write_wide(tmp_path / "meters.csv")
        begin = import_store.begin_import

        def change(connection: psycopg.Connection, new: import_store.NewImport) -> import_store.FileImport:
            write_wide(path, rows=201)
            return begin(connection, new)

        monkeypatch.setattr(import_store, "begin_import", change)
        assert "has changed while it was imported" in answer(path, status=1)["error"]
        monkeypatch.undo()
        assert answer(path)["stored"] == 402

    def test_two_at_once_do_not_get_in_each_other_s_way(self, answer, connection, monkeypatch, tmp_path):
        path = write_wide(tmp_path / "meters.csv")
        epoch = answer(path, "wide", "--dry-run")["epoch"]
        monkeypatch.setattr(import_store, "_PATIENCE_S", 0)
        with import_store.turn(connection, epoch):
            assert "another process imports this file" in answer(path, status=1)["error"]
        assert answer(path)["stored"] == 400


class TestFilesThatAreNone:
    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("a.csv", b"", "is empty"),
            ("a.csv", b"when,Power,Water\n", "0 rows"),
            ("a.csv", b"when|Power|Water\n2024-03-01 00:15|1|2\n", "lacks the columns when, Power, Water"),
            ("a.csv", b"when,Power,Power,Water\n2024-03-01 00:15,1,2,3\n", "column Power more than once"),
            ("a.csv", b"when,Power,Water\n2024-03-01 00:15,1,\xe6\n", "is not utf-8 text"),
            (
                "a.csv",
                b"when,Power,Water\n2024-03-01 00:15,100,2\n2024-03-01 00:30,1",
                "a.csv ends within its last line",
            ),
            (
                "a.csv.gz",
                gzip.compress(
                    b"when,Power,Water\n" + b"2024-03-01 00:15,1,2\n" * 99_999 + b"2024-03-01 00:30,1", mtime=0
                ),
                "a.csv.gz ends within its last line",
            ),
            ("a.csv", b'when,Power,Water\n2024-03-01 00:15,1,"2\n2024-03-01 00:30,1,2\n', "a.csv:3: not a CSV file"),
            (
                "a.csv.gz",
                gzip.compress(b"when,Power,Water\n" + b"2024-03-01 00:15,1,2\n" * 999, mtime=0)[:-20],
                "cannot be read",
            ),
            ("a.parquet", b"PAR1 and nothing more", "cannot be read as Parquet"),
            ("a.parquet", b"when,Power,Water\n", "cannot be read as Parquet"),
            ("a.arrow", b"ARROW1\0\0", "cannot be read as Arrow"),
            ("a.xlsx", b"PK\x03\x04", "a zip archive or a spreadsheet"),
            ("a.feather", b"FEA1", "Feather version 1"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_told(self, run, tmp_path, database_url, name, content, words):
        path = tmp_path / name
        path.write_bytes(content)
        for more in ([], ["--dry-run"]):
            status, out, err = run("import", path, "--mapping", tmp_path / "wide.yaml", *more)
            assert status == 1
            assert words in out + err
        assert stored(database_url) == []

    def test_what_can_not_be_opened(self, run, tmp_path):
        status, _, err = run("import", tmp_path, "--mapping", tmp_path / "wide.yaml")
        assert (status, "is a folder; name the files in it" in err) == (1, True)
        status, _, err = run(
            "import", tmp_path / "none.csv", write_wide(tmp_path / "good.csv"), "--mapping", tmp_path / "wide.yaml"
        )
        assert (status, "No such file or directory; check the path" in err) == (1, True)
        # The other one is in all the same.
        assert "good.csv  done: 400 stored" in run("imports")[1]

    def test_columns_that_hold_no_numbers(self, run, tmp_path):
        when = pa.array([START] * 2)
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"when": when, "Power": [[1.0], [2.0]], "Water": [1, 2]}), path)
        status, _, err = run("import", path, "--mapping", tmp_path / "wide.yaml")
        assert (status, "column Power is of type list" in err) == (1, True)


@pytest.mark.skipif(not STEEL.exists(), reason=f"the measured data is not here: {STEEL}")
def test_measured_data_of_a_steel_works(answer, database_url):
    tried = answer(STEEL, "", "--dry-run")
    assert (tried["mapping"], tried["new"], tried["moved_midnights"], tried["out_of_order"]) == (
        "uci-steel",
        35_040,
        365,
        365,
    )
    done = answer(STEEL, "")
    assert (done["stored"], done["repeated"], done["quarantined"]) == (35_040, 0, 0)
    ((total, first, last),) = query(
        database_url, "SELECT round(sum(value)::numeric, 2)::text, min(at), max(at) FROM reading"
    )
    assert total == "959636.71"
    assert (first, last) == (
        datetime.fromisoformat("2018-01-01T00:15+09:00"),
        datetime.fromisoformat("2019-01-01T00:00+09:00"),
    )
    assert answer(STEEL, "")["was_done"]


def test_the_examples_are_as_the_page_says(run, database_url):
    examples = Path(__file__).parents[3] / "docs" / "examples"
    model = parse_configuration((examples / "site.yaml").read_text(), name="site.yaml", model=SiteModel)
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
    for name, stored_count, ambiguous in (("wide", 21, 8), ("long", 4, 0)):
        status, out, err = run(
            "import",
            examples / f"history-{name}.csv",
            "--mapping",
            examples / f"history-{name}.yaml",
            "--site",
            "acme/hall",
            "--json",
        )
        assert status == 0, err
        (found,) = json.loads(out)["files"]
        assert (found["stored"], found["ambiguous"], found["left_out"]) == (stored_count, ambiguous, 0)
    assert found["unwanted"] == {"HALL1.TEMP.7": 1}
    instants = query(
        database_url,
        "SELECT at FROM reading JOIN meter ON meter.id = meter_id WHERE key = 'main-electricity' ORDER BY at",
    )
    begin = datetime.fromisoformat("2025-10-26T01:30+02:00")
    assert [at for (at,) in instants] == [begin + timedelta(minutes=15 * i) for i in range(11)]
