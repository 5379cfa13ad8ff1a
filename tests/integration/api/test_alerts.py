"""Alerts from condition to message, on the real database, a real webhook and the real broker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from psycopg.rows import dict_row
from pydantic import ValidationError

from api.alerts import store as alert_store
from api.alerts.channels import Broker, UndeliveredError, Webhook
from api.alerts.service import AlertService, wait_after
from api.alerts.settings import AlertSettings
from deploy.cli import main
from schemas.alerts import AlertMessage
from tests.integration.api.test_access import assert_problem
from tests.integration.api.test_consumption_routes import ask, pages

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


# Channels


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[tuple[dict[str, str], Any]], list[int]]]:
    """Its address, what it got, and which statuses it answers with, one after another."""
    got: list[tuple[dict[str, str], Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((dict(self.headers), json.loads(body)))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts", got, statuses
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_gets_json_with_its_token_and_a_key(webhook):
    address, got, statuses = webhook
    statuses += [500, 404]
    channel = Webhook(address, "secret")
    payload = {"message": "m-1", "text": "Tæller står stille"}
    for status in (500, 404):
        with pytest.raises(UndeliveredError, match=f"answered {status}"):
            channel.send(payload)
    channel.send(payload)
    channel.close()
    headers, body = got[-1]
    assert body == payload
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Idempotency-Key"] == "m-1"
    with pytest.raises(UndeliveredError, match="can't be reached"):
        Webhook("http://127.0.0.1:9/", None).send(payload)


def test_the_broker_gets_it_on_the_site_s_topic(broker_url):
    parts = urlsplit(broker_url)
    arrived: list[mqtt.MQTTMessage] = []
    subscribed, told = threading.Event(), threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda c, *_: c.subscribe("afkobling/v1/alert-test/odense/alerts", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()

    def keep(_client, _userdata, message) -> None:
        arrived.append(message)
        told.set()

    client.on_message = keep
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    assert subscribed.wait(10)
    channel = Broker(broker_url)
    channel.send({"message": "m-1", "organisation": "alert-test", "site": "odense"})
    channel.send({"message": "m-2", "organisation": "alert-test", "site": "odense"})
    assert told.wait(10)
    channel.close()
    channel.close()
    client.disconnect()
    client.loop_stop()
    assert json.loads(arrived[0].payload)["message"] == "m-1"
    assert not arrived[0].retain


def test_a_broker_that_is_away_is_told():
    with pytest.raises(UndeliveredError, match=r"mqtt://127\.0\.0\.1:9 can't be reached"):
        Broker("mqtt://127.0.0.1:9").send({"message": "m", "organisation": "o", "site": "s"})


# API, command line and settings


async def test_alerts_come_in_pages_and_only_one_s_own(client, connection, site, other_site):
    for place in ("odense", "aarhus"):
        for i in range(3):
            connection.execute(
                "INSERT INTO alert (site_id, rule, meter, since, seen, why, todo, opened_at, seen_at)"
                " SELECT id, 'leak', %s, now(), 's', 'w', 't', now(), now() FROM site WHERE key = %s",
                [f"m{i}", place],
            )
    items, count = await pages(client, ALERTS, limit=2)
    assert ([item["meter"] for item in items], count) == (["m2", "m1", "m0"], 2)
    (theirs,) = connection.execute(
        "SELECT max(alert.id) FROM alert JOIN site ON site.id = site_id WHERE key = 'aarhus'"
    ).fetchone()
    assert_problem(await client.post(f"{ALERTS}/{theirs}/acknowledge", json=ANNA), 404, "lists them")
    assert_problem(await client.post(f"/v1/sites/aarhus/alerts/{theirs}/acknowledge", json=ANNA), 404)
    assert_problem(await client.post(f"{ALERTS}/{items[0]['id']}/acknowledge", json={"author": "Anna"}), 422, "reason")
    assert_problem(await client.post(f"{ALERTS}/0/acknowledge", json=ANNA), 422)


async def test_the_first_who_knows_stays_written_down(client, connection, site):
    connection.execute(
        "INSERT INTO alert (site_id, rule, agent, since, seen, why, todo, opened_at, seen_at)"
        " SELECT id, 'silent', 'cabinet-1', now(), 's', 'w', 't', now(), now() FROM site"
    )
    (alert,) = (await ask(client, ALERTS))["items"]
    for author in ("Anna", "Bo"):
        response = await client.post(f"{ALERTS}/{alert['id']}/acknowledge", json={**ANNA, "author": author})
        assert response.json()["acknowledged_by"] == "Anna"


def test_the_command_lists_and_acknowledges(database_url, site, connection, capsys):
    (number,) = connection.execute(
        "INSERT INTO alert (site_id, rule, meter, since, seen, why, todo, opened_at, seen_at)"
        " SELECT id, 'leak', 'water', now(), 'It runs at night.', 'w', 'Listen.', now(), now() FROM site RETURNING id"
    ).fetchone()
    url = ["--database-url", database_url]
    assert main(["alerts", "list", *url]) == 0
    out = capsys.readouterr().out
    assert f"{number}  leak  open" in out
    assert "It runs at night." in out
    assert main(["alerts", "ack", str(number), "--author", "Anna", "--reason", "known", *url]) == 0
    assert "acknowledged by Anna" in capsys.readouterr().out
    assert main(["alerts", "list", "--json", "--open", *url]) == 0
    (alert,) = json.loads(capsys.readouterr().out)["items"]
    assert alert["acknowledged_why"] == "known"
    assert main(["alerts", "ack", "999", "--author", "Anna", "--reason", "known", *url]) == 1
    assert "there is no alert 999" in capsys.readouterr().err


def test_settings_that_can_not_work_are_refused_before_anything_starts():
    for wrong, words in (
        ({"alert_mqtt": True}, "AFKOBLING_BROKER_URL"),
        ({"alert_webhook_url": "not a url"}, "URL"),
        ({"alert_per_hour": 0}, "greater than or equal to 1"),
        ({"alert_remind_h": 1}, "greater than or equal to 24"),
        ({"broker_url": "http://broker"}, "not a broker address"),
    ):
        with pytest.raises(ValidationError, match=words):
            AlertSettings(database_url="postgresql://x", **wrong)
