"""A whole line of real processes, each behind proxies of its own: what can be started, killed and asked."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import yaml

from api.site_model import apply_site_model
from deploy.chaos.clock import FastClock
from deploy.chaos.driver import Orders, read_orders
from deploy.chaos.errors import ChaosRefusedError, PartEndedError
from deploy.chaos.meters import AGENTS, BOILER, PRESS, SITE, site_model
from deploy.chaos.outsider import Outsider
from deploy.chaos.processes import Processes
from deploy.chaos.proxy import Proxy
from deploy.chaos.servers import Servers
from schemas.wire import OutboxState

ROLLUP = "rollup"
SMALL_OUTBOX_BYTES = 200_000
_OUTBOXES: dict[str, dict[str, object]] = {
    BOILER: {"max_size": SMALL_OUTBOX_BYTES, "when_full": "stop_reading"},
    PRESS: {"max_size": SMALL_OUTBOX_BYTES, "when_full": "drop_oldest"},
}
_WAITING_BYTES = "SELECT size_bytes FROM outbox"
"""As the outbox counts them."""
_DIST_INFO = "afkobling_chaos-1.dist-info"
_ROLLUPS: LiteralString = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'afkobling-rollup'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantSettings:
    """`collectors`: one has a session of its own, more of them share a subscription. `is_proxied`: or they meet
    directly.
    """

    folder: Path
    organisation: str
    seed: int
    clock: FastClock
    collectors: int = 2
    is_proxied: bool = True


class Plant:
    """Four agents, one or two collectors, a roll-up. `proxies` is empty where the parts meet directly."""

    def __init__(self, settings: PlantSettings, servers: Servers, processes: Processes, outsider: Outsider) -> None:
        self.settings = settings
        self.servers = servers
        self.processes = processes
        self.outsider = outsider
        self.proxies: dict[str, Proxy] = {}
        self.collectors = [f"collector-{i + 1}" for i in range(settings.collectors)]
        self.edges = [edge_of(agent) for agent in AGENTS]

    def set_up(self) -> None:
        """The site model, and the driver as if somebody had installed it. Raises psycopg.Error."""
        with psycopg.connect(self.servers.database_url) as connection:
            apply_site_model(connection, site_model(self.settings.organisation))
        installed = self.settings.folder / _DIST_INFO
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: afkobling-chaos\nVersion: 1\n", "utf-8")
        (installed / "entry_points.txt").write_text(
            "[afkobling.drivers]\nwitness = deploy.chaos.driver:KIND\n", "utf-8"
        )
        for agent in AGENTS:
            Orders().write(self._orders(agent))

    def start(self, name: str) -> None:
        """Start a part by its name, in whatever state it left its files."""
        if name in self.collectors:
            self.processes.start(name, "collector", "run", environment=self._collector_environment(name))
        elif name == ROLLUP:
            clock = self.settings.clock
            instants = (str(clock.origin_ms), str(clock.begin_ms))
            self.processes.start_module(name, "deploy.chaos.fast_rollup", *instants, environment=self._rollup_settings)
        else:
            config = self._configure(name.removeprefix("edge-"))
            # Where the driver is "installed".
            path = os.pathsep.join(filter(None, [str(self.settings.folder), os.environ.get("PYTHONPATH")]))
            # Its driver ends when it is told to, and not before.
            words = ("edge", "run", "--config", config, "--until-stored")
            self.processes.start(name, *words, environment={"PYTHONPATH": path})

    def start_all(self) -> None:
        """Everything, in no order that anybody may rely on."""
        for name in (*self.collectors, ROLLUP, *self.edges):
            self.start(name)

    def start_real_rollup(self) -> None:
        """The command itself, whose clock is past everything that was read."""
        self.processes.start(ROLLUP, "rollup", "run", environment=self._rollup_settings)

    def kill(self, name: str) -> bool:
        """SIGKILL; whether it was that which ended it. Raises PartEndedError when it had ended by itself."""
        if not self.processes.is_running(name):
            return False
        self.processes.check(name)
        return self.processes.kill(name) == -signal.SIGKILL

    def check(self) -> None:
        """Raises PartEndedError for a part that ended and was not killed."""
        self.processes.check(*self.collectors, ROLLUP, *self.edges)

    def order(self, agent: str, **changed: Any) -> Orders:
        """Change what an agent's driver is to do, and return all of its orders."""
        path = self._orders(agent)
        orders = replace(read_orders(path), **changed)
        orders.write(path)
        return orders

    def truth(self, agent: str) -> Path:
        """Where its driver's journal is."""
        return self.settings.folder / f"{agent}-truth"

    def outbox(self, agent: str) -> OutboxState | None:
        """What stands in its outbox now, whoever holds it; None before there is one."""
        row = self._ask_outbox(agent, "SELECT * FROM outbox")
        if row is None:
            return None
        return OutboxState(
            epoch=row["epoch"],
            last_seq=row["last_seq"],
            stored_seq=row["stored_seq"],
            readings=row["readings"],
            waiting=row["last_seq"] - row["stored_seq"],
            dropped_readings=row["dropped_readings"],
        )

    def waiting_bytes(self, agent: str) -> int:
        """How much waits in its outbox, as that counts it against its limit."""
        row = self._ask_outbox(agent, _WAITING_BYTES)
        return 0 if row is None else int(row[0])

    def query(self, statement: LiteralString, *arguments: Any) -> list[Any]:
        """Rows, straight from the database. Raises psycopg.Error."""
        with psycopg.connect(self.servers.database_url, connect_timeout=10) as connection:
            return connection.execute(statement, arguments or None).fetchall()

    def stored(self) -> int:
        """How many readings are in the table."""
        return int(self.query("SELECT count(*) FROM reading")[0][0])

    def computed_to_ms(self) -> int:
        """How far the roll-up has come (Unix milliseconds); 0 before its first step."""
        [(at,)] = self.query("SELECT coalesce((extract(epoch FROM computed_to) * 1000)::int8, 0) FROM rollup_progress")
        return int(at)

    def is_rollup_connected(self) -> bool:
        """Whether the database sees one."""
        return self.query(_ROLLUPS) != [(0,)]

    def _ask_outbox(self, agent: str, statement: LiteralString) -> sqlite3.Row | None:
        path = self.settings.folder / f"{agent}.sqlite"
        if not path.exists():
            return None
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            try:
                found: sqlite3.Row | None = database.execute(statement).fetchone()
            except sqlite3.OperationalError:
                return None  # at its very beginning
        return found

    def _orders(self, agent: str) -> Path:
        return self.settings.folder / f"{agent}-orders.json"

    def _configure(self, agent: str) -> str:
        settings = {
            "organisation": self.settings.organisation,
            "site": SITE,
            "agent": agent,
            "broker": self._through(f"{edge_of(agent)}→broker", self.servers.broker_url),
            "outbox": {"path": f"{agent}.sqlite", **_OUTBOXES.get(agent, {})},
            "batch": {"readings": 40, "age": "100ms"},
            "resend_after": "2s",
            "drivers": [
                {
                    "name": "meters",
                    "driver": "witness",
                    "seed": self.settings.seed,
                    "truth": self.truth(agent).name,
                    "orders": self._orders(agent).name,
                    "origin_ms": self.settings.clock.origin_ms,
                    "begin_ms": self.settings.clock.begin_ms,
                }
            ],
        }
        config = self.settings.folder / f"{agent}.yaml"
        config.write_text(yaml.safe_dump(settings), "utf-8")
        return config.name

    def _collector_environment(self, name: str) -> dict[str, str]:
        organisation = self.settings.organisation
        return {
            "AFKOBLING_DATABASE_URL": self._through(f"{name}→database", self.servers.database_url),
            "AFKOBLING_BROKER_URL": self._through(f"{name}→broker", self.servers.broker_url),
            "AFKOBLING_COLLECTOR_ID": f"{organisation}-{name}",
            "AFKOBLING_BATCH_AGE_MS": "20",
            **({"AFKOBLING_SHARE_GROUP": organisation} if len(self.collectors) > 1 else {}),
        }

    @property
    def _rollup_settings(self) -> dict[str, str]:
        return {
            "AFKOBLING_DATABASE_URL": self._through("rollup→database", self.servers.database_url),
            "AFKOBLING_ROLLUP_GRACE_MS": "300000",
            "AFKOBLING_ROLLUP_POLL_MS": "50",
        }

    def _through(self, name: str, url: str) -> str:
        """The same address by way of the proxy of that name."""
        if not self.settings.is_proxied:
            return url
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ChaosRefusedError(f"the address of {name} names no host and port; give one that does")
        if name not in self.proxies:
            self.proxies[name] = Proxy(name, parts.hostname, parts.port).start()
        before, _, _ = parts.netloc.rpartition("@")
        own = f"127.0.0.1:{self.proxies[name].port}"
        return parts._replace(netloc=f"{before}@{own}" if before else own).geturl()


def edge_of(agent: str) -> str:
    """The name of an agent's process."""
    return f"edge-{agent}"


def require_good_end(status: int | None, name: str) -> None:
    """Raises PartEndedError for any status but 0 (None: it runs still)."""
    if status not in {None, 0}:
        raise PartEndedError(f"{name} ended with {status} when it was through")


@contextmanager
def running_plant(settings: PlantSettings, servers: Servers, **to_processes: Any) -> Iterator[Plant]:
    """A plant that is set up and stands still, and is taken away whole, whatever happens."""
    outsider = Outsider(servers.broker_url, settings.organisation)
    with Processes(settings.folder, {}, **to_processes) as processes:
        plant = Plant(settings, servers, processes, outsider)
        try:
            plant.set_up()
            outsider.start()
            yield plant
        finally:
            outsider.stop()
            for proxy in plant.proxies.values():
                proxy.stop()


def now_ms() -> int:
    """The real clock."""
    return time.time_ns() // 1_000_000
