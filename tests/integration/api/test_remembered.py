"""Answers are given again as long as nothing has changed that they rest on, and not once after it has."""

from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from api import remembered
from api.attribution import keeper
from api.site_model import apply_site_model
from tests.integration.api.conftest import OTHER, SITE, serving, site_model, utc

pytestmark = pytest.mark.stack

START = utc("2026-01-04T23:00:00")
HOUR = timedelta(hours=1)
INTENSITY = "/v1/sites/odense/intensity?period=2026-01-05"
ADDRESSES = [
    INTENSITY,
    f"{INTENSITY}&bucket=day&format=csv",
    "/v1/sites/odense/intensity/best?period=2026-01-05&product=bolt",
    "/v1/sites/odense/intensity/regression?period=2026-01-05",
    "/v1/sites/odense/attribution?from=2026-01-05&to=2026-01-06",
    "/v1/sites/odense/circularity?period=2026-01-05",
    "/v1/sites/odense/decoupling?base=2026-01-05&period=2026-01-06",
    "/v1/sites/odense/decomposition?base=2026-01-05&period=2026-01-06",
]
FACTOR = {
    "author": "a",
    "reason": "r",
    "items": [
        {
            "key": "grid",
            "carrier": "electricity",
            "basis": "location",
            "value": 0.25,
            "unit": "kg/kWh",
            "gas": "CO2e",
            "from": "2026-01-01",
            "source": "test",
            "licence": "none",
        }
    ],
}


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The addresses that were computed, not remembered."""
    found: list[str] = []
    compute = remembered.Remembered._compute

    async def count(self, basis, scope, receive):
        found.append(scope["path"])
        return await compute(self, basis, scope, receive)

    monkeypatch.setattr(remembered.Remembered, "_compute", count)
    # A quarter of an hour may be over in the midst of a test.
    monkeypatch.setattr(remembered, "_BASIS", remembered._BASIS.replace("now()", "'2026-01-07'::timestamptz"))
    return found


@pytest.fixture
def worked(store):
    for day in range(2):
        start = START + day * 24 * HOUR
        store.run("line-1", f"run-{day}", "running", start, start + 6 * HOUR, "bolt")
        store.consume("power-1", start, [10 + day] * 24)
        store.consume("main", start, [20] * 24)
        store.consume("good-1", start, [20] * 24)
    return store


async def keep(database_url) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        await keeper.keep_due(connection)


def energy(answer: httpx.Response) -> Any:
    """What bolts took, fully loaded, of energy."""
    assert answer.status_code == 200, answer.text
    (item,) = [i for i in answer.json()["items"] if (i["product"], i["indicator"]) == ("bolt", "energy")]
    return item["marginal"]["total"] + item["idle"]["total"]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_the_same_is_computed_once(client, worked, computed, address):
    first, again = await client.get(address), await client.get(address)
    assert first.status_code == 200, first.text
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert len(computed) == 1


async def test_queries_and_formats_are_told_apart(client, worked, computed):
    told = [
        await client.get(INTENSITY),
        await client.get(f"{INTENSITY}&by=line"),
        await client.get(INTENSITY, headers={"Accept": "text/csv"}),
    ]
    assert len({answer.content for answer in told}) == len(computed) == 3
    assert all(answer.headers["vary"] == "Accept, Accept-Encoding" for answer in told)


async def test_a_changed_quarter_shows_at_once_before_and_after_it_is_kept(client, worked, computed, database_url):
    before = energy(await client.get(INTENSITY))
    worked.consume("power-1", START + 24 * 3 * HOUR, [1])
    worked.connection.execute(
        "WITH changed AS (UPDATE consumption SET measured = measured + 1000000000 WHERE meter_id = %s AND quarter = %s "
        "RETURNING meter_id) "
        "INSERT INTO attribution_due (site_id, from_day, to_day) SELECT site_id, '2026-01-05', '2026-01-06' "
        "FROM changed JOIN meter ON meter.id = meter_id",
        [worked.number("power-1"), START],
    )
    assert energy(await client.get(INTENSITY)) == before + 1
    asked = len(computed)
    await keep(database_url)
    assert energy(await client.get(INTENSITY)) == before + 1
    assert len(computed) == asked + 1
    await client.get(INTENSITY)
    assert len(computed) == asked + 1


async def test_what_is_due_and_its_being_taken_up_are_both_changes(client, worked, computed, connection, database_url):
    """Once it is taken up nothing is due, as before: what stood then must not be given again."""
    await keep(database_url)
    await client.get(INTENSITY)
    connection.execute(
        "INSERT INTO attribution_due (site_id, from_day, to_day) SELECT id, '1999-01-01', '1999-01-02' FROM site"
    )
    await client.get(INTENSITY)
    await keep(database_url)
    await client.get(INTENSITY)
    assert len(computed) == 3


async def test_a_run_changes_answers(client, worked, computed):
    before = energy(await client.get(INTENSITY))
    worked.connection.execute("UPDATE run SET end_at = end_at - interval '3 hours' WHERE key = 'run-0'")
    assert energy(await client.get(INTENSITY)) < before


async def test_a_driver_value_changes_verdicts_and_so_does_taking_it_out(client, worked, computed):
    address = "/v1/sites/odense/decoupling?base=2026-01-05&period=2026-01-06"
    values = [(await client.get(address)).json()["driver"]["base"]["value"]]
    value = {"driver": "revenue", "from": "2026-01-05", "to": "2026-01-06", "value": 5, "unit": "DKK", "source": "s"}
    for amount in (5, 6):
        body = {"items": [{**value, "value": amount, "price_year": 2026}]}
        saved = await client.put("/v1/sites/odense/driver-values", json=body)
        assert saved.status_code == 200, saved.text
        values.append((await client.get(address)).json()["driver"]["base"]["value"])
    worked.connection.execute("DELETE FROM driver_value")
    values.append((await client.get(address)).json()["driver"]["base"]["value"])
    assert values == [None, 5, 6, None]


async def test_a_factor_changes_emissions(client, worked, computed):
    def emitted(answer: httpx.Response) -> list[str]:
        return [item["indicator"] for item in answer.json()["items"] if item["indicator"].startswith("co2")]

    assert not emitted(await client.get(f"{INTENSITY}&by=site"))
    saved = await client.put("/v1/factors", json=FACTOR)
    assert saved.status_code == 200, saved.text
    assert emitted(await client.get(f"{INTENSITY}&by=site"))


async def test_the_site_model_and_an_exchange_change_answers(client, worked, computed, connection):
    await client.get(INTENSITY)
    model = site_model(SITE.replace("{id: bolt, unit: pcs, mass_kg: 0.5}", "{id: bolt, unit: pcs, mass_kg: 0.75}"))
    apply_site_model(connection, model)
    await client.get(INTENSITY)
    assert len(computed) == 2
    connection.execute(
        "INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason) "
        "VALUES (%s, %s, 1, 0, 'a', 'r')",
        [worked.number("power-1"), START],
    )
    await client.get(INTENSITY)
    assert len(computed) == 3


async def test_a_neighbour_never_has_our_answers(client, worked, computed, connection, database_url, make_token):
    """Another organisation's site may have the same key."""
    apply_site_model(connection, site_model(OTHER.replace("aarhus", "odense")))
    ours = await client.get(INTENSITY)
    async with serving(database_url, make_token("rival")) as neighbour:
        theirs = await neighbour.get(INTENSITY)
    assert theirs.status_code == 200
    assert theirs.content != ours.content
    token = make_token("rival")
    theirs = await client.get(INTENSITY, headers={"Authorization": f"Bearer {token}"})
    assert theirs.json()["items"] == []
    assert theirs.headers["etag"] != ours.headers["etag"]
    assert (await client.get(INTENSITY)).content == ours.content
    # What we change is no business of theirs.
    asked = len(computed)
    worked.consume("power-1", START + 24 * 5 * HOUR, [1])
    await client.get(INTENSITY, headers={"Authorization": f"Bearer {token}"})
    assert len(computed) == asked


async def test_who_may_look_is_asked_first(client, worked, computed, make_token):
    known = (await client.get(INTENSITY)).headers["etag"]
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer nobody's"},
        {"Authorization": f"Bearer {make_token(days=0)}"},
    ):
        answer = await client.get(INTENSITY, headers={**headers, "If-None-Match": known})
        assert answer.status_code == 401, headers
    token = make_token(scopes=("write",))
    refused = await client.get(INTENSITY, headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 403
    assert len(computed) == 1


async def test_who_has_it_already_is_told_so(client, worked, computed):
    first = await client.get(INTENSITY)
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', "*", tag.removeprefix("W/")):
        answer = await client.get(INTENSITY, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await client.get(INTENSITY, headers={"If-None-Match": '"other"'})).status_code == 200
    worked.connection.execute("UPDATE run SET end_at = end_at - interval '3 hours' WHERE key = 'run-0'")
    changed = await client.get(INTENSITY, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_what_is_given_again_is_packed_for_who_takes_it(client, worked, computed):
    first = await client.get(INTENSITY)
    async with client.stream("GET", INTENSITY, headers={"Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert len(raw) < len(first.content)
    assert gzip.decompress(raw) == first.content
    for refused in ("identity", "gzip;q=0, br", ""):
        async with client.stream("GET", INTENSITY, headers={"Accept-Encoding": refused}) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert "content-encoding" not in answer.headers
        assert raw == first.content
    assert len(computed) == 1


async def test_who_asks_meanwhile_waits_for_the_same_answer(client, worked, computed, monkeypatch):
    compute = remembered.Remembered._compute
    begun = asyncio.Event()

    async def slowly(self, basis, scope, receive):
        begun.set()
        await asyncio.sleep(0.2)
        return await compute(self, basis, scope, receive)

    monkeypatch.setattr(remembered.Remembered, "_compute", slowly)
    first = asyncio.create_task(client.get(INTENSITY))
    await begun.wait()
    others = await asyncio.gather(*(client.get(INTENSITY) for _ in range(5)))
    assert {answer.content for answer in (await first, *others)} == {(await first).content}
    assert len(computed) == 1


async def test_what_changes_meanwhile_is_not_taken_for_what_was_asked_later(client, worked, computed, monkeypatch):
    """The answer under way may have read before the change: who asks after it does not wait for that one."""
    compute = remembered.Remembered._compute
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(self, basis, scope, receive):
        told = await compute(self, basis, scope, receive)
        if not held.is_set():
            held.set()
            await go_on.wait()
        return told

    monkeypatch.setattr(remembered.Remembered, "_compute", hold)
    early = asyncio.create_task(client.get(INTENSITY))
    await held.wait()
    worked.connection.execute("UPDATE run SET end_at = end_at - interval '3 hours' WHERE key = 'run-0'")
    late = await client.get(INTENSITY)
    go_on.set()
    assert energy(late) < energy(await early)
    # The early one came back last, and is not given to anybody else.
    assert (await client.get(INTENSITY)).content == late.content


@pytest.mark.parametrize(("query", "status"), [("period=nonsense", 422), ("period=2026-01-05&table=none", 422)])
async def test_refusals_are_not_remembered(client, worked, computed, query, status):
    for _ in range(2):
        answer = await client.get(f"/v1/sites/odense/intensity?{query}")
        assert answer.status_code == status
        assert "etag" not in answer.headers
    assert len(computed) == 2


async def test_a_site_that_is_not_ours_is_not_there(client, worked, computed):
    assert (await client.get("/v1/sites/aarhus/intensity?period=2026-01-05")).status_code == 404
    assert computed == []


async def test_nothing_is_remembered_without_room(database_url, worked, computed, make_token):
    async with serving(database_url, make_token(), answers_mb=0) as client:
        answer = await client.get(INTENSITY)
    assert answer.status_code == 200
    assert "etag" not in answer.headers
    assert computed == []


async def test_requests_are_counted_under_their_route(client, worked, computed):
    for _ in range(2):
        await client.get(INTENSITY)
    metrics = (await client.get("/metrics")).text
    route = 'route="/v1/sites/{site}/intensity",status="200"'
    assert f'afkobling_api_requests_total{{method="GET",{route}}} 2.0' in metrics
