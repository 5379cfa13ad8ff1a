"""Meter events through the API: what was found, what people say of it, and what the roll-up has to do then."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from api.exact_json import instant
from tests.integration.api.conftest import AT, MINUTE, Found
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack

EVENTS = "/v1/sites/odense/events"
ANNA = {"author": "Anna", "reason": "read the dial"}
ASIDE = {**ANNA, "meter": "water", "from": instant(AT), "to": instant(AT + 10 * MINUTE)}
HOUR = timedelta(hours=1)


async def act(client, event, what, **body) -> dict[str, Any]:
    response = await client.post(f"{EVENTS}/{event}/{what}", json={**ANNA, **body})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
    return told


async def listed(client, **query) -> list[str]:
    return [item["id"] for item in (await ask(client, EVENTS, **query))["items"]]


class TestList:
    async def test_an_event_is_told_with_its_evidence(self, client, dip):
        (item,) = (await ask(client, EVENTS))["items"]
        assert item == {
            "id": dip,
            "meter": "main",
            "kind": "dip",
            "from": "2026-03-02T09:00:00Z",
            "to": "2026-03-02T09:01:00Z",
            "state": "proposed",
            "decision": "set_aside",
            "applied": "set_aside",
            "author": None,
            "reason": None,
            "decided_at": None,
            "evidence": {
                "unit": "kWh",
                "before": {"at": "2026-03-02T08:59:00Z", "value": Decimal("1010.25")},
                "first": {"at": "2026-03-02T09:00:00Z", "value": 2},
                "last": {"at": "2026-03-02T09:01:00Z", "value": Decimal("3.5")},
                "after": {"at": "2026-03-02T09:02:00Z", "value": 1011},
                "readings": 2,
            },
            "quantity": Decimal("0.75"),
            "unit": "kWh",
            "sentence": "2026-03-02 10:00 to 2026-03-02 10:01: The register fell from 1010.25 kWh to 2 kWh and came"
            " back to 1011 kWh (2 readings). These readings are set aside, as if they had not come. 0.75 kWh counts"
            " for it.",
            "sentence_da": "2026-03-02 10:00 til 2026-03-02 10:01: Tælleværket faldt fra 1010,25 kWh til 2 kWh og kom"
            " tilbage til 1011 kWh (2 aflæsninger). Disse aflæsninger er lagt til side, som var de ikke kommet."
            " 0,75 kWh tæller med for det.",
        }

    async def test_filters(self, client, found, dip):
        spike = found("water", "spike", AT + HOUR)
        gap = found("main", "gap", AT - 5 * HOUR, AT - HOUR, "count")
        await act(client, spike, "overrule")
        assert await listed(client) == [spike, dip, gap]
        assert await listed(client, meter="water") == [spike]
        assert await listed(client, meter=["main", "water"], kind=["gap", "spike"]) == [spike, gap]
        assert await listed(client, state="overruled") == [spike]
        assert await listed(client, state=["proposed", "confirmed"]) == [dip, gap]

    async def test_a_period_holds_what_touches_it(self, client, found):
        gap = found("main", "gap", AT - 5 * HOUR, AT, "count")
        edges = [(-9, -5, False), (-9, -4, True), (-3, -2, True), (0, 1, True), (1, 2, False)]
        for first, last, is_there in edges:
            asked = await listed(client, start=instant(AT + first * HOUR), to=instant(AT + last * HOUR))
            assert asked == ([gap] if is_there else []), (first, last)
        assert await listed(client, start=instant(AT)) == [gap]
        assert await listed(client, to=instant(AT - 5 * HOUR)) == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    async def test_pages_lose_nothing(self, client, found, limit):
        keys = {found(meter, kind) for meter in ("main", "water", "air") for kind in ("spike", "dip")}
        keys |= {found("main", "dip", AT + i * MINUTE) for i in (1, 2)}
        for key in sorted(keys)[::2]:
            await act(client, key, "overrule")
        items, count = await pages(client, EVENTS, limit=limit)
        assert {item["id"] for item in items} == keys
        assert len(items) == len(keys) == 8
        assert count == -(-8 // limit)
        assert [item["from"] for item in items] == sorted((item["from"] for item in items), reverse=True)

    async def test_others_events_are_not_there(self, client, found, other_site, connection, dip):
        connection.execute(
            """
            INSERT INTO meter_event (meter_id, kind, at, until, decision, readings)
            SELECT m.id, 'dip', %s, %s, 'set_aside', 1 FROM meter AS m JOIN site ON site.id = m.site_id
            WHERE site.key = 'aarhus' AND m.key = 'good-2'
            """,
            [AT, AT],
        )
        assert await listed(client) == [dip]
        other = dip.replace("main", "good-2")
        for path in (f"{EVENTS}/{other}", f"/v1/sites/aarhus/events/{dip}", "/v1/sites/aarhus/events"):
            assert_problem(await client.get(path), 404)
        for path in (f"{EVENTS}/{other}", f"/v1/sites/aarhus/events/{dip}"):
            for what in ("confirm", "overrule", "reopen"):
                assert_problem(await client.post(f"{path}/{what}", json=ANNA), 404)
        assert_problem(await client.post("/v1/sites/aarhus/events", json=ASIDE), 404)

    @pytest.mark.parametrize(
        ("query", "status", "words"),
        [
            ({"kind": "love"}, 422, "kind"),
            ({"state": "unsure"}, 422, "state"),
            ({"from": "2026-03-02", "to": "2026-03-02"}, 422, "after"),
            ({"from": "yesterday"}, 422, "from"),
            ({"cursor": "W10"}, 422, "cursor"),
            ({"cursor": "WzEsIDIsICJcdTAwMDAiXQ"}, 422, ""),
            ({"limit": 0}, 422, "limit"),
            ({"meter": "none"}, 404, "no meter none"),
        ],
    )
    async def test_bad_questions(self, client, query, status, words):
        assert_problem(await client.get(EVENTS, params=query), status, words)


class TestFrozen:
    """The roll-up knows no runs: a stretch is a finding where the line ran for longer than `frozen_after` of it."""

    @pytest.fixture
    def frozen(self, connection, found: Found) -> str:
        connection.execute("UPDATE meter SET frozen_after_ms = 7200000 WHERE key IN ('power-1', 'main')")
        return found("power-1", "frozen", AT, AT + 8 * HOUR, "count")

    async def test_without_any_run_of_the_line(self, client, frozen, store):
        store.run("line-2", "1", "running", AT, AT + HOUR, "bolt")
        assert await listed(client) == [frozen]

    async def test_of_a_meter_on_no_line(self, client, found, store, frozen):
        whole = found("main", "frozen", AT, AT + 8 * HOUR, "count")
        store.run("line-1", "1", "idle", AT - HOUR, AT + 9 * HOUR)
        assert await listed(client) == [whole]

    @pytest.mark.parametrize(
        ("spans", "is_finding"),
        [
            ([("running", 0, 2)], False),
            ([("running", 0, 2.001)], True),
            ([("running", -5, 1), ("running", 7, 12)], False),
            ([("running", -5, 1.1), ("running", 7, 12)], True),
            ([("idle", 0, 8), ("down", 0, 8), ("changeover", 0, 8)], False),
            # Two runs at once are no more than one.
            ([("running", 0, 1.5), ("running", 0.2, 1.9)], False),
            # Without an end until the next one begins.
            ([("running", 0, None), ("idle", 1, 2)], False),
            ([("running", 0, None), ("idle", 2.5, 3)], True),
            ([("running", 5, None)], True),
            ([("running", 9, 20)], False),
        ],
    )
    async def test_the_running_time_decides(self, client, frozen, store, spans, is_finding):
        for i, (state, start, end) in enumerate(spans):
            stop = None if end is None else AT + end * HOUR
            store.run("line-1", str(i), state, AT + start * HOUR, stop, "bolt" if state == "running" else None)
        assert await listed(client) == ([frozen] if is_finding else [])
        status = (await client.get(f"{EVENTS}/{frozen}")).status_code
        assert status == (200 if is_finding else 404)

    async def test_what_a_person_decided_stays(self, client, frozen, store):
        await act(client, frozen, "overrule")
        store.run("line-1", "1", "idle", AT - HOUR, AT + 9 * HOUR)
        assert await listed(client) == [frozen]


class TestDetail:
    async def test_raw_readings_at_either_end_of_a_long_event(self, client, found, store, connection):
        number = store.number("main")
        last = AT + 10 * HOUR
        connection.execute(
            "INSERT INTO reading SELECT %s, t, 5, 0 FROM generate_series(%s, %s, interval '30 seconds') AS t",
            [number, AT - HOUR, last + HOUR],
        )
        event = found("main", "frozen", AT, last, "count", before_at=AT - HOUR, after_at=last + HOUR, readings=1201)
        detail = await ask(client, f"{EVENTS}/{event}")
        told = [reading["at"] for reading in detail["raw_readings"]]
        assert told == sorted(set(told))
        assert (told[0], told[-1]) == (instant(AT - HOUR), instant(last + HOUR))
        assert {instant(AT), instant(last)} <= set(told)
        assert len(told) == 102
        assert detail["raw_readings"][0] == {"at": instant(AT - HOUR), "value": 5, "quality": "good"}

    async def test_decisions_that_can_be_made(self, client, dip):
        detail = await ask(client, f"{EVENTS}/{dip}")
        assert detail["decisions"] == ["set_aside", "reset", "restart"]
        assert (detail["history"], detail["is_recomputing"], detail["id"]) == ([], False, dip)
