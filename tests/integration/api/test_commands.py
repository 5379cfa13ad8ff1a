"""The commands db, site and token, and the served API, as a person runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from deploy.cli import main
from tests.integration.api.conftest import SITE

pytestmark = pytest.mark.stack


@pytest.fixture
def site_file(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(SITE, encoding="utf-8")
    return path


def test_migrate_again_is_no_work(database_url, capsys):
    assert main(["db", "migrate", "--database-url", database_url]) == 0
    assert capsys.readouterr().out == "the database is up to date\n"


def test_a_site_is_checked_and_applied(database_url, site_file, capsys):
    assert main(["site", "check", str(site_file)]) == 0
    assert "2 lines, 2 products, 1 agents, 8 meters" in capsys.readouterr().out
    for _ in range(2):
        assert main(["site", "apply", str(site_file), "--database-url", database_url]) == 0
        assert capsys.readouterr().out == "applied acme/odense: 8 meters\n"


def test_faults_are_told_by_file_and_line(site_file, capsys):
    site_file.write_text(SITE.replace("unit: m3", "unit: gallons"), encoding="utf-8")
    assert main(["site", "check", str(site_file)]) == 1
    line = next(i for i, text in enumerate(SITE.splitlines(), 1) if "unit: m3" in text)
    assert f"{site_file}:{line}: meters.4.unit: 'gallons' is not a unit for water" in capsys.readouterr().err
    assert main(["site", "check", str(site_file.parent / "none.yaml")]) == 1
    assert "can't be read" in capsys.readouterr().err


def test_a_database_that_takes_no_changes_is_told(database_url, site, site_file, connection, capsys):
    (name,) = connection.execute("SELECT current_database()").fetchone()
    site_file.write_text(SITE.replace("Line 1", "The first"), encoding="utf-8")
    connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert main(["site", "apply", str(site_file), "--database-url", database_url]) == 1
    assert "nothing was changed, try again later" in capsys.readouterr().err


def test_what_the_file_omits_is_told(database_url, site_file, capsys):
    main(["site", "apply", str(site_file), "--database-url", database_url])
    fewer = "\n".join(line for line in SITE.splitlines() if "id: water" not in line)
    site_file.write_text(fewer, encoding="utf-8")
    main(["site", "apply", str(site_file), "--database-url", database_url])
    assert "kept, although the file does not name it: meter water" in capsys.readouterr().out


def test_tokens(database_url, site, connection, capsys):
    create = ["token", "create", "--organisation", "acme", "--name", "page", "--database-url", database_url]
    assert main(create) == 0
    assert capsys.readouterr().out.startswith("afk_")
    assert main([*create, "--scope", "write", "--scope", "read", "--days", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["scopes"], set(printed)) == (["read", "write"], {"token", "scopes", "expires_at"})
    rows = connection.execute("SELECT name, scopes, expires_at - created_at FROM token ORDER BY id").fetchall()
    assert [(name, scopes, span.days) for name, scopes, span in rows] == [
        ("page", ["read"], 90),
        ("page", ["read", "write"], 1),
    ]
    create[3] = "nobody"
    assert main(create) == 1
    assert "there is no organisation 'nobody'" in capsys.readouterr().err


def test_the_api_is_served_and_stops_when_told(database_url, site, make_token):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "api", "run", "--port", str(port)],
        env={**os.environ, "AFKOBLING_DATABASE_URL": database_url},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.get(f"{url}/v1/sites").status_code == 401
        headers = {"Authorization": f"Bearer {make_token()}"}
        assert httpx.get(f"{url}/v1/sites", headers=headers).json()["items"][0]["id"] == "odense"
        assert httpx.get(f"{url}/v1/sites/%2e%2e", headers=headers).status_code == 404
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in {0, -signal.SIGTERM}
