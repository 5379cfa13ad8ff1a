"""Factors in the database: what holds at a site when, versions, and what has to be computed again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from api.calendar.clock import Period
from api.factors import store as factor_store
from api.factors.given import GivenFactor, GivenSeries
from api.factors.versions import put, withdraw
from api.indicators.carbon import HOUR_MS, Basis, match
from api.indicators.lines import Grid
from api.problems import ProblemError
from api.said import Said, unix_ms
from api.site_model import apply_site_model
from api.site_store import find_site
from schemas.quantities import QUARTER_MS
from tests.integration.api.conftest import SITE, site_model, utc

pytestmark = pytest.mark.stack

SAID = Said(author="Anna", reason="the year's table")
ZONE = ZoneInfo("Europe/Copenhagen")
IN_DK1 = SITE.replace("time_zone: Europe/Copenhagen", "time_zone: Europe/Copenhagen, grid_area: DK1")


def given(key="grid-2025", **settings) -> GivenFactor:
    values = {
        "key": key,
        "carrier": "electricity",
        "basis": "location",
        "value": "0.081",
        "unit": "kg/kWh",
        "gas": "CO2e",
        "from": "2025-01-01",
        "to": "2026-01-01",
        "source": "somebody",
        "licence": "free",
    }
    return GivenFactor.model_validate(values | settings)


def series(values, first="2025-03-01T00:00:00", area="DK1", **settings) -> GivenSeries:
    hour = unix_ms(utc(first)) // HOUR_MS
    plain = {"key": f"co2emis-{area.lower()}-{first[:7]}", "source": "Energinet", "licence": "free", "remark": None}
    return GivenSeries(**(plain | settings), area=area, hours={hour + i: value for i, value in enumerate(values)})


def period(start: str, end: str) -> Period:
    return Period(start=utc(start), end=utc(end), zone=ZONE)


def matched(factors, span: Period, area="DK1", basis=Basis.LOCATION) -> np.ndarray:
    first, end = (unix_ms(edge) // QUARTER_MS for edge in (span.start, span.end))
    grid = Grid(first=first, count=end - first)
    return match(grid, factors, carrier="electricity", area=area, basis=basis).kg_per_unit


class Place:
    """A site with its connection, and what the attribution was told."""

    def __init__(self, connection, site) -> None:
        self.connection = connection
        self.site = site

    async def put(self, *parts) -> list[tuple[str, int, bool]]:
        factors = [part for part in parts if isinstance(part, GivenFactor)]
        rows = [part for part in parts if isinstance(part, GivenSeries)]
        written = await put(self.connection, self.site.organisation_id, factors, rows, SAID)
        return [(one.key, one.version, one.is_new) for one in written]

    async def withdraw(self, key) -> None:
        await withdraw(self.connection, self.site.organisation_id, key, SAID)

    async def load(self, start, end):
        return await factor_store.load(self.connection, self.site, period(start, end))

    async def due(self) -> list[tuple[date, date]]:
        """Taken off."""
        cursor = await self.connection.execute(
            "WITH gone AS (DELETE FROM attribution_due RETURNING *) SELECT * FROM gone ORDER BY id"
        )
        # Another model only has its days looked at, which is not what is asked for here.
        return [(row["from_day"], row["to_day"]) for row in await cursor.fetchall() if row["from_day"] is not None]


@pytest.fixture
async def place(database_url, connection):
    apply_site_model(connection, site_model(IN_DK1))
    organisation = connection.execute("SELECT id FROM organisation").fetchone()[0]
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c timezone=UTC"
    ) as opened:
        found = Place(opened, await find_site(opened, "odense", organisation_id=organisation, organisation="acme"))
        await found.due()
        yield found


async def test_a_factor_holds_over_local_days(place):
    await place.put(given(value="0.1"), given("grid-2026", value="0.2", **{"from": "2026-01-01", "to": None}))
    factors = await place.load("2025-12-31T00:00:00", "2026-01-02T00:00:00")
    assert [(f.key, f.version, f.value) for f in factors] == [
        ("grid-2025", 1, Fraction(1, 10)),
        ("grid-2026", 1, Fraction(1, 5)),
    ]
    # Midnight in Copenhagen is 23:00 in UTC.
    assert matched(factors, period("2025-12-31T22:45:00", "2025-12-31T23:15:00")).tolist() == [0.1, 0.2]


async def test_hours_come_as_they_were_given(place):
    await place.put(series([0.1, 0.2, 0.3, 0.4]), given())
    span = ("2025-03-01T00:30:00", "2025-03-01T05:00:00")
    values = matched(await place.load(*span), period(*span))
    assert values.tolist() == [0.1] * 2 + [0.2] * 4 + [0.3] * 4 + [0.4] * 4 + [0.081] * 4


async def test_only_factors_of_the_area_and_of_everywhere(place):
    await place.put(given("here", area="DK1"), given("there", area="DK2"), given("all", value="0.5"))
    await place.put(series([0.3], area="DK2"))
    factors = await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00")
    assert sorted(f.key for f in factors) == ["all", "here"]


async def test_versions_are_kept_and_the_newest_counts(place):
    first = given()
    assert await place.put(first) == [("grid-2025", 1, True)]
    assert await place.put(first) == [("grid-2025", 1, False)]
    assert await place.put(given(value="81.0", unit="g/kWh")) == [("grid-2025", 1, False)]
    (old,) = await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00")
    assert await place.put(given(value="0.09")) == [("grid-2025", 2, True)]
    (new,) = await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00")
    assert (old.value, new.value) == (Fraction(81, 1000), Fraction(9, 100))
    told = await factor_store.sources(place.connection, [new.id, old.id])
    assert [(row["key"], row["version"], row["value"], row["source"]) for row in told] == [
        ("grid-2025", 1, Decimal("0.081"), "somebody"),
        ("grid-2025", 2, Decimal("0.09"), "somebody"),
    ]


async def test_what_is_withdrawn_counts_no_more_and_can_come_again(place):
    await place.put(given())
    await place.withdraw("grid-2025")
    assert await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00") == []
    with pytest.raises(ProblemError, match="withdrawn by Anna already"):
        await place.withdraw("grid-2025")
    with pytest.raises(ProblemError, match="there is no factor"):
        await place.withdraw("none")
    assert await place.put(given()) == [("grid-2025", 3, True)]
    assert len(await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00")) == 1


async def test_hours_that_follow_are_added_to_the_month(place):
    await place.put(series([0.1, 0.2]))
    assert await place.put(series([0.2], "2025-03-01T01:00:00")) == [("co2emis-dk1-2025-03", 1, False)]
    assert await place.put(series([0.25, 0.3], "2025-03-01T01:00:00")) == [("co2emis-dk1-2025-03", 2, True)]
    span = ("2025-03-01T00:00:00", "2025-03-01T03:00:00")
    assert matched(await place.load(*span), period(*span))[::4].tolist() == [0.1, 0.25, 0.3]
    rows = await factor_store.versions(place.connection, place.site.organisation_id, "co2emis-dk1-2025-03")
    assert [row["hours"] for row in rows] == [2, 3]


async def test_days_to_compute_again(place):
    await place.put(given())
    assert await place.due() == [(date(2025, 1, 1), date(2026, 1, 1))]
    await place.put(given())
    assert await place.due() == []
    await place.put(given(to="2025-07-01"))
    assert sorted(await place.due()) == [
        (date(2025, 1, 1), date(2025, 7, 1)),
        (date(2025, 1, 1), date(2026, 1, 1)),
    ]
    await place.withdraw("grid-2025")
    assert (date(2025, 1, 1), date(2025, 7, 1)) in await place.due()
    await place.put(series([0.1]))
    assert await place.due() == [(date(2025, 2, 28), date(2025, 3, 3))]
    await place.put(given("there", area="DK2"), series([0.1], area="DK2"))
    assert await place.due() == []


async def test_an_open_end_is_due_up_to_now_and_the_future_is_not(place):
    today = datetime.now(UTC).date()
    await place.put(given(to=None))
    ((first, end),) = await place.due()
    assert first == date(2025, 1, 1)
    assert today < end <= today + timedelta(days=3)
    await place.put(given("later", area="DK1", **{"from": "2190-01-01", "to": None}))
    assert await place.due() == []


async def test_another_area_makes_all_days_due(place, connection):
    await place.put(given("here", area="DK1"), given("all"))
    await place.due()
    apply_site_model(connection, site_model(IN_DK1))
    assert await place.due() == []
    apply_site_model(connection, site_model(IN_DK1.replace("DK1", "DK2")))
    ((first, end),) = await place.due()
    assert first == date(2025, 1, 1)
    assert end > datetime.now(UTC).date()


@pytest.mark.parametrize(
    "other",
    [
        {"from": "2025-12-31", "to": "2027-01-01"},
        {"from": "2024-01-01", "to": None},
        {"value": "0.081"},
    ],
)
async def test_two_that_hold_at_once_are_refused(place, other):
    await place.put(given())
    with pytest.raises(ProblemError, match="neither would win"):
        await place.put(given("other", **other))
    assert await place.put(given("other", area="DK1")) == [("other", 1, True)]
    assert await place.put(given("contract", basis="market")) == [("contract", 1, True)]
    assert await place.put(given("after", **{"from": "2026-01-01", "to": None})) == [("after", 1, True)]


async def test_two_series_may_not_hold_in_one_hour(place):
    await place.put(series([0.1, 0.2]))
    assert (await place.put(series([0.3], "2025-03-01T02:00:00", key="declaration")))[0][2]
    with pytest.raises(ProblemError, match="neither would win"):
        await place.put(series([0.3], "2025-03-01T01:00:00", key="another"))
    assert len(await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00")) == 2


async def test_all_or_none(place):
    with pytest.raises(ProblemError, match="neither would win"):
        await place.put(given(), series([0.1]), given("gas", carrier="natural_gas", basis=None), given("other"))
    assert await place.load("2025-03-01T00:00:00", "2025-03-02T00:00:00") == []
    assert await place.due() == []


async def test_one_carrier_has_one_scope(place):
    await place.put(given("wood", carrier="wood", scope="scope_1", basis=None))
    with pytest.raises(ProblemError, match="both scopes"):
        await place.put(given("chips", carrier="wood", scope="scope_2"))


async def test_a_key_stays_of_its_kind(place):
    await place.put(given())
    with pytest.raises(ProblemError, match="is constant"):
        await place.put(series([0.1], key="grid-2025"))


async def test_an_organisation_sees_its_own(place, connection):
    other = SITE.replace("acme", "rival").replace("odense", "aarhus")
    apply_site_model(connection, site_model(other))
    number = connection.execute("SELECT id FROM organisation WHERE key = 'rival'").fetchone()[0]
    await place.put(given())
    theirs = await find_site(place.connection, "aarhus", organisation_id=number, organisation="rival")
    assert await factor_store.load(place.connection, theirs, period("2025-03-01T00:00:00", "2025-03-02T00:00:00")) == []
