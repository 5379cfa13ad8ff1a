"""Replaying the quarantine: what becomes of each entry, and of the ledger."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from schemas.quarantine import Reason
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from tests.integration.collector.conftest import NOW_MS, query, read_ledger, readings
from tests.integration.collector.replaying import BALANCE, add_meter, deliver, replay, stored, topic, waiting

pytestmark = pytest.mark.stack


def test_what_waits_is_stored_once_its_meter_is_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("power", 20, 1.0), ("steam", 20, 5.0), ("steam", 10, 6.0)]), to=topic(address))
    assert read_ledger(database_url) == [("E1", 1, 3, 1, 0, 2)]
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNKNOWN_METER: 2})
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 2, 0, {})
    assert stored(database_url) == [("power", 1.0), ("steam", 5.0), ("steam", 6.0)]
    assert read_ledger(database_url) == [("E1", 1, 3, 3, 0, 0)]
    # The row stays as a trace, and is not tried again.
    assert query(
        database_url,
        "SELECT replayed_at IS NOT NULL, stored, repeated, counted, octet_length(payload) > 0 FROM quarantine",
    ) == [(True, 2, 0, 0, True)]
    assert query(database_url, "SELECT count(*) FROM quarantine_meter") == [(0,)]
    assert replay(connection, database_url) == (0, 0, 0, {})


def test_what_is_left_over_waits_as_an_entry_of_its_own(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 20, 5.0), ("heat", 20, 7.0), ("heat", 10, 8.0)]), to=topic(address))
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url, meters=["steam"]) == (1, 1, 0, {Reason.UNKNOWN_METER: 2})
    assert read_ledger(database_url) == [("E1", 1, 3, 1, 0, 2)]
    [(first, payload), (second, left)] = query(database_url, "SELECT id, payload FROM quarantine ORDER BY id")
    assert payload == b""
    assert json.loads(left)["value"] == [7.0, 8.0]
    assert query(database_url, "SELECT left_of, counted FROM quarantine WHERE id = %s", second) == [(first, 2)]
    assert query(database_url, "SELECT meter, readings, last_value FROM quarantine_meter") == [("heat", 2, 8.0)]
    add_meter(database_url, site, "steam", "heat")
    assert replay(connection, database_url, meters=["heat"]) == (1, 2, 0, {})
    assert query(database_url, BALANCE) == [(3, 3, 0, 0, 0)]


def test_a_conflict_stays_one_however_often_it_is_replayed(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("power", 20, 1.0)]), to=topic(address))
    deliver(connection, readings(2, [("power", 20, 2.0), ("water", 5, float("nan"))]), to=topic(address))
    before = read_ledger(database_url)
    for _ in range(3):
        assert replay(connection, database_url) == (2, 0, 0, {Reason.CONFLICT: 1, Reason.NOT_A_NUMBER: 1})
    assert query(database_url, "SELECT count(*), sum(times), sum(counted) FROM quarantine") == [(2, 2, 2)]
    assert query(database_url, "SELECT tried_at IS NOT NULL, replayed_at FROM quarantine") == [(True, None)] * 2
    assert read_ledger(database_url) == before
    assert stored(database_url) == [("power", 1.0)]


def test_another_reason_the_second_time(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 20, 5.0)], units={"steam": "MWh"}), to=topic(address))
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 0, 0, {Reason.WRONG_UNIT: 1})
    assert waiting(database_url) == [(Reason.WRONG_UNIT, 1)]
    assert query(database_url, BALANCE) == [(1, 0, 0, 1, 1)]


def test_a_plain_reading_that_came_three_times_is_stored_once(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    plain = {"meter": "steam", "at": NOW_MS - 1000, "value": 4.0, "unit": "kWh"}
    for _ in range(3):
        deliver(connection, plain, to=topic(address))
    assert query(database_url, BALANCE) == [(3, 0, 0, 3, 3)]
    add_meter(database_url, site, "steam")
    assert replay(connection, database_url) == (1, 1, 0, {})
    assert query(database_url, BALANCE) == [(3, 1, 2, 0, 0)]
    assert query(database_url, "SELECT messages FROM ledger") == [(3,)]


def test_an_agent_that_was_not_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    other = AgentAddress(organisation=address.organisation, site=address.site, agent="shed")
    deliver(connection, readings(1, [("steam", 20, 5.0), ("heat", 20, 1.0)]), to=topic(other))
    add_meter(database_url, site, "steam", agent="shed")
    assert replay(connection, database_url, agent="shed") == (1, 1, 0, {Reason.UNKNOWN_METER: 1})
    assert query(database_url, BALANCE) == [(2, 1, 0, 1, 1)]


def test_runs_of_a_line_that_was_not_known(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    span = {"run": "r1", "line": "saw", "state": "running", "product": "bracket", "start": NOW_MS - 60_000}
    head = {"v": 1, "epoch": "E1", "sent_at": NOW_MS}
    deliver(connection, {**head, "seq": 1, "runs": [span]}, to=topic(address, Kind.RUNS))
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNKNOWN_LINE: 1})
    add_meter(database_url, site, line="saw")
    # A later word about it came the ordinary way.
    deliver(
        connection,
        {**head, "seq": 2, "sent_at": NOW_MS + 1, "runs": [{**span, "end": NOW_MS}]},
        to=topic(address, Kind.RUNS),
    )
    assert replay(connection, database_url) == (1, 0, 0, {})
    assert query(database_url, "SELECT key, end_at IS NULL FROM run") == [("r1", False)]
    assert waiting(database_url) == []


def test_offers_and_status_that_were_refused_do_not_replace_later_ones(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    def offer(at: int, meter: str) -> dict[str, Any]:
        return {
            "v": 1,
            "at": at,
            "meters": [{"meter": meter, "resource": "energy", "unit": "kWh", "kind": "counter"}],
        }

    deliver(connection, offer(NOW_MS, "new"), to=topic(address, Kind.METERS))
    for at, meter in ((NOW_MS - 1, "old"), (NOW_MS + 1, "newest")):
        connection.execute(
            """
            INSERT INTO quarantine (reason, detail, topic, organisation, site, agent, readings, content_type, payload,
                                    digest)
            VALUES ('refused by the database', '', %s, %s, %s, %s, 0, 'application/json', %s, %s)
            """,
            [
                topic(address, Kind.METERS),
                address.organisation,
                address.site,
                address.agent,
                json.dumps(offer(at, meter)).encode(),
                meter.encode(),
            ],
        )
    held = "SELECT offered_meters -> 'meters' -> 0 ->> 'meter' FROM agent_report"
    [(first,)] = query(database_url, "SELECT min(id) FROM quarantine")
    replay(connection, database_url, entry=first)
    assert query(database_url, held) == [("new",)]
    replay(connection, database_url)
    assert query(database_url, held) == [("newest",)]
    assert waiting(database_url) == []


@pytest.mark.parametrize("payload", [b"{not json", b"\xff\x00", b'{"v": 2, "epoch": "E1", "seq": 1, "at": [1, 2]}'])
def test_what_is_no_message_stays_as_it_is(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress, payload: bytes
) -> None:
    deliver(connection, payload, to=topic(address))
    deliver(connection, payload, to="afkobling/v1/nonsense")
    before = query(database_url, "SELECT id, reason, payload, times, counted, replayed_at FROM quarantine ORDER BY id")
    ledger = query(database_url, BALANCE)
    replay(connection, database_url)
    assert before == query(
        database_url, "SELECT id, reason, payload, times, counted, replayed_at FROM quarantine ORDER BY id"
    )
    assert query(database_url, BALANCE) == ledger


def test_a_redelivery_between_adoption_and_replay_counts_once(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    message = readings(1, [("power", 20, 1.0), ("steam", 20, 5.0), ("heat", 20, 5.0)])
    deliver(connection, message, to=topic(address))
    add_meter(database_url, site, "steam")
    deliver(connection, message, to=topic(address))
    assert query(database_url, BALANCE)[0][:4] == (3, 2, 0, 1)
    add_meter(database_url, site, "steam", "heat")
    replay(connection, database_url)
    assert query(database_url, BALANCE) == [(3, 3, 0, 0, 0)]
    assert waiting(database_url) == []


def test_what_is_refused_again_after_it_was_replayed_waits_again(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    plain = {"meter": "steam", "at": NOW_MS - 1000, "value": 4.0, "unit": "kWh"}
    deliver(connection, plain, to=topic(address))
    add_meter(database_url, site, "steam")
    replay(connection, database_url)
    query(database_url, "DELETE FROM reading RETURNING 1")
    query(database_url, "DELETE FROM meter WHERE key = 'steam' RETURNING 1")
    deliver(connection, plain, to=topic(address))
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)]
    assert query(database_url, BALANCE) == [(2, 1, 0, 1, 1)]
    assert query(database_url, "SELECT meter FROM quarantine_meter") == [("steam",)]


def test_late_readings_leave_a_note_for_the_roll_up(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    deliver(connection, readings(1, [("steam", 3600, 5.0)]), to=topic(address))
    connection.execute("UPDATE rollup_progress SET closed_to = to_timestamp(%s / 1000.0)", [NOW_MS - 60_000])
    add_meter(database_url, site, "steam")
    replay(connection, database_url)
    assert query(database_url, "SELECT count(*) FROM pending JOIN meter ON meter.id = meter_id AND key = 'steam'") == [
        (1,)
    ]
