"""Fixtures that need the real servers.

`stack` gives both servers, `database_url` a migrated database of its own for each test, `broker_url` the broker
that all share: a test that uses it names an organisation of its own, so that topics don't meet.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from deploy.stack import on_database
from schemas.errors import AfkoblingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the two servers are. A broker that the environment names may have no `agent_broker_url`."""

    database_url: str
    broker_url: str
    agent_broker_url: str | None = None
    authority_dir: Path | None = None


@pytest.fixture(scope="session")
def stack() -> Iterator[Servers]:
    """The servers named in the environment, else a local stack that lives as long as the test session."""
    database_url, broker_url = os.environ.get("AFKOBLING_DATABASE_URL"), os.environ.get("AFKOBLING_BROKER_URL")
    if database_url and broker_url:
        from deploy.stack.addresses import given_servers

        given = given_servers()
        yield Servers(
            database_url=database_url,
            broker_url=broker_url,
            agent_broker_url=given.agent_broker_url,
            authority_dir=given.authority_dir,
        )
        return
    folder = Path(tempfile.mkdtemp(prefix="afkobling-test-", dir="/tmp"))
    # PostgreSQL runs as an unprivileged user when the tests run as root, and must get through.
    folder.chmod(0o755)
    try:
        yield from _local_stack(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _local_stack(folder: Path) -> Iterator[Servers]:
    try:
        from deploy.stack import down, up

        endpoints = up(folder)
    except (AfkoblingError, ImportError) as error:
        reason = f"the local stack can't be had: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    servers = Servers(
        database_url=endpoints.database_url,
        broker_url=endpoints.broker_url,
        agent_broker_url=endpoints.agent_broker_url,
        authority_dir=endpoints.authority_dir,
    )
    # A database is made and dropped for every test. Tests kill the server, and none pulls the machine's plug, which
    # alone is what fsync is for.
    _execute(servers, sql.SQL("ALTER SYSTEM SET fsync = off"))
    _execute(servers, sql.SQL("SELECT pg_reload_conf()"))
    try:
        yield servers
    finally:
        down(folder)


@pytest.fixture(scope="session")
def broker_url(stack: Servers) -> str:
    """The broker as our own servers know it, shared by all tests of the session."""
    return stack.broker_url


@pytest.fixture(scope="session")
def agent_broker_url(stack: Servers) -> str:
    """The same broker as agents with certificates know it."""
    if stack.agent_broker_url is None or stack.authority_dir is None:
        pytest.skip("AFKOBLING_BROKER_URL names a broker, and nothing says how agents are let in there")
    return stack.agent_broker_url


@pytest.fixture(scope="session")
def authority_dir(stack: Servers, agent_broker_url: str) -> Path:
    """The keys that vouch for agents at `agent_broker_url`."""
    assert stack.authority_dir is not None
    return stack.authority_dir


@pytest.fixture(scope="session")
def template_database(stack: Servers) -> Iterator[str]:
    """The name of a migrated, empty database that others are copied from; nothing may connect to it."""
    from deploy.migrate import migrate

    name = f"afkobling_template_{uuid.uuid4().hex[:12]}"
    _execute(stack, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        migrate(on_database(stack.database_url, name))
        # TimescaleDB's launcher passes by a database without connections, so none of its workers holds the template.
        _execute(stack, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        _execute(
            stack, sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name)
        )
        yield name
    finally:
        _drop(stack, name)


@pytest.fixture
def database_url(stack: Servers, template_database: str) -> Iterator[str]:
    """A migrated, empty database for this test alone."""
    with fresh_database(stack, template_database) as url:
        yield url


@contextmanager
def fresh_database(stack: Servers, template_database: str) -> Iterator[str]:
    """A migrated, empty database that lives as long as the `with`."""
    name = f"afkobling_{uuid.uuid4().hex[:12]}"
    _execute(
        stack,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template_database)),
    )
    try:
        yield on_database(stack.database_url, name)
    finally:
        _drop(stack, name)


def _execute(stack: Servers, statement: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(stack.database_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)


def _drop(stack: Servers, name: str) -> None:
    _execute(stack, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
