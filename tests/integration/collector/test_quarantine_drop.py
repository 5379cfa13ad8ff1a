"""What a person gave up: it stays, counts, and comes back only when somebody says so."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.quarantine_store import Filters, drop, quarantined, reopen
from schemas.quarantine import Reason
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import query, read_ledger, readings
from tests.integration.collector.replaying import BALANCE, add_meter, deliver, replay, stored, topic

pytestmark = pytest.mark.stack

SAID = {"author": "Inge", "because": "a test rig"}
UNKNOWN = {"reason": Reason.UNKNOWN_METER, "entries": 1, "readings": 2}
STATES = "SELECT replayed_at IS NOT NULL, dropped_at IS NOT NULL, times FROM quarantine ORDER BY id"


def mark(database_url: str, act: Any, **filters: Any) -> list[dict[str, Any]]:
    async def work() -> Any:
        async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
            return await act(connection, Filters(**{"organisation": None, **filters}), **SAID)

    found: list[dict[str, Any]] = asyncio.run(work())
    return found


def history(database_url: str, entry: int) -> list[tuple[Any, ...]]:
    async def work() -> Any:
        async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
            return await quarantined(connection, None, entry)

    return [(act["act"], act["author"], act["because"]) for act in asyncio.run(work())["history"]]


@pytest.fixture
def entry(database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress) -> int:
    """An entry of two readings of a meter that nobody knows."""
    deliver(connection, readings(1, [("steam", 20, 5.0), ("steam", 10, 6.0)]), to=topic(address))
    [(number,)] = query(database_url, "SELECT id FROM quarantine")
    return int(number)


def test_what_is_dropped_stays_and_counts_and_is_passed_by(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    assert mark(database_url, drop, meter="steam", agent="cabinet") == [UNKNOWN]
    assert mark(database_url, drop, meter="steam") == []
    assert read_ledger(database_url) == [("E1", 1, 2, 0, 0, 2)]
    assert query(database_url, "SELECT octet_length(payload) > 0, counted FROM quarantine") == [(True, 2)]
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (0, 0, 0, {})
    assert replay(connection, database_url, meters=["steam"]) == (0, 0, 0, {})
    assert stored(database_url) == []
    assert history(database_url, entry) == [("dropped", "Inge", "a test rig")]


def test_it_is_replayed_when_its_number_is_named(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    mark(database_url, drop, entry=entry)
    assert replay(connection, database_url, entry=entry) == (1, 0, 0, {Reason.UNKNOWN_METER: 2})
    # Refused again, it stays what a person made it.
    assert query(database_url, STATES) == [(False, True, 1)]
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url, entry=entry) == (1, 2, 0, {})
    assert query(database_url, STATES) == [(True, False, 1)]
    assert query(database_url, BALANCE) == [(2, 2, 0, 0, 0)]
    assert [act for act, _, _ in history(database_url, entry)] == ["dropped", "refused again", "replayed"]


def test_it_comes_again_and_stays_dropped(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    mark(database_url, drop, entry=entry)
    deliver(connection, readings(1, [("steam", 20, 5.0), ("steam", 10, 6.0)]), to=topic(address))
    assert query(database_url, STATES) == [(False, True, 2)]
    assert read_ledger(database_url) == [("E1", 1, 2, 0, 0, 2)]


def test_it_comes_again_when_its_meter_is_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    mark(database_url, drop, entry=entry)
    add_meter(database_url, site, "steam")
    deliver(connection, readings(1, [("steam", 20, 5.0), ("steam", 10, 6.0)]), to=topic(address))
    assert stored(database_url) == [("steam", 5.0), ("steam", 6.0)]
    assert query(database_url, BALANCE) == [(2, 2, 0, 0, 0)]


def test_what_was_dropped_can_be_reopened(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    assert mark(database_url, reopen, entry=entry) == []
    mark(database_url, drop, entry=entry)
    assert mark(database_url, reopen, entry=entry) == [UNKNOWN]
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 2, 0, {})
    # What was replayed is done with: there is nothing to drop.
    assert mark(database_url, drop) == []
    assert [act for act, _, _ in history(database_url, entry)] == ["dropped", "reopened", "replayed"]


def test_only_what_fits_is_dropped(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, entry: int
) -> None:
    deliver(connection, readings(2, [("heat", 20, 1.0), ("power", 1, float("nan"))]), to=topic(address))
    for filters in (
        {"organisation": "rival"}, {"site": "shed"}, {"agent": "shed"}, {"meter": "water"}, {"entry": entry + 100},
        {"reason": Reason.CONFLICT}, {"meter": "heat", "reason": Reason.NOT_A_NUMBER},
    ):  # fmt: skip
        assert mark(database_url, drop, **filters) == [], filters
    assert mark(database_url, drop, meter="heat") == [{**UNKNOWN, "readings": 1}]
    assert mark(database_url, drop, organisation=address.organisation) == [
        UNKNOWN,
        {"reason": Reason.NOT_A_NUMBER, "entries": 1, "readings": 1},
    ]


def test_since_when_a_message_is_missing(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    def since() -> Any:
        [(found,)] = query(database_url, "SELECT missing_since FROM ledger")
        return found

    def come(seq: int) -> Any:
        deliver(connection, readings(seq, [("power", 100 - seq, float(seq))]), to=topic(address))
        return since()

    assert come(1) is None
    first = come(3)
    assert first is not None
    assert come(7) == first
    # One hole is filled: the next one has been the first for no longer than that.
    assert come(2) > first
    for seq in (4, 5):
        come(seq)
    assert come(6) is None
