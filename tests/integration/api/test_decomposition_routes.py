"""What drove a change, from rows to the sentence, by the route and by the command."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.cli import main
from tests.integration.api.conftest import Store, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

PATH = "/v1/sites/odense/decomposition"
JANUARY, FEBRUARY, MARCH = (utc(f"2026-0{month}-10T08:00:00") for month in (1, 2, 3))
PERIODS = {"base": "2026-01", "period": "2026-02"}
HOUR = timedelta(hours=1)


def work(
    store: Store, start: datetime, *, bolts: float = 0, nuts: float = 0, power: float = 0, nut_power: float = 0
) -> None:
    """Line 1: an hour of bolts, an hour of nuts, an hour of nothing; quantities are those of a whole hour."""
    day = f"{start:%d%m}"
    store.run("line-1", f"{day}-1", "running", start, start + HOUR, "bolt")
    store.run("line-1", f"{day}-2", "running", start + HOUR, start + 2 * HOUR, "nut")
    store.run("line-1", f"{day}-3", "idle", start + 2 * HOUR, start + 3 * HOUR)
    used = [power / 4] * 4 + [nut_power / 4] * 4 + [0.0] * 4
    store.consume("power-1", start, used)
    store.consume("main", start, [quarter + 1 for quarter in used])
    store.consume("power-2", start, [0] * 12)
    store.consume("air", start, [0] * 12)
    store.consume("good-1", start, [bolts / 4] * 4 + [nuts / 4] * 4)


@pytest.fixture
def two_months(store):
    """Twice as many bolts at a tenth less energy each, no nuts any more, and 12 kWh of the site in each month."""
    work(store, JANUARY, bolts=100, nuts=200, power=40, nut_power=20)
    work(store, FEBRUARY, bolts=200, power=72)


def by_effect(answer: Any) -> dict[str, Any]:
    return {item["effect"]: item["quantity"] for item in answer["items"]}


def terms(answer: Any) -> dict[tuple[str | None, str | None], dict[str, Any]]:
    return {(row["category"], row["beside"]): row for row in answer["categories"]}


async def test_effects_sum_to_the_whole_change(client, two_months):
    answer = await ask(client, PATH, **PERIODS)
    told = by_effect(answer)
    assert list(told) == ["activity", "mix", "intensity", "unattributed", "total"]
    total = told.pop("total")
    # The nuts had 20 kWh and are gone; bolts have 32 more.
    assert sum(told.values()) == total == answer["change"] == 12
    assert told["unattributed"] == 0
    assert (answer["activity_unit"], answer["base"]["activity"], answer["period"]["activity"]) == ("kg", 100, 100)
    assert told["activity"] == 0
    bolt, nut = terms(answer)["bolt", None], terms(answer)["nut", None]
    assert (nut["mix"], nut["change"]) == (-20, -20)
    # 32 kWh by L(72, 40) · ln: twice the share, nine tenths of the use per unit.
    assert float(bolt["mix"]) == pytest.approx(37.7362, abs=1e-3)
    assert float(bolt["intensity"]) == pytest.approx(-5.7362, abs=1e-3)
    assert bolt["mix"] + bolt["intensity"] == 32
    product = Decimal(1)
    for item in answer["items"][:-1]:
        product *= item["multiplier"]
    assert product == pytest.approx(answer["items"][-1]["multiplier"], rel=Decimal("1e-10"))
    assert answer["items"][-1]["multiplier"] == pytest.approx(Decimal(84) / 72)


async def test_coverage_estimated_share_and_figures_go_with_it(client, store, two_months):
    answer = await ask(client, PATH, **PERIODS)
    # An eighth of a day of a month: the same for all four meters of energy.
    assert answer["base"]["coverage"] == pytest.approx(Decimal(12) / (31 * 96))
    assert answer["base"]["estimated_share"] == 0
    assert answer["base"]["factors"] == []
    figures = [item["figure"] for item in answer["items"]]
    assert figures[1].startswith("decomposition:site:energy:mix:2026-02-01:2026-03-01:base=2026-01-01..2026-02-01:")
    again = await ask(client, PATH, **PERIODS)
    assert [item["figure"] for item in again["items"]] == figures
    store.consume("main", FEBRUARY + timedelta(days=1), [4])
    changed = await ask(client, PATH, **PERIODS)
    assert changed["items"][0]["figure"] != figures[0]
    assert by_effect(changed)["unattributed"] == 4


async def test_the_sentence(client, two_months):
    answer = await ask(client, PATH, **PERIODS)
    assert answer["sentence"] == (
        "Energy use grew 16.7 %: the mix of products added 24.6 %; energy per unit took off 8.0 %."
        " Of the base period 0.4 % is measured, so this may change."
        " Of the period 0.4 % is measured, so this may change."
    )
    assert answer["sentence_da"] == (
        "Energiforbruget steg 16,7 %: produktsammensætningen lagde 24,6 % til; energien pr. enhed trak 8,0 % fra."
        " Af basisperioden er 0,4 % målt, så dette kan ændre sig."
        " Af perioden er 0,4 % målt, så dette kan ændre sig."
    )


async def test_by_line_and_by_family(client, two_months):
    lines = await ask(client, PATH, **PERIODS, by="line")
    assert set(terms(lines)) >= {("line-1", None), (None, "unattributed")}
    assert terms(lines)["line-1", None]["change"] == 12
    families = await ask(client, PATH, **PERIODS, by="family")
    # Bolts have no family and stand for themselves.
    assert {category for category, beside in terms(families) if beside is None} == {"bolt", "small"}
    assert by_effect(families)["total"] == by_effect(lines)["total"] == 12


async def test_idle_of_a_line_without_products_is_unattributed(client, store):
    work(store, JANUARY, bolts=100, nuts=100, power=40, nut_power=20)
    work(store, FEBRUARY, bolts=100, nuts=100, power=40, nut_power=20)
    store.run("line-2", "x", "idle", FEBRUARY + 4 * HOUR, FEBRUARY + 5 * HOUR)
    store.consume("power-2", FEBRUARY + 4 * HOUR, [2] * 4)
    store.consume("main", FEBRUARY + 4 * HOUR, [2] * 4)
    answer = await ask(client, PATH, **PERIODS)
    told = by_effect(answer)
    assert (told["total"], told["unattributed"], told["activity"], told["mix"], told["intensity"]) == (8, 8, 0, 0, 0)
    assert terms(answer)[None, "idle"]["change"] == 8


async def test_categories_are_what_intensity_tells(client, two_months):
    answer = await ask(client, PATH, **PERIODS)
    told = await ask(client, "/v1/sites/odense/intensity", start="2026-01-01", to="2026-02-01", by="product")
    energy = {i["product"]: i for i in told["items"] if i["resource"] == "energy"}
    for product, item in energy.items():
        loaded = item["marginal"]["total"] + item["idle"]["total"]
        assert terms(answer)[product, None]["base"] == pytest.approx(loaded, abs=Decimal("1e-8"))
    (balance,) = (b for b in told["balance"] if b["resource"] == "energy")
    assert terms(answer)[None, "unattributed"]["base"] == balance["unattributed"]["total"] == 12
    assert answer["base"]["quantity"]["total"] == balance["consumed"]["total"] == 72


async def test_a_chain_over_months(client, store):
    for start, bolts, power in ((JANUARY, 100, 40), (FEBRUARY, 150, 50), (MARCH, 90, 45)):
        work(store, start, bolts=bolts, nuts=100, power=power, nut_power=20)
    direct = await ask(client, PATH, base="2026-01", period="2026-03")
    answer = await ask(client, PATH, base="2026-01", period="2026-03", chain="month")
    assert by_effect(answer)["total"] == by_effect(direct)["total"] == 5
    assert by_effect(answer)["intensity"] != by_effect(direct)["intensity"]
    steps = {(step["from"], step["effect"]): step["quantity"] for step in answer["steps"]}
    assert {start for start, _ in steps} == {"2026-02-01", "2026-03-01"}
    for effect in ("activity", "mix", "intensity", "unattributed"):
        assert sum(q for (_, name), q in steps.items() if name == effect) == by_effect(answer)[effect]
    assert direct["steps"] == []


async def test_a_chain_moves_the_window_month_by_month(client, store):
    for start, power in ((JANUARY, 40), (FEBRUARY, 50), (MARCH, 45), (utc("2026-04-10T08:00:00"), 48)):
        work(store, start, bolts=100, nuts=100, power=power, nut_power=20)
    answer = await ask(client, PATH, base="2026-01..2026-02", period="2026-03..2026-04", chain="month")
    starts = [step["from"] for step in answer["steps"] if step["effect"] == "intensity"]
    assert starts == ["2026-02-01", "2026-03-01"]
    assert by_effect(answer)["total"] == 3


async def test_a_chain_without_data_is_told_and_so_is_a_month_without(client, store):
    query = {"base": "2026-01", "period": "2026-03", "chain": "month"}
    answer = await ask(client, PATH, **query)
    assert (answer["items"], answer["steps"]) == ([], [])
    assert "no readings in the base period" in answer["sentence"]
    for start in (JANUARY, MARCH):
        work(store, start, bolts=100, nuts=100, power=40, nut_power=20)
    answer = await ask(client, PATH, **query)
    assert "there are no readings in the span 2026-02-01 – 2026-03-01" in answer["sentence"]
    assert "ingen aflæsninger i tiden 2026-02-01 – 2026-03-01" in answer["sentence_da"]
    assert (await ask(client, PATH, **{**query, "chain": "none"}))["items"]


async def test_co2_by_carrier_with_its_factors(client, connection, two_months):
    add_factor(connection, "2026-01-01", "2026-02-01", "0.2", version=1, key="grid-january")
    add_factor(connection, "2026-02-01", None, "0.1", version=1, key="grid-february")
    answer = await ask(client, PATH, **PERIODS, indicator="co2")
    assert answer["indicator"] == "co2_location"
    told = by_effect(answer)
    assert list(told)[:4] == ["activity", "mix", "intensity", "factor"]
    assert sum(quantity for name, quantity in told.items() if name != "total") == told["total"]
    assert answer["base"]["factors"] == [{"key": "grid-january", "version": 1}]
    assert answer["period"]["factors"] == [{"key": "grid-february", "version": 1}]
    # What is bought is the main meter's; the line's meter, which names no carrier, is a part of it.
    assert answer["base"]["known_share"] == 1
    assert (answer["base"]["quantity"]["total"], told["total"]) == (Decimal("14.4"), -6)
    assert {(row["category"], row["carrier"]) for row in answer["categories"] if row["beside"] is None} == {
        ("bolt", "electricity"),
        ("nut", "electricity"),
    }
    # Bolts: 8 to 7.2 kg at half the factor, by L(7.2, 8) · ln(1/2).
    assert float(terms(answer)["bolt", None]["factor"]) == pytest.approx(-5.2631, abs=1e-3)
    assert "CO2 per unit of energy took off" in answer["sentence"]


async def test_co2_without_factors_is_unknown_and_not_zero(client, two_months):
    answer = await ask(client, PATH, **PERIODS, indicator="co2_market")
    assert answer["items"] == answer["categories"] == []
    assert "no CO2 factor is known" in answer["sentence"]


def add_factor(connection: Any, first: str, end: str | None, value: str, *, version: int, key: str) -> None:
    connection.execute(
        """
        INSERT INTO factor (organisation_id, key, version, carrier, scope, basis, unit, from_date, to_date, value,
                            gas, source, licence, author, reason)
        SELECT organisation_id, %s, %s, 'electricity', 'scope_2', 'location', 'kWh', %s, %s, %s, 'CO2e', 'test', 'test',
               'test', 'test'
        FROM site WHERE key = 'odense'
        """,
        [key, version, first, end, value],
    )


async def test_money_of_each_product_as_the_activity(client, connection, store, two_months):
    answer = await ask(client, PATH, **PERIODS, activity="revenue")
    assert "revenue" in answer["sentence"]
    assert answer["items"] == []
    for product, first, end, value in (
        ("bolt", "2026-01-01", "2026-02-01", 300),
        ("nut", "2026-01-01", "2026-02-01", 100),
        ("bolt", "2026-02-01", "2026-03-01", 600),
    ):
        connection.execute(
            """
            INSERT INTO driver_value (organisation_id, site_id, product_id, driver, from_date, to_date, value, unit,
                                      price_year, source)
            SELECT s.organisation_id, s.id, p.id, 'revenue', %s, %s, %s, 'DKK', 2026, 'test'
            FROM site AS s JOIN product AS p ON p.site_id = s.id WHERE s.key = 'odense' AND p.key = %s
            """,
            [first, end, value, product],
        )
    answer = await ask(client, PATH, **PERIODS, activity="revenue")
    assert (answer["activity_unit"], answer["base"]["activity"]) == ("DKK (2026)", 400)
    assert by_effect(answer)["activity"] > 0
    assert terms(answer)["nut", None]["mix"] == -20


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"base": "2026-01"}, "from"),
        ({**PERIODS, "base": "last year"}, "base"),
        ({**PERIODS, "indicator": "sound"}, "indicator"),
        ({**PERIODS, "by": "run"}, "by"),
        ({**PERIODS, "chain": "day"}, "chain"),
        ({**PERIODS, "activity": "profit"}, "activity"),
        ({"base": "2026-01-10..2026-02-09", "period": "2026-03", "chain": "month"}, "base"),
        ({"base": "2026-01..2026-02", "period": "2026-03", "chain": "month"}, "period"),
        ({"base": "2026-02", "period": "2026-01", "chain": "month"}, "period"),
        ({**PERIODS, "activity": "revenue", "price_index": "none"}, "price_index"),
    ],
)
async def test_bad_questions(client, store, two_months, params, place):
    response = await client.get(PATH, params=params)
    assert_problem(response, 422)
    assert place in response.json()["errors"][0]["place"]


async def test_without_meters_readings_or_output(client, store):
    nothing = await ask(client, PATH, **PERIODS, indicator="waste")
    assert nothing["sentence"] == "What changed waste can't be told: no meter measures it."
    silent = await ask(client, PATH, **PERIODS)
    assert "there are no readings in the base period" in silent["sentence"]
    store.consume("main", JANUARY, [1])
    store.consume("main", FEBRUARY, [1])
    unmade = await ask(client, PATH, **PERIODS)
    assert "nothing good was counted in the base period" in unmade["sentence"]
    assert unmade["change"] == 0
    assert (unmade["items"], unmade["growth"]) == ([], 0)


async def test_as_a_table(client, two_months):
    response = await client.get(PATH, params={**PERIODS, "format": "csv"})
    header, *rows = response.text.splitlines()
    assert response.status_code == 200
    assert "effect" in header
    assert len(rows) == 5


class TestCommand:
    def test_of_a_site(self, database_url, two_months, capsys):
        options = ["decompose", "--database-url", database_url, "--base", "2026-01", "--period", "2026-02"]
        assert main([*options, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert {item["effect"]: item["quantity"] for item in answer["items"]}["total"] == 12
        assert main(options) == 0
        words = capsys.readouterr().out
        assert words.startswith("Energy use grew 16.7 %")
        assert "made 100 kg" in words

    def test_of_a_table(self, tmp_path, capsys):
        path = tmp_path / "table.csv"
        path.write_text("period;x;y\n2024;2;3,5\n2025;3;2\n")
        assert main(["decompose", "--from-csv", str(path), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out, parse_float=Decimal)
        assert sum(item["quantity"] for item in answer["items"]) == answer["changes"][0]["change"] == -1
        assert main(["decompose", "--from-csv", str(path)]) == 0
        assert "2024 → 2025 (step): The quantity fell 14.3 %" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "--base is missing"),
            (["--base", "2024"], "--period is missing"),
            (["--from-csv", "none.csv"], "none.csv can't be read"),
            (["--from-csv", "none.csv", "--by", "line"], "--by is about a site"),
        ],
    )
    def test_what_is_wrong_is_said(self, options, message, capsys):
        assert main(["decompose", *options]) == 1
        assert message in capsys.readouterr().err
