"""A small site, and a collector that runs in a thread on the real servers."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest

from api.broker_client import new_client
from api.site_model import apply_site_model
from collector.collector import Collector
from collector.connection import connect
from collector.settings import CollectorSettings
from schemas.broker_url import parse_broker_url
from schemas.configuration import parse_configuration
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind

NOW_MS = 1_795_298_400_000

SITE = """
organisation: {{id: {organisation}}}
site: {{id: hall, time_zone: Europe/Copenhagen}}
lines: [{{id: press}}]
products: [{{id: bracket}}]
agents: [{{id: cabinet}}]
meters:
  - {{id: power, agent: cabinet, line: press, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
  - {{id: water, agent: cabinet, resource: water, unit: m3, kind: counter}}
"""


@pytest.fixture
def address() -> AgentAddress:
    """An agent of an organisation of this test's own."""
    return AgentAddress(organisation=f"org-{uuid.uuid4().hex[:12]}", site="hall", agent="cabinet")


@pytest.fixture
def site(database_url: str, address: AgentAddress) -> SiteModel:
    model = parse_configuration(SITE.format(organisation=address.organisation), name="site.yaml", model=SiteModel)
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, model)
    return model


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection as the collector's own."""
    with connect(database_url, role="test") as opened:
        yield opened


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until it holds; fails, naming what was waited for, when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.02)


@dataclass(kw_only=True)
class Publisher:
    """A plain MQTT client that publishes what a test wants and remembers what it is told."""

    address: AgentAddress
    client: mqtt.Client
    stored: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, payload: bytes | str | dict[str, Any], topic: str | None = None, **header: Any) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in header.items():
            setattr(properties, name, value)
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        info = self.client.publish(topic or self.address.topic(Kind.READINGS), body, qos=1, properties=properties)
        info.wait_for_publish(30)

    def stored_seq(self, epoch: str) -> int:
        return max((s["seq"] for s in self.stored if s["epoch"] == epoch), default=0)


@pytest.fixture
def publisher(broker_url: str, address: AgentAddress) -> Iterator[Publisher]:
    parts = urlsplit(broker_url)
    client = new_client(parse_broker_url(broker_url))
    found = Publisher(address=address, client=client)
    subscribed = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe(address.topic(Kind.STORED), qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _c, _u, message: found.stored.append(json.loads(message.payload))
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    assert subscribed.wait(10)
    yield found
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def start_collector(database_url: str, broker_url: str, site: SiteModel) -> Iterator[Callable[..., Collector]]:
    """Starts collectors; all are stopped at the end. The clock stands at NOW_MS."""
    running: list[tuple[Collector, threading.Thread]] = []

    def start(**overrides: Any) -> Collector:
        settings = {
            "database_url": database_url,
            "broker_url": broker_url,
            "collector_id": f"collector-{uuid.uuid4().hex[:8]}",
            "batch_age_ms": 20,
            **overrides,
        }
        collector = Collector(CollectorSettings(**settings), clock_ms=lambda: NOW_MS)
        thread = threading.Thread(target=collector.run, daemon=True)
        thread.start()
        running.append((collector, thread))
        wait_for(lambda: not any("broker" in p for p in collector.problems()), "subscription")
        return collector

    yield start
    for collector, thread in running:
        collector.stop()
        thread.join(30)
        assert not thread.is_alive()


def readings(
    seq: int, values: list[tuple[str, int, float]], *, epoch: str = "E1", units: dict[str, str] | None = None
) -> dict[str, Any]:
    """A readings message from (meter, seconds before NOW, value)."""
    units = {"power": "kWh", "water": "m3", **(units or {})}
    meters = list(dict.fromkeys(meter for meter, _, _ in values))
    return {
        "v": 1,
        "epoch": epoch,
        "seq": seq,
        "sent_at": NOW_MS,
        "meters": meters,
        "units": [units.get(meter, "kWh") for meter in meters],
        "meter": [meters.index(meter) for meter, _, _ in values],
        "at": [NOW_MS - 1000 * seconds for _, seconds, _ in values],
        "value": [value for _, _, value in values],
    }


def query(database_url: str, statement: str, *arguments: Any) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement, arguments).fetchall()


def read_ledger(database_url: str) -> list[Any]:
    """Every entry but that of plain readings."""
    return query(
        database_url,
        "SELECT epoch, stored_seq, readings, stored, repeated, quarantined FROM ledger WHERE epoch <> '' ORDER BY 1",
    )


def read_quarantine(database_url: str) -> list[Any]:
    """Reason, readings and detail, in order of entry."""
    return query(database_url, "SELECT reason, readings, detail FROM quarantine ORDER BY id")
