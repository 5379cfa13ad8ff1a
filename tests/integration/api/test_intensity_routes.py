"""Intensity, best runs, regressions and circularity: METHODS §2's example and its kin, through API and command."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from api.site_model import apply_site_model
from deploy.cli import main
from tests.integration.api.conftest import SITE, Store, serving, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

HOUR = timedelta(hours=1)
# Midnight in Copenhagen.
START = utc("2026-01-04T23:00:00")
DAY = {"period": "2026-01-05"}
INTENSITY = "/v1/sites/odense/intensity"
METERS = """
  - {id: steel, agent: cabinet-1, resource: material, carrier: steel, unit: kg, kind: counter, line: line-1,
     origin: virgin, recycled_content: 0.25}
  - {id: returned, agent: cabinet-1, resource: material, unit: kg, kind: counter, line: line-1, origin: returned}
  - {id: chips, agent: cabinet-1, resource: waste, unit: kg, kind: counter, line: line-1, waste_code: "12 01 01",
     treatment: R4}
  - {id: oil, agent: cabinet-1, resource: waste, unit: kg, kind: counter, line: line-1, waste_code: "120107*",
     treatment: R1}
  - {id: rest, agent: cabinet-1, resource: waste, unit: kg, kind: counter, line: line-2}
"""


@pytest.fixture
def site(connection):
    """The usual site, whose meters have no error, with material and waste."""
    text = SITE.replace("kind: counter\n", "kind: counter\n    accuracy_class: 0\n")
    text = text.replace("kind: counter}", "kind: counter, accuracy_class: 0}")
    text = text.replace("kind: counter, line", "kind: counter, accuracy_class: 0, line")
    model = site_model(text + METERS.lstrip("\n"))
    apply_site_model(connection, model)
    return model


@pytest.fixture
def worked(store: Store):
    """METHODS §2: bolts are A, nuts are B. Lines 1 and 2 stand for the two that take the compressed air."""
    store.run("line-1", "1", "running", START, START + 6 * HOUR, "bolt")
    store.run("line-1", "2", "changeover", START + 6 * HOUR, START + 7 * HOUR)
    store.run("line-1", "3", "running", START + 7 * HOUR, START + 9 * HOUR, "nut")
    store.run("line-1", "4", "idle", START + 9 * HOUR, START + 24 * HOUR)
    store.consume("power-1", START, [25] * 24 + [2.5] * 4 + [37.5] * 8 + [1.5] * 60)
    store.consume("good-1", START, [20] * 23 + [40] + [0] * 4 + [25] * 8)
    # 14.4 kWh of air in A's time and 9.6 in B's: a quarter goes to line 2 by the fixed shares.
    store.consume("air", START, [19.2] + [0] * 27 + [12.8] + [0] * 67)
    return store


def by_product(found) -> dict[str, Any]:
    return {item["product"]: item for item in found["items"] if item["indicator"] == "energy"}


async def test_the_worked_example_of_methods_2(client, worked):
    found = by_product(await ask(client, INTENSITY, **DAY))
    bolt, nut = found["bolt"], found["nut"]
    assert (bolt["fully_loaded"], nut["fully_loaded"]) == (Decimal("1.3488"), Decimal("1.748"))
    assert (bolt["value"], nut["value"]) == (Decimal("1.2288"), Decimal("1.598"))
    assert (bolt["unit"], bolt["good"], bolt["resource"]) == ("kWh/pcs", 500, "energy")
    # Air by fixed shares and idle by hours are no primary data.
    assert bolt["primary_data_share"] == pytest.approx(Decimal(600) / Decimal("674.4"))
    assert bolt["fully_loaded_low"] < bolt["fully_loaded"] < bolt["fully_loaded_high"]
    assert bolt["figure"].startswith("intensity:bolt:energy:fully_loaded:2026-01-05:2026-01-06:v=")
    assert [(s["facet"], s["name"], s["marginal"]["total"]) for s in bolt["slices"]] == [
        ("carrier", "electricity", Decimal("14.4")),
        ("carrier", None, 600),
    ]


async def test_by_kilogram_line_family_and_site(client, worked):
    found = by_product(await ask(client, INTENSITY, **DAY, per="kg"))
    assert (found["bolt"]["fully_loaded"], found["bolt"]["unit"]) == (Decimal("2.6976"), "kWh/kg")
    lines = (await ask(client, INTENSITY, **DAY, by="line", indicator="energy"))["items"]
    assert [(i["line"], i["idle"]["total"], i["good"]) for i in lines] == [("line-1", 90, 700), ("line-2", 0, None)]
    assert lines[0]["idle_share"] == pytest.approx(Decimal(90) / 1024)
    assert (lines[1]["comprehensive"], lines[1]["unattributed"]["total"]) == (None, 8)
    (family, none) = (await ask(client, INTENSITY, **DAY, by="family", indicator="energy"))["items"][::-1]
    assert (family["family"], family["fully_loaded"], none["family"]) == ("small", Decimal("1.748"), None)
    (whole,) = (await ask(client, INTENSITY, **DAY, by="site", indicator="energy"))["items"]
    assert whole["comprehensive"] == pytest.approx(Decimal(1032) / 700)


async def test_by_run_each_has_its_own(client, worked):
    items = (await ask(client, INTENSITY, **DAY, by="run", indicator="energy"))["items"]
    assert [(i["line"], i["run"], i["product"], i["fully_loaded"]) for i in items] == [
        ("line-1", "1", "bolt", Decimal("1.3488")),
        ("line-1", "3", "nut", Decimal("1.748")),
    ]


async def test_a_series_is_what_each_bucket_alone_would_be(client, worked):
    worked.run("line-1", "5", "running", START + 24 * HOUR, START + 25 * HOUR, "bolt")
    worked.consume("power-1", START + 24 * HOUR, [10] * 4)
    worked.consume("good-1", START + 24 * HOUR, [5] * 4)
    days = {"start": "2026-01-05", "to": "2026-01-07"}
    items = (await ask(client, INTENSITY, **days, bucket="day", indicator="energy"))["items"]
    assert [(i["from"], i["product"], i["fully_loaded"]) for i in items] == [
        ("2026-01-04T23:00:00Z", "bolt", Decimal("1.3488")),
        ("2026-01-04T23:00:00Z", "nut", Decimal("1.748")),
        ("2026-01-05T23:00:00Z", "bolt", 2),
    ]
    (quarter,) = (await ask(client, INTENSITY, **days, bucket="quarter", by="site", indicator="energy"))["items"]
    assert (quarter["from"], quarter["to"]) == ("2026-01-04T23:00:00Z", "2026-01-06T23:00:00Z")


async def test_two_periods_beside_each_other(client, worked):
    worked.run("line-1", "5", "running", START + 24 * HOUR, START + 25 * HOUR, "bolt")
    worked.consume("power-1", START + 24 * HOUR, [10] * 4)
    worked.consume("good-1", START + 24 * HOUR, [5] * 4)
    found = by_product(await ask(client, INTENSITY, period="2026-01-06", against="2026-01-05"))
    against = found["bolt"]["against"]
    assert (against["good"], against["fully_loaded"]["before"]) == (500, Decimal("1.3488"))
    assert against["fully_loaded"]["change"] == pytest.approx(2 / Decimal("1.3488") - 1)
    assert against["fully_loaded"]["clear"] is True
    url = f"{INTENSITY}?period=2026-01-06&against=2026-01-05..2026-01-06&bucket=day"
    assert_problem(await client.get(url), 422, "so they can't stand beside each other")


async def test_pieces_on_their_way_are_judged_alike_in_both_periods(client, store, connection):
    """Over the whole of each: a day on which they only came through line 1 finishes none."""
    connection.execute("UPDATE line SET next = 'line-2' WHERE key = 'line-1'")
    for line, day in (("1", START), ("2", START + 24 * HOUR)):
        store.run(f"line-{line}", line, "running", day, day + HOUR, "bolt")
        store.consume(f"power-{line}", day, [10] * 4)
        store.consume(f"good-{line}", day, [5] * 4)
    two = {"period": "2026-01-05..2026-01-06", "against": "2026-01-05..2026-01-06"}
    items = (await ask(client, INTENSITY, **two, bucket="day", indicator="energy"))["items"]
    assert [(i["good"], i["against"]["good"]) for i in items] == [(0, 0), (20, 20)]
    assert [i["against"]["fully_loaded"]["before"] for i in items] == [None, 2]


FACTOR = {"unit": "kg/kWh", "gas": "CO2e", "from": "2025-01-01", "source": "somebody", "licence": "free"}


async def test_a_contract_alone_tells_the_scope_of_what_it_covers(client, worked):
    contract = {"key": "contract", "carrier": "electricity", "basis": "market", "value": "0.1", **FACTOR}
    body = {"items": [contract], "author": "Anna", "reason": "the contract"}
    assert (await client.put("/v1/factors", json=body)).status_code == 200
    items = (await ask(client, INTENSITY, **DAY, by="site", indicator="co2_market"))["items"]
    assert [s["name"] for s in items[0]["slices"] if s["facet"] == "scope"] == ["scope_2"]
    (part, *_) = (await ask(client, "/v1/sites/odense/attribution", start="2026-01-05", to="2026-01-06", meter="air"))[
        "items"
    ]
    assert (part["co2_location"], part["co2_market"] > 0) == (None, True)


async def test_co2_is_the_same_whatever_else_is_asked_for(client, worked):
    """Steel has a factor and electricity has none: the share that has one is of the energy, as the rest is no kWh."""
    steel = {"key": "steel", "carrier": "steel", "scope": "scope_1", "value": "2", **FACTOR, "unit": "kg/kg"}
    body = {"items": [steel], "author": "Anna", "reason": "the supplier says so"}
    assert (await client.put("/v1/factors", json=body)).status_code == 200
    worked.consume("steel", START, [10] * 24)
    for asked in ({}, {"indicator": "co2_location"}):
        items = (await ask(client, INTENSITY, **DAY, **asked))["items"]
        found = {i["product"]: i for i in items if i["indicator"] == "co2_location"}
        assert found["bolt"]["marginal"]["total"] == 480
        assert found["bolt"]["factor_share"] == 0


async def test_what_is_estimated_widens_the_interval(client, store):
    store.run("line-1", "1", "running", START, START + HOUR, "bolt")
    store.consume("power-1", START, [10] * 4, estimated=10)
    store.consume("good-1", START, [25] * 4)
    bolt = by_product(await ask(client, INTENSITY, **DAY))["bolt"]
    assert (bolt["estimated_share"], bolt["margin"]["estimates"], bolt["margin"]["accuracy"]) == (Decimal("0.5"), 40, 0)
    assert (bolt["fully_loaded_low"], bolt["fully_loaded_high"]) == (
        pytest.approx(Decimal(40) / 101),
        pytest.approx(Decimal(120) / 99),
    )


async def test_output_that_goes_on_counts_at_the_last_line(database_url, connection, make_token):
    model = SITE.replace("{id: line-1, name: Line 1}", "{id: line-1, next: line-2}")
    apply_site_model(connection, site_model(model))
    store = Store(connection)
    for line, power, good in (("line-1", "power-1", "good-1"), ("line-2", "power-2", "good-2")):
        store.run(line, "1", "running", START, START + HOUR, "bolt")
        store.consume(power, START, [5] * 4)
        store.consume(good, START, [10] * 4 if line == "line-1" else [8] * 4)
    async with serving(database_url, make_token()) as client:
        bolt = by_product(await ask(client, INTENSITY, **DAY))["bolt"]
        assert (bolt["good"], bolt["value"]) == (32, Decimal("1.25"))
        (one, two) = (await ask(client, INTENSITY, **DAY, by="line", indicator="energy"))["items"]
        assert (one["good"], two["good"]) == (40, 32)


async def test_co_products_share_what_the_runs_took(database_url, connection, make_token):
    model = SITE.replace(
        "- {id: bolt, unit: pcs, mass_kg: 0.5}",
        "- {id: bolt, unit: pcs, mass_kg: 0.5, co_products: {by: mass, products: [nut]}}",
    ).replace("  - {id: good-2,", "  - {id: nuts, agent: cabinet-1, resource: production, carrier: good, unit: pcs,"
              " kind: counter, line: line-1, product: nut}\n  - {id: good-2,")  # fmt: skip
    apply_site_model(connection, site_model(model))
    store = Store(connection)
    store.run("line-1", "1", "running", START, START + HOUR, "bolt")
    store.consume("power-1", START, [10] * 4)
    store.consume("good-1", START, [15] * 4)
    store.consume("nuts", START, [10] * 4)
    async with serving(database_url, make_token()) as client:
        for by in ("product", "run"):
            found = by_product(await ask(client, INTENSITY, **DAY, by=by))
            # 30 and 10 kg.
            assert {key: item["marginal"]["total"] for key, item in found.items()} == {"bolt": 30, "nut": 10}
            assert (found["nut"]["good"], found["nut"]["value"]) == (40, Decimal("0.25"))


class TestBestRun:
    BEST = f"{INTENSITY}/best"

    @pytest.fixture
    def runs(self, store: Store):
        """Four runs of an hour each: 10, 8 and 12 kWh a quarter for 20 good ones, and a short one."""
        for i, (power, good) in enumerate([(10, 20), (8, 20), (12, 20), (1, 4)]):
            start = START + 2 * i * HOUR
            store.run("line-1", f"r{i}", "running", start, start + HOUR, "bolt")
            store.run("line-1", f"i{i}", "idle", start + HOUR, start + 2 * HOUR)
            store.consume("power-1", start, [power] * 4 + [1] * 4)
            store.consume("good-1", start, [good] * 4)
        return store

    async def test_the_best_and_what_sets_it_apart(self, client, runs):
        found = await ask(client, self.BEST, **DAY, product="bolt")
        assert [(i["run"], i["value"]) for i in found["items"]] == [
            ("r1", Decimal("0.45")),
            ("r0", Decimal("0.55")),
            ("r2", Decimal("0.65")),
        ]
        assert (found["median"]["run"], found["runs"], found["passed_over"], found["least_good"]) == ("r0", 3, 1, 40)
        effects = {e["effect"]: e["value"] for e in found["effects"]}
        assert sum(effects.values()) == pytest.approx(found["difference"]) == Decimal("-0.1")
        assert effects["draw"] == pytest.approx(Decimal("-0.1"))
        assert found["best"]["idle_share"] == pytest.approx(Decimal("0.05") / Decimal("0.45"))

    async def test_with_another_limit_and_rank(self, client, runs):
        found = await ask(client, self.BEST, **DAY, product="bolt", least_good="1", rank="marginal", limit=1)
        assert [(i["run"], i["value"], i["idle_share"]) for i in found["items"]] == [("r3", Decimal("0.25"), 0)]

    async def test_no_run_is_no_error_and_no_product_is(self, client, store):
        assert (await ask(client, self.BEST, **DAY, product="bolt"))["best"] is None
        assert_problem(await client.get(f"{self.BEST}?period=2026-01-05&product=none"), 404, "no such product")


async def test_regression_by_line(client, store):
    for day in range(12):
        start = START + 24 * day * HOUR
        store.consume("power-1", start, [(50 + 2 * 10 * day) / 96] * 96)
        store.consume("good-1", start, [10 * day / 96] * 96)
    store.consume("power-1", START + 24 * 12 * HOUR, [1000])
    found = await ask(client, f"{INTENSITY}/regression", period="2026-01-05..2026-01-18", resource="energy")
    items = {item["line"]: item for item in found["items"]}
    line = items["line-1"]
    assert (line["days"], line["left_out"], line["unfit"], line["meters"]) == (12, 2, [], ["power-1"])
    assert [float(line[name]) for name in ("base", "slope", "r2")] == pytest.approx([50, 2, 1])
    assert (items["line-2"]["base"], items["line-2"]["unfit"]) == (None, ["few_days"])


async def test_circularity(client, store):
    store.run("line-1", "1", "running", START, START + HOUR, "bolt")
    store.consume("good-1", START, [10] * 4)
    store.consume("steel", START, [6] * 4)
    store.consume("returned", START, [1.5] * 4)
    store.consume("chips", START, [2] * 4)
    store.consume("oil", START, [0.5] * 4)
    store.consume("rest", START, [1] * 4)
    (bolt,) = (await ask(client, "/v1/sites/odense/circularity", **DAY))["items"]
    assert {s["source"]: s["quantity"]["total"] for s in bolt["sources"]} == {
        "virgin": 18,
        "recycled": 6,
        "returned": 6,
    }
    assert (bolt["circular_input"]["value"], bolt["virgin_input"]["value"]) == (Decimal("0.4"), Decimal("0.6"))
    assert (bolt["in_product"], round(bolt["material_yield"], 9)) == (20, Decimal("0.666666667"))
    assert [(f["waste_code"], f["hazard"], f["route"], f["quantity"]["total"]) for f in bolt["flows"]] == [
        ("12 01 01", "not_hazardous", "recovery", 8),
        ("12 01 07*", "hazardous", "energy_recovery", 2),
    ]
    assert (bolt["recovered_waste"]["value"], bolt["recovered_waste_esrs"]["value"]) == (1, Decimal("0.8"))
    assert bolt["hazardous_waste"]["value"] == Decimal("0.2")
    (whole,) = (await ask(client, "/v1/sites/odense/circularity", **DAY, by="site"))["items"]
    # What line 2 throws away nobody said.
    assert whole["hazardous_waste"]["value"] is None
    assert (round(whole["hazardous_waste"]["low"], 9), round(whole["hazardous_waste"]["high"], 9)) == (
        round(Decimal(2) / 14, 9),
        round(Decimal(6) / 14, 9),
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "give a `period`"),
        ("?period=2026-01-05&from=2026-01-05", "give either `period`"),
        ("?period=soon", "names no period"),
        ("?period=2026&against=never", "against: 'never' names no period"),
        ("?period=2020..2026&bucket=day", "bucket"),
        ("?period=2026&by=mood", "by"),
        ("/regression?period=2026&resource=production", "is what is made"),
        ("/regression?period=2000..2010", "at most 1100 days"),
        ("/best?period=2026", "product"),
        ("/best?period=2026&product=bolt&least_good=-1", "least_good"),
    ],
)
async def test_bad_input_is_told(client, path, message):
    assert_problem(await client.get(f"{INTENSITY}{path}"), 422, message)


def run(capsys, database_url, *words) -> str:
    assert main([*words, "--database-url", database_url]) == 0
    printed: str = capsys.readouterr().out
    return printed


class TestCommands:
    def test_intensity(self, database_url, worked, capsys):
        words = ["intensity", "--period", "2026-01-05", "--resource", "energy"]
        table = run(capsys, database_url, *words)
        assert table.splitlines()[1].split()[:6] == ["bolt", "energy", "500", "pcs", "1.2288", "1.3488"]
        answer = json.loads(run(capsys, database_url, *words, "--per", "kg", "--json"), parse_float=Decimal)
        assert [item["fully_loaded"] for item in answer["items"]] == [Decimal("2.6976"), Decimal("6.992")]
        assert "change" in run(
            capsys, database_url, *words, "--against", "2026-01-05", "--by", "site", "--bucket", "day"
        )
        csv = run(capsys, database_url, *words, "--format", "csv")
        assert len(csv.splitlines()) == 3

    def test_best_run(self, database_url, worked, capsys):
        words = ["intensity", "best", "--product", "bolt", "--period", "2026-01-05"]
        assert "there is no other run" in run(capsys, database_url, *words)
        assert json.loads(run(capsys, database_url, *words, "--json"))["best"]["run"] == "1"
        assert "no run of bolt" in run(capsys, database_url, *words[:-1], "2026-01-04")

    def test_regression(self, database_url, worked, capsys):
        table = run(capsys, database_url, "intensity", "regression", "--period", "2026-01", "--resource", "energy")
        assert "few days" in table

    def test_circularity(self, database_url, worked, capsys):
        worked.consume("rest", START, [1] * 4)
        words = ["circularity", "--period", "2026-01-05"]
        assert "no material and no waste" in run(capsys, database_url, *words)
        table = run(capsys, database_url, *words, "--by", "site")
        assert "0.0%-100.0%" in table
        assert "4 kg of no code (unknown), no treatment (unknown)" in table
        assert json.loads(run(capsys, database_url, *words, "--by", "site", "--json"))["items"][0]["material"] is None

    def test_what_is_wrong_is_told(self, database_url, worked, capsys):
        for words, message in (
            (["intensity"], "say when"),
            (["intensity", "--period", "2026", "--from", "2026-01-01"], "not both"),
            (["intensity", "--period", "2026", "--against", "then"], "names no period"),
            (["intensity", "best", "--product", "none", "--period", "2026"], "no such product"),
        ):
            assert main([*words, "--database-url", database_url]) == 1
            assert message in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(["intensity", "best", "--product", "bolt", "--least-good", "many"])
        assert "give a number of good units" in capsys.readouterr().err
