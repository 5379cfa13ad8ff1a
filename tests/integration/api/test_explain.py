"""The worked example of METHODS §2 through database, API and command line: from 1.3488 kWh/pcs down to readings."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest

from api.site_model import apply_site_model
from deploy.cli import main
from tests.integration.api.conftest import MINUTE, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

MODEL = """
organisation: {id: acme, name: Acme A/S}
site: {id: worked, name: Worked, time_zone: UTC}
lines: [{id: cell-1}]
products:
  - {id: a, unit: pcs}
  - {id: b, unit: pcs}
agents: [{id: cabinet-9}]
meters:
  - {id: whole, agent: cabinet-9, resource: energy, carrier: electricity, unit: kWh, kind: counter}
  - {id: press, agent: cabinet-9, resource: energy, carrier: electricity, unit: kWh, kind: counter, line: cell-1,
     parent: whole}
  - {id: compressor, agent: cabinet-9, resource: energy, carrier: electricity, unit: kWh, kind: counter, parent: whole,
     share: {by: fixed, weights: {cell-1: 1}}}
  - {id: new-steel, agent: cabinet-9, resource: material, unit: kg, kind: counter, line: cell-1, origin: virgin}
  - {id: old-steel, agent: cabinet-9, resource: material, unit: kg, kind: counter, line: cell-1, origin: recycled}
  - {id: good-out, agent: cabinet-9, resource: production, carrier: good, unit: pcs, kind: counter, line: cell-1}
"""
START = utc("2026-01-05T00:00:00")
SITE = "/v1/sites/worked"
DAY = {"from": "2026-01-05", "to": "2026-01-06"}
FIGURE = "intensity:a:energy:fully_loaded:2026-01-05:2026-01-06"
QUARTER = timedelta(minutes=15)


@pytest.fixture
def worked(connection, store, site):
    """A: six hours, 600 kWh, 500 pieces. B: half an hour of changeover, 2.5 hours, 300 kWh, 200 pieces. Then idle."""
    apply_site_model(connection, site_model(MODEL))
    hour = timedelta(hours=1)
    store.run("cell-1", "r-1", "running", START, START + 6 * hour, "a")
    store.run("cell-1", "r-2", "changeover", START + 6 * hour, START + 6.5 * hour)
    store.run("cell-1", "r-3", "running", START + 6.5 * hour, START + 9 * hour, "b")
    store.run("cell-1", "r-4", "idle", START + 9 * hour, START + 24 * hour)
    press = [24.5, 25.5, *[25] * 22, *[5] * 2, *[30] * 10, *[1.5] * 60]
    air = [*[0.6] * 24, *[0] * 2, *[0.96] * 10, *[0] * 60]
    store.consume("press", START, press)
    store.consume("compressor", START, air)
    store.consume("whole", START, [p + c for p, c in zip(press, air, strict=True)])
    store.consume("good-out", START, [*[20] * 23, 40, *[0] * 2, *[20] * 10, *[0] * 60])
    register = 1000.0
    for minute in range(-1, 32, 2):
        store.read("press", START + minute * MINUTE, register)
        register += 3.3


async def explained(client, figure=FIGURE, **query) -> dict[str, Any]:
    found = await ask(client, f"{SITE}/figures/{figure}", **query)
    assert isinstance(found, dict)
    return found


async def test_why_a_carries_what_it_carries(client, worked):
    found = await ask(client, f"{SITE}/attribution", start=DAY["from"], to=DAY["to"], product="a", resource="energy")
    told = [(i["meter"], i["destination"], i["product"], i["rule"], i["quantity"]["total"]) for i in found["items"]]
    assert told == [
        ("press", "processing", "a", "line_meter", 600),
        ("press", "idle", "a", "line_meter", 60),
        ("compressor", "processing", "a", "share:fixed", Decimal("14.4")),
    ]
    assert found["totals"] == [
        {
            "resource": "energy",
            "quantity": {"total": Decimal("674.4"), "measured": Decimal("674.4"), "estimated": 0},
            "unit": "kWh",
        }
    ]
    assert found["items"][0]["share"] == pytest.approx(Decimal(600) / Decimal("674.4"))
    assert found["balance"][0]["difference"] == 0
    assert found["balance"][0]["consumed"]["total"] == 1024
    b = await ask(client, f"{SITE}/attribution", start=DAY["from"], to=DAY["to"], product="b")
    assert b["totals"][0]["quantity"]["total"] == Decimal("349.6")


@pytest.mark.parametrize("is_kept", [False, True])
async def test_co2e_without_a_factor_is_unknown_and_not_zero(client, worked, database_url, is_kept):
    if is_kept:
        assert await asyncio.to_thread(main, ["attribute", "once", "--database-url", database_url]) == 0
    found = await ask(client, f"{SITE}/attribution", start=DAY["from"], to=DAY["to"], product="a", resource="energy")
    assert [(item["co2_location"], item["co2_market"]) for item in found["items"]] == [(None, None)] * 3


async def test_the_ledger_by_quarters_of_an_hour(client, worked):
    query = {"start": DAY["from"], "to": DAY["to"], "meter": "press", "line": "cell-1"}
    found = await ask(client, f"{SITE}/attribution", **query, by="quarter")
    assert [(i["from"], i["quantity"]["total"]) for i in found["items"]][:2] == [
        ("2026-01-05T00:00:00Z", Decimal("24.5")),
        ("2026-01-05T00:15:00Z", Decimal("25.5")),
    ]
    assert len(found["items"]) == 96
    assert found["totals"][0]["quantity"]["total"] == 1000
    by_day = await ask(client, f"{SITE}/attribution", **query, by="day")
    assert [i["destination"] for i in by_day["items"]] == ["processing", "processing", "idle", "changeover"]
    by_run = await ask(client, f"{SITE}/attribution", start=DAY["from"], to=DAY["to"], run="r-3")
    assert by_run["totals"][0]["quantity"]["total"] == Decimal("349.6")
    assert {i["run"] for i in by_run["items"]} == {"r-3"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"product": "c"}, "no product 'c'"),
        ({"line": "cell-2"}, "no line 'cell-2'"),
        ({"meter": "nobody"}, "no meter 'nobody'"),
        ({"run": "r-9"}, "no run 'r-9'"),
        ({"order": "4711"}, "no order '4711'"),
    ],
)
async def test_whom_nobody_knows_is_told(client, worked, query, words):
    assert_problem(await client.get(f"{SITE}/attribution", params={**DAY, **query}), 404, words)


async def test_too_many_spans_are_refused(client, worked):
    query = {"from": "2026-01-01", "to": "2026-02-01", "by": "quarter"}
    assert_problem(await client.get(f"{SITE}/attribution", params=query), 422, "more than 800")


async def test_the_figure_and_its_parts(client, worked):
    found = await explained(client)
    assert (found["value"], found["unit"]) == (Decimal("1.3488"), "kWh/pcs")
    assert found["formula"] == "(marginal + idle) / good"
    assert found["numbers"] == "(614.4 kWh + 60 kWh) / 500 pcs = 1.3488 kWh/pcs"
    assert [(p["part"], p["role"], p["meter"], p["quantity"]["total"], p["of_place"]) for p in found["parts"]] == [
        (1, "marginal", "press", 600, 600),
        (2, "idle", "press", 60, 90),
        (3, "marginal", "compressor", Decimal("14.4"), Decimal("14.4")),
    ]
    assert sum(part["quantity"]["total"] for part in found["parts"]) == Decimal("674.4")
    assert (found["has_changed"], found["factors"]) == (None, [])
    marginal = await explained(client, FIGURE.replace("fully_loaded", "marginal"), depth="parts")
    assert marginal["numbers"] == "614.4 kWh / 500 pcs = 1.2288 kWh/pcs"
    assert [part["part"] for part in marginal["parts"]] == [1, 2]
    assert marginal["walk"] is None
    b = await explained(client, FIGURE.replace(":a:", ":b:"), depth="figure")
    assert (b["value"], b["parts"]) == (Decimal("1.748"), [])


async def test_down_to_the_readings(client, worked, found):
    found("press", "gap", at=START + 3 * MINUTE, until=START + 9 * MINUTE, decision="count")
    walk = (await explained(client, quarter="2026-01-05T00:15:00Z"))["walk"]
    assert (walk["part"], walk["meter"], walk["day"]) == (1, "press", "2026-01-05")
    assert walk["days"] == [
        {"day": "2026-01-05", "quantity": {"total": 600, "measured": 600, "estimated": 0}},
    ]
    assert len(walk["quarters"]) == 96
    assert [(q["counted"]["total"], q["quantity"]["total"], q["coverage"]) for q in walk["quarters"]][23:25] == [
        (25, 25, 1),
        (5, 0, 1),
    ]
    assert walk["quarter"] == "2026-01-05T00:15:00Z"
    assert (walk["readings"][0]["at"], walk["readings"][-1]["at"]) == ("2026-01-05T00:15:00Z", "2026-01-05T00:31:00Z")
    assert [float(reading["value"]) for reading in walk["readings"]] == pytest.approx(
        [1000 + 3.3 * i for i in range(8, 17)]
    )
    assert walk["events"] == []
    first = (await explained(client, quarter="2026-01-05T00:00:00Z"))["walk"]
    assert first["readings"][0]["at"] == "2026-01-04T23:59:00Z"
    assert [event["id"].rpartition(":")[0] for event in first["events"]] == ["press:gap"]


async def test_the_largest_quarter_is_followed_and_another_meter_can_be(client, worked):
    assert (await explained(client))["walk"]["quarter"] == "2026-01-05T00:15:00Z"
    walk = (await explained(client, meter="compressor", day="2026-01-05"))["walk"]
    assert (walk["part"], walk["meter"], walk["readings"]) == (3, "compressor", [])
    assert "no raw readings" in walk["note"]
    site = await explained(client, "intensity:site:energy:comprehensive:2026-01-05:2026-01-06", meter="press")
    assert site["value"] == pytest.approx(Decimal(1024) / 700)
    assert sum(part["quantity"]["total"] for part in site["parts"]) == 1024


async def test_a_rest_names_what_is_taken_off(client, worked, connection):
    connection.execute(
        "UPDATE consumption SET measured = measured + 1000000000 WHERE meter_id = ("
        "SELECT id FROM meter WHERE key = 'whole')"
    )
    found = await explained(client, "intensity:site:energy:comprehensive:2026-01-05:2026-01-06", meter="whole")
    assert [off["meter"] for off in found["walk"]["taken_off"]] == ["compressor", "press"]
    assert found["walk"]["quarters"][0]["quantity"]["total"] == 1


async def test_a_figure_that_has_changed_says_so(client, worked, store, connection):
    items = (await ask(client, f"{SITE}/intensity", start=DAY["from"], to=DAY["to"], by="product"))["items"]
    figure = next(i["figure"] for i in items if i["product"] == "a" and i["indicator"] == "energy")
    assert figure.startswith(f"{FIGURE}:v=")
    assert (await explained(client, figure, depth="figure"))["has_changed"] is False
    connection.execute(
        "UPDATE consumption SET measured = measured + 1 WHERE quarter = %s AND meter_id = ("
        "SELECT id FROM meter WHERE key = 'press')",
        [START],
    )
    changed = await explained(client, figure, depth="figure")
    assert changed["has_changed"] is True
    assert changed["today"] != figure
    assert (await explained(client, changed["today"], depth="figure"))["has_changed"] is False


@pytest.fixture
def next_day(worked, connection, store):
    """The day after: A again for six hours, with 540 kWh and 500 pieces, and nothing else."""
    at = START + timedelta(days=1)
    store.run("cell-1", "r-5", "running", at, at + timedelta(hours=6), "a")
    store.consume("press", at, [22.5] * 24)
    store.consume("whole", at, [22.5] * 24)
    store.consume("good-out", at, [*[20] * 23, 40])
    store.consume("new-steel", START, [3] * 24)
    store.consume("old-steel", START, [1] * 24)
    for first, value in (("2026-01-05", 1000), ("2026-01-06", 1100)):
        connection.execute(
            "INSERT INTO driver_value (organisation_id, site_id, driver, from_date, to_date, value, unit, price_year,"
            " source) SELECT organisation_id, id, 'revenue', %(day)s::date, %(day)s::date + 1, %(value)s, 'DKK', 2026,"
            " 'ledger 4711' FROM site WHERE key = 'worked'",
            {"day": first, "value": value},
        )


async def test_a_verdict_down_to_its_drivers_and_parts(client, next_day):
    query = {"base": "2026-01-05", "period": "2026-01-06", "driver": "revenue", "indicator": "energy"}
    (item,) = (await ask(client, f"{SITE}/decoupling", **query))["items"]
    found = await explained(client, item["figure"])
    assert (found["has_changed"], found["told"]) == (False, item["sentence"])
    assert found["numbers"].startswith("p = 540 / 1024 - 1 = -0.47265625; d = 1100 / 1000 - 1 = 0.1: absolute")
    stated = [(t["from"], t["value"], t["unit"], t["source"]) for t in found["terms"] if t["name"] == "revenue stated"]
    assert stated == [
        ("2026-01-05", 1000, "DKK in prices of 2026", "ledger 4711"),
        ("2026-01-06", 1100, "DKK in prices of 2026", "ledger 4711"),
    ]
    sums = {
        title: sum(part["quantity"]["total"] for part in found["parts"] if part["period"] == title)
        for title in ("base", "period")
    }
    assert sums == {"base": 1024, "period": 540}
    assert found["walk"]["meter"] == "press"
    of_base = await explained(client, item["figure"].rpartition(":v=")[0], meter="compressor")
    assert (of_base["has_changed"], of_base["walk"]["days"][0]["quantity"]["total"]) == (None, Decimal("14.4"))


async def test_an_effect_of_a_change(client, next_day):
    query = {"base": "2026-01-05", "period": "2026-01-06", "indicator": "energy"}
    answer = await ask(client, f"{SITE}/decomposition", **query)
    for item in answer["items"]:
        found = await explained(client, item["figure"], depth="parts")
        assert (found["has_changed"], found["value"], found["unit"]) == (False, item["quantity"], "kWh")
        assert sum(p["quantity"]["total"] for p in found["parts"] if p["period"] == "base") == 1024
        of_products = [t["value"] for t in found["terms"] if t["name"].startswith(f"{item['effect']} of ")]
        assert sum(of_products) == item["quantity"]
    assert found["numbers"] == "540 - 1024 = -484 kWh"


async def test_a_rate_of_circularity(client, next_day):
    items = (await ask(client, f"{SITE}/circularity", start=DAY["from"], to=DAY["to"], by="product"))["items"]
    found = await explained(client, next(item["figure"] for item in items if item["product"] == "a"))
    assert (found["has_changed"], found["value"]) == (False, Decimal("0.25"))
    assert found["numbers"] == "(24 kg) / 96 kg = 0.25"
    assert [(part["meter"], part["quantity"]["total"]) for part in found["parts"]] == [
        ("new-steel", 72),
        ("old-steel", 24),
    ]
    assert found["walk"]["quarters"][0]["quantity"]["total"] == 3


COMPARED = "2026-01-06:2026-01-07:base=2026-01-05..2026-01-06"


@pytest.mark.parametrize(
    ("figure", "status", "words"),
    [
        (f"decoupling:site:energy:beauty:{COMPARED}", 422, "its figure is the state"),
        ("decoupling:site:energy:state:2026-01-06:2026-01-07", 422, "add base="),
        (f"decoupling:organisation:energy:state:{COMPARED}", 422, "ask for the figure of one site"),
        (f"decoupling:run=r-1:energy:state:{COMPARED}", 422, "decoupling is told by"),
        (f"decoupling:site:energy:state:{COMPARED}:driver=love", 422, "drivers are revenue"),
        (f"decoupling:line=cell-7:energy:state:{COMPARED}", 404, "cell-7"),
        (f"decoupling:site:water:state:{COMPARED}:driver=revenue", 404, "nothing of water is known"),
        (f"decomposition:site:energy:beauty:{COMPARED}", 404, "no effect 'beauty'; it has"),
        (f"decomposition:site:energy:mix:{COMPARED}:by=order", 422, "by=product, by=family or by=line"),
        (f"decomposition:site:energy:mix:{COMPARED}:chain=love", 422, "a chain is by"),
        (f"decomposition:site:water:mix:{COMPARED}", 404, "water"),
        ("circularity:a:material:beauty:2026-01-05:2026-01-06", 422, "it has circular_input"),
        ("circularity:order=1:material:circular_input:2026-01-05:2026-01-06", 422, "product, line or site"),
        ("circularity:c:material:circular_input:2026-01-05:2026-01-06", 404, "no material of product c"),
        (
            "decoupling:site:energy:state:20260106T0000Z:20260107T0000Z:base=20260105T0000Z..20260106T0000Z",
            422,
            "whole days",
        ),
    ],
)
async def test_comparisons_that_name_nothing(client, next_day, figure, status, words):
    assert_problem(await client.get(f"{SITE}/figures/{figure}"), status, words)


@pytest.mark.parametrize(
    ("figure", "query", "status", "words"),
    [
        ("nonsense", {}, 422, "lacks parts"),
        (FIGURE.replace("intensity", "beauty"), {}, 422, "no kind of figure"),
        (FIGURE.replace("fully_loaded", "half_loaded"), {}, 422, "it has fully_loaded, marginal"),
        (FIGURE.replace("energy", "love"), {}, 422, "there is no 'love' here"),
        (FIGURE.replace(":a:", ":colour=a:"), {}, 422, "there is no 'colour' here"),
        (FIGURE.replace(":a:", ":nobody:"), {}, 404, "nothing of energy is known of product nobody"),
        (f"{FIGURE}:v=xyz", {}, 422, "eight hexadecimal digits"),
        (FIGURE, {"meter": "whole"}, 422, "these have: compressor, press"),
        (FIGURE, {"day": "2026-01-07"}, 422, "not in the figure's period"),
        (FIGURE, {"quarter": "2026-01-07T00:00:00Z"}, 422, "not in the figure's period"),
        (FIGURE, {"depth": "hell"}, 422, "depth"),
        (FIGURE, {"day": "today"}, 422, "not a date"),
    ],
)
async def test_what_names_nothing_is_told(client, worked, figure, query, status, words):
    assert_problem(await client.get(f"{SITE}/figures/{figure}", params=query), status, words)


def at_worked(database_url) -> list[str]:
    return ["--site", "acme/worked", "--database-url", database_url]


def test_a_person_reads_it_top_down(database_url, worked, capsys):
    assert main(["explain", FIGURE, *at_worked(database_url)]) == 0
    told = capsys.readouterr().out
    steps = [
        "intensity of product a: energy, fully_loaded",
        "= (614.4 kWh + 60 kWh) / 500 pcs = 1.3488 kWh/pcs",
        "1. 600 kWh  89.0%  press -> cell-1 processing a  (line_meter)",
        "2. 60 kWh, of 90   8.9%  press -> cell-1 idle share of a  (line_meter)",
        "3. 14.4 kWh   2.1%  compressor -> cell-1 processing a  (share:fixed)",
        "2026-01-05  600 kWh",
        "2026-01-05T00:15:00Z  25.5 kWh  of 25.5 (100%)",
        "2026-01-05T00:31:00Z  1052.8 kWh  good",
    ]
    places = [told.find(step) for step in steps]
    assert -1 not in places, steps[places.index(-1)]
    assert places == sorted(places)
    assert main(["explain", FIGURE, "--depth", "parts", "--json", *at_worked(database_url)]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == 1.3488
    assert main(["explain", "nonsense", *at_worked(database_url)]) == 1
    assert "lacks parts" in capsys.readouterr().err


def test_the_ledger_on_the_command_line(database_url, worked, capsys, tmp_path):
    command = [
        "attribution",
        "--period",
        "2026-01-05",
        "--product",
        "a",
        "--resource",
        "energy",
        *at_worked(database_url),
    ]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "600 kWh" in told
    assert "energy: 674.4 kWh in all" in told
    assert main([*command, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("from,to,meter,")
    file = tmp_path / "a.parquet"
    assert main([*command, "--output", str(file)]) == 0
    table = pq.read_table(file)
    assert sum(table.column("quantity.total").to_pylist()) == Decimal("674.4")
    assert b"postgres" not in b"".join(table.schema.metadata.values())
    assert b"product_key=a" in table.schema.metadata[b"afkobling.request"]
    for wrong, words in (
        (["--json", "--format", "csv"], "contradict"),
        (["--format", "csv", "--table", "rows"], "no list 'rows'"),
        (["--table", "items"], "--table is for"),
        (["--from", "2026-01-05"], "not both"),
        (["--output", str(tmp_path / "none" / "x.csv")], "can't be written"),
    ):
        assert main([*command, *wrong]) == 1, wrong
        assert words in capsys.readouterr().err


async def test_a_neighbours_figure_is_not_there(client, other_site):
    figure = "intensity:bolt:energy:marginal:2026-01-01:2026-01-02"
    response = await client.get(f"/v1/sites/aarhus/figures/{figure}")
    assert response.status_code == 404
    assert "no such site" in response.json()["detail"]
