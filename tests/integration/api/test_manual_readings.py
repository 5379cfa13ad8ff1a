"""Readings of people: beside what meters say, in their place where both spoke, and in the store never instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.exact_json import instant
from api.said import unix_ms
from api.site_model import apply_site_model
from schemas.resources import MeterKind
from tests.integration.api.conftest import notes, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask, pages
from tests.integration.api.test_site_model import _changed

pytestmark = pytest.mark.stack

MANUAL = "/v1/sites/odense/manual-readings"
READINGS = "/v1/sites/odense/readings"
AT = utc("2026-03-02T09:00:00")
DIAL = {"meter": "water", "at": instant(AT), "value": 880.25, "author": "Anna", "reason": "read the dial"}
DAY = {"start": "2026-03-02", "to": "2026-03-03"}
MINUTE = timedelta(minutes=1)


async def add(client, *items) -> dict[str, Any]:
    response = await client.post(MANUAL, json={"items": list(items)})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def test_a_meter_that_never_spoke(client, connection):
    key = f"water:{unix_ms(AT)}"
    assert await add(client, DIAL) == {"saved": 1, "unchanged": 0, "ids": [key]}
    assert notes(connection) == [("water", AT, AT)]
    (item,) = (await ask(client, MANUAL))["items"]
    assert (item["id"], item["unit"], item["value"], item["meter_said"]) == (key, "m3", 880.25, None)
    (reading,) = (await ask(client, READINGS, **DAY))["items"]
    assert reading == {
        "meter": "water",
        "at": instant(AT),
        "value": 880.25,
        "quality": "manual",
        "author": "Anna",
        "reason": "read the dial",
        "meter_said": None,
    }


async def test_a_correction_stands_beside_what_the_meter_said(client, connection, store):
    store.read("water", AT, 88025, quality=2)
    store.read("water", AT + MINUTE, 880.5)
    await add(client, DIAL)
    corrected, untouched = (await ask(client, READINGS, **DAY))["items"]
    assert (corrected["value"], corrected["quality"]) == (880.25, "manual")
    assert corrected["meter_said"] == {"value": 88025, "quality": "suspect"}
    assert (untouched["value"], untouched["quality"]) == (880.5, "good")
    assert (untouched["author"], untouched["meter_said"]) == (None, None)
    assert connection.execute("SELECT value FROM reading ORDER BY at").fetchall() == [(88025,), (880.5,)]
    (item,) = (await ask(client, MANUAL))["items"]
    assert item["meter_said"] == {"value": 88025, "quality": "suspect"}


async def test_corrected_again_and_taken_back(client, connection, store):
    store.read("water", AT, 1)
    await add(client, DIAL)
    await add(client, {**DIAL, "value": 881, "author": "Bo", "reason": "a digit was wrong"})
    (item,) = (await ask(client, MANUAL))["items"]
    body = {"author": "Carl", "reason": "another meter"}
    response = await client.post(f"{MANUAL}/{item['id']}/withdraw", json=body)
    told = response.json()
    assert [(v["value"], v["author"]) for v in told["versions"]] == [(880.25, "Anna"), (881, "Bo"), (None, "Carl")]
    assert (told["value"], told["is_withdrawn"]) == (None, True)
    assert notes(connection) == [("water", AT, AT)] * 3
    (reading,) = (await ask(client, READINGS, **DAY))["items"]
    assert (reading["value"], reading["quality"], reading["author"]) == (1, "good", None)
    assert (await client.post(f"{MANUAL}/{item['id']}/withdraw", json=body)).json() == told
    other = {**body, "author": "Dorte"}
    assert_problem(await client.post(f"{MANUAL}/{item['id']}/withdraw", json=other), 409, "withdrawn by Carl")
    assert notes(connection) == []


async def test_the_same_again_is_no_new_version(client, connection):
    await add(client, DIAL)
    late = {**DIAL, "at": instant(AT + MINUTE)}
    assert await add(client, DIAL, late) == {
        "saved": 1,
        "unchanged": 1,
        "ids": [f"water:{unix_ms(at)}" for at in (AT, AT + MINUTE)],
    }
    assert notes(connection) == [("water", AT, AT), ("water", AT + MINUTE, AT + MINUTE)]
    assert [len(item["versions"]) for item in (await ask(client, MANUAL))["items"]] == [1, 1]


async def test_an_interval_meters_ticket(client, connection, site):
    apply_site_model(connection, _changed(site, water={"kind": MeterKind.INTERVAL, "interval": 86_400_000}))
    await add(client, {**DIAL, "at": "2026-03-03", "value": 12.5, "unit": "m3"})
    # The site's midnight ends the day that the ticket is about.
    assert notes(connection) == [("water", utc("2026-03-02T23:00:00"), utc("2026-03-02T23:00:00"))]


async def test_instants_are_kept_to_the_millisecond(client):
    told = await add(client, {**DIAL, "at": "2026-03-02T09:00:00.123999Z"})
    assert told["ids"] == [f"water:{unix_ms(AT) + 123}"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_readings_lose_nothing(client, store, limit):
    for i in range(6):
        store.read("water", AT + 2 * i * MINUTE, i)
        store.read("main", AT + 3 * i * MINUTE, i)
    await add(client, *({**DIAL, "at": instant(AT + i * MINUTE), "value": 100 + i} for i in range(0, 12, 3)))
    items, count = await pages(client, READINGS, **DAY, limit=limit)
    keys = [(item["at"], item["meter"]) for item in items]
    assert len(keys) == len(set(keys)) == 6 + 6 + 2
    assert [at for at, _ in keys] == sorted(at for at, _ in keys)
    assert count == -(-14 // limit)
    corrected = {item["at"]: item["value"] for item in items if item["author"]}
    assert corrected == {instant(AT + i * MINUTE): 100 + i for i in range(0, 12, 3)}
    assert sum(item["meter_said"] is not None for item in items) == 2


async def test_the_last_reading_may_be_a_persons(client, store, connection):
    (now,) = connection.execute("SELECT date_trunc('second', now())").fetchone()
    store.read("water", now - MINUTE, 1)
    store.read("main", now, 2)
    hour_ago = instant(now - timedelta(hours=1))
    await add(
        client,
        {**DIAL, "at": instant(now - MINUTE), "value": 10},
        {**DIAL, "meter": "main", "at": hour_ago},
        {**DIAL, "meter": "air", "at": instant(now - timedelta(days=20)), "value": 7},
        {**DIAL, "meter": "good-1", "at": hour_ago, "value": 7},
    )
    withdrawal = {"author": "Anna", "reason": "wrong"}
    key = f"good-1:{unix_ms(now - timedelta(hours=1))}"
    assert (await client.post(f"{MANUAL}/{key}/withdraw", json=withdrawal)).status_code == 200
    latest = {i["meter"]: i for i in (await ask(client, "/v1/sites/odense/meters/latest"))["items"]}
    assert [(latest[m]["value"], latest[m]["quality"]) for m in ("water", "main", "air", "good-1")] == [
        (10, "manual"),
        (2, "good"),
        (7, "manual"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meter": "none"}, "items.1.meter: there is no meter none"),
        ({"unit": "l"}, "items.1.unit: water is in m3"),
        ({"value": 4.6e9}, "items.1.value"),
        ({"value": None}, "items.1.value"),
        ({"value": "7"}, "items.1.value"),
        ({"at": instant(datetime.now(UTC) + timedelta(days=2))}, "items.1.at: lies beyond five minutes"),
        ({"at": "1999-06-01"}, "items.1.at: lies before the year 2000"),
        ({"at": "noon"}, "items.1.at"),
        ({"author": "\n"}, "items.1.author"),
        ({"reason": ""}, "items.1.reason"),
        ({"at": DIAL["at"]}, "items.1: water at 2026-03-02T09:00:00Z stands twice"),
    ],
)
async def test_all_or_none(client, connection, change, words):
    bad = {**DIAL, "at": instant(AT + MINUTE), "value": 5, **change}
    assert_problem(await client.post(MANUAL, json={"items": [DIAL, bad]}), 422, words)
    assert (await ask(client, MANUAL))["items"] == []
    assert notes(connection) == []


async def test_everything_that_is_wrong_is_told_at_once(client):
    items = [{**DIAL, "meter": "none"}, {**DIAL, "unit": "l"}, DIAL]
    response = await client.post(MANUAL, json={"items": items})
    assert_problem(response, 422, "nothing was stored")
    assert [fault["place"] for fault in response.json()["errors"]] == ["items.0.meter", "items.1.unit"]
    assert_problem(await client.post(MANUAL, json={"items": []}), 422)


@pytest.mark.parametrize(
    ("key", "status"), [("water:5", 404), ("none:5", 404), ("water", 422), ("water:9999999999999999999", 422)]
)
async def test_no_such_reading(client, key, status):
    body = {"author": "Anna", "reason": "wrong"}
    assert_problem(await client.post(f"{MANUAL}/{key}/withdraw", json=body), status)


async def test_others_readings_are_not_there(client, other_site):
    await add(client, DIAL)
    body = {"author": "Anna", "reason": "wrong"}
    assert_problem(await client.get("/v1/sites/aarhus/manual-readings"), 404)
    assert_problem(await client.post("/v1/sites/aarhus/manual-readings", json={"items": [DIAL]}), 404)
    assert_problem(await client.post(f"/v1/sites/aarhus/manual-readings/water:{unix_ms(AT)}/withdraw", json=body), 404)
