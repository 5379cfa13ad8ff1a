"""Readings, consumption, runs and production on the real TimescaleDB."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from api.cursor import encode_cursor
from tests.integration.api.conftest import utc

pytestmark = pytest.mark.stack

CONSUMPTION = "/v1/sites/odense/consumption"


async def ask(client, path, **query) -> Any:
    if "start" in query:
        query["from"] = query.pop("start")
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


async def pages(client, path, **query) -> tuple[list[Any], int]:
    """All items, page by page, and how many pages there were."""
    items, count, cursor = [], 0, None
    while cursor or not count:
        page = await ask(client, path, **query, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor, count = page["next"], count + 1
    return items, count


@pytest.mark.parametrize(
    ("day", "quarters", "first"),
    [
        ("2026-03-29", 92, "2026-03-28T23:00:00"),
        ("2026-06-01", 96, "2026-05-31T22:00:00"),
        ("2025-10-26", 100, "2025-10-25T22:00:00"),
    ],
)
async def test_a_day_has_the_quarters_that_it_has_in_the_sites_zone(client, store, day, quarters, first):
    store.consume("main", utc(first) - timedelta(days=1), [1] * 300)
    following = str((utc(f"{day}T00:00:00") + timedelta(days=1)).date())
    page = await ask(client, CONSUMPTION, meter="main", start=day, to=following, by="day")
    (item,) = page["items"]
    assert (item["total"], item["coverage"], item["from"]) == (quarters, 1, f"{first}Z")
    (whole,) = (await ask(client, CONSUMPTION, meter="main", start=day, to=following, by="month"))["items"]
    assert (whole["from"], whole["to"], whole["total"]) == (item["from"], item["to"], quarters)


async def test_numbers_are_exact(client, store):
    store.consume("main", utc("2026-01-05T00:00:00"), [Decimal("8999999999.999999999"), Decimal("0.000000001")])
    page = await ask(client, CONSUMPTION, meter="main", start="2026-01-05", to="2026-01-06", by="quarter")
    assert [item["total"] for item in page["items"]] == [Decimal("8999999999.999999999"), Decimal("0.000000001")]
    (day,) = (await ask(client, CONSUMPTION, meter="main", start="2026-01-05", to="2026-01-06"))["items"]
    assert day["total"] == 9_000_000_000


async def test_measured_estimated_and_coverage(client, store):
    store.consume("water", utc("2026-01-05T10:00:00"), [3, 3], estimated=1, covered_ms=450_000)
    (item,) = (
        await ask(
            client, CONSUMPTION, start="2026-01-05T10:00:00Z", to="2026-01-05T11:00:00Z", resource="water", by="day"
        )
    )["items"]
    assert item == {
        "meter": "water",
        "resource": "water",
        "unit": "m3",
        "from": "2026-01-05T10:00:00Z",
        "to": "2026-01-05T11:00:00Z",
        "total": 8,
        "measured": 6,
        "estimated": 2,
        "coverage": Decimal("0.25"),
        "estimated_share": Decimal("0.25"),
        "provisional": True,
    }


async def test_days_without_rows_are_told_as_unknown_not_as_zero(client, store):
    store.consume("main", utc("2026-01-05T12:00:00"), [1])
    page = await ask(client, CONSUMPTION, meter="main", start="2026-01-05", to="2026-01-08")
    assert [(i["total"], i["coverage"]) for i in page["items"]] == [
        (1, pytest.approx(Decimal(1) / 96)),
        (None, 0),
        (None, 0),
    ]
    hours = await ask(client, CONSUMPTION, meter="main", start="2026-01-05", to="2026-01-08", by="hour")
    assert [i["from"] for i in hours["items"]] == ["2026-01-05T12:00:00Z"]


@pytest.mark.parametrize("by", ["quarter", "hour", "day", "week", "month", "year"])
@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_pages_and_buckets_lose_nothing(client, store, by, limit):
    # Three days around a change of clocks, a week's, a month's and a year's end, beginning within an hour.
    store.consume("main", utc("2025-12-30T22:15:00"), [1] * 20 + [None] * 3 + [2] * 20)
    store.consume("water", utc("2025-12-31T02:00:00"), [1] * 20)
    start, to = "2025-12-30T22:30:00Z", "2026-01-01T10:40:00Z"
    items, count = await pages(client, CONSUMPTION, start=start, to=to, by=by, limit=limit, meter=["main", "water"])
    assert count == (-(-len(items) // limit) or 1)
    assert sum(i["total"] or 0 for i in items) == 19 + 40 + 20
    keys = [(i["from"], i["meter"]) for i in items]
    assert keys == sorted(set(keys))
    assert all(start <= i["from"] < i["to"] <= to for i in items)


@pytest.mark.parametrize("by", ["quarter", "hour", "day", "week"])
async def test_pages_lose_nothing_where_the_database_sorts_otherwise(client, store, by):
    # ICU puts `_` before `-` and before letters; Python puts it between digits and letters.
    for old, new in (("good-1", "power_1"), ("scrap-1", "power1"), ("good-2", "powera"), ("air", "p_x")):
        store.connection.execute("UPDATE meter SET key = %s WHERE key = %s", [new, old])
    for table in ("meter", "site", "line", "product", "agent"):
        store.connection.execute(f'ALTER TABLE {table} ALTER COLUMN key TYPE text COLLATE "en-x-icu"')
    keys = [key for (key,) in store.connection.execute("SELECT key FROM meter ORDER BY key").fetchall()]
    assert keys != sorted(keys)
    for key in keys:
        store.consume(key, utc("2026-01-05T10:00:00"), [1])
    items, _ = await pages(client, CONSUMPTION, start="2026-01-05", to="2026-01-06", by=by, limit=1)
    assert [item["meter"] for item in items] == sorted(keys)


async def test_a_cursor_near_the_end_of_a_long_period_costs_nothing(client, store):
    store.consume("main", utc("2200-12-30T12:00:00"), [1])
    query = {"start": "1990-01-01", "to": "2200-12-31", "by": "day", "meter": ["main", "water"]}
    near = encode_cursor(utc("2200-12-28T23:00:00"), "water")
    before = time.thread_time()
    page = await ask(client, CONSUMPTION, **query, cursor=near)
    assert time.thread_time() - before < 0.3
    assert [(i["from"], i["meter"], i["total"]) for i in page["items"]] == [
        ("2200-12-29T23:00:00Z", "main", 1),
        ("2200-12-29T23:00:00Z", "water", None),
    ]
    for beyond in (utc("2200-12-31T00:00:00"), utc("9999-12-31T23:59:59")):
        assert (await ask(client, CONSUMPTION, **query, cursor=encode_cursor(beyond, "main")))["items"] == []


async def test_both_two_o_clocks_of_october_are_hours_of_their_own(client, store):
    store.consume("main", utc("2025-10-26T00:00:00"), [1] * 8)
    page = await ask(client, CONSUMPTION, meter="main", start="2025-10-26", to="2025-10-27", by="hour")
    assert [(i["from"], i["total"]) for i in page["items"]] == [
        ("2025-10-26T00:00:00Z", 4),
        ("2025-10-26T01:00:00Z", 4),
    ]


async def test_a_plus_sign_in_an_address_may_stand_as_it_is(client, store):
    store.consume("main", utc("2026-01-05T12:00:00"), [1])
    response = await client.get(f"{CONSUMPTION}?by=hour&from=2026-01-05T13:00:00+01:00&to=2026-01-05T14:00:00%2B01:00")
    assert [item["total"] for item in response.json()["items"]] == [1]


async def test_readings_by_instant_and_meter(client, store):
    start = utc("2026-01-05T00:00:00")
    for i in range(5):
        store.read("main", start + i * timedelta(microseconds=1000), i + 0.5)
        store.read("water", start + i * timedelta(microseconds=1000), -i, quality=1)
    items, count = await pages(client, "/v1/sites/odense/readings", start="2026-01-05", to="2026-01-06", limit=3)
    assert (len(items), count) == (10, 4)
    said = {"meter": "main", "at": "2026-01-05T00:00:00.001Z", "value": Decimal("1.5"), "quality": "good"}
    assert items[2] == {**said, "author": None, "reason": None, "meter_said": None}
    assert items[3]["quality"] == "estimated"
    alone, _ = await pages(client, "/v1/sites/odense/readings", start="2026-01-05", to="2026-01-06", meter="main")
    assert [item["value"] for item in alone] == [Decimal(f"{i}.5") for i in range(5)]


async def test_runs_that_touch_the_period(client, store):
    store.run("line-1", "before", "running", utc("2026-01-04T00:00:00"), utc("2026-01-05T00:00:00"), "bolt")
    store.run("line-1", "into", "running", utc("2026-01-05T22:00:00"), utc("2026-01-06T06:00:00"), "bolt")
    store.run("line-1", "forgotten", "idle", utc("2026-01-06T06:00:00"), None)
    store.run("line-1", "open", "idle", utc("2026-01-06T07:00:00"), None)
    store.run("line-2", "other", "running", utc("2026-01-06T07:00:00"), utc("2026-01-06T08:00:00"), "nut")
    path, period = "/v1/sites/odense/runs", {"start": "2026-01-06", "to": "2026-01-07"}
    items, _ = await pages(client, path, **period, limit=1)
    assert [item["run"] for item in items] == ["into", "forgotten", "open", "other"]
    assert items[0] == {
        "line": "line-1",
        "run": "into",
        "state": "running",
        "product": "bolt",
        "order": None,
        "from": "2026-01-05T22:00:00Z",
        "to": "2026-01-06T06:00:00Z",
    }
    assert [i["run"] for i in (await ask(client, path, **period, line="line-2"))["items"]] == ["other"]
    later = await ask(client, path, start="2026-01-08", to="2026-01-09")
    assert [item["run"] for item in later["items"]] == ["open"]


async def test_production_by_line_and_product(client, store):
    start = utc("2026-01-05T00:00:00")
    store.run("line-1", "a", "running", start, start + timedelta(minutes=20), "bolt")
    store.run("line-1", "b", "running", start + timedelta(minutes=20), start + timedelta(minutes=30), "nut")
    store.consume("good-1", start, [30, 90, 7])
    store.consume("scrap-1", start, [10])
    store.run("line-2", "c", "running", start, start + timedelta(minutes=15), "nut")
    store.consume("good-2", start, [5])
    path, period = "/v1/sites/odense/production", {"start": "2026-01-05", "to": "2026-01-06"}
    rows = {(i["line"], i["product"]): (i["good"], i["scrap"]) for i in (await ask(client, path, **period))["items"]}
    assert rows == {
        ("line-1", "bolt"): (60, 10),
        ("line-1", "nut"): (60, 0),
        ("line-1", None): (7, 0),
        ("line-2", "nut"): (5, 0),
    }
    items = (await ask(client, path, **period, by="product"))["items"]
    assert {i["product"]: i["good"] for i in items} == {None: 7, "bolt": 60, "nut": 65}
