"""Meters that agents offer, their adoption, and what waits in quarantine for them."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import AgentAddress
from tests.integration.api.conftest import serving
from tests.integration.api.offering import FULL, OVEN, SHED, finish, meter_row
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack


async def adopt(client, meter, expected=202, agent="cabinet-1", **settings) -> Any:
    response = await client.post(
        f"/v1/sites/odense/offered-meters/{agent}/{meter}/adopt", json=settings, params={"wait_s": 0}
    )
    assert response.status_code == expected, response.text
    return response.json()


async def test_what_is_offered_and_what_waits_for_it(client, offer, read):
    offer(FULL, {**OVEN, "meter": "main"})
    offer({**OVEN, "meter": "water"}, {**OVEN, "meter": "good", "resource": "production", "unit": "pcs"}, address=SHED)
    read(1, 5.0, 4.0)
    read(2, 7.0, meter="stray", unit="m3", address=SHED)
    items = {item["meter"]: item for item in (await ask(client, "/v1/sites/odense/offered-meters"))["items"]}
    assert {key: (item["agent"], item["state"], item["agent_is_known"]) for key, item in items.items()} == {
        "main": ("cabinet-1", "known", True),
        "oven": ("cabinet-1", "new", True),
        "good": ("shed", "new", False),
        "stray": ("shed", "new", False),
        "water": ("shed", "elsewhere", False),
    }
    oven = items["oven"]
    assert oven["settings"] == {
        "resource": "energy",
        "unit": "kWh",
        "kind": "counter",
        "carrier": "electricity",
        "cadence": 10_000,
        "register_width": 1e6,
        "rated_maximum": 60.0,
        "dip_window": 60_000,
        "frozen_after": 7_200_000,
        "accuracy_class": 1.0,
    }
    assert oven["waiting"] == {
        "readings": 2,
        "entries": 1,
        "first_at": "2025-12-31T23:59:58Z",
        "last_at": "2025-12-31T23:59:59Z",
        "last_value": 5.0,
        "unit": "kWh",
        "reasons": ["unknown meter"],
    }
    assert oven["to_add"] == []
    assert "good, scrap, rework" in items["good"]["to_add"][0]
    assert (items["stray"]["offered_at"], items["stray"]["unit"]) == (None, "m3")
    assert [text.split(":")[0] for text in items["stray"]["to_add"]] == ["resource", "kind"]
    new = await ask(client, "/v1/sites/odense/offered-meters", state="new", agent="cabinet-1")
    assert [item["meter"] for item in new["items"]] == ["oven"]


async def test_adopted_in_one_step(client, connection, offer, read, database_url):
    offer(FULL)
    read(1, 5.0, 4.0)
    answer = await adopt(client, "oven", name="The oven", line="line-1", parent="main", rated_maximum=50, max_gap="1h")
    (meter,) = answer["meters"]
    assert (meter["name"], meter["line"], meter["parent"], meter["max_gap"]) == (
        "The oven",
        "line-1",
        "main",
        3_600_000,
    )
    assert meter_row(connection, "oven") == ("kWh", "electricity", 1e6, 50.0, 60_000, 7_200_000, 10_000, 1.0)
    replay = answer["replay"]
    assert (replay["state"], replay["meters"], replay["finished_at"]) == ("waiting", ["oven"], None)
    finish(database_url)
    replay = await ask(client, f"/v1/quarantine/replays/{replay['id']}")
    assert (replay["state"], replay["tried"], replay["stored"], replay["refused"]) == ("done", 1, 2, {})
    assert connection.execute("SELECT value FROM reading ORDER BY at").fetchall() == [(4.0,), (5.0,)]
    assert (await ask(client, "/v1/quarantine"))["items"] == []
    (gone,) = (await ask(client, "/v1/quarantine", state="replayed"))["items"]
    assert (gone["stored"], gone["left_of"]) == (2, None)
    (item,) = (await ask(client, "/v1/sites/odense/offered-meters"))["items"]
    assert (item["state"], item["waiting"]) == ("known", None)


async def test_adopting_leaves_the_rest_of_the_model_alone(client, connection, offer):
    before = connection.execute("SELECT key, name, line_id, share, parent_id FROM meter ORDER BY key").fetchall()
    lines = connection.execute("SELECT key, name FROM line ORDER BY key").fetchall()
    agents = connection.execute("SELECT key, name FROM agent ORDER BY key").fetchall()
    offer(OVEN)
    await adopt(client, "oven")
    assert connection.execute(
        "SELECT key, name, line_id, share, parent_id FROM meter WHERE key <> 'oven' ORDER BY key"
    ).fetchall() == (before)
    assert connection.execute("SELECT key, name FROM line ORDER BY key").fetchall() == lines
    assert connection.execute("SELECT key, name FROM agent ORDER BY key").fetchall() == agents


async def test_an_unknown_agent_is_adopted_along(client, connection, offer, read, database_url):
    offer(OVEN, {**OVEN, "meter": "kiln"}, address=SHED)
    read(1, 5.0, address=SHED)
    answer = await adopt(client, "oven", agent="shed")
    assert answer["is_new_agent"] is True
    finish(database_url)
    assert connection.execute("SELECT value FROM reading").fetchall() == [(5.0,)]
    assert (await adopt(client, "kiln", agent="shed"))["is_new_agent"] is False


async def test_several_at_once_all_or_none(client, connection, offer, read, database_url):
    offer(OVEN, {**OVEN, "meter": "good", "resource": "production", "unit": "pcs"})
    read(1, 5.0)
    read(2, 6.0, meter="good", unit="pcs")
    address = "/v1/sites/odense/offered-meters/cabinet-1/adopt"
    response = await client.post(address, json={"meters": {"oven": {}, "good": {}}})
    assert response.status_code == 422
    assert response.json()["errors"][0]["place"] == "good"
    assert meter_row(connection, "oven") is None
    wanted = {"oven": {"line": "line-1"}, "good": {"carrier": "good", "line": "line-1"}}
    response = await client.post(address, json={"meters": wanted}, params={"wait_s": 0})
    assert response.status_code == 202
    finish(database_url)
    number = response.json()["replay"]["id"]
    replay = await ask(client, f"/v1/quarantine/replays/{number}")
    assert (replay["tried"], replay["stored"]) == (2, 2)
    assert (await client.post(address, json={"meters": {}})).status_code == 422


@pytest.mark.parametrize(
    ("meter", "settings", "status", "words"),
    [
        ("good", {}, 422, "good: a production meter's carrier is one of good, scrap, rework"),
        ("gas", {}, 422, "needs `conversion`: how many kWh one m3 is"),
        ("bins", {}, 422, "kind interval needs `interval`"),
        ("oven", {"unit": "gallons"}, 422, "oven.unit: 'gallons' is not a unit for energy"),
        ("oven", {"max_gap": "soon"}, 422, "oven.max_gap: 'soon' is not a span of time"),
        ("oven", {"colour": "red"}, 422, "oven.colour"),
        ("oven", {"id": "x"}, 422, "oven.id: the address says it already"),
        ("oven", {"line": "line-9"}, 409, "there is no line 'line-9'; known: line-1, line-2"),
        ("oven", {"parent": "water"}, 409, "a part is of the same resource as the whole"),
        ("oven", {"share": {"by": "fixed"}}, 422, "needs `weights`"),
        ("main", {}, 409, "meter main of agent cabinet-1 is set up already"),
        ("nothing", {}, 404, "agent cabinet-1 offers no meter nothing"),
        ("Nothing", {}, 404, "is not a key"),
    ],
)
async def test_what_is_refused_says_what_to_do(client, offer, meter, settings, status, words):
    offer(
        OVEN,
        {**OVEN, "meter": "main"},
        {**OVEN, "meter": "good", "resource": "production", "unit": "pcs"},
        {**OVEN, "meter": "gas", "unit": "m3", "carrier": "natural_gas"},
        {**OVEN, "meter": "bins", "kind": "interval"},
    )
    problem = await adopt(client, meter, status, **settings)
    assert words in problem["detail"]
    assert len((await ask(client, "/v1/sites/odense/meters"))["items"]) == 8
    assert (await ask(client, "/v1/quarantine/replays"))["items"] == []


async def test_a_key_that_another_agents_meter_has(client, offer):
    offer({**OVEN, "meter": "main"}, address=SHED)
    problem = await adopt(client, "main", 409, agent="shed")
    assert "read by agent cabinet-1; if shed reads it now, change `agent`" in problem["detail"]


async def test_an_interval_that_the_agent_knows(client, connection, offer):
    offer({**OVEN, "meter": "bins", "kind": "interval", "interval_ms": 900_000})
    await adopt(client, "bins")
    assert connection.execute("SELECT kind, interval_ms FROM meter WHERE key = 'bins'").fetchone() == (
        "interval",
        900_000,
    )


async def test_a_neighbours_offers_are_not_seen(client, offer, other_site):
    aarhus = AgentAddress(organisation="rival", site="odense", agent="cabinet-1")
    offer(OVEN, address=aarhus)
    assert (await ask(client, "/v1/sites/odense/offered-meters"))["items"] == []
    await adopt(client, "oven", 404)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("cabinet-1/oven/adopt", {}),
        ("cabinet-1/adopt", {"meters": {"oven": {}}}),
    ]
    for address, body in asked:
        response = await client.post(f"/v1/sites/aarhus/offered-meters/{address}", json=body)
        assert response.status_code == 404
        assert "no such site" in response.text


async def test_a_token_that_may_only_read_adopts_nothing(database_url, offer, make_token):
    offer(OVEN)
    async with serving(database_url, make_token(scopes=["read"])) as client:
        await adopt(client, "oven", 403)
        assert (await client.post("/v1/quarantine/replay", json={})).status_code == 403


async def test_replays_are_asked_for_and_followed(client, connection, read, make_token, database_url, other_site):
    read(1, 5.0)
    (entry,) = (await ask(client, "/v1/quarantine", meter="oven", agent="cabinet-1", site="odense"))["items"]
    assert (await ask(client, "/v1/quarantine", meter="kiln"))["items"] == []
    for body in ({}, {"entry": entry["id"]}, {"site": "odense", "reason": "unknown meter", "meters": ["oven"]}):
        response = await client.post("/v1/quarantine/replay", json=body, params={"wait_s": 0.2})
        assert (response.status_code, response.json()["state"]) == (202, "waiting")
    finish(database_url)
    items, _ = await pages(client, "/v1/quarantine/replays", limit=2)
    assert [(item["state"], item["tried"], item["refused"]) for item in items] == [
        ("done", 1, {"unknown meter": 1})
    ] * 3
    kept = await ask(client, f"/v1/quarantine/{entry['id']}")
    assert (kept["replayed_at"], kept["times"], kept["tried_at"] is None) == (None, 1, False)
    for body in ({"reason": "bad mood"}, {"entry": 0}, {"colour": 1}, {"meters": []}, {"site": "Bad Key"}):
        assert (await client.post("/v1/quarantine/replay", json=body)).status_code == 422
    async with serving(database_url, make_token("rival")) as rival:
        assert (await rival.get("/v1/quarantine/replays")).json()["items"] == []
        assert (await rival.get(f"/v1/quarantine/replays/{items[0]['id']}")).status_code == 404
        await rival.post("/v1/quarantine/replay", json={"entry": entry["id"]}, params={"wait_s": 0})
    finish(database_url)
    assert connection.execute("SELECT tried FROM quarantine_replay ORDER BY id DESC LIMIT 1").fetchone() == (0,)
