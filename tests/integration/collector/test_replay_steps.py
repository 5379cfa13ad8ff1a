"""How a replay goes about its work: in steps, beside others, in the collector."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from collector import replay as replay_module
from collector.batch import assemble
from collector.collector import Collector
from collector.connection import connect
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.replay import is_replay_asked_for, replay_all, replay_step
from collector.store import write_batch
from schemas.locks import ROLLUP_GATE
from schemas.quarantine import Reason
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import NOW_MS, Publisher, query, read_ledger, readings, wait_for
from tests.integration.collector.replaying import (
    BALANCE,
    TOLERANCE_MS,
    add_meter,
    ask,
    deliver,
    replay,
    stored,
    topic,
    waiting,
)

pytestmark = pytest.mark.stack


def test_many_entries_go_in_steps_that_can_be_cut_off(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_module, "_MOST_ENTRIES", 7)
    for seq in range(1, 31):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    add_meter(database_url, site, "steam")
    number = ask(database_url)
    index = load_meter_index(connection)

    def step() -> Any:
        return replay_step(connection, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)

    assert step().tried == 7
    # Cut off at the last statement: nothing of the step is done.
    sound, broken = replay_module._ADVANCE, "SELECT 1 / 0 -- %(id)s"
    monkeypatch.setattr(replay_module, "_ADVANCE", broken)
    with pytest.raises(psycopg.errors.DivisionByZero):
        step()
    assert query(database_url, BALANCE) == [(30, 7, 0, 23, 23)]
    assert len(stored(database_url)) == 7
    monkeypatch.setattr(replay_module, "_ADVANCE", sound)
    while (found := step()) is not None and not found.is_finished:
        assert found.tried <= 7
    assert query(database_url, "SELECT tried, stored, repeated FROM quarantine_replay WHERE id = %s", number) == [
        (30, 30, 0)
    ]
    assert query(database_url, BALANCE) == [(30, 30, 0, 0, 0)]
    assert step() is None
    assert not is_replay_asked_for(connection)


def test_bytes_are_bounded_too(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seq in range(1, 4):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    monkeypatch.setattr(replay_module, "_MOST_BYTES", 10)
    number = ask(database_url)
    index = load_meter_index(connection)
    for _ in range(3):
        found = replay_step(connection, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS, request=number)
        assert found is not None
        assert found.tried == 1


def test_what_the_database_refuses_is_found_among_the_others(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    for seq in range(1, 10):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq))]), to=topic(address))
    add_meter(database_url, site, "steam")
    connection.execute("ALTER TABLE reading ADD CHECK (value <> 4)")
    assert replay(connection, database_url) == (9, 8, 0, {Reason.UNSTORABLE: 1})
    assert waiting(database_url) == [(Reason.UNSTORABLE, 1)]
    assert query(database_url, BALANCE) == [(9, 8, 0, 1, 1)]
    assert replay(connection, database_url) == (1, 0, 0, {Reason.UNSTORABLE: 1})
    assert waiting(database_url) == [(Reason.UNSTORABLE, 1)]


def test_two_replays_at_once(
    database_url: str,
    connection: psycopg.Connection,
    site: SiteModel,
    address: AgentAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_module, "_MOST_ENTRIES", 5)
    for seq in range(1, 61):
        deliver(connection, readings(seq, [("steam", 100 - seq, float(seq)), ("heat", 5, 1.0)]), to=topic(address))
    add_meter(database_url, site, "steam")
    numbers = [ask(database_url), ask(database_url, agent="cabinet")]

    def work(number: int) -> None:
        with connect(database_url, role="test") as mine:
            replay_all(mine, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)

    threads = [threading.Thread(target=work, args=(number,)) for number in (*numbers, *numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert query(database_url, "SELECT count(*) FROM quarantine_replay WHERE finished_at IS NULL") == [(0,)]
    assert query(database_url, "SELECT sum(stored), sum(repeated) FROM quarantine_replay") == [(60, 0)]
    assert query(database_url, BALANCE) == [(120, 60, 0, 60, 60)]
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)] * 60


def test_a_batch_checked_by_the_old_model_is_waited_for(
    database_url: str, connection: psycopg.Connection, site: SiteModel, address: AgentAddress
) -> None:
    """What was refused by the model from before the adoption, and commits after it, is replayed as well."""
    index = load_meter_index(connection)
    with psycopg.connect(database_url) as slow:
        # As `write_batch` begins: the gate, then a look at the model.
        slow.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLUP_GATE])
        add_meter(database_url, site, "steam")
        number = ask(database_url)
        done = threading.Event()

        def work() -> None:
            with connect(database_url, role="test") as mine:
                replay_all(mine, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        wait_for(
            lambda: (
                query(
                    database_url,
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted",
                    ROLLUP_GATE,
                )
                == [(1,)]
            ),
            "the replay to wait at the gate",
        )
        message = decode(Incoming(topic=topic(address), payload=json.dumps(readings(1, [("steam", 9, 1.0)])).encode()))
        batch = assemble([message], index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)
        [(version,)] = slow.execute("SELECT version FROM model_version").fetchall()
        write_batch(slow, batch, model_version=version)
        slow.commit()
    thread.join(60)
    assert done.is_set()
    assert stored(database_url) == [("steam", 1.0)]
    assert waiting(database_url) == []


def test_the_collector_takes_up_what_was_asked_for(
    database_url: str,
    site: SiteModel,
    publisher: Publisher,
    start_collector: Callable[..., Collector],
) -> None:
    collector = start_collector()
    for seq in range(1, 6):
        publisher.publish(readings(seq, [("steam", 100 - seq, float(seq)), ("power", 100 - seq, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 5, "all confirmed")
    assert waiting(database_url) == [(Reason.UNKNOWN_METER, 1)] * 5
    add_meter(database_url, site, "steam")
    number = ask(database_url, organisation=site.organisation.id)
    finished = "SELECT stored FROM quarantine_replay WHERE id = %s AND finished_at IS NOT NULL"
    wait_for(lambda: query(database_url, finished, number) == [(5,)], "the replay's end")
    assert read_ledger(database_url) == [("E1", 5, 10, 10, 0, 0)]
    assert collector.metrics.replayed._value.get() == 5
    # It goes on with what is new.
    publisher.publish(readings(6, [("steam", 1, 9.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 6, "stored 6")
    assert read_ledger(database_url) == [("E1", 6, 11, 11, 0, 0)]
