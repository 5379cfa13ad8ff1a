"""The process that shares consumption out: it does what is due, waits out a database that is away, and stops."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from api.attribution.service import AttributionService
from api.attribution.settings import AttributionSettings
from deploy.demo.parts import free_port
from tests.integration.collector.conftest import query, wait_for

pytestmark = pytest.mark.stack


def serving(url: str) -> tuple[AttributionService, threading.Thread]:
    service = AttributionService(AttributionSettings(database_url=SecretStr(url), attribution_poll_s=0.1))
    thread = threading.Thread(target=service.run)
    thread.start()
    return service, thread


def test_what_is_due_is_done_and_it_stops_when_told(database_url, store):
    store.consume("power-1", datetime(2025, 3, 1, 9, tzinfo=UTC), [1.0] * 4)
    service, thread = serving(database_url)
    try:
        wait_for(
            lambda: query(database_url, "SELECT count(*) FROM attributed_span") > [(300,)], "days kept", seconds=60
        )
        wait_for(lambda: query(database_url, "SELECT count(*) FROM attribution_due") == [(0,)], "no marks", seconds=60)
        assert service.problems() == []
    finally:
        service.stop()
        service.stop()
        thread.join(30)
    assert not thread.is_alive()


def test_a_database_that_is_away_is_told_and_waited_for():
    service, thread = serving(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none")
    try:
        wait_for(lambda: service.problems()[0].startswith("the database:"), "the problem is told", seconds=30)
        assert thread.is_alive()
    finally:
        service.stop()
        thread.join(30)
    assert not thread.is_alive()


def test_stopped_before_it_began_it_ends_at_once(database_url):
    service = AttributionService(AttributionSettings(database_url=SecretStr(database_url)))
    service.stop()
    service.run()
    assert service.problems() == ["not connected to the database yet"]
