"""What `afkobling bench query` writes is a site that the API answers about, as it would about any other."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from api.attribution.keeper import keep_due
from api.site_model import apply_site_model
from deploy.bench import query_rows
from deploy.bench.query_clients import ask_at_once
from deploy.bench.query_rows import Span
from deploy.bench.query_site import ORGANISATION, SITE, site_model
from deploy.commands.token import create_token
from schemas.errors import TransientError
from tests.integration.api.conftest import serving

pytestmark = pytest.mark.stack

SPAN = Span(first=date(2026, 3, 30), end=date(2026, 4, 2), zone=ZoneInfo("Europe/Copenhagen"))


async def test_the_site_can_be_asked_about(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        apply_site_model(connection, site_model())
        quarters = query_rows.fill_quarters(connection, site_model(), SPAN)
        assert 0.98 * 100 * 3 * 96 < quarters < 100 * 3 * 96
        assert query_rows.fill_runs(connection, SPAN) > 100
        assert query_rows.fill_drivers(connection, SPAN) == 2 * 21
        assert query_rows.fill_readings(connection, SPAN, 1_000) == 1_000
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        await query_rows.put_factors(connection, SPAN)
        assert (await keep_due(connection)).days >= 3
    token = create_token(database_url, organisation=ORGANISATION, name="test", scopes=["read"], days=1)[0]
    async with serving(database_url, token) as client:
        answer = await client.get(f"/v1/sites/{SITE}/intensity?period=2026-03-30..2026-04-01&by=product")
        verdict = await client.get(f"/v1/sites/{SITE}/decoupling?base=2026-03-30&period=2026-04-01")
    items = answer.json()["items"]
    assert len({item["product"] for item in items}) > 15
    assert {item["indicator"] for item in items} == {i["indicator"] for i in verdict.json()["items"]}
    assert "co2_location" in {item["indicator"] for item in items}
    assert not [f for f in answer.json()["findings"] if f["kind"] == "negative_rest"]


def test_what_is_no_answer_is_not_measured(unused_server):
    with pytest.raises(TransientError, match="404"):
        ask_at_once(unused_server, "nobody", ["/"], clients=2, seconds=0.1)


@pytest.fixture
def unused_server():
    """A server on the loopback interface that has nothing."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Nothing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
