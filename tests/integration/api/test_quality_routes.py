"""Data quality through the API and the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.cli import main
from tests.integration.api.conftest import utc
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

QUALITY = "/v1/sites/odense/quality"
DAY = {"start": "2026-03-02", "to": "2026-03-03"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def computed(connection) -> None:
    """All time up to now has been rolled up."""
    connection.execute("UPDATE rollup_progress SET closed_to = now(), computed_to = now()")


def of(answer, meter) -> dict[str, Any]:
    (found,) = [item for item in answer["meters"] if item["meter"] == meter]
    return dict(found)


def kinds(answer) -> list[tuple[str, str | None, str | None]]:
    return [(finding["kind"], finding["meter"], finding["agent"]) for finding in answer["findings"]]


def report(connection, agent="cabinet-1", **changes) -> None:
    values = {
        "status": json.dumps({"state": "online", "outbox": {"epoch": "e1"}}),
        "heard_at": datetime.now(UTC),
        "clock_ahead_ms": 0,
        "offered_meters": None,
        **changes,
    }
    connection.execute(
        """
        INSERT INTO agent_report (organisation, site, agent, status, status_at, heard_at, clock_ahead_ms,
                                  offered_meters)
        VALUES ('acme', 'odense', %(agent)s, %(status)s, %(heard_at)s, %(heard_at)s, %(clock_ahead_ms)s,
                %(offered_meters)s)
        """,
        {"agent": agent, **values},
    )


@pytest.fixture
def lively(connection, site, store, computed) -> datetime:
    """Every meter spoke each ten seconds of the last minutes; since when."""
    now = datetime.now(UTC).replace(microsecond=0)
    for meter in [meter.id for meter in site.meters]:
        for i in range(30):
            store.read(meter, now - i * timedelta(seconds=10), 1000.0 - i)
    return now - 5 * MINUTE


async def test_coverage_and_estimates_are_those_of_the_period(client, store, computed):
    start = utc("2026-03-01T23:00")
    store.consume("main", start, [2.0] * 48)
    store.consume("main", start + timedelta(hours=12), [1.0] * 24, estimated=1.0, covered_ms=450_000)
    answer = await ask(client, QUALITY, **DAY)
    assert (answer["from"], answer["to"]) == ("2026-03-01T23:00:00Z", "2026-03-02T23:00:00Z")
    found = of(answer, "main")
    assert float(found["coverage"]) == pytest.approx((48 + 12) / 96)
    assert float(found["estimated_share"]) == pytest.approx(24 / (96 + 24 + 24))
    assert (found["days"], found["usable_days"], found["usable"]) == (1, 1, True)
    silent = of(answer, "water")
    assert (silent["coverage"], silent["estimated_share"], silent["usable"]) == (0, None, False)


async def test_what_has_not_been_computed_yet_is_not_missing(client, store, connection):
    connection.execute("UPDATE rollup_progress SET closed_to = '2026-03-02T11:00Z', computed_to = '2026-03-02T11:00Z'")
    store.consume("main", utc("2026-03-01T23:00"), [2.0] * 48)
    found = of(await ask(client, QUALITY, **DAY), "main")
    assert (found["coverage"], found["days"], found["usable"]) == (1, 0, None)


async def test_a_day_that_can_not_be_used_is_a_finding(client, store, computed):
    store.consume("main", utc("2026-03-01T23:00"), [2.0] * 40)
    answer = await ask(client, QUALITY, **DAY)
    assert ("coverage", "main", None) in kinds(answer)
    (finding,) = [f for f in answer["findings"] if f["kind"] == "coverage"]
    assert finding["seen"] == "main: 0 of 1 day can be used, from 2026-03-02 00:00 to 2026-03-03 00:00."


async def test_a_lively_site_has_no_findings_and_its_cadence_is_learnt(client, lively):
    answer = await ask(client, QUALITY)
    assert answer["findings"] == []
    found = of(answer, "main")
    assert (found["cadence"], found["cadence_from"], found["cadence_kept"]) == (10_000, "learnt", None)
    assert (found["silent"], found["silent_after"]) == (False, 1_800_000)


async def test_a_cadence_that_is_not_kept(client, connection, lively):
    connection.execute("UPDATE meter SET cadence_ms = 1000 WHERE key = 'main'")
    answer = await ask(client, QUALITY)
    assert kinds(answer) == [("cadence", "main", None)]
    found = of(answer, "main")
    assert (found["cadence"], found["cadence_seen"], found["cadence_kept"]) == (1000, 10_000, False)


async def test_a_silent_meter_beside_lively_ones(client, connection, store, lively):
    connection.execute("DELETE FROM reading WHERE meter_id = %s", [store.number("water")])
    store.read("water", lively - timedelta(hours=1), 5.0)
    answer = await ask(client, QUALITY)
    assert kinds(answer) == [("silent", "water", None)]
    assert of(answer, "water")["silent"]


async def test_a_meter_of_few_words_is_known_by_its_gaps(client, connection, store, lively):
    number = store.number("water")
    connection.execute("DELETE FROM reading WHERE meter_id = %s", [number])
    last = lively - timedelta(hours=20)
    store.read("water", last, 5.0)
    store.consume("water", last.replace(minute=last.minute // 15 * 15, second=0), [1.0], covered_ms=0)
    for days in range(1, 4):
        connection.execute(
            "INSERT INTO meter_event (meter_id, kind, at, until, decision, readings)"
            " VALUES (%s, 'gap', now() - %s * interval '1 day' - interval '20 hours',"
            " now() - %s * interval '1 day' - interval '20 hours' + interval '1 day', 'count', 2)",
            [number, days, days],
        )
    found = of(await ask(client, QUALITY), "water")
    assert (found["cadence"], found["cadence_from"], found["silent"]) == (86_400_000, "learnt", False)


async def test_agents_clocks_offers_and_ledgers(client, connection, lively):
    report(
        connection,
        clock_ahead_ms=240_000,
        offered_meters=json.dumps({"meters": [{"meter": "main"}, {"meter": "paint"}]}),
    )
    connection.execute(
        "INSERT INTO ledger (organisation, site, agent, epoch, stored_seq, highest_seq, last_at)"
        " VALUES ('acme', 'odense', 'cabinet-1', 'e1', 10, 20, now() - interval '1 hour'),"
        "        ('rival', 'odense', 'cabinet-1', 'e1', 10, 90, now() - interval '1 hour')"
    )
    connection.execute(
        "INSERT INTO ledger_ahead VALUES ('acme', 'odense', 'cabinet-1', 'e1', 12),"
        " ('acme', 'odense', 'cabinet-1', 'e1', 20)"
    )
    answer = await ask(client, QUALITY)
    assert sorted(kinds(answer)) == [
        ("clock_skew", None, "cabinet-1"),
        ("ledger_incomplete", None, "cabinet-1"),
        ("unknown_meter", "paint", "cabinet-1"),
    ]
    (agent,) = answer["agents"]
    assert (agent["clock_ahead"], agent["unknown_meters"], agent["missing_messages"]) == (240_000, ["paint"], 8)


async def test_quarantine_is_counted_by_reason_while_it_waits(client, connection, lively):
    for number, (reason, replayed) in enumerate(
        [("wrong unit", None), ("wrong unit", None), ("malformed message", None), ("wrong unit", "now()")]
    ):
        connection.execute(
            "INSERT INTO quarantine (reason, detail, topic, organisation, site, agent, readings, content_type, payload,"
            " digest, replayed_at) VALUES (%s, 'd', 't', 'acme', 'odense', 'cabinet-1', 3, 'x', 'p', %s, %s)",
            [reason, str(number).encode(), replayed and datetime.now(UTC)],
        )
    answer = await ask(client, QUALITY)
    assert [(q["reason"], q["messages"], q["readings"]) for q in answer["quarantine"]] == [
        ("malformed message", 1, 3),
        ("wrong unit", 2, 6),
    ]
    assert kinds(answer) == [("quarantine", None, "cabinet-1")] * 2


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": "2026-03-02"}, "to: give `from` and `to`"),
        ({"to": "2026-03-02"}, "from: give `from` and `to`"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "must be after"),
        ({"from": "yesterday", "to": "2026-03-01"}, "write a date"),
        ({"from": "2020-01-01", "to": "2026-03-01"}, "at most 400 days"),
    ],
)
async def test_a_period_that_can_not_be_told_is_refused(client, query, words):
    response = await client.get(QUALITY, params=query)
    assert_problem(response, 422)
    assert words in response.json()["detail"]


async def test_another_organisation_s_site_is_not_there(client, other_site):
    assert_problem(await client.get("/v1/sites/aarhus/quality"), 404)


def test_the_command_says_the_same(database_url, lively, connection, capsys):
    connection.execute("UPDATE meter SET cadence_ms = 1000 WHERE key = 'main'")
    assert main(["quality", "--json", "--database-url", database_url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert kinds(answer) == [("cadence", "main", None)]
    assert main(["quality", "--database-url", database_url]) == 0
    out = capsys.readouterr().out
    assert "cadence: main speaks every 10 seconds, but is expected to every 1 seconds." in out
    assert "1 finding\n" in out


def test_the_command_says_that_nothing_stands_out(database_url, lively, capsys):
    assert main(["quality", "--database-url", database_url]) == 0
    assert capsys.readouterr().out.endswith("nothing stands out\n")


def test_the_command_refuses_what_the_api_refuses(database_url, site, capsys):
    assert main(["quality", "--from", "2026-03-02", "--database-url", database_url]) == 1
    assert "give `from` and `to`" in capsys.readouterr().err
    assert main(["quality", "--site", "nowhere", "--database-url", database_url]) == 1
    assert "there is no site 'nowhere'" in capsys.readouterr().err
