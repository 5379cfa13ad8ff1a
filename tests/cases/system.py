"""The running system that a case goes through: broker, collector, database, roll-up, and the API over HTTP."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, LiteralString
from urllib.parse import urlsplit

import httpx
import paho.mqtt.client as mqtt
import psycopg
import uvicorn
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from api.site_model import apply_site_model
from collector.collector import Collector
from collector.rollup import RollUp, roll_up_once
from collector.settings import CollectorSettings
from deploy.commands.token import create_token
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from schemas.wire import JSON_TYPE
from tests.cases.case import address_of
from tests.e2e.processes import wait_for

_WAIT_S = 30.0
_DERIVED: tuple[LiteralString, ...] = (
    "SELECT * FROM consumption ORDER BY meter_id, quarter",
    "SELECT * FROM meter_event ORDER BY meter_id, kind, at",
)
_FORGET: tuple[LiteralString, ...] = (
    "TRUNCATE consumption, pending, meter_event, rolled_meter",
    "UPDATE rollup_progress SET closed_to = NULL, computed_to = NULL",
)


class RefusedError(AssertionError):
    """The API did not do what a case asks for."""


class System:
    """What a case can do and see. `model` is the site as it was last applied."""

    def __init__(self, *, agent: _Agent, database: psycopg.Connection, http: httpx.Client, model: SiteModel) -> None:
        self.model = model
        self._agent = agent
        self._database = database
        self._http = http
        self._roll_up = RollUp()
        self._due_ms = 0

    def publish(self, kind: Kind, body: dict[str, Any]) -> None:
        """Send a message as the agent, and wait until the collector has said that it is stored."""
        self._agent.publish(kind, body)

    def ask(self, path: str, **query: Any) -> list[Any]:
        """All items of a list of the API, page by page. A `start` goes as `from`, a path without `/v1` is the site's."""
        values = {("from" if name == "start" else name): value for name, value in query.items()}
        items: list[Any] = []
        cursor = None
        while cursor or not items:
            page = self._answer(self._http.get(self._path(path), params=values | ({"cursor": cursor} if cursor else {})))
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return items

    def say(self, path: str, body: dict[str, Any]) -> None:
        """What a person does over the API. Raises RefusedError with the API's own words."""
        said = {"author": "Anna", "reason": "a case"}
        self._answer(self._http.post(self._path(path), json=body if "items" in body else said | body))

    def apply(self, model: SiteModel) -> None:
        """Put this site model in place of the last."""
        apply_site_model(self._database, model)
        self.model = model

    def roll_up(self, due_ms: int) -> None:
        """Let the roll-up do all that is due by that instant (Unix milliseconds)."""
        self._due_ms = max(due_ms, self._due_ms)
        while self._roll_up.step(self._database, due_ms=due_ms).is_behind:
            pass

    def rebuilt_alike(self) -> bool:
        """Whether everything right of the readings comes out the same when it is computed from scratch."""
        kept = self._derived()
        with self._database.transaction(force_rollback=True):
            for statement in _FORGET:
                self._database.execute(statement)
            roll_up_once(self._database, due_ms=self._due_ms)
            return self._derived() == kept

    def _derived(self) -> list[Any]:
        return [self._database.execute(statement).fetchall() for statement in _DERIVED]

    def _path(self, path: str) -> str:
        return path if path.startswith("/v1/") else f"/v1/sites/{self.model.site.id}/{path}"

    def _answer(self, response: httpx.Response) -> Any:
        if response.status_code != httpx.codes.OK:
            raise RefusedError(f"{response.request.method} {response.request.url.path}: {response.text}")
        return json.loads(response.text, parse_float=Decimal, parse_int=Decimal)


@contextmanager
def running_system(*, database_url: str, broker_url: str, model: SiteModel) -> Iterator[System]:
    """Everything started on an empty, migrated database, for a site of an organisation that nobody else uses."""
    with psycopg.connect(database_url, autocommit=True) as database:
        apply_site_model(database, model)
        with (
            _collector(database_url, broker_url),
            _agent(broker_url, address_of(model.organisation.id)) as agent,
            _api(database_url) as url,
        ):
            token, _ = create_token(
                database_url, organisation=model.organisation.id, name="cases", scopes=["read", "write"], days=1
            )
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_WAIT_S) as http:
                yield System(agent=agent, database=database, http=http, model=model)


class _Agent:
    """A plain MQTT client that waits for the word *stored*."""

    def __init__(self, client: mqtt.Client, address: AgentAddress) -> None:
        self._client = client
        self._address = address
        self._epoch = "case"
        self._seq = 0
        self._stored = threading.Condition()
        self._stored_seq = 0

    def hear(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        """Take up what the collector says is stored."""
        said = json.loads(message.payload)
        with self._stored:
            self._stored_seq = max(self._stored_seq, said["seq"])
            self._stored.notify_all()

    def publish(self, kind: Kind, body: dict[str, Any]) -> None:
        """One message, up to its confirmation."""
        self._seq += 1
        payload = {"v": 1, "epoch": self._epoch, "seq": self._seq, **body}
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.ContentType = JSON_TYPE
        self._client.publish(self._address.topic(kind), json.dumps(payload), qos=1, properties=properties)
        with self._stored:
            is_stored = self._stored.wait_for(lambda: self._stored_seq >= self._seq, _WAIT_S)
        assert is_stored, f"the collector did not confirm message {self._seq} within {_WAIT_S:g} s"


@contextmanager
def _agent(broker_url: str, address: AgentAddress) -> Iterator[_Agent]:
    parts = urlsplit(broker_url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    agent = _Agent(client, address)
    is_subscribed = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe(address.topic(Kind.STORED), qos=1)
    client.on_subscribe = lambda *_: is_subscribed.set()
    client.on_message = agent.hear
    client.connect(str(parts.hostname), parts.port or 1883)
    client.loop_start()
    try:
        assert is_subscribed.wait(_WAIT_S), "the broker did not take the subscription"
        yield agent
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def _collector(database_url: str, broker_url: str) -> Iterator[None]:
    name = f"cases-{uuid.uuid4().hex[:12]}"
    # A session of its own that the broker forgets, and that hears nothing of what others once retained.
    settings = CollectorSettings(
        database_url=database_url, broker_url=broker_url, collector_id=name, share_group=name, batch_age_ms=1
    )
    collector = Collector(settings)
    thread = threading.Thread(target=collector.run, name="collector", daemon=True)
    thread.start()
    try:
        wait_for(lambda: not any("broker" in problem for problem in collector.problems()), "the collector to listen")
        yield
    finally:
        collector.stop()
        thread.join(_WAIT_S)
        assert not thread.is_alive(), "the collector did not stop"


@contextmanager
def _api(database_url: str) -> Iterator[str]:
    app = create_app(ApiSettings(database_url=SecretStr(database_url), pool_size=2))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "the API to listen")
        assert thread.is_alive(), "the API ended by itself"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_WAIT_S)
        assert not thread.is_alive(), "the API did not stop"


def organisation_name() -> str:
    """An organisation that nobody else uses, so that topics don't meet on a broker that others share."""
    return f"case-{uuid.uuid4().hex[:12]}"
