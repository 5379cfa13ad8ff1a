"""The ledger and the quarantine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.conftest import serving
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack


def enter(connection, agent, epoch="e1", *, stored_seq=10, highest_seq=10, ahead=(), organisation="acme") -> None:
    connection.execute(
        """
        INSERT INTO ledger (organisation, site, agent, epoch, stored_seq, highest_seq, messages, readings, stored,
                            repeated, quarantined, missing_since)
        VALUES (%s, 'odense', %s, %s, %s, %s, 12, 100, 90, 7, 3, CASE WHEN %s THEN now() END)
        """,
        [organisation, agent, epoch, stored_seq, highest_seq, highest_seq > stored_seq],
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
    times = {name: item.pop(name) for name in ("status_at", "first_at", "last_at", "missing_since")}
    assert all(time.endswith("Z") for time in times.values())
    assert item == {
        "organisation": "acme",
        "site": "odense",
        "agent": "a",
        "epoch": "e1",
        "current": True,
        "verdict": "on its way",
        "sent": 104,
        "sent_says": "agent",
        "messages": 12,
        "readings": 100,
        "stored": 90,
        "repeated": 7,
        "quarantined": 3,
        "adopted": 0,
        "dropped": 2,
        "waiting": 3,
        "last_seq": 22,
        "stored_seq": 10,
        "highest_seq": 20,
        "missing": [{"from": 11, "to": 11}, {"from": 14, "to": 16}, {"from": 18, "to": 19}],
        "missing_messages": 6,
        "not_arrived": 2,
        "complete": False,
        "state": "online",
    }


@pytest.mark.parametrize(
    ("stored_seq", "minutes", "last_seq", "verdict"),
    [
        (20, 60, 20, "complete"),
        (20, 60, None, "complete"),
        (10, 16, 20, "missing"),
        (10, 14, 20, "on its way"),
        (20, 16, 21, "missing"),
        (20, 14, 21, "on its way"),
    ],
)
async def test_what_lacks_for_long_is_missing(client, connection, stored_seq, minutes, last_seq, verdict):
    enter(connection, "a", stored_seq=stored_seq, highest_seq=20)
    report(connection, "a", **({} if last_seq is None else {"last_seq": last_seq, "readings": 100}))
    connection.execute(
        "UPDATE ledger SET last_at = now() - make_interval(mins => %(m)s), missing_since = CASE"
        " WHEN highest_seq > stored_seq THEN now() - make_interval(mins => %(m)s) END",
        {"m": minutes},
    )
    (item,) = (await ask(client, "/v1/ledger"))["items"]
    assert item["verdict"] == verdict
    assert (item["missing_since"] is None) == item["complete"] == (verdict == "complete")


async def test_plain_readings_have_no_numbers(client, connection):
    enter(connection, "a", epoch="", stored_seq=0, highest_seq=0)
    (item,) = (await ask(client, "/v1/ledger"))["items"]
    assert (item["verdict"], item["current"], item["missing"]) == ("no numbers", False, [])


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


async def test_drop_and_reopen(client, connection):
    ids = [quarantine(connection, f"{{ {i}".encode(), reason="unknown meter") for i in range(3)]
    body = {"agent": "a", "reason": "unknown meter", "because": "a test rig"}
    dropped = await client.post("/v1/quarantine/drop", json=body)
    assert (dropped.status_code, dropped.json()) == (
        200,
        {"entries": 3, "readings": 6, "reasons": {"unknown meter": 3}},
    )
    for state, count in (("waiting", 0), ("dropped", 3), ("replayed", 0), ("all", 3)):
        found, _ = await pages(client, "/v1/quarantine", state=state)
        assert len(found) == count, state
    reopened = await client.post("/v1/quarantine/reopen", json={"entry": ids[1], "because": "it was none"})
    assert reopened.json()["entries"] == 1
    entry = await ask(client, f"/v1/quarantine/{ids[1]}")
    assert (entry["state"], entry["dropped_at"], entry["payload"]) == ("waiting", None, "{ 1")
    acts = [(act["act"], act["author"], act["because"]) for act in entry["history"]]
    assert acts == [("dropped", "token test", "a test rig"), ("reopened", "token test", "it was none")]


async def test_another_organisation_drops_nothing_here(database_url, connection, site, other_site, make_token):
    quarantine(connection, b"{")
    async with serving(database_url, make_token("rival")) as rival:
        for word in ("drop", "reopen"):
            answer = await rival.post(f"/v1/quarantine/{word}", json={"all": True, "because": "mine"})
            assert (answer.status_code, answer.json()["entries"]) == (200, 0)
    async with serving(database_url, make_token(scopes=["read"])) as reader:
        assert (await reader.post("/v1/quarantine/drop", json={"all": True, "because": "x"})).status_code == 403
    assert connection.execute("SELECT dropped_at FROM quarantine").fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"because": "x"}, "say which"),
        ({"all": True}, "this is missing"),
        ({"all": True, "because": " - "}, "no letter"),
        ({"reason": "malformed?", "because": "x"}, "reason"),
        ({"entry": 0, "because": "x"}, "entry"),
        ({"all": True, "because": "x", "author": "me"}, "author"),
    ],
)
async def test_what_to_drop_must_be_said(client, connection, body, said):
    quarantine(connection, b"{")
    answer = await client.post("/v1/quarantine/drop", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert connection.execute("SELECT dropped_at FROM quarantine").fetchall() == [(None,)]


async def test_a_replay_keeps_who_asked_and_why(client, connection):
    answer = await client.post("/v1/quarantine/replay", json={"because": "the meter is set up"}, params={"wait_s": 0})
    assert answer.status_code == 202
    assert (answer.json()["author"], answer.json()["because"]) == ("token test", "the meter is set up")
