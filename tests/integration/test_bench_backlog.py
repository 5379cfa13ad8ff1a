"""A small backlog drains, and a short outage passes, with nothing lost and nothing twice."""

from __future__ import annotations

import os

import pytest

from deploy.bench.backlog import bench_backlog, bench_outage
from tests.conftest import Servers

pytestmark = pytest.mark.stack


def test_a_backlog_drains_while_live_readings_come_in(stack: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFKOBLING_DATABASE_URL", stack.database_url)
    monkeypatch.setenv("AFKOBLING_BROKER_URL", stack.broker_url)
    case = bench_backlog(readings=50_000, live_per_s=1_000, real_agents=1, outbox_readings=5_000, report=print)
    account = case.account
    assert account.is_exactly_once, account
    assert account.readings_sent > case.backlog_readings == 55_000
    # Nothing was lost and nobody silent: what was sent ahead of the backlog was not sent again.
    assert account.copies == 0
    assert account.ledger_repeated == 0
    assert case.live["agents_with_none"] is not None
    assert case.live["real_agents_with_a_backlog"] is not None
    assert case.memory["collector"].peak < 400


@pytest.mark.skipif(
    int(os.environ.get("AFKOBLING_CHAOS_FAULTS", "0")) < 100,
    reason="takes half a minute, and chaos takes the database away too: set AFKOBLING_CHAOS_FAULTS to 100 or more",
)
def test_a_database_that_was_away_gets_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFKOBLING_DATABASE_URL", raising=False)
    monkeypatch.delenv("AFKOBLING_BROKER_URL", raising=False)
    case = bench_outage(seconds=10, readings_per_s=2_000, real_agents=1, report=print)
    assert case.account.is_exactly_once, case.account
    assert case.behind_readings >= 10_000
    # An agent leaves a window with the broker at most, and here, with a message in ten seconds, much less.
    assert case.broker_most_messages < 20 * case.agents
    assert case.account.copies == 0, "nothing is sent again before its time"
