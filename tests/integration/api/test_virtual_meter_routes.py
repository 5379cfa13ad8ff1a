"""Virtual meters and the ways energy flows, on the real database."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from api.errors import ModelRefusedError
from api.site_model import apply_site_model
from schemas.site import SiteModel
from tests.integration.api.conftest import SITE, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import CONSUMPTION, ask, pages

pytestmark = pytest.mark.stack

SOLAR = """
  - {id: pv, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, direction: generation}
  - {id: sold, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, direction: export, parent: main}
virtual_meters:
  - {id: use, name: All energy, resource: energy, unit: kWh, terms: {main: 1, pv: 1, sold: -1}}
  - {id: doubled, resource: energy, unit: kWh, line: line-1, terms: {use: 2.5}}
"""
DAY = {"start": "2026-01-05", "to": "2026-01-06"}
START = utc("2026-01-04T23:00:00")


def solar() -> SiteModel:
    return site_model(SITE + SOLAR.lstrip("\n"))


@pytest.fixture
def roof(connection, site) -> SiteModel:
    """The site with solar cells on its roof."""
    model = solar()
    apply_site_model(connection, model)
    return model


async def test_another_organisations_are_not_there(client, connection, roof):
    theirs = (SITE + SOLAR.lstrip("\n")).replace("acme, name: Acme A/S", "rival, name: Rival")
    apply_site_model(connection, site_model(theirs.replace("odense, name: Odense", "aarhus, name: Aarhus")))
    assert (await client.get("/v1/sites/odense/virtual-meters/use")).status_code == 200
    assert_problem(await client.get("/v1/sites/aarhus/virtual-meters/use"), 404)


async def test_they_are_listed_and_come_back_as_they_went_in(client, roof):
    page = (await client.get("/v1/sites/odense/virtual-meters")).json()
    assert [(item["id"], item["ready"]) for item in page["items"]] == [
        ("doubled", False),
        ("energy-use", True),
        ("use", False),
    ]
    assert page["items"][1]["terms"] == {"main": 1, "pv": 1, "sold": -1}
    assert (await client.get("/v1/sites/odense/virtual-meters/use")).json() == page["items"][2]
    assert_problem(await client.get("/v1/sites/odense/virtual-meters/main"), 404, "virtual meter")
    assert (await client.get("/v1/sites/odense/meters/sold")).json()["direction"] == "export"
    told = (await client.get("/v1/sites/odense/model")).json()
    assert SiteModel.model_validate(told).virtual_meters == sorted(
        [v if v.name else v.model_copy(update={"name": v.id}) for v in roof.virtual_meters], key=lambda v: v.id
    )
    response = await client.put("/v1/sites/odense/model", json=told)
    assert (response.status_code, response.json()["left_over"]) == (200, [])


async def test_a_site_of_imports_has_none(client, site):
    assert (await client.get("/v1/sites/odense/virtual-meters")).json()["items"] == []


async def test_signed_sums_are_exact(client, store, roof):
    store.consume("main", START, [Decimal("0.000000001")] * 96)
    store.consume("pv", START, [Decimal("123456789.123456789")] * 96)
    store.consume("sold", START, [23_456_789] * 96)
    (item,) = (await ask(client, CONSUMPTION, meter="use", **DAY))["items"]
    assert item["total"] == Decimal("100000000.123456790") * 96
    assert (item["meter"], item["resource"], item["unit"], item["coverage"]) == ("use", "energy", "kWh", 1)
    (ready,) = (await ask(client, CONSUMPTION, meter="energy-use", **DAY))["items"]
    assert ready["total"] == item["total"]


async def test_a_factor_is_rounded_once_a_quarter(client, store, roof):
    for meter in ("main", "pv", "sold"):
        store.consume(meter, START, [Decimal("0.000000001")] * 8)
    quarters = (await ask(client, CONSUMPTION, meter="doubled", by="quarter", **DAY))["items"]
    (day,) = (await ask(client, CONSUMPTION, meter="doubled", **DAY))["items"]
    # 2.5 billionths are 3 each, and −3: as rounded sums, buckets add up whatever their length.
    assert {item["total"] for item in quarters} == {Decimal("0.000000003")}
    assert day["total"] == sum(item["total"] for item in quarters) == Decimal("0.000000024")


async def test_where_a_term_is_missing_nothing_is_known(client, store, roof):
    store.consume("main", START, [10] * 96)
    store.consume("pv", START, [4] * 96)
    store.consume("sold", START, [1] * 48 + [None] * 48)
    (item,) = (await ask(client, CONSUMPTION, meter="use", **DAY))["items"]
    # 13 of 48 quarters, and not 14 of the others.
    assert (item["total"], item["coverage"]) == (13 * 48, Decimal("0.5"))
    items = (await ask(client, CONSUMPTION, meter=["use", "sold"], by="quarter", **DAY))["items"]
    assert [i["meter"] for i in items] == ["sold", "use"] * 48
    nothing = (await ask(client, CONSUMPTION, meter="use", start="2026-01-06", to="2026-01-07"))["items"]
    assert [(i["total"], i["coverage"]) for i in nothing] == [(None, 0)]


async def test_it_is_covered_as_its_worst_term(client, store, roof):
    for meter, covered in (("main", 900_000), ("pv", 450_000), ("sold", 90_000)):
        store.consume(meter, START, [1], covered_ms=covered)
    (item,) = (await ask(client, CONSUMPTION, meter="use", by="quarter", **DAY))["items"]
    assert item["coverage"] == Decimal("0.1")


async def test_estimates_of_opposite_signs_do_not_cancel_out(client, store, roof):
    store.consume("main", START, [50], estimated=50)
    store.consume("pv", START, [0])
    store.consume("sold", START, [0], estimated=50)
    (item,) = (await ask(client, CONSUMPTION, meter="use", by="quarter", **DAY))["items"]
    assert (item["measured"], item["estimated"], item["total"]) == (50, 0, 50)
    assert item["estimated_share"] == pytest.approx(Decimal(100) / 150)


@pytest.mark.parametrize("by", ["quarter", "hour", "day", "week", "month", "fiscal_year"])
@pytest.mark.parametrize("limit", [1, 4, 1000])
async def test_they_stand_beside_meters_on_every_page(client, store, roof, by, limit):
    for i, meter in enumerate(("main", "pv", "sold", "water")):
        store.consume(meter, START + i * timedelta(minutes=15), [i + 1] * 20)
    items, _ = await pages(client, CONSUMPTION, by=by, limit=limit, meter=["use", "main", "water", "pv"], **DAY)
    sums: dict[str, Decimal] = {}
    for item in items:
        sums[item["meter"]] = sums.get(item["meter"], Decimal(0)) + (item["total"] or 0)
    # main and pv and sold are known together in 18 quarters.
    assert sums == {"main": 20, "pv": 40, "water": 80, "use": 0}
    keys = [(item["from"], item["meter"]) for item in items]
    assert keys == sorted(set(keys))
    assert any(item["meter"] == "use" and item["total"] == 0 for item in items)


async def test_only_meters_are_told_when_none_is_named(client, store, roof):
    items = (await ask(client, CONSUMPTION, **DAY))["items"]
    assert {"main", "pv", "sold"} <= {item["meter"] for item in items}
    assert {"use", "doubled", "energy-use"}.isdisjoint(item["meter"] for item in items)
    response = await client.get(CONSUMPTION, params={"from": "2026-01-05", "to": "2026-01-06", "meter": "gone"})
    assert_problem(response, 404, "virtual-meters list them")


async def test_what_is_exported_is_not_used(client, store, roof):
    store.consume("main", START, [10] * 96)
    store.consume("pv", START, [4] * 96)
    store.consume("sold", START, [1] * 96)
    intensity = await ask(client, "/v1/sites/odense/intensity", **DAY)
    (balance,) = [item for item in intensity["balance"] if item["resource"] == "energy"]
    assert (balance["consumed"]["total"], balance["difference"]) == (13 * 96, 0)


async def test_decoupling_is_of_what_is_used(client, store, roof):
    for year, main in ((2024, 10), (2025, 8)):
        first = utc(f"{year - 1}-12-31T23:00:00")
        store.consume("main", first, [main] * 96 * 30)
        store.consume("pv", first, [4] * 96 * 30)
        store.consume("sold", first, [3] * 96 * 30, estimated=1)
        store.drive("revenue", f"{year}-01-01", f"{year}-01-31", 100 + year)
    answer = await ask(
        client,
        "/v1/sites/odense/decoupling",
        base_from="2024-01-01",
        base_to="2024-01-31",
        start="2025-01-01",
        to="2025-01-31",
        driver="revenue",
        indicator="energy",
    )
    (indicator,) = answer["items"]
    assert indicator["meters"] == ["main", "pv", "sold"]
    totals = [indicator[side]["quantity"] for side in ("base", "period")]
    assert [total["total"] for total in totals] == [10 * 96 * 30, 8 * 96 * 30]
    # What is estimated of the export makes as much of the use a guess.
    assert [total["estimated"] for total in totals] == [96 * 30, 96 * 30]


class TestModel:
    def test_a_loop_is_refused(self, connection, roof):
        use, doubled = roof.virtual_meters
        looped = [use.model_copy(update={"terms": {"doubled": 1.0}}), doubled]
        with pytest.raises(ModelRefusedError, match="term of itself"):
            apply_site_model(connection, roof.model_copy(update={"virtual_meters": looped}))

    def test_what_the_file_no_longer_names_stays_and_is_told(self, connection, roof):
        fewer = roof.model_copy(update={"virtual_meters": roof.virtual_meters[:1]})
        assert apply_site_model(connection, fewer) == ["virtual meter doubled"]

    def test_ids_are_one_name_space_with_what_was_before(self, connection, roof):
        use = roof.virtual_meters[0]
        taken = roof.model_copy(
            update={
                "meters": [m for m in roof.meters if m.id != "water"],
                "virtual_meters": [use.model_copy(update={"id": "water"})],
            }
        )
        with pytest.raises(ModelRefusedError, match="water is the id of a meter from before"):
            apply_site_model(connection, taken)
        water = next(m for m in roof.meters if m.id == "water")
        other = roof.model_copy(
            update={"meters": [*roof.meters, water.model_copy(update={"id": "use"})], "virtual_meters": []}
        )
        with pytest.raises(ModelRefusedError, match="use is the id of a virtual meter from before"):
            apply_site_model(connection, other)

    async def test_an_own_meter_takes_the_name_of_the_ready_one(self, client, connection, roof):
        own = roof.virtual_meters[0].model_copy(update={"id": "energy-use", "terms": {"main": 1.0}})
        apply_site_model(connection, roof.model_copy(update={"virtual_meters": [*roof.virtual_meters, own]}))
        found = (await client.get("/v1/sites/odense/virtual-meters/energy-use")).json()
        assert (found["ready"], found["terms"]) == (False, {"main": 1})
