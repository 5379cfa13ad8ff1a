"""Exchanges of meters: recorded ahead or afterwards, corrected, taken back, and never forgotten."""

from __future__ import annotations

import json
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

EXCHANGES = "/v1/sites/odense/exchanges"
AT = utc("2026-03-02T09:00:00")
RECORD = {
    "meter": "main",
    "at": "2026-03-02T10:00:00+01:00",
    "last_old": 1010.5,
    "first_new": 0,
    "author": "Anna",
    "reason": "calibration was due",
}
KEY = f"main:{unix_ms(AT)}"


async def record(client, **change) -> dict[str, Any]:
    response = await client.post(EXCHANGES, json={**RECORD, **change})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def test_recorded_afterwards(client, connection):
    told = await record(client)
    version = {"last_old": 1010.5, "first_new": 0.0, "author": "Anna", "reason": "calibration was due"}
    recorded_at = told.pop("recorded_at")
    assert told == {
        **version,
        "id": KEY,
        "meter": "main",
        "at": "2026-03-02T09:00:00Z",
        "unit": "kWh",
        "is_withdrawn": False,
        "versions": [{**version, "recorded_at": recorded_at}],
    }
    assert notes(connection) == [("main", AT, AT)]


async def test_recorded_ahead_the_rollup_meets_it_by_itself(client, connection):
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=300)
    told = await record(client, at=instant(ahead))
    assert told["at"] == instant(ahead)
    assert notes(connection) == []


async def test_corrected_and_taken_back_in_versions(client, connection):
    await record(client)
    told = await record(client, last_old=1011, reason="a digit was wrong")
    assert (told["last_old"], len(told["versions"])) == (1011, 2)
    body = {"author": "Bo", "reason": "another meter"}
    response = await client.post(f"{EXCHANGES}/{KEY}/withdraw", json=body)
    told = response.json()
    assert (told["is_withdrawn"], told["last_old"], told["first_new"], told["author"]) == (True, None, None, "Bo")
    assert [(v["last_old"], v["author"]) for v in told["versions"]] == [(1010.5, "Anna"), (1011, "Anna"), (None, "Bo")]
    assert notes(connection) == [("main", AT, AT)] * 3
    assert (await ask(client, EXCHANGES))["items"] == [told]
    # The same word again is no new version; another's is not swallowed.
    assert (await client.post(f"{EXCHANGES}/{KEY}/withdraw", json=body)).json() == told
    refused = await client.post(f"{EXCHANGES}/{KEY}/withdraw", json={**body, "author": "Carl"})
    assert_problem(refused, 409, "withdrawn by Bo")
    assert notes(connection) == []
    assert (await record(client))["is_withdrawn"] is False


async def test_the_same_again_is_no_new_version(client, connection):
    first = await record(client)
    assert await record(client) == first
    assert notes(connection) == [("main", AT, AT)]
    assert len((await record(client, author="Bo"))["versions"]) == 2


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_lists_by_meter_and_period(client, limit):
    at = [AT + timedelta(days=i) for i in range(3)]
    for day in at:
        for meter in ("main", "water"):
            for last_old in (5, 6):
                await record(client, meter=meter, at=instant(day), last_old=last_old)
    items, count = await pages(client, EXCHANGES, limit=limit)
    assert count == -(-6 // limit)
    assert [item["at"] for item in items] == [instant(day) for day in reversed(at) for _ in range(2)]
    assert all(len(item["versions"]) == 2 and item["last_old"] == 6 for item in items)
    assert len({item["id"] for item in items}) == 6
    some = await ask(client, EXCHANGES, meter="water", start=instant(at[1]), to=instant(at[2]))
    assert [item["id"] for item in some["items"]] == [f"water:{unix_ms(at[1])}"]


@pytest.mark.parametrize("kind", [MeterKind.RATE, MeterKind.INTERVAL])
async def test_only_counters_have_registers(client, connection, site, kind):
    unit = {"unit": "m3/h"} if kind is MeterKind.RATE else {"interval": 900_000}
    apply_site_model(connection, _changed(site, water={"kind": kind, **unit}))
    assert_problem(await client.post(EXCHANGES, json={**RECORD, "meter": "water"}), 409, f"a meter of kind {kind}")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"meter": "none"}, 404, "meter"),
        ({"meter": "nul\u0000"}, 422, "meter"),
        ({"at": "2026-03-02T10:00:00"}, 422, "offset"),
        ({"at": "1999-12-31T23:59:59Z"}, 422, "2000"),
        ({"at": instant(datetime.now(UTC) + timedelta(days=370))}, 422, "a year from now"),
        ({"at": 1772442000000}, 422, "at"),
        ({"last_old": None}, 422, "last_old"),
        ({"last_old": "12"}, 422, "last_old"),
        ({"last_old": True}, 422, "last_old"),
        ({"first_new": 4.6e9}, 422, "more than any meter counts"),
        ({"first_new": 10**400}, 422, "first_new"),
        ({"author": ""}, 422, "author"),
        ({"reason": "…"}, 422, "reason"),
        ({"extra": 1}, 422, "extra"),
    ],
)
async def test_what_is_refused_changes_nothing(client, connection, change, status, words):
    assert_problem(await client.post(EXCHANGES, json={**RECORD, **change}), status, words)
    assert (await ask(client, EXCHANGES))["items"] == []
    assert notes(connection) == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_what_is_no_number_is_refused(client, value):
    body = json.dumps({**RECORD, "last_old": 0}).replace('"last_old": 0', f'"last_old": {value}')
    response = await client.post(EXCHANGES, content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "last_old")


@pytest.mark.parametrize(("key", "status"), [("main:5", 404), ("none:5", 404), ("main", 422), ("main:x", 422)])
async def test_no_such_record(client, key, status):
    body = {"author": "Anna", "reason": "wrong"}
    assert_problem(await client.post(f"{EXCHANGES}/{key}/withdraw", json=body), status)


async def test_others_records_are_not_there(client, other_site):
    await record(client)
    body = {"author": "Anna", "reason": "wrong"}
    assert_problem(await client.get("/v1/sites/aarhus/exchanges"), 404)
    assert_problem(await client.post("/v1/sites/aarhus/exchanges", json=RECORD), 404)
    assert_problem(await client.post(f"/v1/sites/aarhus/exchanges/{KEY}/withdraw", json=body), 404)
