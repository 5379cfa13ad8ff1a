"""Runs put in by programs and people: corrected, removed, and never forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.exact_json import instant
from tests.integration.api.conftest import serving, utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

RUNS = "/v1/sites/odense/runs"
RUN = {
    "line": "line-1",
    "run": "r1",
    "state": "running",
    "product": "bolt",
    "order": "A/7",
    "from": "2026-03-02T08:00:00+01:00",
    "to": "2026-03-02T12:00:00+01:00",
}
ANNA = {"author": "Anna", "reason": "the shift book says so"}
UPSERT_BY_AN_AGENT = """
    INSERT INTO run (line_id, key, state, product_id, start_at, said_at)
    SELECT line.id, %(run)s, 'running', product.id, '2026-03-02T07:00Z', %(said_at)s
    FROM line, product WHERE line.key = 'line-1' AND product.key = 'nut'
    ON CONFLICT (line_id, key) DO UPDATE SET product_id = excluded.product_id, said_at = excluded.said_at
    WHERE excluded.said_at >= run.said_at
"""


async def put(client, *items, **words) -> dict[str, int]:
    response = await client.put(RUNS, json={"items": [{**RUN, **item} for item in items], **words})
    assert response.status_code == 200, response.text
    told: dict[str, int] = response.json()
    return told


async def refused(client, *items, **words) -> str:
    response = await client.put(RUNS, json={"items": [{**RUN, **item} for item in items], **words})
    assert_problem(response, 422)
    return str(response.json()["detail"])


async def show(client, run="line-1/r1") -> dict[str, Any]:
    return dict(await ask(client, f"{RUNS}/{run}"))


def agent_says(connection, said_at, run="r1") -> None:
    connection.execute(UPSERT_BY_AN_AGENT, {"run": run, "said_at": said_at})


def counts(**told) -> dict[str, int]:
    return {"new": 0, "corrected": 0, "unchanged": 0, "superseded": 0, **told}


async def test_put_in_and_said_again(client, connection):
    assert await put(client, {}, {"run": "r2", "from": RUN["to"], "to": None}) == counts(new=2)
    assert await put(client, {}, {}) == counts(unchanged=2)
    answer = await ask(client, RUNS, start="2026-03-02", to="2026-03-03")
    assert [(r["run"], r["product"], r["order"], r["from"], r["to"]) for r in answer["items"]] == [
        ("r1", "bolt", "A/7", "2026-03-02T07:00:00Z", "2026-03-02T11:00:00Z"),
        ("r2", "bolt", "A/7", "2026-03-02T11:00:00Z", None),
    ]
    assert connection.execute("SELECT count(*) FROM run_version").fetchone() == (0,)


async def test_a_correction_keeps_what_was_said_before(client):
    await put(client, {})
    assert await put(client, {"product": "nut"}, **ANNA) == counts(corrected=1)
    told = await show(client)
    assert (told["line"], told["run"], told["product"], told["author"]) == ("line-1", "r1", "nut", "Anna")
    assert [(v["product"], v["author"], v["replaced_at"] is None) for v in told["versions"]] == [
        ("bolt", None, False),
        ("nut", "Anna", True),
    ]
    assert not told["is_removed"]


async def test_a_correction_has_the_attribution_computed_anew(client, connection):
    await put(client, {})
    connection.execute("DELETE FROM attribution_due")
    await put(client, {})
    assert connection.execute("SELECT count(*) FROM attribution_due").fetchone() == (0,)
    await put(client, {"product": "nut"})
    rows = connection.execute("SELECT DISTINCT from_day::text FROM attribution_due").fetchall()
    assert rows == [("2026-03-02",)]


async def test_a_program_does_not_overrule_a_person(client):
    await put(client, {"to": None}, **ANNA)
    detail = await refused(client, {"product": "nut"}, {"run": "r2"})
    assert "items.0: Anna said otherwise (product nut instead of bolt; " in detail
    assert "because: the shift book says so" in detail
    assert (await client.get(f"{RUNS}/line-1/r2")).status_code == 404
    # It may end the run, which stays Anna's.
    assert await put(client, {}) == counts(corrected=1)
    assert "Anna said otherwise" in await refused(client, {"product": "nut"})
    told = await show(client)
    assert (told["author"], told["to"]) == ("Anna", "2026-03-02T11:00:00Z")
    assert await put(client, {"product": "nut"}, author="Bo", reason="counted again") == counts(corrected=1)


async def test_what_was_said_later_stays(client):
    early, late = "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z"
    await put(client, {"product": "nut"}, said_at=late)
    assert await put(client, {}, said_at=early) == counts(superseded=1)
    assert (await show(client))["product"] == "nut"
    assert await put(client, {}, said_at=late) == counts(corrected=1)


async def test_what_a_person_says_now_counts_however_far_ahead_an_agents_clock_is(client, connection):
    ahead = datetime.now(UTC) + timedelta(days=400)
    agent_says(connection, ahead)
    assert await put(client, {}, **ANNA) == counts(corrected=1)
    told = await show(client)
    assert (told["product"], told["author"]) == ("bolt", "Anna")
    await client.delete(f"{RUNS}/line-1/r1", params=ANNA)
    assert await put(client, {}, **ANNA) == counts(corrected=1)
    assert (await show(client))["product"] == "bolt"


async def test_a_removed_run_stays_away_when_an_agent_repeats_itself(client, connection):
    agent_says(connection, utc("2026-03-02T08:00"))
    response = await client.delete(f"{RUNS}/line-1/r1", params=ANNA)
    told = response.json()
    assert (response.status_code, told["is_removed"], told["state"], told["author"]) == (200, True, None, "Anna")
    assert [(v["product"], v["state"]) for v in told["versions"]] == [("nut", "running"), (None, None)]
    agent_says(connection, utc("2026-03-02T08:00"))
    assert (await ask(client, RUNS, start="2026-03-01", to="2026-03-04"))["items"] == []
    assert "Anna removed this run, because: the shift book says so" in await refused(client, {})
    # Said later than that, it is there again, with all its history.
    agent_says(connection, datetime.now(UTC) + timedelta(minutes=1))
    told = await show(client)
    assert [v["state"] for v in told["versions"]] == ["running", None, "running"]
    assert not told["is_removed"]


async def test_removing_twice(client):
    await put(client, {})
    first = await client.delete(f"{RUNS}/line-1/r1", params=ANNA)
    assert (await client.delete(f"{RUNS}/line-1/r1", params=ANNA)).json() == first.json()
    response = await client.delete(f"{RUNS}/line-1/r1", params={**ANNA, "author": "Bo"})
    assert_problem(response, 409)
    assert "was removed by Anna already" in response.json()["detail"]


async def test_a_key_with_slashes_and_spaces(client):
    await put(client, {"run": "A/7 010"})
    assert (await show(client, "line-1/A/7 010"))["run"] == "A/7 010"
    assert (await client.delete(f"{RUNS}/line-1/A%2F7%20010", params=ANNA)).json()["is_removed"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"line": "saw"}, "items.0: there is no line 'saw' at this site; add it to the site model"),
        ({"product": "screw"}, "items.0: there is no product 'screw' at this site"),
        ({"product": None}, "items.0: run 'r1' is running but names no product"),
        ({"to": RUN["from"]}, "items.0: run 'r1' ends at or before its start"),
        ({"from": "1999-12-31"}, "items.0.from: lies before the year 2000"),
        ({"from": "2199-01-01"}, "items.0.from: lies beyond five minutes from now; say a run when it has begun"),
        ({"to": "2199-01-01"}, "items.0.to: lies beyond"),
        ({"from": "yesterday"}, "items.0.from: write a date"),
        ({"state": "broken"}, "state"),
        ({"run": ""}, "run"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_refused(client, connection, item, words):
    assert words in await refused(client, item, {"run": "r9"})
    assert connection.execute("SELECT count(*) FROM run").fetchone() == (0,)


async def test_contradictions_and_half_a_speaker(client):
    assert "run r1 of line line-1 stands twice" in await refused(client, {}, {"product": "nut"})
    assert "a person gives both" in await refused(client, {}, author="Anna")
    assert "reason" in await refused(client, {}, author="Anna", reason="!")
    assert "said_at: lies beyond five minutes" in await refused(client, {}, said_at="2199-01-01")


async def test_what_is_not_there(client):
    for path in (f"{RUNS}/line-1/r1", f"{RUNS}/saw/r1", f"{RUNS}/line-1/%00", "/v1/sites/none/runs/line-1/r1"):
        assert_problem(await client.get(path), 404)
    assert_problem(await client.delete(f"{RUNS}/line-1/r1", params=ANNA), 404)
    await put(client, {})
    assert_problem(await client.delete(f"{RUNS}/line-1/r1"), 422)
    assert_problem(await client.delete(f"{RUNS}/line-1/r1", params={"author": "Anna", "reason": " "}), 422)


async def test_a_token_that_may_read_changes_nothing_and_neighbours_see_nothing(
    client, database_url, make_token, other_site
):
    await put(client, {})
    async with serving(database_url, make_token(scopes=("read",))) as reader:
        assert_problem(await reader.put(RUNS, json={"items": [RUN]}), 403)
        assert_problem(await reader.delete(f"{RUNS}/line-1/r1", params=ANNA), 403)
        assert (await reader.get(f"{RUNS}/line-1/r1")).status_code == 200
    async with serving(database_url, make_token("rival")) as rival:
        assert_problem(await rival.get(f"{RUNS}/line-1/r1"), 404)
        assert_problem(await rival.get("/v1/sites/aarhus/runs/line-1/r1"), 404)
        assert_problem(await rival.put(RUNS, json={"items": [RUN]}), 404)
        assert_problem(await rival.delete(f"{RUNS}/line-1/r1", params=ANNA), 404)


class TestTriggers:
    def test_whoever_changes_or_deletes_a_run_leaves_what_was_said(self, connection, store):
        start = utc("2026-03-02T08:00")
        store.run("line-1", "r1", "running", start, None, product="bolt")
        connection.execute("UPDATE run SET said_at = said_at + interval '1 second'")
        assert connection.execute("SELECT count(*) FROM run_version").fetchone() == (0,)
        connection.execute("UPDATE run SET end_at = %s", [start + timedelta(hours=1)])
        connection.execute("DELETE FROM run")
        rows = connection.execute(
            "SELECT v.key, state, product.key, end_at, replaced_at IS NULL FROM run_version AS v"
            " JOIN product ON product.id = v.product_id ORDER BY v.id"
        ).fetchall()
        assert rows == [
            ("r1", "running", "bolt", None, False),
            ("r1", "running", "bolt", start + timedelta(hours=1), False),
        ]

    def test_a_removal_older_than_what_stands_changes_nothing(self, connection, store):
        store.run("line-1", "r1", "idle", utc("2026-03-02T08:00"), None)
        removed = "SELECT remove_run(line_id, 'r1', said_at - interval '1 second', NULL, NULL) FROM run"
        assert connection.execute(removed).fetchone() == (False,)
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM run_version").fetchone() == (0,)


async def test_the_instants_come_back_as_they_were_said(client):
    await put(client, {"from": "2026-03-02T07:00:00.123Z"})
    assert (await show(client))["from"] == instant(utc("2026-03-02T07:00:00.123"))
