"""Alerts from condition to message, on the real database."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.alerts import store as alert_store
from api.alerts.channels import UndeliveredError
from api.alerts.service import AlertService, wait_after
from api.alerts.settings import AlertSettings
from schemas.alerts import AlertMessage
from tests.integration.api.test_consumption_routes import ask

pytestmark = pytest.mark.stack

ALERTS = "/v1/sites/odense/alerts"
HOUR = timedelta(hours=1)
ANNA = {"author": "Anna", "reason": "on my way"}


class Box:
    """A channel that keeps what it is given, or refuses it."""

    name = "webhook"

    def __init__(self) -> None:
        self.messages: list[AlertMessage] = []
        self.is_down = False

    def send(self, payload: dict[str, Any]) -> None:
        if self.is_down:
            raise UndeliveredError("the box is shut")
        self.messages.append(AlertMessage.model_validate(payload))

    def close(self) -> None:
        pass

    def take(self) -> list[tuple[str, str | None]]:
        """(change, whose) of each alert of each message since the last time."""
        told: list[tuple[str, str | None]] = [
            (alert.change, alert.meter or alert.agent) for message in self.messages for alert in message.alerts
        ]
        self.messages.clear()
        return told


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def speak(connection, site, store):
    """Let meters say something now, all but those named."""
    connection.execute("UPDATE rollup_progress SET closed_to = now(), computed_to = now()")

    def say(*silent) -> None:
        now = datetime.now(UTC)
        for meter in [meter.id for meter in site.meters if meter.id not in silent]:
            store.read(meter, now, 5.0)

    say()
    return say


def silence(connection, store, *meters, ago=HOUR) -> None:
    """Take back what they said, so that they have been silent for a while."""
    last = datetime.now(UTC) - ago
    for meter in meters:
        connection.execute("DELETE FROM reading WHERE meter_id = %s", [store.number(meter)])
        store.read(meter, last, 1.0)
        if ago > HOUR:
            store.consume(meter, last.replace(minute=last.minute // 15 * 15, second=0, microsecond=0), [1.0])


@asynccontextmanager
async def serving(database_url, *channels, **settings) -> AsyncIterator[Any]:
    """What takes one turn of the service after another, as if each site were due again."""
    service = AlertService(AlertSettings(database_url=database_url, **settings), channels=channels)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:

        async def turn() -> AlertService:
            await connection.execute("UPDATE alert_check SET checked_at = '-infinity'")
            await service.turn(connection)
            return service

        yield turn


class TestLife:
    async def test_one_that_is_silent_is_told_once_and_its_end_as_well(
        self, database_url, client, connection, store, speak, box
    ):
        silence(connection, store, "water")
        async with serving(database_url, box, alert_close_after_s=0) as turn:
            await turn()
            assert box.take() == [("opened", "water")]
            for _ in range(3):
                await turn()
            assert box.take() == []
            (alert,) = (await ask(client, ALERTS, open="true"))["items"]
            assert (alert["rule"], alert["meter"], alert["closed_at"]) == ("silent", "water", None)
            speak()
            await turn()
            assert box.take() == [("closed", "water")]
            assert (await ask(client, ALERTS, open="true"))["items"] == []
            await turn()
            assert box.take() == []

    async def test_one_that_flickers_stays_one_alert(self, database_url, client, connection, store, speak, box):
        async with serving(database_url, box) as turn:
            for _ in range(3):
                silence(connection, store, "water")
                await turn()
                speak()
                await turn()
        assert box.take() == [("opened", "water")]
        assert len((await ask(client, ALERTS))["items"]) == 1

    async def test_it_is_told_again_after_a_day_and_not_when_somebody_knows(
        self, database_url, client, connection, store, speak, box
    ):
        silence(connection, store, "water")
        async with serving(database_url, box, alert_close_after_s=0) as turn:
            await turn()
            connection.execute("UPDATE alert SET told_at = now() - interval '25 hours'")
            await turn()
            assert box.take() == [("opened", "water"), ("reminder", "water")]
            (alert,) = (await ask(client, ALERTS))["items"]
            response = await client.post(f"{ALERTS}/{alert['id']}/acknowledge", json=ANNA)
            assert (response.status_code, response.json()["acknowledged_by"]) == (200, "Anna")
            connection.execute("UPDATE alert SET told_at = now() - interval '25 hours'")
            await turn()
            speak()
            await turn()
            assert box.take() == []
            (alert,) = (await ask(client, ALERTS))["items"]
            assert alert["closed_at"] is not None

    async def test_all_meters_of_an_agent_are_one_alert(self, database_url, site, connection, store, speak, box):
        silence(connection, store, *(meter.id for meter in site.meters))
        async with serving(database_url, box) as turn:
            await turn()
        assert box.take() == [("opened", "cabinet-1")]

    async def test_an_open_spike_is_told(self, database_url, connection, store, speak, box):
        connection.execute(
            "INSERT INTO meter_event (meter_id, kind, at, until, decision, readings)"
            " VALUES (%s, 'spike', now() - interval '2 hours', now() - interval '2 hours', 'set_aside', 1),"
            "        (%s, 'spike', now() - interval '2 days', now() - interval '2 days', 'set_aside', 1)",
            [store.number("main"), store.number("air")],
        )
        async with serving(database_url, box) as turn:
            await turn()
        assert box.take() == [("opened", "main")]

    async def test_without_a_channel_alerts_are_kept_and_told_when_there_is_one(
        self, database_url, client, connection, store, speak, box
    ):
        silence(connection, store, "water")
        async with serving(database_url) as turn:
            await turn()
        assert len((await ask(client, ALERTS, open="true"))["items"]) == 1
        async with serving(database_url, box) as turn:
            await turn()
        assert box.take() == [("opened", "water")]


async def test_many_at_once_are_summed_up(database_url, connection, store, speak, box):
    for i, meter in enumerate(("main", "power-1", "power-2", "air", "water")):
        # At different times, so that they are no silence of the whole agent.
        silence(connection, store, meter, ago=(1 + i) * HOUR)
    async with serving(database_url, box, alert_per_hour=3) as turn:
        await turn()
        assert [len(message.alerts) for message in box.messages] == [1, 1, 3]
        assert "3 alerts at once (3 new)" in box.messages[-1].text
        box.take()
        # The hour is full: what is new waits, and comes when there is room again.
        silence(connection, store, "good-1", ago=9 * HOUR)
        await turn()
        assert box.take() == []
        connection.execute("UPDATE notification SET created_at = created_at - interval '61 minutes'")
        await turn()
        assert box.take() == [("opened", "good-1")]


async def test_what_can_not_be_delivered_is_kept_and_tried_again(database_url, client, connection, store, speak, box):
    box.is_down = True
    silence(connection, store, "water")
    async with serving(database_url, box) as turn:
        service = await turn()
        assert service.problems()[-1] == "the box is shut"
        (told,) = (await ask(client, f"{ALERTS}/delivery"))["items"]
        assert (told["channel"], told["waiting"], told["given_up"], told["last_error"]) == (
            "webhook", 1, 0, "the box is shut",
        )  # fmt: skip
        await turn()
        box.is_down = False
        await turn()
        assert box.take() == []  # not its time yet
        connection.execute("UPDATE notification SET next_attempt_at = now()")
        service = await turn()
        assert box.take() == [("opened", "water")]
        assert "the box is shut" not in service.problems()
        (told,) = (await ask(client, f"{ALERTS}/delivery"))["items"]
        assert (told["waiting"], told["last_error"]) == (0, None)


async def test_what_is_older_than_patience_is_given_up_and_told(database_url, client, connection, store, speak, box):
    box.is_down = True
    silence(connection, store, "water")
    async with serving(database_url, box, alert_patience_h=2) as turn:
        await turn()
        connection.execute(
            "UPDATE notification SET next_attempt_at = now(), created_at = created_at - interval '3 hours'"
        )
        await turn()
        connection.execute("UPDATE notification SET next_attempt_at = now()")
        box.is_down = False
        await turn()
        assert box.take() == []
    (told,) = (await ask(client, f"{ALERTS}/delivery"))["items"]
    assert (told["waiting"], told["given_up"], told["last_error"]) == (0, 1, "the box is shut")


def test_waiting_grows_to_an_hour():
    assert [wait_after(n).total_seconds() for n in (1, 2, 3, 20)] == [15, 30, 60, 3600]


async def test_two_processes_share_the_sites(database_url, site, other_site, connection):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as other:
        taken = [await alert_store.take_site(other, HOUR) for _ in range(3)]
    assert [row and row["site"] for row in taken] in (["odense", "aarhus", None], ["aarhus", "odense", None])


def test_it_runs_until_it_is_stopped(database_url, connection, store, speak, box):
    silence(connection, store, "water")
    service = AlertService(AlertSettings(database_url=database_url), channels=[box])
    assert service.problems() == ["not connected to the database yet"]
    thread = threading.Thread(target=service.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not box.messages:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.problems() == []
    service.stop()
    service.stop()
    thread.join(30)
    assert not thread.is_alive()
