"""Whatever is sent, the answer is a problem that says what to do, and never a defect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.integration.api.test_access import assert_problem

pytestmark = pytest.mark.stack

FROM, TO = "2026-01-01", "2026-01-02"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": FROM}, "query.to"),
        ({"from": TO, "to": FROM}, "after"),
        ({"from": FROM, "to": FROM}, "after"),
        ({"from": "2026-01-01T00:00:00", "to": TO}, "offset"),
        ({"from": "2026-01-01 00:00", "to": TO}, "from"),
        ({"from": "yesterday", "to": TO}, "from"),
        ({"from": "2026-02-30", "to": TO}, "not a date"),
        ({"from": "2026-01-01T25:00:00Z", "to": TO}, "calendar"),
        ({"from": "0001-01-01T00:00:00+14:00", "to": TO}, "from"),
        ({"from": "0001-01-01", "to": TO}, "years"),
        ({"from": FROM, "to": "9999-12-31"}, "years"),
        ({"from": FROM, "to": TO, "limit": 0}, "limit"),
        ({"from": FROM, "to": TO, "limit": 10**30}, "limit"),
        ({"from": FROM, "to": TO, "limit": "many"}, "limit"),
        ({"from": FROM, "to": TO, "cursor": "nonsense"}, "cursor"),
        ({"from": FROM, "to": TO, "cursor": "W10"}, "cursor"),
        ({"from": FROM, "to": TO, "cursor": "W29uZSwgdHdvXQ"}, "cursor"),
        # [99999999999999999999, 1] and [9223372036854775807, 9]
        ({"from": FROM, "to": TO, "cursor": "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LCAxXQ"}, "cursor"),
        ({"from": FROM, "to": TO, "cursor": "WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIDld"}, "cursor"),
    ],
)
async def test_periods_and_pages(client, query, words):
    assert_problem(await client.get("/v1/sites/odense/readings", params=query), 422, words)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/sites/odense/consumption?from=2026-01-01&to=2026-01-02&by=decade",
        "/v1/sites/odense/consumption?from=2026-01-01&to=2026-01-02&resource=love",
        "/v1/sites/odense/intensity?from=2026-01-01T00:01:00Z&to=2026-01-01T00:02:00Z",
        "/v1/sites/odense/decoupling?base_from=2026-01-01T00:00:00Z&base_to=2026-01-02&from=2026-01-01&to=2026-01-02",
        "/v1/sites/odense/decoupling?base_from=2026-01-02&base_to=2026-01-01&from=2026-01-01&to=2026-01-02",
        "/v1/sites/odense/decoupling?base_from=2026-01-01&base_to=2026-01-02&from=2026-01-01&to=2026-01-02&indicator=love",
        "/v1/sites/odense/decoupling?base=2025",
        "/v1/sites/odense/decoupling?base=2025&period=soon",
        "/v1/sites/odense/decoupling?base=2025&base_from=2025-01-01&period=2026",
        "/v1/sites/odense/decoupling?base=2024&period=2025&level=organisation",
        "/v1/sites/odense/decoupling?base=2024&period=2025&level=galaxy",
        "/v1/sites/odense/decoupling?base=2024&period=2025&key=line-1",
        "/v1/sites/odense/decoupling?base=2024&period=2025&rolling=0",
        "/v1/sites/odense/decoupling?base=2024&period=2025&rolling=37",
        "/v1/sites/odense/decoupling?base=2024&period=2025-01-02&rolling=12",
        "/v1/sites/odense/decoupling?base=2024&period=2150&rolling=12",
        "/v1/sites/odense/decoupling?base=2024&period=2025&price_index=none",
        "/v1/sites/odense/decoupling?base=1990&period=2000..2190",
        "/v1/organisation/decoupling?base=2025",
        "/v1/price-indices?key=%00",
        "/v1/price-indices?cursor=W10",
        "/v1/quarantine/0",
        "/v1/quarantine/x",
        "/v1/quarantine/99999999999999999999999",
        "/v1/quarantine?reason=%00",
        "/v1/sites/odense/runs?from=2026-01-01&to=2026-01-02&line=%00",
        "/v1/sites/odense/lines/%00",
        "/v1/ledger/%00/x",
        "/v1/sites?cursor=WyJcdTAwMDAiXQ",
    ],
)
async def test_parameters(client, path):
    assert_problem(await client.get(path), 422)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing",
        "/nothing",
        "/v1/sites/%00",
        "/v1/sites/UPPER",
        "/v1/sites/odense%0A",
        "/v1/sites/" + "x" * 5000,
        "/v1/sites/odense/meters/none",
        "/v1/sites/odense/lines/none",
        "/v1/sites/odense/products/none",
        "/v1/sites/odense/agents/none",
        "/v1/sites/odense/readings?from=2026-01-01&to=2026-01-02&meter=none",
        "/v1/sites/odense/readings?from=2026-01-01&to=2026-01-02&meter=%00",
        "/v1/sites/odense/decoupling?base=2024&period=2025&level=line&key=none",
        "/v1/sites/odense/decoupling?base=2024&period=2025&level=product&key=%00",
        "/v1/ledger/odense/none",
        "/v1/quarantine/17",
        "/web/../settings.py",
        "/web/app.py",
    ],
)
async def test_what_is_not_there(client, path):
    assert_problem(await client.get(path), 404)


async def test_other_methods(client):
    response = await client.delete("/v1/sites/odense")
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET"


MODEL = {"organisation": {"id": "acme"}, "site": {"id": "odense", "time_zone": "Europe/Copenhagen"}}
METER = {"id": "m", "agent": "a", "resource": "energy", "unit": "kWh", "kind": "counter"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("{", 422),
        ("[]", 422),
        ("null", 422),
        ("9" * 5000, 400),
        ({}, 422),
        ({**MODEL, "site": {"id": "odense", "time_zone": "Mars/Olympus"}}, 422),
        ({**MODEL, "site": {"id": "odense", "time_zone": "../../etc/passwd"}}, 422),
        ({**MODEL, "surprise": 1}, 422),
        ({**MODEL, "lines": [{"id": "UPPER"}]}, 422),
        ({**MODEL, "lines": [{"id": "l", "name": "nul\u0000"}]}, 422),
        ({**MODEL, "lines": [{"id": "l", "name": "half \ud800"}]}, 422),
        ({**MODEL, "lines": [{"id": "l"}, {"id": "l"}]}, 409),
        ({**MODEL, "products": [{"id": "p", "mass_kg": 1e999}]}, 422),
        ({**MODEL, "agents": [{"id": "a"}], "meters": [{**METER, "max_gap": 10**30}]}, 422),
        ({**MODEL, "agents": [{"id": "a"}], "meters": [{**METER, "agent": "b"}]}, 409),
        (
            {
                **MODEL,
                "agents": [{"id": "a"}],
                "meters": [{**METER, "share": {"by": "fixed", "weights": {"l": 1e999}}}],
            },
            422,
        ),
        ({**MODEL, "products": [{"id": "p", "mass_kg": 1e300}]}, 422),
        ({**MODEL, "products": [{"id": "p", "mass_kg": 1e-320}]}, 422),
        ({**MODEL, "agents": [{"id": "a"}], "meters": [{**METER, "max_gap": 31_622_400_001}]}, 422),
        ({**MODEL, "agents": [{"id": "a"}], "meters": [{**METER, "interval": "32d"}]}, 422),
        ({**MODEL, "site": {"id": "odense", "time_zone": "right/Europe/Copenhagen"}}, 422),
        ({**MODEL, "site": {"id": "odense", "time_zone": "posixrules"}}, 422),
        ({**MODEL, "site": {"id": "odense", "time_zone": "Europe/Copenhagen\n"}}, 422),
        ({**MODEL, "lines": [{"id": "l", "name": "bell\u0007"}]}, 422),
        ({**MODEL, "lines": [{"id": "l\n"}]}, 422),
        ({**MODEL, "organisation": {"id": "rival"}}, 409),
        ({**MODEL, "site": {"id": "elsewhere", "time_zone": "UTC"}}, 409),
    ],
)
async def test_models(client, body, status):
    text = body if isinstance(body, str) else json.dumps(body)
    response = await client.put("/v1/sites/odense/model", content=text, headers={"Content-Type": "application/json"})
    assert_problem(response, status)


VALUE = {
    "driver": "revenue",
    "from": "2025-01-01",
    "to": "2025-02-01",
    "value": 1,
    "unit": "DKK",
    "price_year": 2025,
    "source": "accounts",
}


@pytest.mark.parametrize(
    "change",
    [
        {"driver": "happiness"},
        {"from": "2025-02-01"},
        {"from": "2025-13-01"},
        {"from": "0001-01-01"},
        {"to": "9999-12-31"},
        {"value": "NaN"},
        {"value": "Infinity"},
        {"value": "1e400"},
        {"value": 10**40},
        {"unit": "EUR"},
        {"unit": "pcs"},
        {"price_year": None},
        {"price_year": 10**20},
        {"source": ""},
        {"source": "nul\u0000"},
        {"driver": "production_volume"},
        {"extra": 1},
    ],
)
async def test_driver_values(client, change):
    response = await client.put("/v1/sites/odense/driver-values", json={"items": [{**VALUE, **change}]})
    assert_problem(response, 422)
    assert (await client.get("/v1/sites/odense/driver-values")).json()["items"] == []


@pytest.mark.parametrize("path", ["/v1/sites/odense/model", "/v1/sites/odense/driver-values"])
async def test_bodies_that_are_too_large(client, path):
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"}
    assert_problem(await client.put(path, content=endless(), headers=headers), 413, "5,000,000 bytes")
    assert asked < 100
    said = {**headers, "Content-Length": "5000001"}
    assert_problem(await client.put(path, content=endless(), headers=said), 413, "5,000,000 bytes")
    assert asked < 100
    assert_problem(await client.put(path, content=b" " * 4_999_990 + b"{}", headers=headers), 422)
    # Whoever has no token is told no more than that.
    client.headers.pop("Authorization")
    assert_problem(await client.put(path, content=b"", headers=said), 401)
