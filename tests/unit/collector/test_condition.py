"""What a collector says of itself."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from collector.condition import Condition
from collector.connection import explain


def well() -> Condition:
    condition = Condition()
    condition.works()
    return condition


def test_nothing_is_wrong_while_it_keeps_up() -> None:
    condition = well()
    assert condition.problems(oldest_s=None, now_s=1000) == []
    condition.begins(arrived_s=990, now_s=999)
    assert condition.problems(oldest_s=995, now_s=1000) == []
    assert Condition().problems(oldest_s=None, now_s=0) == ["not connected to the database yet"]


def test_the_oldest_message_tells_that_it_is_behind() -> None:
    (told,) = well().problems(oldest_s=900, now_s=1000)
    assert "behind; the oldest message has waited 100 s" in told
    condition = well()
    condition.begins(arrived_s=900, now_s=999)
    (told,) = condition.problems(oldest_s=990, now_s=1000)
    assert "waited 100 s" in told


def test_a_transaction_that_does_not_end_is_told_with_what_waits() -> None:
    condition = well()
    condition.begins(arrived_s=940, now_s=950)
    (told,) = condition.problems(oldest_s=None, now_s=1000)
    assert told.startswith("one transaction has taken 50 s so far; the oldest message has waited 60 s; look for locks")
    condition.works()
    assert condition.problems(oldest_s=None, now_s=1000) == []


def test_a_database_that_is_away_is_told_once_with_its_reason() -> None:
    condition = well()
    condition.begins(arrived_s=900, now_s=900)
    condition.failed(errors.DiskFull("could not extend file"))
    (told,) = condition.problems(oldest_s=950, now_s=1000)
    assert "disk is full" in told
    assert told.endswith("the oldest message has waited 100 s")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.ReadOnlySqlTransaction("x"), "takes no writes"),
        (errors.DiskFull("x"), "make room"),
        (errors.TooManyConnections("x"), "max_connections"),
        (psycopg.OperationalError("connection\n  refused"), "away (connection refused); is it running and reachable?"),
        (psycopg.InterfaceError(), "away (InterfaceError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_trouble_of_the_database_says_what_to_do(error: psycopg.Error, words: str) -> None:
    told = explain(error)
    assert words in told
    assert "readings wait with the agents" in told.lower()
