"""Attribution, intensity, driver values and decoupling, from rows to sentences."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.api.conftest import utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack

START = utc("2026-01-05T00:00:00")
DAY = {"start": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}


@pytest.fixture
def busy_day(store):
    """Line 1: an hour of bolts, a quarter of changeover to nuts, an hour of nuts, then idle. Line 2: bolts all day."""
    hour = timedelta(hours=1)
    store.run("line-1", "1", "running", START, START + hour, "bolt")
    store.run("line-1", "2", "changeover", START + hour, START + 1.25 * hour)
    store.run("line-1", "3", "running", START + 1.25 * hour, START + 2.25 * hour, "nut")
    store.run("line-1", "4", "idle", START + 2.25 * hour, START + 24 * hour)
    store.run("line-2", "1", "running", START, START + 24 * hour, "bolt")
    store.consume("main", START, [20] * 96)
    store.consume("power-1", START, [8] * 4 + [2] + [6] * 4 + [1] * 87)
    store.consume("power-2", START, [3] * 96)
    store.consume("air", START, [4] * 96)
    store.consume("good-1", START, [10] * 4 + [0] + [20] * 4)
    store.consume("scrap-1", START, [2] * 4)
    store.consume("good-2", START, [10] * 96)


async def test_attribution_tells_every_part_and_balances(client, busy_day):
    found = await ask(client, "/v1/sites/odense/attribution", **DAY)
    rows = {
        (i["meter"], i["line"], i["destination"], i["product"], i["rule"]): i["quantity"]["total"]
        for i in found["items"]
        if i["resource"] == "energy"
    }
    assert rows == {
        ("main", None, "unattributed", None, "no_share"): 20 * 96 - 32 - 2 - 24 - 87 - 288 - 384,
        ("power-1", "line-1", "processing", "bolt", "line_meter"): 32,
        ("power-1", "line-1", "changeover", "nut", "line_meter"): 2,
        ("power-1", "line-1", "processing", "nut", "line_meter"): 24,
        ("power-1", "line-1", "idle", None, "line_meter"): 87,
        ("power-2", "line-2", "processing", "bolt", "line_meter"): 288,
        ("air", "line-1", "processing", "bolt", "share:fixed"): 12,
        ("air", "line-1", "changeover", "nut", "share:fixed"): 3,
        ("air", "line-1", "processing", "nut", "share:fixed"): 12,
        ("air", "line-1", "idle", None, "share:fixed"): 261,
        ("air", "line-2", "processing", "bolt", "share:fixed"): 96,
    }
    (energy, water) = found["balance"]
    assert (energy["consumed"]["total"], energy["products"]["total"]) == (1920, 469)
    assert (energy["idle"]["total"], energy["difference"]) == (348, 0)
    assert water["consumed"]["total"] == water["coverage"] == 0


async def test_intensity(client, busy_day):
    found = await ask(client, "/v1/sites/odense/intensity", **DAY, by="product")
    bolt, nut = found["items"]
    assert bolt["marginal"]["total"] == 32 + 12 + 288 + 96
    assert (bolt["good"], bolt["good_unit"], bolt["unit"]) == (1000, "pcs", "kWh/pcs")
    assert bolt["value"] == Decimal("0.428")
    # Line 1's idle of 348 kWh: bolts occupied it for an hour, nuts for an hour and a quarter.
    assert bolt["idle"]["total"] + nut["idle"]["total"] == 348
    assert bolt["idle"]["total"] == pytest.approx(Decimal(348) / Decimal("2.25"))
    assert nut["fully_loaded"] == pytest.approx((41 + Decimal(348) * Decimal("1.25") / Decimal("2.25")) / 80)
    assert (nut["coverage"], nut["estimated_share"], nut["rules"]) == (1, 0, ["line_meter", "share:fixed"])
    assert found["findings"] == []


async def test_a_negative_rest_is_a_finding(client, store):
    store.consume("main", START, [1])
    store.consume("power-1", START, [3])
    found = await ask(client, "/v1/sites/odense/intensity", **DAY)
    assert found["findings"][0] == {
        "kind": "negative_rest",
        "meter": "main",
        "quarters": 1,
        "quantity": -2,
        "unit": "kWh",
    }
    assert found["balance"][0]["difference"] == 0


@pytest.mark.parametrize("by", ["run_time", "mass"])
async def test_a_site_without_lines_is_no_error(client, by):
    model = {
        "organisation": {"id": "acme"},
        "site": {"id": "store", "time_zone": "UTC"},
        "agents": [{"id": "a"}],
        "meters": [
            {"id": "m", "agent": "a", "resource": "energy", "unit": "kWh", "kind": "counter", "share": {"by": by}}
        ],
    }
    assert (await client.put("/v1/sites/store/model", json=model)).status_code == 200
    for path in ("attribution", "intensity", "production"):
        await ask(client, f"/v1/sites/store/{path}", **DAY)


async def test_an_empty_site_is_no_error(client):
    assert (await ask(client, "/v1/sites/odense/intensity", **DAY))["items"] == []


class TestDriverValues:
    VALUE = {  # noqa: RUF012 - a constant
        "driver": "revenue",
        "from": "2025-01-01",
        "to": "2025-02-01",
        "value": 1234567.89,
        "unit": "DKK",
        "price_year": 2025,
        "source": "accounts",
    }

    async def put(self, client, *changes) -> Any:
        items = [{**self.VALUE, **change} for change in changes]
        return await client.put("/v1/sites/odense/driver-values", json={"items": items})

    async def test_are_kept_exactly_and_replaced(self, client):
        february = {"from": "2025-02-01", "to": "2025-03-01", "value": 7}
        volume = {"driver": "production_volume", "unit": "pcs", "price_year": None, "value": 5}
        assert (await self.put(client, {}, february, volume)).json() == {"saved": 3}
        assert (await self.put(client, {"value": 8, "from": "2025-02-01", "to": "2025-03-01"})).status_code == 200
        items, count = await pages(client, "/v1/sites/odense/driver-values", limit=1)
        assert count == 3
        assert [(i["driver"], i["from"], i["value"]) for i in items] == [
            ("production_volume", "2025-01-01", 5),
            ("revenue", "2025-01-01", Decimal("1234567.89")),
            ("revenue", "2025-02-01", 8),
        ]
        only, _ = await pages(client, "/v1/sites/odense/driver-values", driver="production_volume")
        assert len(only) == 1

    async def test_keep_every_digit(self, client, store):
        values = ["12345678901234567.89", "999999999999999999999.999999999"]
        for year, value in zip((2025, 2026), values, strict=True):
            item = json.dumps({**self.VALUE, "from": f"{year}-01-01", "to": f"{year + 1}-01-01", "value": "x"})
            body = f'{{"items": [{item.replace(chr(34) + "x" + chr(34), value)}]}}'
            response = await client.put(
                "/v1/sites/odense/driver-values", content=body, headers={"Content-Type": "application/json"}
            )
            assert response.status_code == 200, response.text
        items, _ = await pages(client, "/v1/sites/odense/driver-values")
        assert [str(item["value"]) for item in items] == values
        found = await ask(
            client, DECOUPLING, base_from="2025-01-01", base_to="2026-01-01", start="2026-01-01", to="2027-01-01"
        )
        assert [str(found["driver"][when]["value"]) for when in ("base", "period")] == values

    async def test_that_overlap_are_refused_and_nothing_is_stored(self, client):
        await self.put(client, {})
        response = await self.put(client, {"from": "2025-03-01", "to": "2025-04-01"}, {"to": "2025-03-01"})
        assert_problem(response, 409, "overlap")
        assert len((await ask(client, "/v1/sites/odense/driver-values"))["items"]) == 1


DECOUPLING = "/v1/sites/odense/decoupling"
PERIODS = {"base_from": "2025-01-01", "base_to": "2025-03-01", "start": "2026-01-01", "to": "2026-03-01"}


def fill(store, meter, year, daily, *, days=59, estimated=0.0, covered_ms=900_000) -> None:
    """January and February of a year, the same quantity every day, in the site's own days."""
    start = utc(f"{year - 1}-12-31T23:00:00")
    store.consume(meter, start, [daily / 96] * 96 * days, estimated=estimated / 96, covered_ms=covered_ms)


def earn(store, year, value, price_year=2025) -> None:
    store.drive("revenue", date(year, 1, 1), date(year, 2, 1), value, price_year=price_year)
    store.drive("revenue", date(year, 2, 1), date(year, 3, 1), value, price_year=price_year)


class TestDecoupling:
    async def judged(self, client, indicator="energy", **query) -> tuple[Any, Any]:
        found = await ask(client, DECOUPLING, **{**PERIODS, "indicator": indicator, **query})
        (item,) = found["items"]
        return found, item

    async def test_absolute_and_firm(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        # Sub-meters are in the main meter already.
        fill(store, "power-1", 2026, 50)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040)
        found, item = await self.judged(client)
        assert found["driver"]["name"] == "revenue"
        assert found["driver"]["period"] == {
            "from": "2026-01-01",
            "to": "2026-03-01",
            "value": 2080,
            "unit": "DKK",
            "price_year": 2025,
            "nominal": None,
            "origin": "given",
            "problem": None,
            "problem_da": None,
        }
        assert (item["state"], item["verdict"], item["possible_states"]) == ("absolute", "firm", ["absolute"])
        assert item["meters"] == ["main"]
        assert item["base"] == {
            "quantity": {"total": 5664, "measured": 5664, "estimated": 0},
            "coverage": 1,
            "usable_days": 1,
            "estimated_share": 0,
        }
        assert item["growth"] == {
            name: Decimal(v)
            for name, v in {"pressure": "-0.1", "driver": "0.04", "low": "-0.1", "high": "-0.1"}.items()
        }
        assert (item["elasticity"], item["elasticity_state"]) == (Decimal("-2.5"), "strong decoupling")
        assert item["oecd_factor"] == pytest.approx(1 - Decimal("0.9") / Decimal("1.04"))
        assert item["sentence"] == (
            "Energy use fell 10.0 % while revenue grew 4.0 %: absolute decoupling. The data make this firm."
        )
        assert item["sentence_da"] == (
            "Energiforbruget faldt 10,0 %, mens omsætningen steg 4,0 %: absolut afkobling. Data gør det sikkert."
        )
        assert [(m["from"], round(m["pressure"], 6), round(m["driver"], 2)) for m in item["series"]] == [
            ("2025-01-01", 100, Decimal("95.16")),
            ("2025-02-01", 100, Decimal("105.36")),
            ("2026-01-01", 90, Decimal("98.97")),
            ("2026-02-01", 90, Decimal("109.57")),
        ]

    async def test_relative_with_estimates_is_leaning(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4, estimated=10.56)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040)
        _, item = await self.judged(client)
        assert (item["state"], item["verdict"]) == ("relative", "leaning")
        assert item["possible_states"] == ["absolute", "relative", "none"]
        assert (item["growth"]["low"], item["growth"]["high"]) == (Decimal("-0.045"), Decimal("0.065"))
        assert "leaning, not firm" in item["sentence"]
        assert "measured values for the gaps" in item["would_settle"][0]

    async def test_too_few_measured_days_is_leaning(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 50, days=50)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040)
        _, item = await self.judged(client)
        assert (item["state"], item["verdict"]) == ("absolute", "leaning")
        assert item["period"]["usable_days"] == pytest.approx(Decimal(50) / 59)
        assert "only 84.7 % of the period's days are measured well enough by main" in item["sentence"]

    async def test_half_covered_days_are_not_usable(self, client, store):
        fill(store, "main", 2025, 96, covered_ms=450_000)
        fill(store, "main", 2026, 90)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040)
        _, item = await self.judged(client)
        assert (item["base"]["usable_days"], item["base"]["coverage"], item["verdict"]) == (
            0,
            Decimal("0.5"),
            "leaning",
        )

    async def test_a_driver_that_fell_is_not_assessable_and_told_by_its_elasticity(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        earn(store, 2026, 950)
        _, item = await self.judged(client)
        assert (item["state"], item["reason"], item["verdict"]) == ("not_assessable", "driver_did_not_grow", None)
        assert item["elasticity_state"] == "recessive decoupling"
        assert item["sentence"] == (
            "Revenue fell 5.0 %, so decoupling can't be assessed; energy use fell 10.0 % (recessive decoupling)."
        )

    async def test_missing_driver_values_are_named(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        store.drive("revenue", date(2026, 1, 1), date(2026, 2, 1), 1)
        found, item = await self.judged(client)
        assert item["state"] == "not_assessable"
        assert "revenue has no value for 2026-02-01 – 2026-03-01" in item["reason"]
        assert found["driver"]["period"]["value"] is None
        assert item["period"]["quantity"]["total"] > 0

    async def test_a_value_that_reaches_out_of_the_period_does_not_count(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        store.drive("revenue", date(2026, 1, 1), date(2027, 1, 1), 1)
        _, item = await self.judged(client)
        assert "2026-01-01 – 2026-03-01" in item["reason"]

    async def test_money_of_different_years_is_not_compared(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040, price_year=2026)
        _, item = await self.judged(client)
        assert item["state"] == "not_assessable"
        assert "prices of 2025" in item["reason"]

    async def test_no_readings_are_not_zero(self, client, store):
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        earn(store, 2026, 1040)
        _, item = await self.judged(client)
        assert (item["state"], item["base"]["quantity"]) == ("not_assessable", None)
        assert "no readings in the base period" in item["sentence"]

    async def test_periods_of_other_lengths(self, client, store):
        fill(store, "main", 2025, 96)
        fill(store, "main", 2026, 86.4)
        earn(store, 2025, 1000)
        earn(store, 2026, 2040)
        _, item = await self.judged(client, base_to="2025-02-01")
        assert "31 days" in item["reason"]
        _, item = await self.judged(client, base_to="2025-02-01", to="2026-02-01")
        assert item["verdict"] == "firm"

    async def test_what_only_the_lengths_make_is_leaning(self, client, store):
        store.consume("main", utc("2024-12-31T23:00:00"), [1] * 96 * (100 + 99))
        store.drive("revenue", date(2025, 1, 1), date(2025, 4, 11), 100_000)
        store.drive("revenue", date(2025, 4, 11), date(2025, 7, 19), 102_970)
        lengths = {"base_to": "2025-04-11", "start": "2025-04-11", "to": "2025-07-19"}
        _, item = await self.judged(client, **lengths)
        assert (item["state"], item["verdict"]) == ("absolute", "leaning")
        assert item["possible_states"] == ["absolute", "relative"]
        assert item["would_settle"] == [
            "the base period has 100 days and the period 99, and by the day it is relative decoupling;"
            " equal lengths would settle it"
        ]

    async def test_all_indicators_that_have_meters(self, client, store):
        fill(store, "main", 2025, 96)
        found = await ask(client, DECOUPLING, **PERIODS)
        assert [item["indicator"] for item in found["items"]] == [
            "energy",
            "water",
            "co2_location",
            "co2_market",
        ]
        assert {item["state"] for item in found["items"]} == {"not_assessable"}
