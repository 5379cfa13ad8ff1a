"""From an empty folder to a living factory with verdicts."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString, NoReturn

import psycopg
from psycopg import sql
from tqdm import tqdm

from api.attribution.keeper import keep_due
from api.site_model import apply_site_model
from api.turns import connect
from collector.backfill import backfill
from collector.rollup_runner import roll_up_all
from collector.settings import RollupSettings
from deploy.archive_place import remove_default_archive
from deploy.commands.token import create_token
from deploy.demo import DATABASE
from deploy.demo.agents import edge_of, enrol, nobody_left_behind, start_agents, write_configurations
from deploy.demo.client import Client
from deploy.demo.factors import load_factors
from deploy.demo.outcome import read_outcome
from deploy.demo.parts import Parts, free_port
from deploy.demo.scenario import Scenario
from deploy.demo.truth_file import write_truth
from deploy.migrate import migrate
from deploy.stack import Endpoints, StackError, down, endpoints, on_database, up
from edge.simulation.faults import Exchange

"""Made anew by every demo; nothing else is touched."""
_TOKEN_DAYS = 30
_IS_ROLLED_UP: LiteralString = """
    SELECT NOT EXISTS (SELECT FROM pending) AND closed_to IS NOT NULL
           AND computed_to >= date_bin('15 minutes', closed_to - interval '15 seconds', '2000-01-01Z')
    FROM rollup_progress
"""
_RECORD_EXCHANGE: LiteralString = """
    INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason)
    SELECT id, to_timestamp(%(at_ms)s / 1000.0), %(last_old)s, %(first_new)s, %(author)s, %(reason)s
    FROM meter WHERE key = %(meter)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`data_dir`: the stack's folder, default as for `stack up`. `port`: of the page, 0 for any free one."""

    data_dir: Path | None
    port: int
    is_once: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """A demo that runs: where to look, and what it came to."""

    url: str
    token: str
    database_url: str
    broker_url: str
    agent_broker_url: str | None
    outcome: dict[str, Any]
    parts: Parts

    def keep(self) -> NoReturn:
        """Stay alive until interrupted. Raises PartFailedError when a part ends."""
        while True:
            self.parts.check()
            time.sleep(1)


@contextmanager
def run_demo(scenario: Scenario, options: Options, *, say: Callable[[str], None]) -> Iterator[Living]:
    """Start everything and read the verdicts; all that was started is stopped when the `with` is left."""
    with ExitStack() as cleanup:
        servers = cleanup.enter_context(_servers(options.data_dir, say))
        database_url = _fresh_database(servers.database_url)
        remove_default_archive(database_url, options.data_dir)
        with psycopg.connect(database_url) as connection:
            apply_site_model(connection, scenario.model)
        record_exchanges(database_url, scenario.exchanges)
        if scenario.workshop is not None:
            write_truth(database_url, scenario.model, scenario.workshop)
            load_factors(database_url, scenario.model, scenario.workshop, until_ms=time.time_ns() // 1_000_000)
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="afkobling-demo-")))
        environment = {
            **os.environ,
            "AFKOBLING_DATABASE_URL": database_url,
            "AFKOBLING_BROKER_URL": servers.broker_url,
            **_how_agents_come_in(servers),
            # A session that the broker kept for the last demo's collector would bring its messages into this one.
            "AFKOBLING_SHARE_GROUP": "demo",
            # Where faults are planted, alerts are published; a webhook is whatever the environment says.
            "AFKOBLING_ALERT_MQTT": "true",
        }
        cleanup.enter_context(nobody_left_behind(scenario, servers))
        parts = cleanup.enter_context(Parts(folder=folder, environment=environment))
        port = options.port or free_port()
        # At first, as agents enrol there: it is up by the time that the past is loaded.
        parts.start("api", "api", "run", "--port", str(port))
        sent = _load_history(database_url, scenario, say)
        token = create_token(
            database_url,
            organisation=scenario.model.organisation.id,
            name="demo",
            scopes=["read", "write"],
            days=_TOKEN_DAYS,
        )[0]
        url = f"http://127.0.0.1:{port}"
        client = Client(url=url, token=token, site=scenario.model.site.id)
        cleanup.callback(client.close)
        _start_servers(parts, scenario)
        parts.wait_for(client.is_ready, "the API", seconds=60)
        files = write_configurations(parts, scenario, servers)
        let_in = enrol(client, files, servers, server=url, data_dir=options.data_dir, say=say)
        start_agents(parts, scenario, files)
        _put_driver_values(client, scenario)
        _wait_for_readings(parts, client, scenario)
        if options.is_once:
            _settle(parts, client, scenario, database_url)
        yield Living(
            url=url,
            token=token,
            database_url=database_url,
            broker_url=servers.broker_url,
            agent_broker_url=servers.agent_broker_url,
            outcome=read_outcome(client, scenario, sent_in_history=sent)
            | {"agents": [agent.as_json() for agent in let_in]},
            parts=parts,
        )


@contextmanager
def _servers(data_dir: Path | None, say: Callable[[str], None]) -> Iterator[Endpoints]:
    """The stack; one that we started ourselves is stopped again."""
    try:
        running = endpoints(data_dir)
    except StackError:
        running = None
    if running is not None:
        yield up(data_dir, report=say)
        return
    try:
        yield up(data_dir, report=say)
    finally:
        down(data_dir, report=say)


def _fresh_database(server_url: str) -> str:
    with psycopg.connect(server_url, autocommit=True, connect_timeout=10) as connection:
        name = sql.Identifier(DATABASE)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    url = on_database(server_url, DATABASE)
    migrate(url)
    return url


def record_exchanges(database_url: str, exchanges: Sequence[Exchange]) -> None:
    """As a technician would have, before the roll-up first looks."""
    with psycopg.connect(database_url) as connection:
        for exchange in exchanges:
            connection.execute(_RECORD_EXCHANGE, {**asdict(exchange), "author": "the demo", "reason": "new meter"})


def _load_history(database_url: str, scenario: Scenario, say: Callable[[str], None]) -> int:
    """Write the past through the collector's own transaction and roll it up. Returns how many readings were sent."""
    history = scenario.history
    if history is None:
        return 0
    started = time.monotonic()
    total = history.expected()
    with tqdm(total=total, desc="history", unit=" readings", unit_scale=True, file=sys.stderr, disable=None) as bar:

        def progress(readings: int) -> None:
            bar.update(readings)

        backfill(database_url, history.messages(), report=progress)
    done = roll_up_all(RollupSettings(database_url=database_url))
    asyncio.run(_share_out(database_url))
    say(
        f"{history.sent:,} readings of history stored and rolled up into {done.quarters:,} quarters "
        f"in {time.monotonic() - started:.0f} s"
    )
    return history.sent


async def _share_out(database_url: str) -> None:
    async with await connect(database_url, name="demo") as connection:
        await keep_due(connection)


def _how_agents_come_in(servers: Endpoints) -> dict[str, str]:
    if servers.agent_broker_url is None or servers.authority_dir is None:
        return {}
    return {
        "AFKOBLING_AGENT_BROKER_URL": servers.agent_broker_url,
        "AFKOBLING_AUTHORITY_DIR": str(servers.authority_dir),
    }


def _start_servers(parts: Parts, scenario: Scenario) -> None:
    parts.start("collector", "collector", "run")
    parts.start("rollup", "rollup", "run")
    parts.start("attribute", "attribute", "run")
    if scenario.planted:
        parts.start("alerts", "alerts", "run")


def _put_driver_values(client: Client, scenario: Scenario) -> None:
    if scenario.driver_values:
        items = [
            {
                "driver": value.driver,
                "from": str(value.from_date),
                "to": str(value.to_date),
                "value": value.value,
                "unit": value.unit,
                "price_year": value.price_year,
                "source": "the simulated workshop's books",
            }
            for value in scenario.driver_values
        ]
        client.put_to_site("driver-values", {"items": items})


def _wait_for_readings(parts: Parts, client: Client, scenario: Scenario) -> None:
    """Until readings of every agent have come all the way: some of a living factory's, all of a file's."""
    agents = {agent.id for agent in scenario.model.agents}
    # Of one that has no known meter all stands in quarantine.
    storing = {meter.agent for meter in scenario.model.meters}
    if scenario.is_finite:
        edges = [part for part in parts.running if part.may_end]
        parts.wait_for(lambda: all(p.process.poll() is not None for p in edges), "the file's end", seconds=600)
        return
    parts.wait_for(
        lambda: (
            {
                entry["agent"]
                for entry in _live(client, scenario)
                if entry["stored" if entry["agent"] in storing else "readings"] > 0
            }
            == agents
        ),
        "live readings of every agent",
        seconds=120,
    )


def _settle(parts: Parts, client: Client, scenario: Scenario, database_url: str) -> None:
    """Let the agents end, and wait until all that they sent is accounted for and rolled up."""
    parts.stop(*(edge_of(agent) for agent in scenario.drivers))

    def is_accounted_for() -> bool:
        return all(
            e["complete"] and e["sent_says"] == "agent" and e["sent"] == e["readings"] for e in _live(client, scenario)
        )

    def is_rolled_up() -> bool:
        with psycopg.connect(database_url) as connection:
            row = connection.execute(_IS_ROLLED_UP).fetchone()
        return row == (True,)

    parts.wait_for(is_accounted_for, "the ledger to be complete", seconds=180)
    parts.wait_for(is_rolled_up, "the roll-up to catch up", seconds=300)


def _live(client: Client, scenario: Scenario) -> list[dict[str, Any]]:
    history = scenario.history.epoch if scenario.history else None
    return [entry for entry in client.get("/v1/ledger")["items"] if entry["epoch"] != history]
