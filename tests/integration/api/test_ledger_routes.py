"""The ledger and the quarantine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack


def enter(connection, agent, epoch="e1", *, stored_seq=10, highest_seq=10, ahead=(), organisation="acme") -> None:
    connection.execute(
        """
        INSERT INTO ledger (organisation, site, agent, epoch, stored_seq, highest_seq, messages, readings, stored,
                            repeated, quarantined)
        VALUES (%s, 'odense', %s, %s, %s, %s, 12, 100, 90, 7, 3)
        """,
        [organisation, agent, epoch, stored_seq, highest_seq],
    )
    for seq in ahead:
        connection.execute(
            "INSERT INTO ledger_ahead VALUES (%s, 'odense', %s, %s, %s)", [organisation, agent, epoch, seq]
        )


def report(connection, agent, epoch="e1", **outbox) -> None:
    status = {"v": 1, "state": "online", "at": 0, "outbox": {"epoch": epoch, **outbox}}
    connection.execute(
        "INSERT INTO agent_report (organisation, site, agent, status, status_at)"
        " VALUES ('acme', 'odense', %s, %s, now())",
        [agent, json.dumps(status)],
    )


async def test_what_was_sent_stored_and_missing(client, connection):
    enter(connection, "a", stored_seq=10, highest_seq=20, ahead=[12, 13, 17, 20])
    # The same numbers of another organisation don't count here.
    enter(connection, "a", stored_seq=10, highest_seq=20, ahead=[11, 15], organisation="rival")
    report(connection, "a", readings=104, last_seq=22, waiting=3, dropped_readings=2)
    (item,) = (await ask(client, "/v1/ledger"))["items"]
    times = {name: item.pop(name) for name in ("status_at", "first_at", "last_at")}
    assert all(time.endswith("Z") for time in times.values())
    assert item == {
        "site": "odense",
        "agent": "a",
        "epoch": "e1",
        "sent": 104,
        "sent_says": "agent",
        "messages": 12,
        "readings": 100,
        "stored": 90,
        "repeated": 7,
        "quarantined": 3,
        "dropped": 2,
        "waiting": 3,
        "last_seq": 22,
        "stored_seq": 10,
        "highest_seq": 20,
        "missing": [{"from": 11, "to": 11}, {"from": 14, "to": 16}, {"from": 18, "to": 19}],
        "complete": False,
        "state": "online",
    }


async def test_of_another_epoch_only_what_was_received_is_known(client, connection):
    enter(connection, "a")
    report(connection, "a", epoch="e2", readings=1, last_seq=1)
    (item,) = (await ask(client, "/v1/ledger/odense/a"))["items"]
    assert (item["sent"], item["sent_says"], item["last_seq"]) == (100, "collector", None)
    assert (item["missing"], item["complete"]) == ([], True)


async def test_more_has_come_than_the_agent_last_said(client, connection):
    enter(connection, "a")
    report(connection, "a", readings=99, last_seq=10)
    (item,) = (await ask(client, "/v1/ledger"))["items"]
    assert (item["sent"], item["sent_says"]) == (item["readings"], "collector") == (100, "collector")


async def test_a_gap_up_to_the_highest_number(client, connection):
    enter(connection, "a", stored_seq=0, highest_seq=5)
    (item,) = (await ask(client, "/v1/ledger/odense/a"))["items"]
    assert item["missing"] == [{"from": 1, "to": 5}]


async def test_a_message_that_has_not_come_yet_keeps_it_from_being_complete(client, connection):
    enter(connection, "a")
    report(connection, "a", readings=100, last_seq=11)
    (item,) = (await ask(client, "/v1/ledger"))["items"]
    assert (item["missing"], item["complete"]) == ([], False)


async def test_pages_of_agents_and_epochs(client, connection):
    for agent in ("a", "b"):
        for epoch in ("e1", "e2"):
            enter(connection, agent, epoch)
    items, count = await pages(client, "/v1/ledger", limit=3)
    assert count == 2
    assert [(i["agent"], i["epoch"]) for i in items] == [("a", "e1"), ("a", "e2"), ("b", "e1"), ("b", "e2")]
    assert len((await ask(client, "/v1/ledger/odense/b"))["items"]) == 2


def quarantine(connection, payload, reason="malformed") -> Any:
    return connection.execute(
        """
        INSERT INTO quarantine (reason, detail, topic, organisation, site, agent, readings, content_type,
                                payload, digest)
        VALUES (%s, 'why', 'afkobling/v1/acme/odense/a/readings', 'acme', 'odense', 'a', 2, 'application/json', %s, %s)
        RETURNING id
        """,
        [reason, payload, payload],
    ).fetchone()[0]


async def test_quarantine_newest_first_by_reason_and_with_payload(client, connection):
    ids = [quarantine(connection, f"{{ {i}æ".encode()) for i in range(3)]
    binary = quarantine(connection, b"\xff\x00", reason="unknown_meter")
    items, count = await pages(client, "/v1/quarantine", limit=1)
    assert (count, [item["id"] for item in items]) == (4, [binary, *reversed(ids)])
    assert "payload" not in items[0]
    some, _ = await pages(client, "/v1/quarantine", reason="malformed", limit=2)
    assert [item["id"] for item in some] == ids[::-1]
    entry = await ask(client, f"/v1/quarantine/{ids[1]}")
    assert (entry["payload"], entry["payload_encoding"], entry["payload_bytes"]) == ("{ 1æ", "utf-8", 5)
    entry = await ask(client, f"/v1/quarantine/{binary}")
    assert (entry["payload"], entry["payload_encoding"]) == ("/wA=", "base64")
