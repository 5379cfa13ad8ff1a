"""Whatever changes consumption says of which days, in the transaction that changes it."""

from __future__ import annotations

import random
from typing import Any, LiteralString

import psycopg
import pytest

from collector.rebuild import rebuild
from collector.rollup import RollUp
from tests.integration.collector.test_rollup import (
    MIN,
    T0,
    _consumption,
    _settle,
    _state_something,
    _store,
    connection,
)

pytestmark = pytest.mark.stack
__all__ = ["connection"]

_MARKED: LiteralString = """
    SELECT (%(quarter)s AT TIME ZONE 'Europe/Copenhagen')::date BETWEEN min(from_day) AND max(to_day) - 1
    FROM attribution_due WHERE from_day IS NOT NULL
"""


def _take_marks(connection: psycopg.Connection) -> list[Any]:
    return connection.execute("DELETE FROM attribution_due RETURNING from_day, to_day").fetchall()


@pytest.mark.parametrize("seed", range(4))
def test_every_quarter_that_changes_is_marked(connection: psycopg.Connection, seed: int) -> None:
    rng, roll_up = random.Random(seed), RollUp()
    hours = 30
    readings = [
        (meter, T0 + i * 7 * MIN, float(i + rng.choice([0, 0, 0, -3, 40])))
        for meter in ("counter", "nasty", "slow")
        for i in range(hours * 60 // 7)
    ]
    rng.shuffle(readings)
    step = len(readings) // 6
    due = T0
    for begin in range(0, len(readings), step):
        _store(connection, readings[begin : begin + step])
        _state_something(connection, rng)
        due += hours * 60 * MIN // 5
        before = set(_consumption(connection))
        _take_marks(connection)
        _settle(connection, due, roll_up)
        changed = {row[1] for row in before ^ set(_consumption(connection))}
        for quarter in changed:
            row = connection.execute(_MARKED, {"quarter": quarter}).fetchone()
            assert row == (True,), f"{quarter} changed and no mark tells"


def test_a_rebuild_marks_what_it_mends_and_nothing_else(connection: psycopg.Connection) -> None:
    _store(connection, [("counter", T0 + i * 5 * MIN, float(i)) for i in range(600)])
    _settle(connection, T0 + 600 * 5 * MIN)
    _take_marks(connection)
    assert rebuild(connection).is_identical
    # What is open at the end is brought up to all that is known, which is nothing new here.
    last = _consumption(connection)[-1][1].date()
    assert all(first >= last for first, _ in _take_marks(connection))
    quarter = _consumption(connection)[40][1]
    connection.execute("UPDATE consumption SET measured = measured + 1 WHERE quarter = %s", [quarter])
    assert not rebuild(connection).is_identical
    first, end = min(_take_marks(connection))
    assert (first, (end - first).days) == (quarter.date(), 1)
