"""A site's own calendar through the API: fiscal years, shifts, and zones that do odd things to their clocks."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest

from api.site_model import apply_site_model
from tests.integration.api.conftest import SITE, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import CONSUMPTION, ask, pages

pytestmark = pytest.mark.stack

CALENDAR = """
  fiscal_year_start: 07-01
  holidays: [2026-12-25]
  shifts:
    - {id: early, name: Early shift, start: 06:00, end: 14:00, weekdays: [mon, tue, wed, thu, fri]}
    - {id: late, start: 14:00, end: 22:00, weekdays: [mon, tue, wed, thu, fri]}
    - {id: night, start: 22:00, end: 06:00, weekdays: [mon, tue, wed, thu, fri, sat]}
"""
WITH_CALENDAR = SITE.replace(
    "site: {id: odense, name: Odense, time_zone: Europe/Copenhagen}",
    "site:\n  id: odense\n  name: Odense\n  time_zone: Europe/Copenhagen" + CALENDAR,
)


@pytest.fixture
def calendar(connection, site) -> None:
    """The site has three shifts and a fiscal year from July."""
    apply_site_model(connection, site_model(WITH_CALENDAR))


async def test_the_site_shows_its_calendar(client, calendar):
    site = (await client.get("/v1/sites/odense")).json()
    assert (site["fiscal_year_start"], site["holidays"]) == ("07-01", ["2026-12-25"])
    assert site["shifts"][0] == {
        "id": "early",
        "name": "Early shift",
        "start": "06:00",
        "end": "14:00",
        "weekdays": ["mon", "tue", "wed", "thu", "fri"],
    }
    assert (await client.get("/v1/sites")).json()["items"] == [site]
    told = (await client.get("/v1/sites/odense/model")).json()
    assert told["site"] == site
    told["site"]["shifts"].pop()
    assert (await client.put("/v1/sites/odense/model", json=told)).status_code == 200
    assert (await client.get("/v1/sites/odense/model")).json() == told


async def test_shifts_that_overlap_are_refused(client, calendar):
    told = (await client.get("/v1/sites/odense/model")).json()
    told["site"]["shifts"][0]["end"] = "15:00"
    assert_problem(await client.put("/v1/sites/odense/model", json=told), 409, "late (14:00–22:00) overlaps early")
    told["site"]["fiscal_year_start"] = "02-29"
    assert_problem(await client.put("/v1/sites/odense/model", json=told), 422, "02-29 is not in every year")


def test_the_database_holds_no_other_fiscal_year(connection, site):
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE site SET fiscal_year_start = '02-29'")


async def test_fiscal_years(client, store, calendar):
    store.consume("main", utc("2025-06-30T21:00:00"), [1] * 8)
    page = await ask(client, CONSUMPTION, meter="main", start="2024-07-01", to="2026-07-01", by="fiscal_year")
    assert [(i["from"], i["to"], i["total"]) for i in page["items"]] == [
        ("2024-06-30T22:00:00Z", "2025-06-30T22:00:00Z", 4),
        ("2025-06-30T22:00:00Z", "2026-06-30T22:00:00Z", 4),
    ]


async def test_shifts_carry_name_and_working_day(client, store, calendar):
    # From Thursday noon to Saturday noon.
    store.consume("main", utc("2026-01-08T11:00:00"), [1] * 192)
    page = await ask(
        client, CONSUMPTION, meter="main", start="2026-01-08T11:00:00Z", to="2026-01-10T11:00:00Z", by="shift"
    )
    assert [(i["shift"], i["shift_name"], i["working_day"], i["total"]) for i in page["items"]] == [
        ("early", "Early shift", "2026-01-08", 8),
        ("late", "late", "2026-01-08", 32),
        ("night", "night", "2026-01-08", 32),
        ("early", "Early shift", "2026-01-09", 32),
        ("late", "late", "2026-01-09", 32),
        ("night", "night", "2026-01-09", 32),
        ("none", None, "2026-01-10", 24),
    ]
    assert page["items"][0]["from"] == "2026-01-08T11:00:00Z"


@pytest.mark.parametrize(("day", "night"), [("2026-03-28", 28), ("2025-10-25", 36)])
async def test_a_night_shift_has_the_quarters_that_it_has(client, store, calendar, day, night):
    store.consume("main", utc(f"{day}T12:00:00"), [1] * 96)
    following = str((utc(f"{day}T00:00:00") + timedelta(days=1)).date())
    page = await ask(client, CONSUMPTION, meter="main", start=day, to=f"{following}T10:00:00Z", by="shift")
    (item,) = [i for i in page["items"] if (i["shift"], i["working_day"]) == ("night", day)]
    assert (item["total"], item["coverage"]) == (night, 1)


async def test_a_site_without_shifts_says_so(client, store):
    for path in (CONSUMPTION, "/v1/sites/odense/balance"):
        response = await client.get(path, params={"from": "2026-01-05", "to": "2026-01-06", "by": "shift"})
        assert_problem(response, 422, "site.shifts")


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Copenhagen", "2025-10-26T01:00:00"),
        ("Pacific/Apia", "2011-12-30T10:00:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00"),
        ("America/St_Johns", "2010-11-07T02:30:00"),
        ("Asia/Kathmandu", "2026-06-30T18:15:00"),
        ("America/Havana", "2026-03-08T05:00:00"),
    ],
)
@pytest.mark.parametrize("limit", [3, 10_000])
async def test_any_buckets_sum_up_to_the_period(client, store, calendar, zone, change, limit):
    store.connection.execute("UPDATE site SET time_zone = %s", [zone])
    first = utc(change) - timedelta(hours=30)
    store.consume("main", first, list(range(1, 241)))
    store.consume("water", first, [None] * 5 + [1] * 100)
    start, to = ((first + timedelta(minutes=m)).isoformat().replace("+00:00", "Z") for m in (30, 57 * 60))
    expected = sum(range(3, 229)) + 100
    for by in ("quarter", "hour", "day", "week", "month", "year", "fiscal_year", "shift"):
        items, _ = await pages(client, CONSUMPTION, start=start, to=to, by=by, limit=limit, meter=["main", "water"])
        assert sum(i["total"] or 0 for i in items) == expected, by
        keys = [(i["from"], i["meter"]) for i in items]
        assert keys == sorted(set(keys)), by
        main = [i for i in items if i["meter"] == "main"]
        assert (main[0]["from"], main[-1]["to"]) == (start, to), by
        assert all(one["to"] == other["from"] for one, other in pairwise(main)), by
        assert {i["coverage"] for i in main} == {1}, by
