"""Decoupling by level, against drivers of every kind, from rows to sentences."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from api.site_model import apply_site_model
from tests.integration.api.conftest import SITE, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

PATH = "/v1/sites/odense/decoupling"
VALUES = "/v1/sites/odense/driver-values"
BASE, PERIOD = utc("2025-01-05T23:00:00"), utc("2026-01-04T23:00:00")
WEEKS = {"base": "2025-W02", "period": "2026-W02"}
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def fill(store, meter, start: datetime, daily: float, *, days=7, **how) -> None:
    store.consume(meter, start, [daily / 96] * 96 * days, **how)


def earn(store, *amounts, price_years=(2025, 2025), driver="revenue") -> None:
    for first, amount, year in zip((date(2025, 1, 6), date(2026, 1, 5)), amounts, price_years, strict=True):
        store.drive(driver, first, first + WEEK, amount, price_year=year)


@pytest.fixture
def weeks(store):
    """Line 1 makes bolts for four days and nuts for two, and idles on Sunday; line 2 makes bolts. A year later the
    lines use less, and line 2 makes more.
    """
    for start, key, power, air, good in ((BASE, "a", 96, 40, 480), (PERIOD, "b", 90, 38, 576)):
        store.run("line-1", f"{key}1", "running", start, start + 4 * DAY, "bolt")
        store.run("line-1", f"{key}2", "running", start + 4 * DAY, start + 6 * DAY, "nut")
        store.run("line-1", f"{key}3", "idle", start + 6 * DAY, start + WEEK)
        store.run("line-2", f"{key}4", "running", start, start + WEEK, "bolt")
        fill(store, "main", start, 3 * power)
        fill(store, "power-1", start, power)
        fill(store, "power-2", start, power)
        fill(store, "air", start, air)
        fill(store, "good-1", start, 480, days=6)
        fill(store, "good-1", start + 6 * DAY, 0, days=1)
        fill(store, "good-2", start, good)


async def one(client, **query) -> Any:
    found = await ask(client, PATH, **{**WEEKS, "indicator": "energy", **query})
    (item,) = found["items"]
    return item


class TestLevels:
    async def test_a_line_has_its_own_meters_its_share_and_its_idle(self, client, weeks):
        item = await one(client, level="line", key="line-1", driver="production_volume")
        assert (item["level"], item["key"], item["meters"]) == ("line", "line-1", ["air", "power-1"])
        # Air is shared 3 : 1.
        assert item["base"]["quantity"]["total"] == 7 * 96 + 7 * 30
        assert item["growth"]["pressure"] == pytest.approx(Decimal(7 * 90 + 7 * Decimal("28.5")) / (7 * 126) - 1)
        assert item["driver"]["base"]["origin"] == "measured"
        # Four days of bolts (0.5 kg) and two of nuts (0.25 kg).
        assert (item["driver"]["base"]["value"], item["driver"]["base"]["unit"]) == (
            480 * 4 * 0.5 + 480 * 2 * 0.25,
            "kg",
        )
        assert (item["state"], item["reason"]) == ("not_assessable", "driver_did_not_grow")
        assert "of line line-1" in item["sentence"]
        assert "for linje line-1" in item["sentence_da"]

    async def test_lines_together_and_the_rest_are_the_site(self, client, weeks):
        found = await ask(client, PATH, **WEEKS, level="line", indicator="energy", driver="production_volume")
        lines = {item["key"]: item["period"]["quantity"]["total"] for item in found["items"]}
        site = await one(client, driver="production_volume")
        rest = 7 * (3 * 90 - 2 * 90 - 38)
        assert sum(lines.values()) + rest == pytest.approx(site["period"]["quantity"]["total"])
        assert found["driver"] is None

    async def test_products_are_fully_loaded(self, client, weeks):
        found = await ask(client, PATH, **WEEKS, level="product", indicator="energy", driver="production_volume")
        items = {item["key"]: item for item in found["items"]}
        line_1 = 7 * (96 + 30)
        running = line_1 * Decimal(6) / 7
        # Idle goes by occupied time: four days to two.
        nuts = running / 3 + line_1 / Decimal(7) / 3
        assert items["nut"]["base"]["quantity"]["total"] == pytest.approx(nuts)
        line_2 = 7 * (96 + 10)
        assert items["bolt"]["base"]["quantity"]["total"] == pytest.approx(line_1 - nuts + line_2)
        assert items["bolt"]["driver"]["base"]["value"] == 480 * 4 + 480 * 7
        assert (items["bolt"]["driver"]["base"]["unit"], items["bolt"]["state"]) == ("pcs", "absolute")

    async def test_a_family_is_its_products(self, client, weeks):
        query = {**WEEKS, "indicator": "energy", "driver": "production_volume"}
        family = (await ask(client, PATH, **query, level="family"))["items"]
        product = (await ask(client, PATH, **query, level="product", key="nut"))["items"]
        assert [item["key"] for item in family] == ["small"]
        assert family[0]["growth"] == product[0]["growth"]
        assert "of product family small" in family[0]["sentence"]

    async def test_what_got_nothing_is_told_not_dropped(self, client, store):
        fill(store, "main", BASE, 96)
        fill(store, "main", PERIOD, 90)
        found = await ask(client, PATH, **WEEKS, level="product", driver="production_volume")
        assert found["items"] == []
        assert [note.split(";")[0] for note in found["notes"]] == [
            "nothing was shared out in either period of product bolt",
            "nothing was shared out in either period of product nut",
        ]
        assert len(found["notes_da"]) == 2

    async def test_a_line_without_money_is_told_what_to_give(self, client, weeks):
        item = await one(client, level="line", key="line-1")
        assert item["state"] == "not_assessable"
        assert "revenue of line line-1 has no value" in item["reason"]
        assert "production_volume" in item["reason"]
        assert "produktionen" in item["reason_da"]
        body = {
            "items": [
                {"driver": "revenue", "line": "line-1", "from": first, "to": end, "value": value, "unit": "DKK",
                 "price_year": 2025, "source": "books"}
                for first, end, value in (("2025-01-06", "2025-01-13", 100), ("2026-01-05", "2026-01-12", 110))
            ]
        }  # fmt: skip
        assert (await client.put(VALUES, json=body)).status_code == 200
        item = await one(client, level="line", key="line-1")
        assert (item["state"], item["growth"]["driver"]) == ("absolute", Decimal("0.1"))
        # The site's own revenue is another one.
        assert "revenue has no value" in (await one(client))["reason"]


class TestSharing:
    async def test_another_rule_makes_it_leaning(self, client, store, weeks):
        """Fixed weights may be wrong: by run time line 2 would have half of the air, which it used the less of."""
        store.connection.execute(
            "UPDATE consumption SET measured = measured * 2 WHERE meter_id = %s AND quarter >= %s",
            [store.number("air"), PERIOD],
        )
        item = await one(client, level="line", key="line-2", driver="production_volume")
        assert item["growth"]["low"] < item["growth"]["pressure"] < item["growth"]["high"]


class TestDrivers:
    async def test_production_is_measured_where_nobody_gave_it(self, client, weeks):
        item = await one(client, driver="production_volume")
        assert item["driver"]["note"] == ("measured: good output in kg, by production meters and the products' masses")
        base = Decimal(480 * 4 * 0.5 + 480 * 2 * 0.25 + 480 * 7 * 0.5)
        assert item["driver"]["base"]["value"] == base
        assert (item["state"], item["verdict"]) == ("absolute", "firm")
        assert item["output"] is None

    async def test_estimated_production_moves_the_verdict(self, client, store, weeks):
        store.connection.execute(
            "UPDATE consumption SET measured = measured / 2, estimated = measured / 2 WHERE meter_id = %s",
            [store.number("good-2")],
        )
        item = await one(client, driver="production_volume")
        assert item["verdict"] == "leaning"
        assert "of the production is estimated" in item["would_settle"][0]
        assert item["interval_from"] == ["driver"]

    async def test_a_given_volume_counts_before_a_measured_one(self, client, store, weeks):
        for first, value in ((date(2025, 1, 6), 10), (date(2026, 1, 5), 11)):
            store.drive("production_volume", first, first + WEEK, value, unit="kg", price_year=None)
        item = await one(client, driver="production_volume")
        assert (item["driver"]["base"]["origin"], item["driver"]["base"]["value"]) == ("given", 10)

    async def test_no_volume_at_all(self, client, store):
        fill(store, "main", BASE, 96)
        fill(store, "main", PERIOD, 90)
        item = await one(client, driver="production_volume")
        assert "nobody gave a production volume, and no meter counts it" in item["reason"]
        assert "ingen måler tæller den" in item["reason_da"]

    async def test_physical_output_stands_beside_money(self, client, store, weeks):
        earn(store, 100, 104)
        item = await one(client)
        assert (item["output"]["unit"], item["output"]["origin"]) == ("kg", "measured")
        base = Decimal(480 * 4 * 0.5 + 480 * 2 * 0.25 + 480 * 7 * 0.5)
        assert item["output"]["growth"] == pytest.approx(Decimal(96 * 7) / 2 / base)


class TestPrices:
    async def put(self, client, *values, key="ppi") -> None:
        items = [{"key": key, "year": year, "value": value, "source": "statistics"} for year, value in values]
        assert (await client.put("/v1/price-indices", json={"items": items})).json() == {"saved": len(items)}

    @pytest.fixture(autouse=True)
    def used(self, store):
        fill(store, "main", BASE, 96)
        fill(store, "main", PERIOD, 95)

    async def test_nominal_money_is_deflated_to_the_base_year(self, client, store):
        earn(store, 100, 110, price_years=(2025, 2026))
        await self.put(client, (2025, 100), (2026, 110))
        item = await one(client)
        assert item["growth"]["driver"] == 0
        assert item["driver"]["period"]["value"] == 100
        assert (item["driver"]["period"]["nominal"], item["driver"]["period"]["price_year"]) == (110, 2025)
        assert item["driver"]["base"]["nominal"] is None

    async def test_several_price_years_in_one_period(self, client, store):
        earn(store, 100, 60, price_years=(2025, 2026))
        store.connection.execute("DELETE FROM driver_value WHERE from_date = '2026-01-05'")
        store.drive("revenue", date(2026, 1, 5), date(2026, 1, 7), 55, price_year=2026)
        store.drive("revenue", date(2026, 1, 7), date(2026, 1, 12), 60, price_year=2024)
        await self.put(client, (2024, 80), (2025, 100), (2026, 110))
        item = await one(client)
        assert item["driver"]["period"]["value"] == 50 + 75
        assert item["driver"]["period"]["nominal"] == 115

    async def test_a_year_that_the_index_lacks_is_named(self, client, store):
        earn(store, 100, 110, price_years=(2025, 2026))
        await self.put(client, (2025, 100))
        item = await one(client)
        assert item["state"] == "not_assessable"
        assert "the price index ppi has no value for 2026" in item["reason"]
        assert "prisindekset ppi har ingen værdi for 2026" in item["reason_da"]

    async def test_of_several_indices_one_is_named(self, client, store):
        earn(store, 100, 110, price_years=(2025, 2026))
        await self.put(client, (2025, 100), (2026, 110))
        await self.put(client, (2025, 100), (2026, 105), key="cpi")
        assert "say with price_index which of cpi, ppi" in (await one(client))["reason"]
        item = await one(client, price_index="cpi")
        assert item["growth"]["driver"] == pytest.approx(Decimal("1.1") / Decimal("1.05") - 1)
        assert item["figure"].startswith(
            "decoupling:site:energy:state:2026-01-05:2026-01-12:base=2025-01-06..2025-01-13:"
        )

    async def test_a_value_of_the_same_year_is_replaced_and_bad_ones_are_refused(self, client):
        await self.put(client, (2025, 100), (2026, 110))
        await self.put(client, (2026, "110.25"))
        found = await ask(client, "/v1/price-indices", key="ppi", limit=1)
        second = await ask(client, "/v1/price-indices", key="ppi", limit=1, cursor=found["next"])
        assert [(i["year"], i["value"]) for i in (*found["items"], *second["items"])] == [
            (2025, 100),
            (2026, Decimal("110.25")),
        ]
        for change in ({"value": 0}, {"value": -1}, {"year": 1700}, {"key": "No Key"}, {"source": ""}, {"extra": 1}):
            item = {"key": "ppi", "year": 2025, "value": 1, "source": "s", **change}
            assert_problem(await client.put("/v1/price-indices", json={"items": [item]}), 422)

    async def test_nobody_sees_another_organisation_s(self, client, other_site, make_token):
        await self.put(client, (2025, 100))
        client.headers["Authorization"] = f"Bearer {make_token('rival')}"
        assert (await ask(client, "/v1/price-indices"))["items"] == []
        assert (await ask(client, "/v1/organisation/driver-values"))["items"] == []


class TestAccuracy:
    GAS = """
  - {id: gas, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, accuracy_class: 1}
"""

    @pytest.fixture
    def two_roots(self, connection, store):
        apply_site_model(connection, site_model(SITE + self.GAS))
        for meter, before, after in (("main", 100, 60), ("gas", 100, 139)):
            fill(store, meter, BASE, before)
            fill(store, meter, PERIOD, after)
        earn(store, 100, 110)

    async def test_one_meter_s_error_is_the_same_in_both_periods(self, client, store):
        fill(store, "main", BASE, 100)
        fill(store, "main", PERIOD, Decimal("99.9").__float__())
        earn(store, 100, 110)
        item = await one(client)
        assert (item["verdict"], item["accuracy"]) == ("firm", 0)

    async def test_another_mix_of_meters_lets_it_through(self, client, two_roots):
        item = await one(client)
        assert item["growth"]["pressure"] == pytest.approx(Decimal("-0.005"))
        # main has no class and counts as 2 %: 0.02 · (60 − 99.5) and 0.01 · (139 − 99.5), over 200.
        expected = ((Decimal("0.02") * Decimal("-39.5")) ** 2 + (Decimal("0.01") * Decimal("39.5")) ** 2).sqrt() / 200
        assert item["accuracy"] == pytest.approx(expected)
        assert (item["verdict"], item["possible_states"]) == ("firm", ["absolute"])

    async def test_an_exchanged_meter_is_two_devices(self, client, store):
        fill(store, "main", BASE, 100)
        fill(store, "main", PERIOD, 99)
        earn(store, 100, 110)
        store.connection.execute(
            "INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason)"
            " VALUES (%s, '2025-06-01Z', 5, 0, 'me', 'worn')",
            [store.number("main")],
        )
        item = await one(client)
        assert (item["verdict"], item["interval_from"]) == ("leaning", ["accuracy"])
        assert "state the accuracy class of main, which counts as 2 % without one" in item["would_settle"][0]
        assert "angiv nøjagtighedsklassen for main" in item["would_settle_da"][0]


class TestCo2:
    async def test_without_factors_it_is_unknown_not_zero(self, client, weeks, store):
        earn(store, 100, 110)
        found = await ask(client, PATH, **WEEKS, indicator="co2")
        assert [item["indicator"] for item in found["items"]] == ["co2_location", "co2_market"]
        for item in found["items"]:
            assert (item["state"], item["verdict"], item["factor_share"]) == ("not_assessable", None, 0)
            assert item["base"]["quantity"] is None
            assert "no CO2 factor is loaded" in item["reason"]
            assert "ingen CO2-faktor" in item["reason_da"]

    async def test_a_greener_grid(self, client, weeks, store):
        earn(store, 100, 110)
        factors = [
            {"key": f"grid-{year}", "carrier": "electricity", "basis": "location", "value": value, "unit": "kg/kWh",
             "gas": "CO2e", "from": f"{year}-01-01", "to": f"{year + 1}-01-01", "source": "s", "licence": "l"}
            for year, value in ((2025, "0.2"), (2026, "0.1"))
        ]  # fmt: skip
        response = await client.put("/v1/factors", json={"items": factors, "author": "me", "reason": "r"})
        assert response.status_code == 200, response.text
        found = await ask(client, PATH, **WEEKS, indicator="co2_location")
        (item,) = found["items"]
        assert item["unit"] == "kg CO2e"
        assert item["growth"]["pressure"] == pytest.approx(Decimal(90) / 96 / 2 - 1)
        assert (item["state"], item["verdict"], item["factor_share"]) == ("absolute", "firm", 1)
        assert item["sentence"].startswith("Location-based CO2 fell 53.1 % while revenue grew 10.0 %")


class TestRolling:
    async def test_a_verdict_at_each_end_of_a_month(self, client, store):
        start = utc("2023-12-31T23:00:00")
        store.consume("water", start, [1.0] * 96 * 425)
        store.drive("revenue", date(2024, 1, 1), date(2025, 1, 1), 12_000, price_year=2024)
        store.connection.execute("DELETE FROM driver_value")
        for month in range(1, 13):
            end = date(2024 + month // 12, month % 12 + 1, 1)
            store.drive("revenue", date(2024, month, 1), end, 1000, price_year=2024)
        store.drive("revenue", date(2025, 1, 1), date(2025, 2, 1), 2000, price_year=2024)
        query = {"base": "2024", "period": "2025-01..2025-02", "indicator": "water", "rolling": 12, "series": "false"}
        (item,) = (await ask(client, PATH, **query))["items"]
        assert [(window["from"], window["to"]) for window in item["rolling"]] == [
            ("2024-02-01", "2025-02-01"),
            ("2024-03-01", "2025-03-01"),
        ]
        first, second = item["rolling"]
        # A leap year against one that has lost its leap day or not.
        assert (first["state"], first["growth"]["driver"]) == ("relative", pytest.approx(Decimal(1) / 12))
        assert "2025-02-01 – 2025-03-01" in second["reason"]
        assert item["series"] == []


class TestOrganisation:
    SECOND = """
organisation: {id: acme, name: Acme A/S}
site: {id: vejle, name: Vejle, time_zone: Europe/Copenhagen}
agents: [{id: cabinet-9}]
meters:
  - {id: hall, agent: cabinet-9, resource: energy, carrier: electricity, unit: kWh, kind: counter}
"""
    PATH = "/v1/organisation/decoupling"

    @pytest.fixture
    def two_sites(self, connection, store):
        apply_site_model(connection, site_model(self.SECOND))
        fill(store, "main", BASE, 100)
        fill(store, "main", PERIOD, 90)
        earn(store, 100, 110)

    def earn_there(self, store) -> None:
        for first, amount in ((date(2025, 1, 6), 50), (date(2026, 1, 5), 70)):
            store.connection.execute(
                "INSERT INTO driver_value (organisation_id, site_id, driver, from_date, to_date, value, unit,"
                " price_year, source) SELECT organisation_id, id, 'revenue', %s, %s, %s, 'DKK', 2025, 't' FROM site"
                " WHERE key = 'vejle'",
                [first, first + WEEK, amount],
            )

    async def test_sums_its_sites(self, client, store, two_sites):
        fill(store, "hall", BASE, 20)
        fill(store, "hall", PERIOD, 25)
        self.earn_there(store)
        (item,) = (await ask(client, self.PATH, **WEEKS, indicator="energy"))["items"]
        assert item["base"]["quantity"]["total"] == pytest.approx(7 * 120)
        assert item["growth"]["pressure"] == pytest.approx(Decimal(115) / 120 - 1)
        assert item["growth"]["driver"] == pytest.approx(Decimal(180) / 150 - 1)
        assert (item["level"], item["state"], item["verdict"]) == ("organisation", "absolute", "firm")
        assert item["meters"] == ["odense/main", "vejle/hall"]

    async def test_a_site_without_data_makes_it_leaning(self, client, two_sites):
        (item,) = (await ask(client, self.PATH, **WEEKS, indicator="energy"))["items"]
        assert (item["state"], item["verdict"], item["left_out"]) == ("absolute", "leaning", ["vejle"])
        assert "nothing is known of it at vejle" in item["sentence"]
        assert "intet er kendt om det på vejle" in item["sentence_da"]

    async def test_a_site_that_only_one_period_knows_forbids_it(self, client, store, two_sites):
        fill(store, "hall", PERIOD, 25)
        (item,) = (await ask(client, self.PATH, **WEEKS, indicator="energy"))["items"]
        assert (item["state"], item["verdict"]) == ("not_assessable", None)
        assert "only one of the periods has data of vejle" in item["reason"]

    async def test_a_site_without_a_driver_is_named(self, client, store, two_sites):
        fill(store, "hall", BASE, 20)
        fill(store, "hall", PERIOD, 25)
        (item,) = (await ask(client, self.PATH, **WEEKS, indicator="energy"))["items"]
        assert item["reason"].startswith("vejle: revenue has no value")

    async def test_its_own_driver_counts_before_those_of_its_sites(self, client, store, two_sites):
        body = {
            "items": [
                {"driver": "revenue", "from": first, "to": end, "value": value, "unit": "DKK", "price_year": 2025,
                 "source": "group accounts"}
                for first, end, value in (("2025-01-06", "2025-01-13", 1000), ("2026-01-05", "2026-01-12", 1300))
            ]
        }  # fmt: skip
        assert (await client.put("/v1/organisation/driver-values", json=body)).json() == {"saved": 2}
        (item,) = (await ask(client, self.PATH, **WEEKS, indicator="energy"))["items"]
        assert item["growth"]["driver"] == Decimal("0.3")
        body["items"][0]["line"] = "line-1"
        assert_problem(await client.put("/v1/organisation/driver-values", json=body), 422, "a part of a site")
        gone = await client.request(
            "DELETE",
            "/v1/organisation/driver-values",
            params={"driver": "revenue", "from": "2025-01-01", "to": "2027-01-01"},
        )
        assert gone.json() == {"removed": 2}


class TestDriverValuesOfParts:
    def value(self, **change) -> dict[str, Any]:
        return {
            "driver": "revenue", "from": "2025-01-01", "to": "2025-02-01", "value": 1, "unit": "DKK",
            "price_year": 2025, "source": "books", **change,
        }  # fmt: skip

    async def test_each_part_has_its_own(self, client):
        items = [self.value(), *(self.value(**{p: k}) for p, k in (("line", "line-1"), ("family", "small")))]
        items.append(self.value(product="bolt"))
        assert (await client.put(VALUES, json={"items": items})).json() == {"saved": 4}
        # The same again replaces, and overlaps are looked for within one part only.
        assert (await client.put(VALUES, json={"items": items})).json() == {"saved": 4}
        found = (await ask(client, VALUES))["items"]
        assert [(i["line"], i["family"], i["product"]) for i in found] == [
            (None, None, None), (None, None, "bolt"), (None, "small", None), ("line-1", None, None),
        ]  # fmt: skip
        overlapping = self.value(product="bolt", to="2025-03-01")
        assert_problem(await client.put(VALUES, json={"items": [overlapping]}), 409, "revenue bolt")

    async def test_unknown_parts_and_two_of_them_are_refused(self, client):
        for change, words in (
            ({"line": "line-9"}, "no line 'line-9'; known: line-1, line-2"),
            ({"family": "large"}, "known: small"),
            ({"product": "screw"}, "known: bolt, nut"),
            ({"product": "bolt", "line": "line-1"}, "one of them"),
        ):
            assert_problem(await client.put(VALUES, json={"items": [self.value(**change)]}), 422, words)
        assert (await ask(client, VALUES))["items"] == []

    async def test_wrong_ones_can_be_removed(self, client):
        await client.put(VALUES, json={"items": [self.value(), self.value(line="line-1")]})
        query = {"driver": "revenue", "from": "2025-01-01", "to": "2026-01-01"}
        assert (await client.delete(VALUES, params={**query, "line": "line-1"})).json() == {"removed": 1}
        assert (await client.delete(VALUES, params={**query, "line": "line-1"})).json() == {"removed": 0}
        assert [i["line"] for i in (await ask(client, VALUES))["items"]] == [None]
        assert_problem(await client.delete(VALUES, params={**query, "line": "a", "product": "b"}), 422, "one of")
