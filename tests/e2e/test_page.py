"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import uvicorn
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from api.site_model import apply_site_model
from deploy.commands.token import create_token
from deploy.demo.parts import free_port
from schemas.configuration import parse_configuration
from schemas.site import SiteModel
from tests.integration.collector.conftest import wait_for

pytestmark = pytest.mark.stack

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SITE = """
organisation: {id: acme}
site: {id: hall, name: Hall 1, time_zone: Europe/Copenhagen}
agents: [{id: cabinet}]
meters:
  - {id: power, name: Main power, agent: cabinet, resource: energy, unit: kWh, kind: counter}
"""


@pytest.fixture
def page_url(database_url: str) -> Iterator[str]:
    """The API on a free port, with one meter that spoke just now."""
    model = parse_configuration(SITE, name="site.yaml", model=SiteModel)
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
        connection.execute(
            "INSERT INTO reading SELECT id, %s, 1234.5, 0 FROM meter", [datetime.now(UTC) - timedelta(seconds=3)]
        )
    port = free_port()
    config = uvicorn.Config(
        create_app(ApiSettings(database_url=SecretStr(database_url))), host="127.0.0.1", port=port, log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "the API")
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(30)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; an administrator can apt-get install it")
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_live_value_shows_after_signing_in_and_nothing_comes_from_elsewhere(
    page_url: str, database_url: str, width: int, scheme: str
) -> None:
    from playwright.sync_api import sync_playwright

    token = create_token(database_url, organisation="acme", name="page", scopes=["read"], days=1)[0]
    troubles: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(
            viewport={"width": width, "height": 844}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_url)
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        page.get_by_role("cell", name="Main power").wait_for()
        assert page.get_by_role("cell", name="1,234.5").is_visible()
        # Nothing is wider than the screen.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Forget the token").click()
        page.get_by_label("Token").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
        browser.close()
    assert troubles == []
    assert [url for url in asked if not url.startswith((page_url, "data:"))] == []
