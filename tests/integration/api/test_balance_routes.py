"""Balances through the API, and the findings that data quality takes from them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from api.balance_store import balance_findings
from api.calendar.clock import Period
from api.database import make_pool
from api.settings import ApiSettings
from api.site_model import apply_site_model
from api.site_store import SiteRow
from schemas.quantities import SCALE
from tests.integration.api.conftest import SITE, site_model, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack

BALANCE = "/v1/sites/odense/balance"
START = utc("2026-01-04T23:00:00")
DAY = {"start": "2026-01-05", "to": "2026-01-06"}
EXACT = SITE.replace("kind: counter", "kind: counter, accuracy_class: 1").replace(
    "    kind: counter, accuracy_class: 1\n", "    kind: counter\n    accuracy_class: 1\n"
)

_METER = "agent: cabinet-1, resource: energy, unit: kWh, kind: counter"
SOLAR = f"""\
  - {{id: pv, {_METER}, direction: generation, parent: main}}
  - {{id: sold, {_METER}, direction: export, parent: main}}
  - {{id: hall-2, {_METER}}}
virtual_meters:
  - {{id: half, resource: energy, unit: kWh, parent: main, terms: {{hall-2: 0.5}}}}
"""


@pytest.fixture
def exact(connection, site) -> None:
    """Every meter of the site is off by one percent at most."""
    apply_site_model(connection, site_model(EXACT))


def fill(store, days=1, **quantities) -> None:
    for meter, quantity in quantities.items():
        store.consume(meter.replace("_", "-"), START, [quantity] * 96 * days)


async def test_whole_parts_and_rest(client, store, exact):
    fill(store, main=100, power_1=50, power_2=30, air=15)
    (item,) = (await ask(client, BALANCE, **DAY))["items"]
    assert item.pop("tolerance") == pytest.approx(Decimal(96 * (1 + 0.25 + 0.09 + 0.0225) ** 0.5), abs=Decimal("1e-6"))
    assert item == {
        "parent": "main",
        "children": ["air", "power-1", "power-2"],
        "resource": "energy",
        "unit": "kWh",
        "from": "2026-01-04T23:00:00Z",
        "to": "2026-01-05T23:00:00Z",
        "shift": None,
        "working_day": None,
        "total": 9600,
        "children_total": 9120,
        "rest": 480,
        "estimated": 0,
        "negative_rest": False,
        "coverage": 1,
        "without_class": [],
    }


@pytest.mark.parametrize(("air", "negative"), [(20, False), (21, False), (22, True)])
async def test_a_rest_below_the_tolerance_is_a_finding(client, store, exact, air, negative):
    fill(store, main=100, power_1=50, power_2=30, air=air)
    (item,) = (await ask(client, BALANCE, **DAY))["items"]
    assert (item["rest"], item["negative_rest"]) == (96 * (20 - air), negative)


async def test_only_quarters_of_which_all_is_known_are_balanced(client, store, exact):
    fill(store, main=100, power_1=50, power_2=30)
    store.consume("air", START, [10] * 24, covered_ms=450_000)
    (item,) = (await ask(client, BALANCE, **DAY))["items"]
    assert (item["total"], item["rest"], item["coverage"]) == (2400, 240, Decimal("0.125"))
    (nothing,) = (await ask(client, BALANCE, start="2026-01-06", to="2026-01-07"))["items"]
    assert (nothing["total"], nothing["rest"], nothing["tolerance"], nothing["negative_rest"]) == (
        None,
        None,
        None,
        False,
    )


async def test_a_site_with_generation_and_virtual_parts(client, store, connection, site):
    apply_site_model(
        connection,
        site_model(SITE + SOLAR),
    )
    fill(store, main=100, power_1=60, power_2=30, air=15, pv=40, sold=20, hall_2=10)
    (item,) = (await ask(client, BALANCE, **DAY))["items"]
    assert item["children"] == ["air", "half", "power-1", "power-2"]
    assert (item["total"], item["children_total"], item["rest"]) == (120 * 96, 110 * 96, 10 * 96)
    assert item["without_class"] == ["air", "hall-2", "main", "power-1", "power-2", "pv", "sold"]


@pytest.mark.parametrize("by", ["day", "week", "month", "year", "fiscal_year"])
@pytest.mark.parametrize("limit", [1, 1000])
async def test_buckets_and_pages_sum_up(client, store, site, by, limit):
    fill(store, days=10, main=100, power_1=50, power_2=30, air=15)
    items, count = await pages(client, BALANCE, start="2026-01-05", to="2026-01-15", by=by, limit=limit)
    assert count == (len(items) if limit == 1 else 1)
    assert sum(item["rest"] for item in items) == 4800


async def test_quarters_are_not_balanced(client, site):
    for by in ("quarter", "hour"):
        response = await client.get(BALANCE, params={"from": "2026-01-05", "to": "2026-01-06", "by": by})
        assert_problem(response, 422, "by the day or longer")


async def test_a_site_without_parts_has_no_balance(client, connection, site):
    connection.execute("UPDATE meter SET parent_id = NULL")
    assert (await ask(client, BALANCE, **DAY))["items"] == []


async def test_findings_of_three_days_in_a_month(database_url, store, exact):
    fill(store, days=30, main=100, power_1=50, power_2=30, air=15)
    store.connection.execute(
        "UPDATE consumption SET measured = measured * 3 WHERE meter_id = %s AND quarter >= %s AND quarter < %s",
        [store.number("air"), START + timedelta(days=10), START + timedelta(days=13)],
    )
    row = store.connection.execute("SELECT id, key, name, time_zone FROM site").fetchone()
    site = SiteRow(id=row[0], key=row[1], name=row[2], time_zone=row[3], organisation_id=1, organisation="acme")
    period = Period(start=START, end=START + timedelta(days=30), zone=site.zone)
    pool = make_pool(ApiSettings(database_url=database_url))
    async with pool, pool.connection() as connection:
        (finding,) = await balance_findings(connection, site, period)
    assert (finding.parent, finding.days) == ("main", 3)
    assert (str(finding.first), str(finding.last)) == ("2026-01-15", "2026-01-17")
    assert finding.balance.rest == -25 * 96 * 3 * SCALE
