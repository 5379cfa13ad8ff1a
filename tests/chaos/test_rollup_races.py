"""Readings that arrive between two statements of the roll-up, at the worst moment."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from collector.rollup import roll_up_once
from collector.rollup_store import read_readings
from schemas.quantities import QUARTER_MS, SCALE
from tests.integration.collector.test_rollup import MIN, T0, _consumption, _rebuilt, _settle, _store, connection

pytestmark = pytest.mark.stack

__all__ = ["connection"]


@pytest.mark.parametrize("after_ms", [0, 5 * MIN, 20 * MIN])
@pytest.mark.parametrize("is_seen", [True, False])
def test_late_readings_newer_than_all_others_come_while_the_roll_up_looks(
    connection: psycopg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    after_ms: int,
    is_seen: bool,
) -> None:
    due_ms = T0 + 8 * QUARTER_MS
    _store(connection, [("counter", T0, 0.0), ("counter", T0 + MIN, 1.0)])
    _settle(connection, due_ms)
    # A note of an older reading, so that there is something to do.
    _store(connection, [("counter", T0 + 2 * MIN, 2.0)])
    arriving = [[("counter", T0 + 3 * MIN + after_ms, 3.0), ("counter", T0 + 4 * MIN + after_ms, 5.0)]]

    def arrive() -> None:
        if arriving:
            with psycopg.connect(database_url, autocommit=True) as other:
                _store(other, arriving.pop())

    def look(*args: Any) -> Any:
        # Its notes are taken off by now.
        if is_seen:
            arrive()
        found = read_readings(*args)
        arrive()
        return found

    monkeypatch.setattr("collector.neighbourhoods.read_readings", look)
    while roll_up_once(connection, due_ms=due_ms).is_behind:
        pass
    assert not arriving
    incremental = _consumption(connection)
    assert sum(row[2] + row[3] for row in incremental) == 5 * SCALE
    assert incremental == _rebuilt(connection, due_ms)
