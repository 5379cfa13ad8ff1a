"""What carries alerts: a real webhook and the real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest

from api.alerts.channels import Broker, UndeliveredError, Webhook
from api.broker_client import new_client
from schemas.broker_url import parse_broker_url

pytestmark = pytest.mark.stack


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
    client = new_client(parse_broker_url(broker_url))
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
