"""Where nobody names a database, and the stack's own has no site, commands about a site mean the demo's."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from api.site_model import apply_site_model
from deploy.cli import main
from deploy.commands import settings
from deploy.demo import DATABASE
from deploy.migrate import migrate
from deploy.stack import on_database
from tests.integration.api.conftest import site_model

pytestmark = pytest.mark.stack


@pytest.fixture
def own(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stack's own database, migrated and empty."""
    monkeypatch.delenv("AFKOBLING_DATABASE_URL", raising=False)
    monkeypatch.setattr(settings, "_local_stack", lambda names: {"database_url": database_url})
    return database_url


@pytest.fixture
def demo(own: str) -> Iterator[str]:
    name = sql.Identifier(DATABASE)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        url = on_database(own, DATABASE)
        migrate(url)
        apply(url)
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def apply(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        apply_site_model(connection, site_model())


def test_the_demos_site_stands_in_and_it_is_said(demo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "list"]) == 0
    assert "the demo's site is meant" in capsys.readouterr().err


def test_a_site_of_ones_own_goes_first(demo: str, own: str, capsys: pytest.CaptureFixture[str]) -> None:
    apply(own)
    assert main(["events", "list"]) == 0
    assert capsys.readouterr().err == ""


def test_a_database_that_was_named_is_meant(demo: str, own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "list", "--database-url", own]) == 1
    assert "no site yet" in capsys.readouterr().err


def test_without_a_demo_there_is_no_site(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "list"]) == 1
    assert "no site yet" in capsys.readouterr().err
