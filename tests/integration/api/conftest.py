"""A site with two lines and a database that holds it; an API in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.said import unix_ms
from api.settings import ApiSettings
from api.site_model import apply_site_model
from deploy.commands.token import create_token
from schemas.configuration import parse_configuration
from schemas.quantities import SCALE
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from tests.integration.api.offering import CABINET, NOW_MS, send

SITE = """
organisation: {id: acme, name: Acme A/S}
site: {id: odense, name: Odense, time_zone: Europe/Copenhagen}
lines:
  - {id: line-1, name: Line 1}
  - {id: line-2}
products:
  - {id: bolt, unit: pcs, mass_kg: 0.5}
  - {id: nut, unit: pcs, mass_kg: 0.25, family: small}
agents:
  - {id: cabinet-1}
meters:
  - {id: main, agent: cabinet-1, resource: energy, carrier: electricity, unit: kWh, kind: counter}
  - {id: power-1, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, line: line-1, parent: main}
  - {id: power-2, agent: cabinet-1, resource: energy, unit: kWh, kind: counter, line: line-2, parent: main}
  - id: air
    agent: cabinet-1
    resource: energy
    carrier: electricity
    unit: kWh
    kind: counter
    parent: main
    share: {by: fixed, weights: {line-1: 3, line-2: 1}}
  - {id: water, agent: cabinet-1, resource: water, unit: m3, kind: counter}
  - {id: good-1, agent: cabinet-1, resource: production, carrier: good, unit: pcs, kind: counter, line: line-1}
  - {id: scrap-1, agent: cabinet-1, resource: production, carrier: scrap, unit: pcs, kind: counter, line: line-1}
  - {id: good-2, agent: cabinet-1, resource: production, carrier: good, unit: pcs, kind: counter, line: line-2}
"""


def site_model(text: str = SITE) -> SiteModel:
    return parse_configuration(text, name="site.yaml", model=SiteModel)


@pytest.fixture
def connection(database_url):
    """A plain connection to this test's database, committing each statement."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def site(connection) -> SiteModel:
    """The site, applied."""
    model = site_model()
    apply_site_model(connection, model)
    return model


OTHER = SITE.replace("acme, name: Acme A/S", "rival, name: Rival").replace(
    "odense, name: Odense", "aarhus, name: Aarhus"
)


@pytest.fixture
def other_site(connection) -> SiteModel:
    """A site of another organisation."""
    model = site_model(OTHER)
    apply_site_model(connection, model)
    return model


@asynccontextmanager
async def serving(database_url, token="", **settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API in front of that database."""
    app = create_app(ApiSettings(database_url=SecretStr(database_url), **settings))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            yield client


@pytest.fixture
def make_token(database_url):
    """Make a token of an organisation."""

    def make(organisation="acme", scopes=("read", "write"), days=90) -> str:
        return create_token(database_url, organisation=organisation, name="test", scopes=list(scopes), days=days)[0]

    return make


@pytest.fixture
async def client(database_url, site, make_token):
    """A client with a token of the site's organisation that may read and write."""
    async with serving(database_url, make_token()) as opened:
        yield opened


MARK = """
INSERT INTO attribution_due (site_id, from_day, to_day)
SELECT site_id, %s::timestamptz::date - 1, %s::timestamptz::date + 2 FROM meter WHERE id = %s
"""


class Store:
    """Puts rows straight into the tables, as collector and roll-up would."""

    def __init__(self, connection) -> None:
        self.connection = connection

    def number(self, meter) -> int:
        return int(self.connection.execute("SELECT id FROM meter WHERE key = %s ORDER BY id", [meter]).fetchone()[0])

    def consume(self, meter, start, quantities, estimated=0.0, covered_ms=900_000) -> None:
        """Canonical quantities of the quarters from `start` on; None leaves one out."""
        number = self.number(meter)
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO consumption VALUES (%s, %s, %s, %s, %s)",
                [
                    (
                        number,
                        start + i * timedelta(minutes=15),
                        round(quantity * SCALE),
                        round(estimated * SCALE),
                        covered_ms,
                    )
                    for i, quantity in enumerate(quantities)
                    if quantity is not None
                ],
            )
            cursor.execute(MARK, [start, start + len(quantities) * timedelta(minutes=15), number])

    def run(self, line, key, state, start, end, product=None) -> None:
        self.connection.execute(
            """
            INSERT INTO run (line_id, key, state, product_id, start_at, end_at, said_at)
            SELECT line.id, %(key)s, %(state)s, (SELECT id FROM product WHERE key = %(product)s), %(start)s, %(end)s,
                   now()
            FROM line WHERE key = %(line)s
            """,
            {"line": line, "key": key, "state": state, "start": start, "end": end, "product": product},
        )

    def read(self, meter, at, value, quality=0) -> None:
        self.connection.execute("INSERT INTO reading VALUES (%s, %s, %s, %s)", [self.number(meter), at, value, quality])

    def drive(self, driver, first, end, value, unit="DKK", price_year: int | None = 2025) -> None:
        self.connection.execute(
            """
            INSERT INTO driver_value (organisation_id, site_id, driver, from_date, to_date, value, unit, price_year,
                                      source)
            SELECT organisation_id, id, %s, %s, %s, %s, %s, %s, 'test' FROM site WHERE key = 'odense'
            """,
            [driver, first, end, value, unit, price_year],
        )


@pytest.fixture
def store(connection, site) -> Store:
    return Store(connection)


def utc(text) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


AT = utc("2026-03-02T09:00:00")
MINUTE = timedelta(minutes=1)
_FOUND = """
INSERT INTO meter_event (meter_id, kind, at, until, decision, readings, value, until_value, before_at, before_value,
                         after_at, after_value, quantity)
VALUES (%(meter)s, %(kind)s, %(at)s, %(until)s, %(decision)s, %(readings)s, %(value)s, %(until_value)s,
        %(before_at)s, %(before_value)s, %(after_at)s, %(after_value)s, %(quantity)s)
"""


class Found:
    """Puts events into the table, as the roll-up would."""

    def __init__(self, store) -> None:
        self.store = store
        self.connection = store.connection

    def __call__(self, meter, kind, at=AT, until=None, decision="set_aside", **values) -> str:
        row: dict[str, Any] = dict.fromkeys(("before_at", "before_value", "after_at", "after_value", "quantity"))
        row |= {"readings": 1, "value": 2.0, "until_value": 2.0, **values}
        row |= {"meter": self.store.number(meter), "kind": kind, "at": at, "until": until or at, "decision": decision}
        self.connection.execute(_FOUND, row)
        return f"{meter}:{kind}:{unix_ms(at)}"

    def gone(self, event) -> None:
        meter, kind, _ = event.split(":")
        self.connection.execute(
            "DELETE FROM meter_event WHERE meter_id = %s AND kind = %s", [self.store.number(meter), kind]
        )


def notes(connection) -> list[tuple[Any, ...]]:
    """What the roll-up was told to compute again, which is taken off."""
    rows = connection.execute(
        "SELECT key, from_at, to_at FROM pending JOIN meter ON meter.id = meter_id ORDER BY pending.id"
    ).fetchall()
    connection.execute("DELETE FROM pending")
    return [tuple(row) for row in rows]


@pytest.fixture
def found(store) -> Found:
    return Found(store)


@pytest.fixture
def dip(found: Found) -> str:
    """Two readings that fell and came back."""
    return found(
        "main",
        "dip",
        until=AT + MINUTE,
        readings=2,
        until_value=3.5,
        before_at=AT - MINUTE,
        before_value=1010.25,
        after_at=AT + 2 * MINUTE,
        after_value=1011.0,
        quantity=SCALE * 3 // 4,
    )


@pytest.fixture
def offer(database_url, site):
    """Let an agent offer meters."""

    def say(*meters: dict[str, Any], address: AgentAddress = CABINET) -> None:
        send(database_url, {"v": 1, "at": NOW_MS, "meters": list(meters)}, address, Kind.METERS)

    return say


@pytest.fixture
def read(database_url, site):
    """Let an agent send readings of a meter, a second apart, the newest first."""

    def say(seq: int, *values: float, meter: str = "oven", unit: str = "kWh", address: AgentAddress = CABINET) -> None:
        at = [NOW_MS - 1000 * (i + 1) for i in range(len(values))]
        head = {"v": 1, "epoch": "E1", "seq": seq, "sent_at": NOW_MS, "meters": [meter], "units": [unit]}
        send(database_url, {**head, "meter": [0] * len(values), "at": at, "value": list(values)}, address)

    return say
