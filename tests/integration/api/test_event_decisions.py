"""What people say of meter events through the API, what becomes of it, and what is refused."""

from __future__ import annotations

import json

import pytest

from api.exact_json import instant
from api.said import unix_ms
from tests.integration.api.conftest import AT, MINUTE, notes, serving
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask
from tests.integration.api.test_event_routes import ANNA, ASIDE, EVENTS, act, listed

pytestmark = pytest.mark.stack


class TestDeciding:
    async def test_confirming_pins_what_is_done(self, client, connection, dip):
        told = await act(client, dip, "confirm")
        assert (told["state"], told["decision"], told["author"], told["reason"]) == (
            "confirmed",
            "set_aside",
            "Anna",
            "read the dial",
        )
        assert notes(connection) == [("main", AT - MINUTE, AT + 2 * MINUTE)]

    async def test_overruling_does_the_other_thing_and_the_quantity_is_not_known_yet(self, client, connection, dip):
        told = await act(client, dip, "overrule")
        assert (told["state"], told["decision"], told["applied"]) == ("overruled", "reset", "set_aside")
        assert told["quantity"] is None
        assert notes(connection) == [("main", AT - MINUTE, AT + 2 * MINUTE)]
        told = await act(client, dip, "overrule", decision="restart")
        assert (told["state"], told["decision"]) == ("overruled", "restart")

    async def test_reopening_gives_it_back_to_the_rules(self, client, connection, dip):
        await act(client, dip, "overrule")
        notes(connection)
        told = await act(client, dip, "reopen", reason="was wrong")
        assert (told["state"], told["decision"], told["reason"]) == ("proposed", "set_aside", "was wrong")
        assert notes(connection) == [("main", AT - MINUTE, AT + 2 * MINUTE)]
        detail = await ask(client, f"{EVENTS}/{dip}")
        assert [(v["state"], v["decision"], v["reason"]) for v in detail["history"]] == [
            ("overruled", "reset", "read the dial"),
            ("proposed", None, "was wrong"),
        ]

    async def test_saying_the_same_again_is_no_new_version(self, client, connection, dip):
        for _ in range(2):
            await act(client, dip, "overrule")
        assert len(notes(connection)) == 1
        await act(client, dip, "overrule", decision="restart")
        for _ in range(2):
            await act(client, dip, "reopen")
        assert len(notes(connection)) == 2
        assert len((await ask(client, f"{EVENTS}/{dip}"))["history"]) == 3

    async def test_a_reopened_event_can_not_be_confirmed_before_the_rules_have_spoken(self, client, connection, dip):
        await act(client, dip, "overrule")
        await act(client, dip, "reopen")
        assert (await ask(client, f"{EVENTS}/{dip}"))["is_recomputing"] is True
        refused = await client.post(f"{EVENTS}/{dip}/confirm", json=ANNA)
        assert_problem(refused, 409, "the roll-up has yet to say")
        assert (await act(client, dip, "confirm", decision="set_aside"))["state"] == "confirmed"
        await act(client, dip, "reopen")
        notes(connection)
        assert (await ask(client, f"{EVENTS}/{dip}"))["is_recomputing"] is False
        assert (await act(client, dip, "confirm"))["state"] == "confirmed"

    async def test_what_the_decision_made_go_is_listed_and_can_be_taken_back(
        self, client, connection, found, store, dip
    ):
        store.read("main", AT - MINUTE, 1010.25)
        store.read("main", AT, 2)
        store.read("main", AT + MINUTE, 3.5)
        store.read("main", AT + 2 * MINUTE, 1011)
        before = (await ask(client, EVENTS))["items"][0]["evidence"]
        await act(client, dip, "confirm")
        found.gone(dip)
        (item,) = (await ask(client, EVENTS))["items"]
        assert (item["id"], item["state"], item["decision"], item["applied"]) == (dip, "confirmed", "set_aside", None)
        # What the meter said is still there to be seen.
        assert item["evidence"] == {**before, "readings": None}
        assert item["sentence"].startswith("2026-03-02 10:00 to 2026-03-02 10:01: The register fell from 1010.25 kWh")
        notes(connection)
        told = await act(client, dip, "reopen")
        assert (told["state"], told["decision"], told["applied"]) == ("proposed", None, None)
        assert "taken back" in told["sentence"]
        assert notes(connection) == [("main", AT, AT + MINUTE)]
        assert await listed(client) == []
        assert len((await ask(client, f"{EVENTS}/{dip}"))["history"]) == 2
        assert_problem(await client.post(f"{EVENTS}/{dip}/confirm", json=ANNA), 409, "anew")

    async def test_a_rollover_needs_a_width(self, client, connection, dip):
        asked = {**ANNA, "decision": "rollover"}
        assert_problem(await client.post(f"{EVENTS}/{dip}/overrule", json=asked), 409, "register_width")
        assert "rollover" not in (await ask(client, f"{EVENTS}/{dip}"))["decisions"]
        connection.execute("UPDATE meter SET register_width = 100000 WHERE key = 'main'")
        assert "rollover" in (await ask(client, f"{EVENTS}/{dip}"))["decisions"]
        assert (await act(client, dip, "overrule", decision="rollover"))["decision"] == "rollover"

    @pytest.mark.parametrize(
        ("what", "change", "refused"),
        [
            ("overrule", {"decision": "count"}, (422, "one of these can be decided")),
            ("overrule", {"decision": "undecided"}, (422, "one of these can be decided")),
            ("overrule", {"decision": "nonsense"}, (422, "decision")),
            ("overrule", {"decision": "set_aside"}, (409, "already")),
            ("confirm", {"decision": "reset"}, (409, "overrule it")),
            ("reopen", {}, (409, "nothing to take back")),
            ("confirm", {"author": " "}, (422, "author")),
            ("confirm", {"author": None}, (422, "author")),
            ("confirm", {"reason": "bell\u0007"}, (422, "reason")),
            ("confirm", {"reason": "nul\u0000"}, (422, "reason")),
            ("confirm", {"reason": "half \ud800"}, (422, "")),
            ("confirm", {"surprise": 1}, (422, "surprise")),
        ],
    )
    async def test_what_is_refused_changes_nothing(self, client, connection, dip, what, change, refused):
        body = json.dumps({**ANNA, **change})
        response = await client.post(
            f"{EVENTS}/{dip}/{what}", content=body, headers={"Content-Type": "application/json"}
        )
        assert_problem(response, *refused)
        assert notes(connection) == []
        assert (await ask(client, f"{EVENTS}/{dip}"))["history"] == []

    @pytest.mark.parametrize(
        ("event", "status"),
        [
            ("main:dip:1772442000001", 404),
            ("none:dip:1772442000000", 404),
            ("main:reset:1772442000000", 404),
            ("main:dip:99999999999999999999999", 404),
            ("main:dip:-62135596800001", 404),
            ("main:dip:--5", 422),
            ("main:love:5", 422),
            ("main:dip", 422),
            ("%00:dip:5", 422),
        ],
    )
    async def test_no_such_event(self, client, dip, event, status):
        assert_problem(await client.get(f"{EVENTS}/{event}"), status)
        assert_problem(await client.post(f"{EVENTS}/{event}/confirm", json=ANNA), status)

    async def test_looking_needs_no_more_than_read(self, database_url, dip, make_token):
        async with serving(database_url, make_token(scopes=["read"])) as reader:
            assert await listed(reader) == [dip]
            assert_problem(await reader.post(f"{EVENTS}/{dip}/confirm", json=ANNA), 403, "write")


class TestSettingAside:
    @pytest.fixture
    def readings(self, store) -> None:
        for minute, value in ((-5, 10.0), (1, 500.5), (2, 501.0), (15, 11.0)):
            store.read("water", AT + minute * MINUTE, value)

    async def test_readings_that_the_rules_saw_nothing_in(self, client, connection, readings):
        response = await client.post(EVENTS, json=ASIDE)
        assert response.status_code == 200, response.text
        told = response.json()
        # It is called after its first reading, as those are that the rules find.
        assert told["id"] == f"water:spike:{unix_ms(AT + MINUTE)}"
        assert (told["state"], told["decision"], told["applied"]) == ("confirmed", "set_aside", None)
        assert (told["from"], told["to"]) == (instant(AT + MINUTE), instant(AT + 2 * MINUTE))
        assert told["evidence"]["before"] == {"at": instant(AT - 5 * MINUTE), "value": 10.0}
        assert told["evidence"]["first"]["value"] == 500.5
        assert told["evidence"]["after"]["value"] == 11.0
        assert notes(connection) == [("water", AT + MINUTE, AT + 2 * MINUTE)]
        assert await listed(client) == [told["id"]]
        await client.post(EVENTS, json=ASIDE)
        assert notes(connection) == []
        assert len((await ask(client, f"{EVENTS}/{told['id']}"))["history"]) == 1

    async def test_manual_readings_too(self, client, found):
        reading = {**ANNA, "meter": "water", "at": instant(AT), "value": 7}
        await client.post("/v1/sites/odense/manual-readings", json={"items": [reading]})
        body = {**ASIDE, "to": ASIDE["from"]}
        assert (await client.post(EVENTS, json=body)).json()["id"] == f"water:spike:{unix_ms(AT)}"

    @pytest.mark.parametrize(
        ("change", "status", "words"),
        [
            ({"from": instant(AT + 3 * MINUTE)}, 409, "no reading"),
            ({"to": instant(AT - MINUTE)}, 422, "before"),
            ({"to": "2026-05-02"}, 422, "31 days"),
            ({"from": "2026-03-02T09:00:00"}, 422, "offset"),
            ({"meter": "none"}, 404, "meter"),
            ({"meter": "UPPER"}, 422, "meter"),
            ({"kind": "dip"}, 422, "kind"),
            ({"author": ""}, 422, "author"),
            ({"from": None}, 422, "from"),
        ],
    )
    async def test_what_is_refused(self, client, connection, readings, change, status, words):
        assert_problem(await client.post(EVENTS, json={**ASIDE, **change}), status, words)
        assert notes(connection) == []
        assert await listed(client) == []
