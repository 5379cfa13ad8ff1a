"""A database of a bench's own on the running stack, or on a stack that lives as long as the bench."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.migrate import migrate
from deploy.stack import Endpoints, StackError, down, endpoints, on_database, up


@contextmanager
def scratch_stack() -> Iterator[Endpoints]:
    """The stack that runs already, else one in a temporary folder that is taken away again."""
    running = _running()
    if running is not None:
        yield running
        return
    folder = Path(tempfile.mkdtemp(prefix="afkobling-bench-"))
    # PostgreSQL runs as an unprivileged user when root runs the bench, and must get through.
    folder.chmod(0o755)
    try:
        yield up(folder)
    finally:
        down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _running() -> Endpoints | None:
    try:
        return endpoints()
    except StackError:
        return None


@contextmanager
def scratch_database(server_url: str) -> Iterator[str]:
    """The address of a migrated, empty database that is dropped at the end."""
    name = f"afkobling_bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            url = on_database(server_url, name)
            migrate(url)
            yield url
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
