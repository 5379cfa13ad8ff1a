"""Meters that agents offer, their adoption, and what waits in quarantine for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.site_model import apply_site_model
from collector.batch import assemble
from collector.connection import connect
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.replay import replay_all
from collector.store import write_batch
from deploy.cli import main
from schemas.topics import AgentAddress, Kind
from tests.integration.api.conftest import SITE, serving, site_model
from tests.integration.api.test_consumption_routes import ask, pages

pytestmark = pytest.mark.stack
NOW_MS = 1_767_225_600_000
CABINET = AgentAddress(organisation="acme", site="odense", agent="cabinet-1")
SHED = AgentAddress(organisation="acme", site="odense", agent="shed")
OVEN = {"meter": "oven", "resource": "energy", "unit": "kWh", "kind": "counter", "carrier": "electricity"}
FULL = {
    **OVEN,
    "driver": "modbus",
    "cadence_ms": 10_000,
    "register_width": 1e6,
    "rated_maximum": 60,
    "dip_window_ms": 60_000,
    "frozen_after_ms": 7_200_000,
    "accuracy_class": 1,
}


@pytest.fixture
def send(database_url, site):
    """Write a message as a collector would."""

    def write(body: dict[str, Any], address: AgentAddress = CABINET, kind: Kind = Kind.READINGS) -> None:
        with connect(database_url, role="test") as connection:
            index = load_meter_index(connection)
            message = decode(Incoming(topic=address.topic(kind), payload=json.dumps(body).encode()))
            batch = assemble([message], index, now_ms=NOW_MS, future_tolerance_ms=0)
            write_batch(connection, batch, model_version=index.version)

    return write


@pytest.fixture
def offer(send):
    def say(*meters: dict[str, Any], address: AgentAddress = CABINET) -> None:
        send({"v": 1, "at": NOW_MS, "meters": list(meters)}, address, Kind.METERS)

    return say


@pytest.fixture
def read(send):
    def say(seq: int, *values: float, meter: str = "oven", unit: str = "kWh", address: AgentAddress = CABINET) -> None:
        send(
            {
                "v": 1,
                "epoch": "E1",
                "seq": seq,
                "sent_at": NOW_MS,
                "meters": [meter],
                "units": [unit],
                "meter": [0] * len(values),
                "at": [NOW_MS - 1000 * (i + 1) for i in range(len(values))],
                "value": list(values),
            },
            address,
        )

    return say


def finish(database_url) -> None:
    """What a collector does between batches."""
    with connect(database_url, role="test") as connection:
        replay_all(connection, clock_ms=lambda: NOW_MS)


async def adopt(client, meter, expected=202, agent="cabinet-1", **settings) -> Any:
    response = await client.post(
        f"/v1/sites/odense/offered-meters/{agent}/{meter}/adopt", json=settings, params={"wait_s": 0}
    )
    assert response.status_code == expected, response.text
    return response.json()


def meter_row(connection, key) -> Any:
    return connection.execute(
        """
        SELECT unit, carrier, register_width, rated_maximum, dip_window_ms, frozen_after_ms, cadence_ms, accuracy_class
        FROM meter WHERE key = %s
        """,
        [key],
    ).fetchone()


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


async def test_a_neighbours_offers_are_not_seen(client, send, other_site):
    aarhus = AgentAddress(organisation="rival", site="odense", agent="cabinet-1")
    send({"v": 1, "at": NOW_MS, "meters": [OVEN]}, aarhus, Kind.METERS)
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


class TestSiteApply:
    """What a site model leaves out of a meter is as its agent offers it."""

    TEXT = SITE + "  - {id: oven, agent: cabinet-1, resource: energy, unit: kWh, kind: counter%s}\n"

    def test_what_is_left_out_is_as_offered(self, connection, offer):
        offer(FULL)
        model = site_model(self.TEXT % "")
        apply_site_model(connection, model)
        expected = ("kWh", None, 1e6, 60.0, 60_000, 7_200_000, 10_000, 1.0)
        assert meter_row(connection, "oven") == expected
        apply_site_model(connection, model)
        assert meter_row(connection, "oven") == expected

    def test_what_is_given_stands(self, connection, offer):
        offer(FULL)
        given = ", register_width: 100000, cadence: 5s, accuracy_class: null, dip_window: 2h"
        apply_site_model(connection, site_model(self.TEXT % given))
        assert meter_row(connection, "oven") == ("kWh", None, 1e5, 60.0, 7_200_000, 7_200_000, 5_000, None)

    def test_an_offer_in_another_unit_gives_nothing_in_units(self, connection, offer):
        offer({**FULL, "unit": "MWh"})
        apply_site_model(connection, site_model(self.TEXT % ""))
        assert meter_row(connection, "oven") == ("kWh", None, None, None, 60_000, 7_200_000, 10_000, 1.0)

    def test_what_can_be_no_setting_is_passed_over(self, connection, offer):
        offer({**OVEN, "cadence_ms": 0, "dip_window_ms": 10**15, "accuracy_class": 2})
        apply_site_model(connection, site_model(self.TEXT % ""))
        assert meter_row(connection, "oven") == ("kWh", None, None, None, 3_600_000, None, None, 2.0)

    async def test_put_answers_with_it(self, client, offer):
        offer(FULL)
        body = site_model(self.TEXT % "").model_dump(mode="json", exclude_unset=True)
        answer = (await client.put("/v1/sites/odense/model", json=body)).json()
        assert answer["model"]["meters"][-1]["register_width"] == 1e6
        # The whole model says all of it, so PUT takes it back unchanged.
        whole = (await client.get("/v1/sites/odense/model")).json()
        whole["meters"] = [{**m, "cadence": None} if m["id"] == "oven" else m for m in whole["meters"]]
        again = (await client.put("/v1/sites/odense/model", json=whole)).json()["model"]["meters"]
        assert next(m for m in again if m["id"] == "oven")["cadence"] is None


class TestCommands:
    """The same as a person types it."""

    @pytest.fixture
    def run(self, database_url, site, capsys):
        def command(*words: str, status: int = 0) -> str:
            assert main([*words, "--database-url", database_url]) == status
            captured = capsys.readouterr()
            return str(captured.err if status else captured.out)

        return command

    def test_offered_and_adopted(self, run, offer, read, connection):
        offer(FULL, {**OVEN, "meter": "good", "resource": "production", "unit": "pcs"})
        read(1, 5.0, 4.0)
        text = run("meters", "offered")
        assert "oven  new  agent cabinet-1  energy electricity counter kWh" in text
        assert "2 readings wait in quarantine, 2025-12-31 23:59:58 to 2025-12-31 23:59:59 UTC, the last 5 kWh" in text
        assert "to adopt it: a production meter's carrier is one of good, scrap, rework" in text
        assert json.loads(run("meters", "offered", "--json", "--state", "known"))["items"] == []
        assert "carrier is one of" in run("meters", "adopt", "cabinet-1", "good", status=1)
        text = run("meters", "adopt", "cabinet-1", "oven", "--line", "line-1", "--max-gap", "1h")
        assert "set up meter oven: energy, counter, kWh, line line-1" in text
        assert "tried 1 entries: 2 readings stored, 0 were there already" in text
        assert connection.execute("SELECT count(*) FROM reading").fetchone() == (2,)
        printed = json.loads(run("meters", "adopt", "cabinet-1", "--all", "--carrier", "good", "--json"))
        assert ([m["id"] for m in printed["meters"]], printed["replay"]["state"]) == (["good"], "done")
        assert "offers nothing new" in run("meters", "adopt", "cabinet-1", "--all", status=1)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["cabinet-1"], "name the meters to adopt, or give --all"),
            (["cabinet-1", "oven", "--all"], "name the meters to adopt, or give --all"),
            (["cabinet-1", "a", "b", "--name", "x"], "--name is for one meter"),
            (["cabinet-1", "a"], "offers no meter a"),
            (["cabinet-1", "main"], "offers no meter|is set up already"),
        ],
    )
    def test_wrong_wishes(self, run, words, said):
        assert any(part in run("meters", "adopt", *words, status=1) for part in said.split("|"))

    def test_quarantine_listed_shown_and_replayed(self, run, offer, read, send, connection, database_url):
        read(1, 5.0, unit="MWh", meter="main")
        with connect(database_url, role="test") as opened:
            index = load_meter_index(opened)
            batch = assemble(
                [decode(Incoming(topic="gossip/\u00e6", payload=b"\xff"))], index, now_ms=NOW_MS, future_tolerance_ms=0
            )
            write_batch(opened, batch, model_version=index.version)
        (item,) = json.loads(run("quarantine", "list", "--json"))["items"]
        assert (item["reason"], item["agent"]) == ("wrong unit", "cabinet-1")
        assert "gossip" not in run("quarantine", "list")
        assert "foreign topic" in run("quarantine", "list", "--all", "--reason", "foreign topic")
        text = run("quarantine", "show", str(item["id"]))
        assert "sent in 'MWh', set up in 'kWh'" in text
        assert '"value":[5.0]' in text
        assert "there is no entry 999" in run("quarantine", "show", "999", status=1)
        assert "there is no entry 999" in run("quarantine", "replay", "--id", "999", status=1)
        text = run("quarantine", "replay", "--meter", "main", "--agent", "cabinet-1")
        assert text == (
            "tried 1 entries: 0 readings stored, 0 were there already\nstill in quarantine: 1, wrong unit\n"
        )
        connection.execute("UPDATE meter SET unit = 'MWh', canonical_factor = 1000 WHERE key = 'main'")
        assert "1 readings stored" in run("quarantine", "replay", "--reason", "wrong unit")
        assert run("quarantine", "list") == "nothing of that kind is in quarantine\n"
        assert "replayed" in run("quarantine", "list", "--state", "all")
        assert "of it 1 readings were stored" in run("quarantine", "show", str(item["id"]))
        printed = json.loads(run("quarantine", "replay", "--all", "--json"))
        assert (printed["tried"], printed["refused"]) == (1, {"foreign topic": 1})
        connection.execute("INSERT INTO quarantine_replay (organisation) VALUES ('acme')")
        assert "every replay" in run("quarantine", "replay", "--unfinished")
        assert connection.execute("SELECT count(*) FROM quarantine_replay WHERE finished_at IS NULL").fetchone() == (0,)
