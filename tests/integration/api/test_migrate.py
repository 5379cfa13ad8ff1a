"""Migrations on the real TimescaleDB."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from deploy import migrate as module
from deploy.migrate import DatabaseAwayError, MigrationRefusedError, migrate
from deploy.stack import on_database
from schemas.sql import Migration, migrations

pytestmark = pytest.mark.stack


@pytest.fixture
def empty_url(database_url):
    """A database without any schema, beside the migrated one."""
    name = f"{urlsplit(database_url).path[1:]}_empty"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    yield on_database(database_url, name)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_every_step_is_applied_once(empty_url):
    assert migrate(empty_url) == [step.number for step in migrations()]
    assert migrate(empty_url) == []


def test_two_at_once_apply_each_step_once(empty_url):
    applied = []
    threads = [threading.Thread(target=lambda: applied.append(migrate(empty_url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied, key=len) == [[], [], [], [step.number for step in migrations()]]


def test_a_changed_step_is_refused(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE schema_migration SET digest = 'other' WHERE number = 2")
    with pytest.raises(MigrationRefusedError, match=r"0002 \(readings\) has changed"):
        migrate(database_url)


def test_a_newer_database_is_refused(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO schema_migration (number, name, digest) VALUES (9999, 'future', 'x')")
    with pytest.raises(MigrationRefusedError, match="9999"):
        migrate(database_url)


def test_a_failing_step_leaves_no_trace(database_url, monkeypatch):
    number = len(migrations()) + 1
    broken = Migration(number=number, name="broken", sql="CREATE TABLE half (id int); SELECT nonsense;")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), broken])
    with pytest.raises(MigrationRefusedError, match="left no trace"):
        migrate(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert connection.execute("SELECT max(number) FROM schema_migration").fetchone() == (number - 1,)


def test_a_server_that_is_away_is_told():
    with pytest.raises(DatabaseAwayError, match="can't be reached"):
        migrate("postgresql://nobody@127.0.0.1:1/nothing")


def test_nonsense_instead_of_a_url_is_told():
    with pytest.raises(MigrationRefusedError, match="not a database URL"):
        migrate("nonsense")
