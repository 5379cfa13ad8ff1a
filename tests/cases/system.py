"""The running system that cases go through: broker, collector, database, roll-up, and the API over HTTP."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, LiteralString

import httpx
import psycopg
import uvicorn
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from api.site_model import apply_site_model
from collector.collector import Collector
from collector.rebuild import rebuild
from collector.rollup import RollUp, roll_up_once
from collector.settings import CollectorSettings
from deploy.chaos.processes import wait_for
from deploy.commands.token import create_token
from schemas.site import SiteModel
from schemas.topics import Kind
from tests.cases.agent import WAIT_S, Agent, connected_agent
from tests.cases.case import Case, address_of

_DERIVED: tuple[LiteralString, ...] = (
    "SELECT * FROM consumption ORDER BY meter_id, quarter",
    "SELECT * FROM meter_event ORDER BY meter_id, kind, at",
)
_FORGET: tuple[LiteralString, ...] = (
    "TRUNCATE consumption, pending, meter_event, rolled_meter",
    "UPDATE rollup_progress SET closed_to = NULL, computed_to = NULL",
)
_CLEAR: tuple[LiteralString, ...] = ("TRUNCATE reading, manual_reading, meter_exchange, event_decision", *_FORGET)


class RefusedError(AssertionError):
    """The API did not do what a case asks for."""


class System:
    """What a case can do and see. All share it, each with an organisation of its own and nothing of the others."""

    def __init__(self, *, database_url: str, database: psycopg.Connection, agent: Agent, http: httpx.Client) -> None:
        self._database_url = database_url
        self._database = database
        self._agent = agent
        self._http = http
        self._roll_up = RollUp()
        self._due_ms = 0
        self._model: SiteModel | None = None

    def begin(self, case: Case) -> None:
        """Forget what was before, and set up the case's site."""
        for statement in _CLEAR:
            self._database.execute(statement)
        self._roll_up, self._due_ms = RollUp(), 0
        # Topics on a broker that others share must not meet, nor entries in the quarantine.
        self.apply(case.site_model(f"case-{uuid.uuid4().hex[:12]}"))
        organisation = self.model.organisation.id
        self._agent.become(address_of(organisation))
        token, _ = create_token(
            self._database_url, organisation=organisation, name="cases", scopes=["read", "write"], days=1
        )
        self._http.headers["Authorization"] = f"Bearer {token}"

    @property
    def model(self) -> SiteModel:
        """The site as it was last applied."""
        assert self._model is not None, "no case has begun"
        return self._model

    def apply(self, model: SiteModel) -> None:
        """Put this site model in place of the last."""
        apply_site_model(self._database, model)
        self._model = model

    def publish(self, kind: Kind, body: dict[str, Any]) -> None:
        """Send a message as the agent, and wait until the collector has said that it is stored."""
        self._agent.publish(kind, body)

    def ask(self, path: str, **query: Any) -> list[Any]:
        """All items of a list of the API, page by page. `start` goes as `from`; a path without `/v1` is the site's."""
        values = {("from" if name == "start" else name): value for name, value in query.items()}
        items: list[Any] = []
        while True:
            page = self._answer(self._http.get(self._path(path), params=values))
            items += page["items"]
            if page["next"] is None:
                return items
            values["cursor"] = page["next"]

    def say(self, path: str, body: dict[str, Any]) -> None:
        """What a person does over the API. Raises RefusedError with the API's own words."""
        self._answer(self._http.post(self._path(path), json=body))

    def roll_up(self, due_ms: int) -> None:
        """Let the roll-up do all that is due by that instant (Unix milliseconds)."""
        self._due_ms = max(due_ms, self._due_ms)
        while self._roll_up.step(self._database, due_ms=due_ms).is_behind:
            pass

    def computed_from_scratch(self) -> str:
        """How what is computed from raw readings alone compares: by the command, and with nothing remembered at all."""
        kept = self._derived()
        with self._database.transaction(force_rollback=True):
            if not rebuild(self._database).is_identical:
                return "`rollup rebuild` gives something else"
        with self._database.transaction(force_rollback=True):
            for statement in _FORGET:
                self._database.execute(statement)
            roll_up_once(self._database, due_ms=self._due_ms)
            return "the same" if self._derived() == kept else "a roll-up that knows nothing gives something else"

    def _derived(self) -> list[Any]:
        return [self._database.execute(statement).fetchall() for statement in _DERIVED]

    def _path(self, path: str) -> str:
        return path if path.startswith("/v1/") else f"/v1/sites/{self.model.site.id}/{path}"

    def _answer(self, response: httpx.Response) -> Any:
        if response.status_code != httpx.codes.OK:
            raise RefusedError(f"{response.request.method} {response.request.url.path}: {response.text}")
        return json.loads(response.text, parse_float=Decimal, parse_int=Decimal)


@contextmanager
def running_system(*, database_url: str, broker_url: str) -> Iterator[System]:
    """Everything started on a migrated database that nobody else uses."""
    with (
        psycopg.connect(database_url, autocommit=True) as database,
        _collector(database_url, broker_url),
        connected_agent(broker_url) as agent,
        _api(database_url) as url,
        httpx.Client(base_url=url, timeout=WAIT_S) as http,
    ):
        yield System(database_url=database_url, database=database, agent=agent, http=http)


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
        thread.join(WAIT_S)
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
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the API did not stop"
