"""The commands decoupling, drivers and prices, as a person runs them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.cli import main
from tests.integration.api.conftest import utc

pytestmark = pytest.mark.stack

BASE, PERIOD = utc("2025-01-05T23:00:00"), utc("2026-01-04T23:00:00")


@pytest.fixture
def run(database_url, site, capsys):
    """Run a command; its status, and what it printed to both ends."""

    def go(*words):
        status = main([*map(str, words), "--database-url", database_url])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return go


@pytest.fixture
def used(store):
    for start, daily in ((BASE, 96), (PERIOD, 90)):
        store.consume("main", start, [daily / 96] * 96 * 7)
        store.consume("power-1", start, [0.5] * 96 * 7)
        store.consume("good-1", start, [daily / 96] * 96 * 7)
        store.run("line-1", f"{start.year}", "running", start, start + timedelta(days=7), "bolt")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_from_tables_to_a_verdict(run, used, tmp_path):
    money = write(
        tmp_path,
        "books.csv",
        "driver;periode;værdi;prisår\nrevenue;2025-W02;1.000,50;2025\nrevenue;2026-W02;1.155,5775;2026\n",
    )
    assert run("drivers", "import", money)[:2] == (0, "2 values stored\n")
    asked = ("decoupling", "--base", "2025-W02", "--period", "2026-W02", "--indicator", "energy")
    status, out, _ = run(*asked)
    assert status == 0
    assert "energy: not assessable" in out
    assert "give a price index for these years" in out
    index = write(tmp_path, "ppi.csv", "year,value\n2025,100\n2026,105\n")
    assert run("prices", "import", index, "--key", "ppi")[:2] == (0, "2 values stored\n")
    assert "ppi  2026  105  ppi.csv" in run("prices", "list")[1]
    status, out, _ = run(*asked, "--series")
    assert status == 0
    assert "energy: absolute, firm" in out
    assert "pressure -6.25 % (-6.25 % to -6.25 %), driver +10.00 %, elasticity -0.6250 (strong decoupling)" in out
    assert "physical output (pcs): -6.25 %" in out
    status, out, _ = run(*asked, "--json")
    (item,) = json.loads(out)["items"]
    assert (item["state"], item["driver"]["period"]["value"], item["truth"]) == ("absolute", 1100.55, None)
    status, out, _ = run(*asked, "--format", "csv")
    assert out.splitlines()[0].startswith("level,key,indicator,")
    status, out, _ = run(*asked, "--level", "organisation")
    assert "energy: absolute, firm" in out


def test_a_line_by_its_production(run, used):
    status, out, _ = run(
        "decoupling", "--base", "2025-W02", "--period", "2026-W02", "--level", "line", "--key", "line-1",
        "--driver", "production_volume", "--indicator", "energy",
    )  # fmt: skip
    assert status == 0
    assert "line line-1, energy: not assessable" in out
    assert "Production fell 6.2 %" in out


def test_values_are_listed_and_removed(run, tmp_path):
    table = write(
        tmp_path,
        "volume.csv",
        "from,to,value,line\n2025-01-01,2025-02-01,5,line-1\n2025-01-01,2025-02-01,7,\n",
    )
    status, _, _ = run("drivers", "import", table, "--driver", "production_volume", "--unit", "pcs", "--source", "MES")
    assert status == 0
    _, out, _ = run("drivers", "list")
    assert out.splitlines() == [
        "production_volume  2025-01-01 – 2025-02-01  7 pcs  MES",
        "production_volume  line line-1  2025-01-01 – 2025-02-01  5 pcs  MES",
    ]
    remove = ("drivers", "remove", "--driver", "production_volume", "--period", "2025", "--line", "line-1")
    assert run(*remove)[:2] == (0, "1 values removed\n")
    status, _, err = run(*remove)
    assert (status, "no such values lie inside" in err) == (1, True)
    assert "line" not in run("drivers", "list")[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("driver,period,value\nrevenue,2025,5\n", "b.csv:2: revenue is money: give unit DKK and the price_year"),
        ("driver,period,value,price_year\nrevenue,soon,5,2025\n", "b.csv:2: period: 'soon' names no period"),
        ("driver,period,value,price_year\nlove,2025,5,2025\n", "b.csv:2: driver:"),
        ("driver,period,value,price_year\nrevenue,2025,much,2025\n", "b.csv:2: value: 'much' is not a number"),
        ("driver,value\nrevenue,5\n", "b.csv:1: there is no column period"),
        ("driver,period\nrevenue,2025\n", "b.csv:1: there is no column value"),
        ("driver,period,value,price_year,line\nrevenue,2025,5,2025,line-9\n", "no line 'line-9'; known: line-1"),
        (
            "driver,period,value,price_year\nrevenue,2025,5,2025\nrevenue,2025-Q1,5,2025\n",
            "must not overlap",
        ),
    ],
)
def test_bad_rows_are_told_and_nothing_is_stored(run, tmp_path, text, words):
    status, _, err = run("drivers", "import", write(tmp_path, "b.csv", text))
    assert status == 1
    assert words in err
    assert run("drivers", "list")[1].startswith("no such values")


def test_bad_indices_are_told(run, tmp_path):
    for text, words in (
        ("year,value\n2025,0\n", "i.csv:2: value"),
        ("year,value\n2025,1\n", "i.csv:2: key"),
        ("år,værdi,key\n2025.5,1,ppi\n", "i.csv:2: year"),
    ):
        status, _, err = run("prices", "import", write(tmp_path, "i.csv", text))
        assert (status, words in err) == (1, True), err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say which --base"),
        (("--base", "2025"), "say which --period"),
        (("--base", "2025", "--period", "x"), "period: 'x' names no period"),
        (("--base", "2024", "--period", "2025", "--level", "line", "--key", "x"), "there is no line 'x'"),
        (("--base", "2024", "--period", "2025", "--organisation", "acme"), "goes with --level organisation"),
        (("--base", "2024", "--period", "2025", "--columns", "period=x"), "give the table with --from-csv"),
        (("--base", "2024", "--period", "2025", "--level", "organisation", "--site", "odense"), "leave out --site"),
        (("--from-csv", "none.csv"), "can't be read"),
        (("--from-csv", "none.csv", "--level", "site"), "can't go with --from-csv"),
    ],
)
def test_wrong_questions(run, options, words):
    status, _, err = run("decoupling", *options)
    assert (status, words in err) == (1, True), err
