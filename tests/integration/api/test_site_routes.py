"""The site model through the API."""

from __future__ import annotations

import psycopg
import pytest

from api.readings_store import _LATEST_SINCE
from schemas.site import SiteModel
from tests.integration.api.conftest import serving
from tests.integration.api.test_access import assert_problem

pytestmark = pytest.mark.stack


async def test_parts_are_listed_and_told_singly(client):
    for group, first in (("lines", "line-1"), ("products", "bolt"), ("agents", "cabinet-1"), ("meters", "air")):
        page = (await client.get(f"/v1/sites/odense/{group}")).json()
        assert page["next"] is None
        assert page["items"][0]["id"] == first
        assert (await client.get(f"/v1/sites/odense/{group}/{first}")).json() == page["items"][0]
    assert (await client.get("/v1/sites/odense")).json() == {
        "id": "odense",
        "name": "Odense",
        "time_zone": "Europe/Copenhagen",
        "fiscal_year_start": "01-01",
        "shifts": [],
        "holidays": [],
        "grid_area": None,
    }
    meter = (await client.get("/v1/sites/odense/meters/power-1")).json()
    assert (meter["line"], meter["parent"], meter["canonical_unit"]) == ("line-1", "main", "kWh")


async def test_the_model_comes_back_as_it_went_in(client, site):
    told = (await client.get("/v1/sites/odense/model")).json()
    model = SiteModel.model_validate(told)
    assert {meter.id: meter.share for meter in model.meters} == {meter.id: meter.share for meter in site.meters}
    response = await client.put("/v1/sites/odense/model", json=told)
    assert response.status_code == 200
    assert response.json() == {"model": told, "left_over": []}
    assert (await client.get("/v1/sites/odense/model")).json() == told


async def test_a_changed_model_is_applied_and_what_it_omits_is_told(client):
    told = (await client.get("/v1/sites/odense/model")).json()
    told["meters"] = [meter for meter in told["meters"] if meter["id"] != "water"]
    told["lines"][0]["name"] = "The first"
    response = await client.put("/v1/sites/odense/model", json=told)
    assert response.json()["left_over"] == ["meter water"]
    assert (await client.get("/v1/sites/odense/lines/line-1")).json()["name"] == "The first"
    assert (await client.get("/v1/sites/odense/meters/water")).status_code == 200


async def test_a_new_site_of_ones_own_may_be_made(client):
    model = {"organisation": {"id": "acme"}, "site": {"id": "aalborg", "time_zone": "UTC"}}
    assert (await client.put("/v1/sites/aalborg/model", json=model)).status_code == 200
    first = (await client.get("/v1/sites", params={"limit": 1})).json()
    second = (await client.get("/v1/sites", params={"limit": 1, "cursor": first["next"]})).json()
    assert [page["items"][0]["id"] for page in (first, second)] == ["aalborg", "odense"]
    assert second["next"] is None
    assert (await client.get("/v1/organisation")).json()["name"] == "Acme A/S"


async def test_what_readings_mean_can_not_be_changed(client, connection):
    connection.execute("INSERT INTO rolled_meter SELECT id, now() FROM meter WHERE key = 'water'")
    told = (await client.get("/v1/sites/odense/model")).json()
    for meter in told["meters"]:
        if meter["id"] == "water":
            meter["unit"] = "l"
    response = await client.put("/v1/sites/odense/model", json=told)
    assert_problem(response, 409, "meter water has readings")
    assert len(response.json()["errors"]) == 1


class TestLatest:
    async def test_from_every_window_and_silent(self, client, store):
        db = store.connection
        (now,) = db.execute("SELECT now()").fetchone()
        (quarter,) = db.execute("SELECT date_bin('15 minutes', now() - interval '9 days', 'epoch')").fetchone()
        ages = {"main": "1 second", "power-1": "14 minutes", "air": "100 minutes"}
        for meter, age in ages.items():
            db.execute(
                "INSERT INTO reading SELECT id, now() - %s::interval, 5, 0 FROM meter WHERE key = %s", [age, meter]
            )
        store.read("main", now.replace(year=now.year - 1), 1)
        # Nine days ago, at the very end of its last quarter.
        store.consume("water", quarter, [1])
        db.execute(
            "INSERT INTO reading SELECT id, %s + interval '15 minutes', 7, 3 FROM meter WHERE key = 'water'", [quarter]
        )
        found = {item["meter"]: item for item in (await client.get("/v1/sites/odense/meters/latest")).json()["items"]}
        assert {meter: item["value"] for meter, item in found.items()} == {
            "air": 5,
            "good-1": None,
            "good-2": None,
            "main": 5,
            "power-1": 5,
            "power-2": None,
            "scrap-1": None,
            "water": 7,
        }
        assert 0 < found["main"]["age_s"] < 60
        assert (found["water"]["quality"], found["main"]["quality"]) == ("manual", "good")
        assert found["power-2"]["at"] is None

    async def test_of_each_age_and_from_the_future(self, client, store):
        db = store.connection
        ages = {"main": "-10 minutes", "power-1": "59 seconds", "air": "61 seconds", "power-2": "119 minutes"}
        for meter, age in ages.items():
            for older in ("0 seconds", "30 seconds"):
                db.execute(
                    "INSERT INTO reading SELECT id, now() - %s::interval - %s::interval, 1, 0 FROM meter"
                    " WHERE key = %s",
                    [age, older, meter],
                )
        found = {item["meter"]: item for item in (await client.get("/v1/sites/odense/meters/latest")).json()["items"]}
        for meter, age in ages.items():
            (seconds,) = db.execute("SELECT extract(epoch FROM %s::interval)::float8", [age]).fetchone()
            assert seconds <= found[meter]["age_s"] < seconds + 25

    @pytest.mark.parametrize("minutes", [1, 15, 120])
    async def test_others_readings_are_not_read(self, client, store, minutes):
        db = store.connection
        db.execute(
            """
            INSERT INTO reading SELECT 1000 + m, now() - s * interval '1 second', 1, 0
            FROM generate_series(1, 100) AS m, generate_series(1, 3600) AS s
            """
        )
        db.execute("ANALYZE reading")
        values = {"meters": [store.number("main"), store.number("water")], "minutes": minutes}
        plan = "\n".join(
            line for (line,) in psycopg.ClientCursor(db).execute(f"EXPLAIN {_LATEST_SINCE}", values).fetchall()
        )
        assert "Seq Scan" not in plan
        assert "Index Cond" in plan


async def test_a_model_waits_no_longer_than_a_statement_may(database_url, site, make_token, connection):
    told = None
    async with serving(database_url, make_token(), statement_timeout_s=0.3) as client:
        told = (await client.get("/v1/sites/odense/model")).json()
        told["lines"][0]["name"] = "The first"
        with psycopg.connect(database_url) as other:
            other.execute("LOCK TABLE line")
            assert_problem(await client.put("/v1/sites/odense/model", json=told), 503)
        assert (await client.put("/v1/sites/odense/model", json=told)).status_code == 200
    assert connection.execute("SELECT name FROM line WHERE key = 'line-1'").fetchone() == ("The first",)
