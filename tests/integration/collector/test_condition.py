"""The collector's and the roll-up's word on themselves, with the real servers and without."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from collector.collector import Collector
from collector.rollup_runner import RollupRunner
from collector.settings import CollectorSettings, RollupSettings
from schemas.site import SiteModel
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import Publisher, query, readings, wait_for

pytestmark = pytest.mark.stack


def value(collector: Collector, name: str) -> float:
    return collector.metrics.registry.get_sample_value(f"afkobling_collector_{name}") or 0.0


def test_what_is_counted_of_batches_and_the_connection(
    start_collector: Callable[..., Collector], publisher: Publisher, site: SiteModel
) -> None:
    collector = start_collector()
    wait_for(lambda: collector.problems() == [], "the collector to be ready")
    for seq in (1, 2, 3):
        publisher.publish(readings(seq, [("power", 60 - seq, 1.0), ("nobody", 60 - seq, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 3, "all to be stored")
    wait_for(lambda: value(collector, "stored_confirmed_total") > 0, "the broker's answer")
    # What the broker has retained from others comes along.
    assert value(collector, "messages_total") == value(collector, "batch_messages_sum") >= 3
    assert value(collector, "batch_readings_sum") == 6
    assert value(collector, "bytes_total") > 300
    waited = value(collector, "arrival_to_commit_seconds_count")
    assert waited == value(collector, "commit_seconds_count") > 0
    wait_for(lambda: value(collector, "unacknowledged_messages") == 0, "everything to be acknowledged")
    assert (value(collector, "broker_connected"), value(collector, "broker_connections_total")) == (1, 1)
    assert value(collector, "buffer_limit_messages") == 4000
    assert collector.unfinished() == ["0 messages are not acknowledged; they come again"]


def test_a_database_that_takes_no_writes_is_told_and_waited_for(
    start_collector: Callable[..., Collector], publisher: Publisher, database_url: str, site: SiteModel
) -> None:
    def set_read_only(value: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, sql.Literal(value))
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'afkobling-collector'"
            )

    collector = start_collector()
    set_read_only("on")
    publisher.publish(readings(1, [("power", 60, 1.0)]))
    wait_for(lambda: any("takes no writes" in told for told in collector.problems()), "it to be told")
    assert "a batch has been with the database" in collector.unfinished()[0]
    set_read_only("off")
    wait_for(lambda: publisher.stored_seq("E1") == 1, "the reading to be stored")
    wait_for(lambda: collector.problems() == [], "the trouble to be over")


def test_a_newer_schema_is_told_and_worked_with(
    start_collector: Callable[..., Collector], publisher: Publisher, database_url: str, site: SiteModel
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO schema_migration (number, name, digest) VALUES (9999, 'future', 'x')")
    collector = start_collector()
    publisher.publish(readings(1, [("power", 60, 1.0)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "the reading to be stored")
    (told,) = collector.problems()
    assert "migration 9999" in told
    assert "install the newer version" in told


def test_a_broker_that_refuses_or_is_away_is_told(database_url: str, site: SiteModel) -> None:
    collector = Collector(CollectorSettings(database_url=database_url, broker_url="mqtt://127.0.0.1:1"))
    thread = threading.Thread(target=collector.run)
    thread.start()
    try:
        wait_for(lambda: any("the broker is away" in told for told in collector.problems()), "it to be told")
        assert value(collector, "broker_connection_failures_total") > 0
    finally:
        collector.stop()
        thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(("minutes", "is_told"), [(10, False), (40, True)])
def test_a_roll_up_that_is_behind_is_told(
    database_url: str, address: AgentAddress, site: SiteModel, minutes: int, is_told: bool
) -> None:
    now_s = time.time()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE rollup_progress SET closed_to = now(), computed_to = now() - make_interval(mins => %s)", [minutes]
        )
        connection.execute(
            "INSERT INTO pending (meter_id, from_at, to_at) SELECT 1, now(), now() FROM generate_series(1, 7)"
        )
        # Somebody else has the turn, and does not come on.
        connection.execute("SELECT pg_advisory_lock(%s)", [0x41464B_02])
        runner = RollupRunner(RollupSettings(database_url=database_url), clock_ms=lambda: round(now_s * 1000))
        thread = threading.Thread(target=runner.run)
        thread.start()
        metrics: Any = runner.metrics.registry
        try:
            wait_for(lambda: metrics.get_sample_value("afkobling_rollup_pending_notes") == 7, "the roll-up to look")
            found = runner.problems()
        finally:
            runner.stop()
            thread.join(30)
    assert not thread.is_alive()
    assert len(found) == is_told
    assert all(re.match(r"the roll-up is (39|40) min behind; ", told) for told in found)
    computed_to = metrics.get_sample_value("afkobling_rollup_computed_to_timestamp_seconds")
    assert computed_to == pytest.approx(now_s - 60 * minutes, abs=60)
    assert query(database_url, "SELECT count(*) FROM pending") == [(7,)]
