"""Probes, metrics, the page, and a database that is away."""

from __future__ import annotations

import re

import pytest
from psycopg import sql

from tests.integration.api.conftest import serving
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_ledger_routes import enter, quarantine, report

pytestmark = pytest.mark.stack

AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


async def test_ready_with_the_expected_schema(client):
    response = await client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


async def test_not_ready_with_an_old_or_a_newer_schema(client, connection):
    connection.execute("INSERT INTO schema_migration (number, name, digest) VALUES (9999, 'future', 'x')")
    assert_problem(await client.get("/ready"), 503, "newer version")
    connection.execute("DELETE FROM schema_migration WHERE number > 1")
    assert_problem(await client.get("/ready"), 503, "afkobling db migrate")


async def test_not_ready_without_a_schema(client, connection):
    connection.execute("DROP TABLE schema_migration")
    assert_problem(await client.get("/ready"), 503, "afkobling db migrate")
    connection.execute("DROP TABLE token")
    assert_problem(await client.get("/v1/sites"), 503, "afkobling db migrate")


async def test_a_database_that_is_away(capfd):
    async with serving(AWAY, "afk_x", pool_timeout_s=0.2) as client:
        assert (await client.get("/health")).status_code == 200
        for path in ("/ready", "/v1/sites"):
            response = await client.get(path)
            assert_problem(response, 503, "database")
            assert response.headers["retry-after"] == "5"


async def test_connections_that_were_cut_are_replaced(client, connection):
    assert (await client.get("/v1/sites")).status_code == 200
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'afkobling api'"
    )
    assert (await client.get("/v1/sites")).status_code == 200


async def test_not_ready_where_the_database_takes_no_writes(database_url, connection, make_token, site):
    token = make_token()
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
            sql.Identifier(connection.info.dbname)
        )
    )
    async with serving(database_url, token) as client:
        assert_problem(await client.get("/ready"), 503, "takes no writes")


async def test_metrics_tell_how_the_whole_is(client, connection):
    enter(connection, "a", stored_seq=10, highest_seq=20, ahead=[12, 13])
    report(connection, "a", last_seq=22, readings=100)
    enter(connection, "a", epoch="before", stored_seq=1, highest_seq=4)
    enter(connection, "b")
    connection.execute("UPDATE ledger SET missing_since = now() - interval '20 min' WHERE epoch = 'e1' AND agent = 'a'")
    waits = [quarantine(connection, b"%d" % n, reason="unknown meter") for n in range(3)]
    connection.execute("UPDATE quarantine SET dropped_at = now() WHERE id = %s", [waits[0]])
    connection.execute(
        "INSERT INTO quarantine_replay (requested_at) SELECT now() - interval '1 hour' UNION ALL SELECT now()"
    )
    lines = (await client.get("/metrics")).text.splitlines()
    for line in (
        'afkobling_quarantine_entries{reason="unknown meter"} 2.0',
        'afkobling_quarantine_readings{reason="unknown meter"} 4.0',
        'afkobling_ledger_agents_with_gaps{epoch="current"} 1.0',
        'afkobling_ledger_agents_with_gaps{epoch="former"} 1.0',
        'afkobling_ledger_stalled_agents{epoch="current"} 1.0',
        'afkobling_ledger_stalled_agents{epoch="former"} 0.0',
        'afkobling_ledger_missing_messages{epoch="current"} 8.0',
        'afkobling_ledger_missing_messages{epoch="former"} 3.0',
        'afkobling_agents{state="online"} 1.0',
        "afkobling_replays_waiting 2.0",
        "afkobling_database_up 1.0",
        "afkobling_api_pool_limit_connections 10.0",
    ):
        assert line in lines
    oldest = next(float(line.split()[1]) for line in lines if line.startswith("afkobling_replays_oldest_seconds "))
    assert 3600 <= oldest < 3700
    # Asked again at once, the database is left alone.
    connection.execute("DELETE FROM quarantine_replay")
    assert "afkobling_replays_waiting 2.0" in (await client.get("/metrics")).text
    assert "acme" not in (await client.get("/metrics")).text


async def test_metrics_without_a_database_claim_nothing():
    async with serving(AWAY, pool_timeout_s=0.2) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    assert "afkobling_database_up 0.0" in lines
    assert not [line for line in lines if line.startswith(("afkobling_quarantine", "afkobling_ledger"))]


async def test_a_query_that_takes_too_long(database_url, site, make_token, connection):
    async with serving(database_url, make_token(), statement_timeout_s=0.3) as client:
        with connection.transaction():
            connection.execute("LOCK TABLE site")
            assert_problem(await client.get("/v1/sites"), 503, "shorter")


async def test_metrics_count_by_route(client):
    await client.get("/v1/sites/odense/lines/line-1")
    await client.get("/v1/sites/odense/lines/none")
    await client.get("/v1/nothing")
    text = (await client.get("/metrics")).text
    route = 'route="/v1/sites/{site}/lines/{line}"'
    assert f'afkobling_api_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'afkobling_api_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'afkobling_api_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert f'afkobling_api_request_seconds_count{{method="GET",{route}}} 2.0' in text


async def test_the_page_needs_nothing_from_elsewhere(client):
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert assets == ["/web/style.css", "/web/app.js"]
    for asset in assets:
        response = await client.get(asset)
        assert response.status_code == 200
        assert "http" not in response.text.replace("https://", "http://").split("//", 1)[0]
    for text in [page.text, *[(await client.get(asset)).text for asset in assets]]:
        assert not re.search(r"https?://", text)


async def test_there_are_no_pages_with_scripts_from_elsewhere(client):
    for path in ("/docs", "/redoc"):
        assert_problem(await client.get(path), 404)
