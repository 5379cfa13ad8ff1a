"""Open quarters on the real TimescaleDB: raw readings tell what the roll-up will write."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from api import open_quarters, open_readings
from api.said import unix_ms
from api.site_model import apply_site_model
from collector.rollup import roll_up_once
from tests.integration.api.conftest import SITE, site_model, utc
from tests.integration.api.test_consumption_routes import CONSUMPTION, ask, pages

pytestmark = pytest.mark.stack

T0 = utc("2025-06-02T04:00:00")
MINUTE, QUARTER, DAY = timedelta(minutes=1), timedelta(minutes=15), timedelta(days=1)
OPEN = T0 + 12 * QUARTER
"""The roll-up has written the three hours before."""
MORE = """
  - {id: nasty, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, register_width: 1000, rated_maximum: 100,
     dip_window: 20min, max_gap: 20min, frozen_after: 12min}
  - {id: slow, agent: cabinet-1, resource: water, unit: l, kind: counter, max_gap: 2h}
  - {id: interval, agent: cabinet-1, resource: energy, unit: kWh, kind: interval, interval: 20min}
  - {id: rate, agent: cabinet-1, resource: energy, unit: kW, kind: rate, max_gap: 40min}
virtual_meters:
  - {id: both, resource: energy, unit: kWh, terms: {power-1: 1, power-2: -0.5}}
"""


@pytest.fixture
def read(store):
    """Stores readings of a meter, (instant, value) each."""
    apply_site_model(store.connection, site_model(SITE + MORE.lstrip("\n")))

    def put(meter: str, readings: list[tuple[datetime, float]]) -> None:
        number = store.number(meter)
        with store.connection.cursor() as cursor:
            cursor.executemany("INSERT INTO reading VALUES (%s, %s, %s, 0)", [(number, *one) for one in readings])

    return put


def line(start: datetime, count: int, *, value: float = 100.0, step: float = 0.7) -> list[tuple[datetime, float]]:
    """A reading a minute of a meter that counts on."""
    return [(start + i * MINUTE, round(value + i * step, 6)) for i in range(count)]


def roll_up(connection, to: datetime) -> None:
    """Write the quarters before that instant, a quarter's end."""
    roll_up_once(connection, due_ms=unix_ms(to))


async def told(client, **query) -> list[dict[str, Any]]:
    """Every quarter of the two days around, of all meters unless it says otherwise."""
    query = {"start": T0.isoformat(), "to": (T0 + 2 * DAY).isoformat(), "by": "quarter", **query}
    items, _ = await pages(client, CONSUMPTION, **query)
    return items


def split(items: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """What stands, and what is provisional; without that word."""
    parts: tuple[list[Any], list[Any]] = ([], [])
    for item in items:
        parts[item["provisional"]].append({name: value for name, value in item.items() if name != "provisional"})
    return parts


async def stays(client, connection) -> list[dict[str, Any]]:
    """The provisional items, of which none changes when the roll-up gets there."""
    stored, open_ones = split(await told(client))
    assert all(item["to"] <= f"{OPEN:%Y-%m-%dT%H:%M:%SZ}" for item in stored)
    roll_up(connection, OPEN + DAY)
    later, still_open = split(await told(client))
    assert still_open == []
    # How a meter's last complete quarter ended may be told only later.
    assert [item for item in later if item["from"] >= f"{OPEN:%Y-%m-%dT%H:%M:%SZ}"] == open_ones
    return open_ones


async def test_open_quarters_are_told_as_the_roll_up_writes_them_later(client, store, read):
    read("main", line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)
    open_ones = await stays(client, store.connection)
    assert [float(item["total"]) for item in open_ones] == [10.5, 10.5, pytest.approx(9 * 0.7)]
    assert [float(item["coverage"]) for item in open_ones] == [1, 1, pytest.approx(9 / 15)]


async def test_a_dip_in_an_open_quarter_counts_nothing_twice(client, store, read):
    readings = line(T0, 12 * 15 + 40)
    for i in (185, 186, 187):
        readings[i] = (readings[i][0], 3.0)
    read("main", readings)
    roll_up(store.connection, OPEN)
    open_ones = await stays(client, store.connection)
    assert float(sum(item["total"] for item in open_ones)) == pytest.approx(39 * 0.7)
    assert store.connection.execute("SELECT kind FROM meter_event").fetchall() == [("dip",)]


async def test_a_fall_that_may_yet_come_back_counts_nothing_so_far(client, store, read, monkeypatch):
    readings = line(T0, 12 * 15 + 20)
    read("main", [*readings[:190], *((at, 3.0 + i) for i, (at, _) in enumerate(readings[190:]))])
    roll_up(store.connection, OPEN)
    monkeypatch.setattr(open_quarters, "_LONGEST_MS", 20 * 60_000)
    (item,) = split(await told(client))[1]
    assert float(item["total"]) == pytest.approx(9 * 0.7)
    monkeypatch.undo()
    # An hour later it is known for a reset.
    first, second = split(await told(client))[1]
    assert float(first["total"]) == pytest.approx(9 * 0.7 + 3 + 5)
    assert second["total"] == 4
    await stays(client, store.connection)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_meters_say_the_numbers_stay(client, store, read, seed):
    rng = random.Random(seed)
    for meter, cadence in (("main", 1), ("nasty", 3), ("slow", 35), ("interval", 20), ("rate", 7)):
        at, value = T0 + rng.choice([0, 0, 1234]) * timedelta(milliseconds=1), 990.0 if meter == "nasty" else 100.0
        readings = []
        while at < OPEN + 4 * QUARTER:
            value = 1.0 if rng.random() < 0.03 else round((value + rng.choice([0, 1, 1]) * rng.random() * 5) % 1000, 2)
            glitch = rng.choice([0.0, value + 400, value - 1, -2.0]) if rng.random() < 0.05 else value
            readings.append((at, glitch))
            at += cadence * MINUTE * (rng.choice([1, 1, 1, 1, 1, 12]) if meter != "interval" else rng.choice([1, 1, 2]))
        read(meter, readings)
    roll_up(store.connection, OPEN)
    open_ones = await stays(client, store.connection)
    assert {"main", "nasty", "interval"} <= {item["meter"] for item in open_ones}


async def test_what_people_said_counts_in_open_quarters(client, store, read):
    read("main", line(T0, 12 * 15 + 40))
    read("power-1", line(T0, 12 * 15 + 5))
    read("nasty", line(T0, 12 * 15 + 10))
    roll_up(store.connection, OPEN)
    run = store.connection.execute
    # A dial that was read, of which an earlier version said something else; a meter that was exchanged; a reading that
    # a person had set aside.
    for value in (1.0, 500.0):
        run(
            "INSERT INTO manual_reading (meter_id, at, value, author, reason) VALUES (%s, %s, %s, 'kim', 'round')",
            [store.number("main"), OPEN + 45 * MINUTE, value],
        )
    run(
        "INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason) "
        "VALUES (%s, %s, 300, 0, 'kim', 'worn')",
        [store.number("power-1"), OPEN + 10 * MINUTE],
    )
    run(
        "INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason) "
        "VALUES (%s, 'spike', %s, %s, 'overruled', 'set_aside', 'kim', 'no')",
        [store.number("nasty"), OPEN + 9 * MINUTE, OPEN + 9 * MINUTE],
    )
    open_ones = await stays(client, store.connection)
    totals = {key: sum(i["total"] for i in open_ones if i["meter"] == key) for key in ("main", "power-1", "nasty")}
    assert float(totals["main"]) == pytest.approx(500 - (100 + 180 * 0.7))
    assert float(totals["power-1"]) == pytest.approx(300 - (100 + 180 * 0.7))
    assert float(totals["nasty"]) == pytest.approx(8 * 0.7)


@pytest.mark.parametrize("days", [1, 3])
async def test_a_meter_that_was_silent_goes_on_from_its_last_reading(client, store, read, days):
    read("slow", line(T0 - days * DAY, 30))
    read("main", line(T0, 12 * 15))
    roll_up(store.connection, OPEN)
    read("slow", [(OPEN + 5 * MINUTE, 1100.0), (OPEN + 10 * MINUTE, 1110.0)])
    before, open_ones = split(await told(client, meter="slow"))
    assert before == []
    (item,) = open_ones
    silence = OPEN + 5 * MINUTE - (T0 - days * DAY + 29 * MINUTE)
    estimated = (1100 - 120.3) / 1000 * (5 * MINUTE / silence)
    assert float(item["estimated"]) == pytest.approx(estimated, abs=1e-9)
    assert float(item["measured"]) == 0.01
    roll_up(store.connection, OPEN + DAY)
    later = {i["from"]: i for i in await told(client, meter="slow")}
    assert later[item["from"]] == {**item, "provisional": False}


async def test_a_meter_that_speaks_for_the_first_time_is_told(client, store, read):
    read("main", line(T0, 12 * 15))
    roll_up(store.connection, OPEN)
    read("water", line(OPEN + 3 * MINUTE, 6))
    (item,) = await stays(client, store.connection)
    assert (item["meter"], float(item["total"])) == ("water", 3.5)
    assert float(item["coverage"]) == pytest.approx(1 / 3)


async def test_a_virtual_meter_is_told_of_quarters_that_all_of_its_meters_know(client, store, read):
    read("power-1", line(T0, 12 * 15 + 25))
    read("power-2", line(T0, 12 * 15 + 10, step=0.2))
    roll_up(store.connection, OPEN)
    (item,) = split(await told(client, meter="both"))[1]
    assert float(item["total"]) == pytest.approx(15 * 0.7 - 9 * 0.2 / 2)
    assert float(item["coverage"]) == pytest.approx(9 / 15)


@pytest.mark.parametrize("by", ["hour", "day", "month"])
async def test_a_bucket_adds_what_stands_and_what_is_open(client, store, read, by):
    read("main", line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)
    items = await told(client, meter="main", by=by)
    assert float(sum(i["total"] or 0 for i in items)) == pytest.approx((12 * 15 + 39) * 0.7)
    assert [i["provisional"] for i in items] == [i["to"] > f"{OPEN:%Y-%m-%dT%H:%M:%SZ}" for i in items]
    paged, count = await pages(
        client, CONSUMPTION, meter="main", by=by, start=T0.isoformat(), to=(T0 + 2 * DAY).isoformat(), limit=1
    )
    assert (paged, count) == (items, len(items))


async def test_a_quarter_that_is_completed_meanwhile_is_told_once(client, store, read, monkeypatch):
    read("main", line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)
    before = await told(client, meter="main", by="day")
    read_raw = open_readings.read_raw

    async def slow(*args, **kwargs):
        raw = await read_raw(*args, **kwargs)
        roll_up(store.connection, OPEN + DAY)
        return raw

    monkeypatch.setattr(open_readings, "read_raw", slow)
    assert await told(client, meter="main", by="day") == before


async def test_a_period_that_is_complete_looks_at_no_reading(client, store, read, monkeypatch):
    read("main", line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)

    async def refuse(*_, **__):
        raise AssertionError("readings were looked at")

    monkeypatch.setattr(open_readings, "read_meters", refuse)
    page = await ask(client, CONSUMPTION, start=T0.isoformat(), to=OPEN.isoformat(), by="hour", meter="main")
    assert [item["provisional"] for item in page["items"]] == [False] * 3


async def test_readings_that_take_too_long_leave_open_quarters_unknown(client, store, read, monkeypatch):
    read("main", line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)
    monkeypatch.setattr(open_readings, "_PATIENCE_MS", 100)
    with store.connection.transaction():
        store.connection.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        stored, open_ones = split(await told(client, meter="main"))
        (day,) = (await ask(client, CONSUMPTION, start="2025-06-02", to="2025-06-03", meter="main"))["items"]
    assert (len(stored), open_ones) == (12, [])
    assert day["provisional"] is True
    assert float(day["total"]) == pytest.approx(180 * 0.7)


async def test_a_roll_up_that_lags_by_days_leaves_the_rest_unknown(client, store, read):
    read("main", [(T0 + i * QUARTER, float(i)) for i in range(3 * 96)])
    roll_up(store.connection, OPEN)
    items = await told(client, meter="main", to=(T0 + 3 * DAY).isoformat())
    assert sum(i["total"] for i in items) == 12 + 96 - 1


async def test_more_meters_than_are_told_at_once(client, store, read, monkeypatch):
    for meter in ("main", "water"):
        read(meter, line(T0, 12 * 15 + 40))
    roll_up(store.connection, OPEN)
    monkeypatch.setattr(open_quarters, "MOST_METERS", 1)
    assert {item["meter"] for item in split(await told(client))[1]} == {"main"}
