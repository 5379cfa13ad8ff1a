"""The index by meter, on closed chunks alone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from collector.chunk_index import index_closed_chunks

pytestmark = pytest.mark.stack

NOW = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


@pytest.fixture
def chunks(connection: psycopg.Connection) -> list[str]:
    """Three chunks of an hour each; the last is being written."""
    connection.execute("SELECT set_chunk_time_interval('reading', interval '1 hour')")
    connection.execute(
        """
        INSERT INTO reading
        SELECT m, t, 1, 0 FROM generate_series(1, 200) AS m,
                               generate_series(%(now)s - interval '125 minutes', %(now)s, interval '1 minute') AS t
        """,
        {"now": NOW},
    )
    return [row[0] for row in connection.execute("SELECT show_chunks('reading')::text ORDER BY 1").fetchall()]


def _indexed(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid::regclass::text LIKE '%by_meter%' "
        "AND indisvalid ORDER BY 1"
    )
    return [row[0] for row in rows.fetchall()]


def _index(connection: psycopg.Connection, now: datetime = NOW) -> int:
    return index_closed_chunks(connection, now=now, stopping=threading.Event())


def test_closed_chunks_are_indexed_once(connection: psycopg.Connection, chunks: list[str]) -> None:
    assert _index(connection) == 1
    assert _indexed(connection) == chunks[:1]
    assert _index(connection, NOW + timedelta(minutes=15)) == 1
    assert _index(connection, NOW + timedelta(minutes=15)) == 0
    assert _indexed(connection) == chunks[:2]
    plan = connection.execute("EXPLAIN SELECT * FROM reading WHERE meter_id = 7 AND at < %s", [NOW]).fetchall()
    assert "_by_meter" in str(plan)


def test_what_is_about_to_be_archived_is_left(connection: psycopg.Connection, chunks: list[str]) -> None:
    connection.execute("UPDATE archive_progress SET frozen_to = %s", [NOW - timedelta(minutes=65)])
    assert _index(connection, NOW + timedelta(hours=2)) == 2
    assert _indexed(connection) == chunks[1:]


def test_a_beginning_that_was_cut_off_is_begun_again(
    connection: psycopg.Connection, database_url: str, chunks: list[str]
) -> None:
    with psycopg.connect(database_url) as writer:
        writer.execute("INSERT INTO reading VALUES (1, %s, 1, 0)", [NOW - timedelta(minutes=124, seconds=3)])
        connection.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            _index(connection)
    connection.execute("RESET statement_timeout")
    assert _indexed(connection) == []
    assert _index(connection) == 1
    assert _indexed(connection) == chunks[:1]
