"""Notes of late readings, as they are taken off the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from collector.pending import take_pending

pytestmark = pytest.mark.stack

DAY_MS = 86_400_000
T0 = 1_704_067_200_000
"""2024-01-01T00:00Z"""
_NOTE: LiteralString = """
    INSERT INTO pending (meter_id, from_at, to_at)
    VALUES (%s, to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0))
"""
_MANY: LiteralString = """
    INSERT INTO pending (meter_id, from_at, to_at)
    SELECT m, to_timestamp(%s / 1000.0) + n * interval '10 seconds',
           to_timestamp(%s / 1000.0) + n * interval '11 seconds'
    FROM generate_series(1, %s) AS m, generate_series(0, 99) AS n
"""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def left(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM pending").fetchone()
    return int(row[0]) if row else -1


def test_what_many_batches_noted_of_a_day_comes_as_one(connection: psycopg.Connection) -> None:
    for meter, from_ms, to_ms in [
        (2, T0 + 500, T0 + 700),
        (1, T0 + 9_000, T0 + 9_500),
        (1, T0, T0 + 3 * DAY_MS),
        (1, T0 + DAY_MS - 1, T0 + DAY_MS - 1),
        (1, T0 + DAY_MS, T0 + DAY_MS + 5),
    ]:
        connection.execute(_NOTE, [meter, from_ms, to_ms])
    with connection.transaction(), connection.cursor() as cursor:
        taken = take_pending(cursor)
    assert taken == [
        (1, T0, T0 + 3 * DAY_MS),
        (1, T0 + DAY_MS, T0 + DAY_MS + 5),
        (2, T0 + 500, T0 + 700),
    ]
    assert left(connection) == 0


def test_a_step_takes_the_days_of_some_meters_whole_and_leaves_the_others(connection: psycopg.Connection) -> None:
    connection.execute(_MANY, [T0, T0, 6_000])
    seen: list[tuple[int, int, int]] = []
    for expected in (5_000, 1_000, 0):
        with connection.transaction(), connection.cursor() as cursor:
            taken = take_pending(cursor)
        assert len(taken) == expected
        seen += taken
        assert left(connection) == (6_000 - len(seen)) * 100
    assert seen == [(meter, T0, T0 + 99 * 11_000) for meter in range(1, 6_001)]


def test_what_is_noted_meanwhile_stays(connection: psycopg.Connection, database_url: str) -> None:
    connection.execute(_NOTE, [1, T0, T0])
    with psycopg.connect(database_url) as other, other.cursor() as cursor:
        assert take_pending(cursor) == [(1, T0, T0)]
        connection.execute(_NOTE, [1, T0 + 1, T0 + 1])
    with psycopg.connect(database_url) as other, other.cursor() as cursor:
        assert take_pending(cursor) == [(1, T0 + 1, T0 + 1)]
