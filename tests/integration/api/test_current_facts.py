"""What of people's words counts: the newest version of each fact, unless it takes the fact back."""

from __future__ import annotations

import pytest

from tests.integration.api.conftest import AT, MINUTE

pytestmark = pytest.mark.stack


def test_the_newest_manual_reading_of_an_instant(connection, store):
    def say(at, value) -> None:
        connection.execute(
            "INSERT INTO manual_reading (meter_id, at, value, author, reason) VALUES (%s, %s, %s, 'Anna', 'dial')",
            [store.number("main"), at, value],
        )

    for at, value in ((AT, 1.0), (AT + MINUTE, 2.0), (AT, 3.0), (AT + MINUTE, None), (AT + 2 * MINUTE, None)):
        say(at, value)
    current = "SELECT at, value FROM current_manual_reading ORDER BY at"
    assert connection.execute(current).fetchall() == [(AT, 3.0)]
    say(AT + MINUTE, 4.0)
    assert connection.execute(current).fetchall() == [(AT, 3.0), (AT + MINUTE, 4.0)]


def test_the_newest_record_of_an_exchange(connection, store):
    for meter, registers in (
        ("main", (9.0, 0.0)),
        ("water", (5.0, 1.0)),
        ("main", (8.0, 0.5)),
        ("water", (None, None)),
    ):
        connection.execute(
            "INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason)"
            " VALUES (%s, %s, %s, %s, 'Anna', 'work order 7')",
            [store.number(meter), AT, *registers],
        )
    current = "SELECT meter_id, at, last_old, first_new FROM current_exchange"
    assert connection.execute(current).fetchall() == [(store.number("main"), AT, 8.0, 0.5)]


def test_the_newest_decision_also_where_it_reaches_less_far(connection, store):
    def decide(kind, minutes, state, decision) -> None:
        connection.execute(
            "INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'Anna', 'seen')",
            [store.number("main"), kind, AT, AT + minutes * MINUTE, state, decision],
        )

    decide("spike", 9, "confirmed", "set_aside")
    decide("dip", 9, "confirmed", "set_aside")
    decide("spike", 1, "overruled", "keep")
    decide("dip", 9, "proposed", None)
    current = "SELECT kind, until, decision FROM current_decision"
    assert connection.execute(current).fetchall() == [("spike", AT + MINUTE, "keep")]
    # An older version is not found where only it would reach.
    late = [AT + 5 * MINUTE]
    assert connection.execute("SELECT FROM current_decision WHERE until >= %s", late).fetchall() == []
