"""What is kept of an attribution by day and month is what quarters give, for any period and after any change."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from api.attribution import store as kept_store
from api.attribution.keeper import due_sites, keep_site
from api.attribution.loader import attribute_buckets, attribute_period
from api.attribution.model import load_model
from api.attribution.rebuild import rebuild
from api.calendar.clock import Period
from api.indicators.balances import balances
from api.problems import ProblemError
from api.site_model import apply_site_model
from api.site_store import find_site
from tests.integration.api.conftest import SITE, Store, site_model

ZONE = ZoneInfo("Europe/Copenhagen")
FIRST = datetime(2025, 1, 30, 10, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
COUNT = 40 * 96
METERS = ("main", "power-1", "power-2", "air", "water", "good-1", "scrap-1", "good-2")


@pytest.fixture
async def api_connection(database_url):
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c timezone=UTC"
    )
    async with connection:
        yield connection


@pytest.fixture
async def place(api_connection, site):
    (row,) = await (await api_connection.execute("SELECT id FROM organisation WHERE key = 'acme'")).fetchall()
    return await find_site(api_connection, "odense", organisation_id=row["id"], organisation="acme")


@pytest.fixture
def factory(store: Store) -> Store:
    """Forty days from the end of January to March, with gaps, estimates and runs at odd minutes."""
    rng = random.Random(4)
    with store.connection.cursor() as cursor:
        for meter in METERS:
            number, size = store.number(meter), 8.0 if meter == "main" else 1.5
            rows = [
                (number, FIRST + i * QUARTER, int(rng.random() * size * 1e9), int((rng.random() < 0.1) * 3e8), 900_000)
                for i in range(COUNT)
                if rng.random() > 0.02
            ]
            with cursor.copy("COPY consumption FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
    for line, products in (("line-1", ("bolt", "nut")), ("line-2", ("nut",))):
        at, number = FIRST, 0
        while at < FIRST + COUNT * QUARTER:
            until = at + timedelta(minutes=rng.randrange(20, 2000))
            state = rng.choice(("running", "running", "changeover", "idle", "down"))
            product = rng.choice(products) if state == "running" else None
            if rng.random() > 0.1:
                store.run(line, f"{line}-{number}", state, at, until, product)
            at, number = until, number + 1
    return store


def sums(attributed, *, by_run=False) -> Counter[Any]:
    """All numbers of an attribution by what they are of; parts of one place are one."""
    found: Counter[Any] = Counter()
    attribution = attributed.attribution
    for part in (*attribution.parts, *attribution.production):
        key = (part.meter, part.line, part.slot.phase, part.slot.product, part.rule, part.run if by_run else None)
        found[*key, "measured"] += part.amount.measured
        found[*key, "estimated"] += part.amount.estimated
        found[*key, "otherwise"] += part.otherwise
    for hours in attribution.hours:
        found[hours.line, hours.slot.phase, hours.slot.product, hours.run if by_run else None] += hours.milliseconds
    for m in attribution.metered:
        found[m.meter, "counted"] += m.counted.total
        found[m.meter, "used"] += m.used.total
        found[m.meter, "covered"] += m.covered_ms
    for finding in attribution.findings:
        found[finding.kind, finding.meter] += finding.quarters
    return Counter({key: value for key, value in found.items() if value})


def local(text) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)


PERIODS = [
    ("2025-01-01", "2025-04-01"),
    ("2025-02-01", "2025-03-01"),
    ("2025-01-31T07:30", "2025-03-02T11:15"),
    ("2025-02-10T06:00", "2025-02-10T14:00"),
    ("2025-02-27", "2025-03-05"),
]


async def everything(connection, place, *, by_run=False) -> list[Counter[Any]]:
    found = []
    for start, end in PERIODS:
        period = Period(start=local(start), end=local(end), zone=ZONE)
        attributed = await attribute_period(connection, place, period, by_run=by_run)
        for balance in balances(attributed.attribution):
            assert balance.difference == 0
        found.append(sums(attributed, by_run=by_run))
    return found


async def keep_all(connection) -> int:
    return sum([(await keep_site(connection, site)).days for site in await due_sites(connection)])


async def test_what_is_kept_is_what_quarters_give(api_connection, place, factory):
    computed = await everything(api_connection, place)
    by_run = await everything(api_connection, place, by_run=True)
    assert await keep_all(api_connection) >= 41
    model = await load_model(api_connection, place)
    standing = await kept_store.standing(api_connection, model, date(2025, 1, 1), date(2025, 4, 1))
    assert date(2025, 2, 1) in standing.months
    assert date(2025, 2, 14) in standing.days
    assert await everything(api_connection, place) == computed
    assert await everything(api_connection, place, by_run=True) == by_run
    assert await keep_all(api_connection) == 0


async def test_buckets_add_up_to_their_period(api_connection, place, factory):
    await keep_all(api_connection)
    edges = [local(f"2025-{m:02}-01") for m in (1, 2, 3, 4)]
    months = await attribute_buckets(api_connection, place, edges)
    total: Counter[Any] = Counter()
    for month in months:
        total.update(sums(month))
    whole = await attribute_period(api_connection, place, Period(start=edges[0], end=edges[-1], zone=ZONE))
    assert total == sums(whole)


async def test_what_changes_is_seen_at_once_and_kept_anew(api_connection, place, factory):
    await keep_all(api_connection)
    before = await everything(api_connection, place)
    factory.connection.execute(
        "UPDATE consumption SET measured = measured + 1000000000 WHERE meter_id = %s AND quarter = %s",
        [factory.number("power-1"), utc_quarter("2025-02-12T09:00")],
    )
    factory.connection.execute(
        "INSERT INTO attribution_due (site_id, from_day, to_day) SELECT id, '2025-02-12', '2025-02-13' FROM site"
    )
    changed = await everything(api_connection, place)
    assert changed != before
    assert await keep_all(api_connection) == 1
    assert await everything(api_connection, place) == changed
    done = await rebuild(api_connection, place)
    assert (done.is_identical, done.days >= 41, done.rows > 1000) == (True, True, True)


async def test_a_run_that_is_told_late_changes_its_days_and_the_changeover_before_it(api_connection, place, factory):
    factory.connection.execute("DELETE FROM run WHERE line_id = (SELECT id FROM line WHERE key = 'line-1')")
    factory.run("line-1", "old", "running", local("2025-02-03T08:00"), local("2025-02-03T12:00"), "bolt")
    factory.run("line-1", "change", "changeover", local("2025-02-05T22:00"), local("2025-02-05T23:00"))
    factory.run("line-1", "far", "running", local("2025-02-20T08:00"), local("2025-02-20T12:00"), "bolt")
    await keep_all(api_connection)
    factory.run("line-1", "new", "running", local("2025-02-07T08:10"), local("2025-02-07T12:00"), "nut")
    computed = await everything(api_connection, place)
    assert 0 < await keep_all(api_connection) < 10
    assert await everything(api_connection, place) == computed
    night = Period(start=local("2025-02-05"), end=local("2025-02-06"), zone=ZONE)
    found = await attribute_period(api_connection, place, night)
    changeovers = {h.slot.product for h in found.attribution.hours if h.slot.phase == "changeover"}
    assert changeovers == {"nut"}
    factory.connection.execute("DELETE FROM run WHERE key = 'new'")
    assert {h.slot.product for h in (await attribute_period(api_connection, place, night)).attribution.hours} >= {
        "bolt"
    }
    assert (await rebuild(api_connection, place)).is_identical


async def test_another_model_shares_out_all_days_anew(api_connection, place, factory, database_url):
    await keep_all(api_connection)
    before = await everything(api_connection, place)
    with psycopg.connect(database_url, autocommit=True) as writer:
        apply_site_model(writer, site_model())
        assert await keep_all(api_connection) == 0
        other = SITE.replace("line-1: 3", "line-1: 1")
        apply_site_model(writer, site_model(other))
        changed = await everything(api_connection, place)
        assert changed != before
        assert await keep_all(api_connection) >= 41
        assert await everything(api_connection, place) == changed
        # A name moves nothing.
        apply_site_model(writer, site_model(other.replace("name: Line 1", "name: The first line")))
        assert await keep_all(api_connection) == 0


async def test_a_share_holds_from_its_day_on(api_connection, place, factory, database_url):
    dated = SITE.replace(
        "share: {by: fixed, weights: {line-1: 3, line-2: 1}}",
        "share: [{by: fixed, weights: {line-1: 1}}, {by: fixed, from: 2025-02-10, weights: {line-2: 1}}]",
    )
    with psycopg.connect(database_url, autocommit=True) as writer:
        apply_site_model(writer, site_model(dated))
    await keep_all(api_connection)
    for start, end, line in (("2025-02-01", "2025-02-10", "line-1"), ("2025-02-10", "2025-02-20", "line-2")):
        period = Period(start=local(start), end=local(end), zone=ZONE)
        found = await attribute_period(api_connection, place, period)
        assert {part.line for part in found.attribution.parts if part.meter == "air"} == {line}


def utc_quarter(text) -> datetime:
    return local(text)


async def test_years_that_nobody_keeps_are_refused_and_answered_once_they_are_kept(api_connection, place, store):
    store.consume("power-1", datetime(2020, 1, 1, tzinfo=UTC), [1.0, 2.0])
    ages = Period(start=local("1990-01-01"), end=local("2026-01-01"), zone=ZONE)
    with pytest.raises(ProblemError, match="afkobling attribute run"):
        await attribute_period(api_connection, place, ages)
    assert await keep_all(api_connection) > 2000
    found = await attribute_period(api_connection, place, ages)
    assert sum(part.amount.total for part in found.attribution.parts) == 3_000_000_000
