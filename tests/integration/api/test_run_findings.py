"""Runs that overlap, work in no run, and open runs, as `/quality` tells them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import utc
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

HOUR = timedelta(hours=1)
START = utc("2026-03-01T23:00")
DAY = {"start": "2026-03-02", "to": "2026-03-03"}
ACROSS = "2026-03-01T00:00Z"


@pytest.fixture
def site_at_work(connection, store):
    """Line 1 made something all day, and all of it has been computed."""
    connection.execute("UPDATE rollup_progress SET closed_to = now(), computed_to = now()")
    store.consume("good-1", START, [5.0] * 96)
    return store


async def findings(client, **period) -> list[dict[str, Any]]:
    answer = await ask(client, "/v1/sites/odense/quality", **(period or DAY))
    return [finding for finding in answer["findings"] if finding["kind"].startswith("run_")]


async def test_a_day_with_runs_is_fine(client, site_at_work):
    site_at_work.run("line-1", "r1", "running", START, START + 12 * HOUR, product="bolt")
    site_at_work.run("line-1", "r2", "running", START + 12 * HOUR, START + 24 * HOUR, product="nut")
    assert await findings(client) == []


async def test_runs_that_overlap_are_told_and_attribution_goes_on(client, site_at_work):
    site_at_work.run("line-1", "r1", "running", START, START + 12 * HOUR, product="bolt")
    site_at_work.run("line-1", "r2", "running", START + 11.5 * HOUR, START + 24 * HOUR, product="nut")
    (finding,) = await findings(client)
    assert (finding["kind"], finding["line"], finding["meter"]) == ("run_overlap", "line-1", None)
    assert (finding["from"], finding["to"]) == ("2026-03-02T10:30:00Z", "2026-03-02T11:00:00Z")
    assert "r1 (running) and r2 (running) of line line-1 overlap for 1,800 seconds" in finding["seen"]
    answer = await ask(client, "/v1/sites/odense/production?by=product", **DAY)
    assert sum(item["good"] for item in answer["items"]) == pytest.approx(480)


async def test_what_was_made_in_no_run(client, site_at_work):
    site_at_work.run("line-1", "r1", "running", START + 10 * HOUR, START + 11 * HOUR, product="bolt")
    site_at_work.run("line-1", "r2", "running", START + 11.25 * HOUR, START + 23 * HOUR, product="bolt")
    told = await findings(client)
    # The quarter between both runs is too short to be told.
    assert [(f["kind"], f["from"], f["to"]) for f in told] == [
        ("run_missing", "2026-03-01T23:00:00Z", "2026-03-02T09:00:00Z"),
        ("run_missing", "2026-03-02T22:00:00Z", "2026-03-02T23:00:00Z"),
    ]
    assert "Line line-1 made something in 40 quarters of an hour that no run covers" in told[0]["seen"]


async def test_what_is_not_computed_yet_misses_no_run(client, connection, site_at_work):
    connection.execute("UPDATE rollup_progress SET closed_to = %(at)s, computed_to = %(at)s", {"at": START + HOUR})
    (finding,) = await findings(client)
    assert finding["to"] == "2026-03-02T00:00:00Z"


async def test_what_is_estimated_was_not_seen_to_be_made(client, connection, store):
    connection.execute("UPDATE rollup_progress SET closed_to = now(), computed_to = now()")
    store.consume("good-1", START, [0.0] * 96, estimated=3.0, covered_ms=0)
    assert await findings(client) == []


async def test_a_line_that_counts_nothing_is_known_by_what_it_takes(client, connection, store):
    connection.execute("UPDATE rollup_progress SET closed_to = now(), computed_to = now()")
    connection.execute("UPDATE meter SET line_id = NULL WHERE key = 'good-2'")
    # Idle at 1 kWh a quarter for four hours, running at 5 for four; then eight hours without any run.
    store.consume("power-2", START, [1.0] * 16 + [5.0] * 16 + [2.9] * 4 + [3.1] * 4 + [1.0] * 24)
    store.run("line-2", "night", "idle", START, START + 4 * HOUR)
    store.run("line-2", "r1", "running", START + 4 * HOUR, START + 8 * HOUR, product="bolt")
    store.run("line-2", "late", "idle", START + 16 * HOUR, START + 24 * HOUR)
    (finding,) = await findings(client)
    assert (finding["kind"], finding["line"]) == ("run_missing", "line-2")
    assert (finding["from"], finding["to"]) == ("2026-03-02T08:00:00Z", "2026-03-02T09:00:00Z")
    assert "took clearly more than when it is idle in 4 quarters" in finding["seen"]
    # Where it counts production, that decides.
    connection.execute("UPDATE meter SET line_id = (SELECT id FROM line WHERE key = 'line-2') WHERE key = 'good-2'")
    assert await findings(client) == []


async def test_a_run_that_was_never_ended(client, store):
    store.run("line-1", "r1", "running", utc("2026-02-20T08:00"), None, product="bolt")
    store.run("line-2", "shut", "down", utc("2026-02-20T08:00"), None)
    (finding,) = await findings(client)
    assert (finding["kind"], finding["from"], finding["to"]) == ("run_open_long", "2026-02-20T08:00:00Z", None)
    store.run("line-1", "r2", "running", utc("2026-02-21T08:00"), utc("2026-03-02T12:00"), product="bolt")
    assert await findings(client) == []
