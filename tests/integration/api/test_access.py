"""Nobody sees anything without a token, and nobody sees another organisation."""

from __future__ import annotations

import re

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from tests.integration.api.conftest import serving

pytestmark = pytest.mark.stack

OPEN = {"/health", "/ready", "/metrics", "/openapi.json", "/"}
# A proof stands for the token: tests/integration/api/test_agents.py.
PROVEN = {"/v1/enrolments", "/v1/renewals"}
ROUTES = [
    (method.upper(), path)
    for path, operations in create_app(ApiSettings(database_url=SecretStr("postgresql://x"))).openapi()["paths"].items()
    for method in operations
]
EVENT = "/v1/sites/{site}/events/{event}"
# What needs a body or a finding of its own: their tests ask for others' sites too.
OWN_TESTS = {
    ("PUT", "/v1/sites/{site}/model"),
    ("PUT", "/v1/sites/{site}/runs"),
    *((method, "/v1/sites/{site}/runs/{line}/{run}") for method in ("GET", "DELETE")),
    ("GET", EVENT),
    ("GET", "/v1/sites/{site}/virtual-meters/{meter}"),
    ("GET", "/v1/sites/{site}/figures/{figure}"),
    *(("POST", f"{EVENT}/{act}") for act in ("confirm", "overrule", "reopen")),
    *(("POST", f"/v1/sites/{{site}}/{part}") for part in ("events", "exchanges", "manual-readings")),
    ("POST", "/v1/sites/{site}/exchanges/{exchange}/withdraw"),
    ("POST", "/v1/sites/{site}/manual-readings/{reading}/withdraw"),
    ("POST", "/v1/sites/{site}/alerts/{alert}/acknowledge"),
    ("POST", "/v1/sites/{site}/offered-meters/{agent}/adopt"),
    ("POST", "/v1/sites/{site}/offered-meters/{agent}/{meter}/adopt"),
    *(("POST", f"/v1/agents/{{site}}/{{agent}}/{act}") for act in ("withdraw", "revoke")),
}
PERIOD = {"from": "2026-01-01", "to": "2026-01-02", "base_from": "2025-01-01", "base_to": "2025-01-02"}


def address(path, **names) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "1"), path)


def assert_problem(response: httpx.Response, status: int, words: str = "") -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    assert words in problem["detail"]


async def test_every_route_needs_a_token(database_url, site):
    async with serving(database_url) as client:
        closed = [(method, path) for method, path in ROUTES if path not in OPEN | PROVEN]
        assert len(closed) > 20
        for method, path in closed:
            response = await client.request(method, address(path, site="odense"), content=b"not JSON")
            assert_problem(response, 401)
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert_problem(await client.get("/v1/nothing-here"), 401)


async def test_open_addresses_need_none(database_url, site):
    async with serving(database_url) as client:
        for path in OPEN:
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic x", "Bearer \u00e6", ""])
async def test_unknown_tokens_are_refused(database_url, site, header):
    async with serving(database_url) as client:
        response = await client.get("/v1/sites", headers={"Authorization": header.encode("latin-1")})
        assert_problem(response, 401)


async def test_an_expired_token_is_refused(client, connection):
    connection.execute("UPDATE token SET expires_at = now() - interval '1 second'")
    response = await client.get("/v1/sites")
    assert_problem(response, 401, "expired")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_a_token_without_the_scope_is_refused(database_url, site, make_token):
    async with serving(database_url, make_token(scopes=["read"])) as client:
        assert (await client.get("/v1/sites")).status_code == 200
        assert_problem(await client.put("/v1/sites/odense/model", json={}), 403, "write")
    async with serving(database_url, make_token(scopes=["write"])) as client:
        assert_problem(await client.get("/v1/sites"), 403, "read")


async def test_only_a_digest_is_kept(client, connection):
    token = client.headers["authorization"].removeprefix("Bearer ")
    (kept,) = connection.execute("SELECT digest FROM token").fetchone()
    assert len(kept) == 32
    assert token.encode() not in kept


async def test_last_use_is_noted_at_most_once_a_minute(client, connection):
    await client.get("/v1/sites")
    (first,) = connection.execute("SELECT last_used_at FROM token").fetchone()
    await client.get("/v1/sites")
    assert connection.execute("SELECT last_used_at FROM token").fetchone() == (first,)
    connection.execute("UPDATE token SET last_used_at = now() - interval '61 seconds'")
    await client.get("/v1/sites")
    assert connection.execute("SELECT last_used_at >= %s FROM token", [first]).fetchone() == (True,)


@pytest.mark.parametrize(
    ("method", "path"),
    [route for route in ROUTES if "{site}" in route[1] and route not in OWN_TESTS],
)
async def test_another_organisations_site_is_not_there(client, connection, other_site, method, path):
    connection.execute(
        "INSERT INTO ledger (organisation, site, agent, epoch) VALUES ('rival', 'aarhus', 'cabinet-1', 'e')"
    )
    ids = {"line": "line-1", "product": "bolt", "agent": "cabinet-1", "meter": "main"}
    body = {
        "items": [{"driver": "production_volume", "from": "2025-01-01", "to": "2025-02-01", "value": 1, "unit": "pcs"}]
    }
    body["items"][0]["source"] = "test"
    sent = {"json": body} if method == "PUT" else {}
    parameters = {**PERIOD, "meter": "main", "product": "bolt", "driver": "revenue"}
    response = await client.request(method, address(path, site="aarhus", **ids), params=parameters, **sent)
    assert_problem(response, 404)
    assert "aarhus" not in response.text.replace(str(response.url), "")
    # The same request about one's own site is answered.
    connection.execute(
        "INSERT INTO ledger (organisation, site, agent, epoch) VALUES ('acme', 'odense', 'cabinet-1', 'e')"
    )
    response = await client.request(method, address(path, site="odense", **ids), params=parameters, **sent)
    assert response.status_code == 200, response.text


async def test_another_organisations_model_can_not_be_written(client, connection, other_site):
    rival = other_site.model_dump(mode="json")
    assert_problem(await client.put("/v1/sites/aarhus/model", json=rival), 409)
    rival["organisation"]["id"] = "acme"
    assert_problem(await client.put("/v1/sites/odense/model", json=rival), 409)


async def test_lists_show_ones_own_only(client, connection, other_site):
    connection.execute(
        "INSERT INTO ledger (organisation, site, agent, epoch) VALUES ('rival', 'aarhus', 'cabinet-1', 'e')"
    )
    (entry,) = connection.execute(
        """
        INSERT INTO quarantine (reason, detail, topic, organisation, readings, content_type, payload, digest)
        VALUES ('r', 'd', 't', 'rival', 1, 'application/json', 'x', 'x') RETURNING id
        """
    ).fetchone()
    assert [site["id"] for site in (await client.get("/v1/sites")).json()["items"]] == ["odense"]
    assert (await client.get("/v1/organisation")).json() == {"id": "acme", "name": "Acme A/S"}
    assert (await client.get("/v1/ledger")).json() == {"items": [], "next": None}
    assert (await client.get("/v1/quarantine")).json() == {"items": [], "next": None}
    assert_problem(await client.get(f"/v1/quarantine/{entry}"), 404)


async def test_a_database_that_takes_no_changes_is_told(database_url, client, connection):
    (name,) = connection.execute("SELECT current_database()").fetchone()
    connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    token = client.headers["authorization"].removeprefix("Bearer ")
    async with serving(database_url, token) as standby:
        assert_problem(await standby.get("/v1/sites"), 503, "takes no changes now")
