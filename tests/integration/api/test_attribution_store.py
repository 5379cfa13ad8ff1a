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
from api.factors.given import GivenFactor
from api.factors.versions import put
from api.indicators.balances import balances
from api.problems import ProblemError
from api.said import Said
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
        found[m.meter, "known"] += m.quarters
        found[m.meter, "usable"] += m.usable_days
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


async def test_emissions_and_their_factors_are_kept_too(api_connection, place, factory):
    """Two factors in turn, so that a period has parts of both; also where they are summed for the whole site."""
    said = {
        "carrier": "electricity",
        "basis": "location",
        "unit": "kg/kWh",
        "gas": "CO2e",
        "source": "s",
        "licence": "l",
    }
    factors = [
        GivenFactor.model_validate({**said, "key": "early", "value": "0.25", "from": "2025-01-01", "to": "2025-02-10"}),
        GivenFactor.model_validate({**said, "key": "late", "value": "0.5", "from": "2025-02-10"}),
    ]
    await put(api_connection, place.organisation_id, factors, [], Said(author="a", reason="r"))
    edges = [local("2025-02-01"), local("2025-02-10"), local("2025-03-01"), local("2025-04-01")]
    computed = [by_meter(one) for one in await attribute_buckets(api_connection, place, edges)]
    used = [{number for _, factors in found for number in factors} for found in computed]
    assert [len(numbers) for numbers in used] == [1, 1, 1]
    assert used[0] != used[1] == used[2]
    await keep_all(api_connection)
    assert [by_meter(one) for one in await attribute_buckets(api_connection, place, edges)] == computed
    of_site = await attribute_buckets(api_connection, place, edges, of_site=True)
    assert [by_meter(one) for one in of_site] == computed
    for one in of_site:
        assert {part.line for part in one.attribution.parts} == {None}
    whole = await attribute_buckets(api_connection, place, [edges[0], edges[-1]])
    assert {number for _, factors in by_meter(whole[0]) for number in factors} == used[0] | used[1]


def by_meter(attributed) -> dict[tuple[str, tuple[int, ...]], Counter[str]]:
    """All sums of parts by meter and the factors behind them; what was made by line and product as well."""
    found: dict[Any, Counter[str]] = {}
    attribution = attributed.attribution
    for part in attribution.parts:
        of = found.setdefault((part.meter, part.factors), Counter())
        of.update({name: getattr(part.carbon, name) for name in type(part.carbon).__dataclass_fields__})
        of.update(measured=part.amount.measured, estimated=part.amount.estimated, otherwise=part.otherwise)
    for part in attribution.production:
        place = (part.meter, part.line, part.slot.phase, part.slot.product)
        found.setdefault((place, ()), Counter()).update(total=part.amount.total)
    return found


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


async def test_a_run_that_cuts_an_open_one_short_changes_the_days_after_it(api_connection, place, factory):
    factory.connection.execute("DELETE FROM run")
    factory.run("line-1", "open", "running", local("2025-02-03T08:00"), None, "bolt")
    factory.run("line-1", "far", "running", local("2025-02-10T08:00"), local("2025-02-10T12:00"), "nut")
    await keep_all(api_connection)
    with_it = await everything(api_connection, place)
    factory.run("line-1", "new", "running", local("2025-02-05T08:00"), local("2025-02-05T12:00"), "nut")
    computed = await everything(api_connection, place)
    assert 0 < await keep_all(api_connection) < 10
    assert (await rebuild(api_connection, place)).is_identical
    assert await everything(api_connection, place) == computed
    factory.connection.execute("DELETE FROM run WHERE key = 'new'")
    assert await everything(api_connection, place) == with_it
    await keep_all(api_connection)
    assert (await rebuild(api_connection, place)).is_identical


async def test_the_first_run_of_a_line_changes_the_changeover_before_it(api_connection, place, factory):
    factory.connection.execute("DELETE FROM run")
    factory.run("line-1", "change", "changeover", local("2025-02-05T22:00"), local("2025-02-05T23:00"))
    await keep_all(api_connection)
    factory.run("line-1", "new", "running", local("2025-02-07T08:10"), local("2025-02-07T12:00"), "nut")
    assert 0 < await keep_all(api_connection) < 10
    assert (await rebuild(api_connection, place)).is_identical


async def test_a_period_that_ends_within_a_quarter_shares_it_out_as_a_longer_one_does(api_connection, place, store):
    store.run("line-1", "1", "running", local("2025-02-05T08:00"), local("2025-02-05T08:02"), "bolt")
    store.run("line-1", "2", "running", local("2025-02-05T08:07"), local("2025-02-05T08:15"), "nut")
    store.consume("power-1", local("2025-02-05T08:00"), [15.0])
    found = []
    for end in ("2025-02-05T08:05", "2025-02-05T08:15", "2025-02-06"):
        period = Period(start=local("2025-02-05T08:00"), end=local(end), zone=ZONE)
        attributed = await attribute_period(api_connection, place, period)
        found.append({part.slot.product: part.amount.total for part in attributed.attribution.parts})
    assert found == [{"bolt": 2 * 10**9, "nut": 8 * 10**9, None: 5 * 10**9}] * 3


async def test_a_changeover_over_midnight_leads_to_the_same_run_on_both_days(api_connection, place, store):
    """To the first one that begins after it did, be it over on the day before, or begun before the changeover ends."""
    store.run("line-1", "1", "changeover", local("2025-02-05T22:00"), local("2025-02-06T02:00"))
    store.run("line-1", "2", "running", local("2025-02-05T23:00"), local("2025-02-05T23:30"), "bolt")
    store.run("line-1", "3", "running", local("2025-02-06T01:00"), local("2025-02-06T04:00"), "nut")
    store.consume("power-1", local("2025-02-05T22:00"), [1.0] * 16)
    for start, end in (("2025-02-05", "2025-02-06"), ("2025-02-06", "2025-02-07"), ("2025-02-05", "2025-02-07")):
        attributed = await attribute_period(
            api_connection, place, Period(start=local(start), end=local(end), zone=ZONE)
        )
        assert {h.slot.product for h in attributed.attribution.hours if h.slot.phase == "changeover"} == {"bolt"}


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


async def test_today_is_not_kept_as_it_goes_on(api_connection, place, store):
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    yesterday, today = now - timedelta(days=1), now.astimezone(ZONE).date()
    store.consume("power-1", yesterday, [1.0] * 4)
    store.consume("power-1", now - QUARTER, [2.0])
    store.run("line-1", "open", "running", yesterday, None, "bolt")
    assert await keep_all(api_connection) >= 1
    model = await load_model(api_connection, place)
    standing = await kept_store.standing(api_connection, model, today - timedelta(days=2), today + timedelta(days=2))
    assert max(standing.days) == today - timedelta(days=1)
    assert (await rebuild(api_connection, place)).is_identical
    period = Period(start=now - timedelta(days=2), end=now + timedelta(days=2), zone=ZONE)
    found = await attribute_period(api_connection, place, period)
    assert sum(part.amount.total for part in found.attribution.parts) == 6_000_000_000


async def test_more_than_a_sum_can_hold_is_refused_and_not_told_as_something_else(api_connection, place, store):
    store.consume("power-1", utc_quarter("2025-02-12T09:00"), [4e9] * 3)
    day = Period(start=local("2025-02-12"), end=local("2025-02-13"), zone=ZONE)
    with pytest.raises(ProblemError, match="meter power-1 counted more than"):
        await attribute_period(api_connection, place, day)
