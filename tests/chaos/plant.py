"""A whole line of real processes, each behind proxies of its own, and what is to be true of it in the end."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import yaml

from api.site_model import apply_site_model
from collector.rebuild import rebuild
from tests.chaos.proxy import Proxy
from tests.chaos.truth import AGENTS, PART_MS, Truth, csv_of, site_model
from tests.e2e.processes import Processes, wait_for

SPEED = 600
"""Of the replay and of the roll-up's clock alike. What holds an agent up, be it only its start, makes it late."""
_HELD_BACK = 1
_FAST_ROLLUP = str(Path(__file__).with_name("fast_rollup.py"))
_IS_ROLLED_UP: LiteralString = """
    SELECT NOT EXISTS (SELECT FROM pending) AND computed_to >= to_timestamp(%s / 1000.0)
           AND computed_to >= date_bin('15 minutes', closed_to - interval '15 seconds', '2000-01-01Z')
    FROM rollup_progress
"""
_READINGS: LiteralString = """
    SELECT key, (extract(epoch FROM at) * 1000)::int8, value, quality FROM reading LEFT JOIN meter ON id = meter_id
"""
_CONSUMPTION: LiteralString = """
    SELECT meter_id, quarter, measured, estimated, covered_ms FROM consumption ORDER BY meter_id, quarter
"""
_TOTALS: LiteralString = """
    SELECT key, sum(measured + estimated)::int8 FROM consumption JOIN meter ON id = meter_id
    WHERE kind <> 'rate' GROUP BY key
"""
_LEDGER: LiteralString = """
    SELECT agent, stored_seq, highest_seq, readings, stored, repeated, quarantined, messages, epoch
    FROM ledger WHERE organisation = %s ORDER BY agent
"""
_ROLLUPS: LiteralString = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'afkobling-rollup'
"""
_STATUS: LiteralString = """
    SELECT agent, status->>'state', (status->'outbox'->>'waiting')::int8, (status->'outbox'->>'last_seq')::int8
    FROM agent_report WHERE organisation = %s
"""


@dataclass(slots=True, kw_only=True)
class _Replaying:
    """How far an agent has come through its files."""

    done: set[int] = field(default_factory=set)
    part: int = 0


class Plant:
    """Three agents, one or two collectors, a roll-up. `proxies` is empty where the parts meet directly."""

    def __init__(
        self,
        *,
        folder: Path,
        processes: Processes,
        truth: Truth,
        organisation: str,
        database_url: str,
        broker_url: str,
        collectors: int,
        share_group: str | None,
        is_proxied: bool,
        rng: random.Random,
    ) -> None:
        self.proxies: dict[str, Proxy] = {}
        self.processes = processes
        self.collectors = [f"collector-{i + 1}" for i in range(collectors)]
        self.edges = [f"edge-{agent}" for agent in AGENTS]
        self._folder = folder
        self._truth = truth
        self._organisation = organisation
        self._database_url = database_url
        self._broker_url = broker_url
        self._share_group = share_group
        self._is_proxied = is_proxied
        self._rng = rng
        # Nobody reads it before the roll-up has closed its time: so some readings are surely late.
        self._held_back = {_HELD_BACK}
        self._agents = {agent: _Replaying() for agent in AGENTS}
        self._begin_ms = truth.end_ms - PART_MS * len(truth.parts[AGENTS[0]])
        self._clock = [str(time.time_ns() // 1_000_000), str(self._begin_ms), str(SPEED)]
        for agent, parts in truth.parts.items():
            for i, rows in enumerate(parts):
                (folder / f"{agent}-{i}.csv").write_text(csv_of(rows), "utf-8")
        with psycopg.connect(database_url) as connection:
            apply_site_model(connection, site_model(organisation))

    def start(self, name: str) -> None:
        """Start a part by its name, in whatever state it left its files."""
        if name in self.collectors:
            self.processes.start(name, "collector", "run", environment=self._collector_environment(name))
        elif name == "rollup":
            self.processes.start_program(name, _FAST_ROLLUP, *self._clock, environment=self._rollup_environment())
        else:
            self._start_edge(name.removeprefix("edge-"), speed=SPEED)

    def start_all(self) -> None:
        for name in (*self.collectors, "rollup", *self.edges):
            self.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL; an agent that came to its end at this very moment is noted as such."""
        status = self.processes.kill(name)
        assert status in {0, -signal.SIGKILL}, f"{name} ended by itself with {status}"
        if status == 0 and name in self.edges:
            self._note_end(name.removeprefix("edge-"), status)

    def stored(self) -> int:
        """How many readings are in the table."""
        return int(self._query("SELECT count(*) FROM reading")[0][0])

    def computed_to_ms(self) -> int:
        """How far the roll-up has come (Unix milliseconds); 0 before its first step."""
        [(at,)] = self._query("SELECT coalesce((extract(epoch FROM computed_to) * 1000)::int8, 0) FROM rollup_progress")
        return int(at)

    def tick(self) -> None:
        """Give agents that are through with a file their next one; whatever ended otherwise fails the test."""
        self.processes.check(*self.collectors, "rollup")
        for agent in AGENTS:
            if self._has_finished_part(agent):
                self._start_edge(agent, speed=SPEED)

    def settle(self) -> None:
        """Restart the agents, let them read what is left as fast as possible, and wait until all is rolled up."""
        for proxy in self.proxies.values():
            proxy.heal()
        for name in self.edges:
            if self.processes.is_running(name):
                self.kill(name)
        wait_for(self._is_first_part_closed, "the roll-up to have closed what is held back")
        self._held_back.clear()
        for agent in AGENTS:
            self._start_edge(agent, speed="max")
        wait_for(self._is_all_read, "the agents to have everything stored")
        # From now on the real command, whose clock is past everything.
        self.processes.kill("rollup")
        wait_for(lambda: not self._is_rollup_connected(), "the roll-up to be gone")
        self.processes.start("rollup", "rollup", "run", environment=self._rollup_environment())
        wait_for(self._is_rollup_connected, "the roll-up to be there")
        wait_for(self._is_rolled_up, "the roll-up to have done everything")
        wait_for(self._are_statuses_final, "the last status of each agent")
        for name in ("rollup", *self.collectors):
            status = self.processes.stop(name)
            assert status == 0, f"{name} ended with {status}"

    def check(self) -> None:
        """Every reading is stored once and nothing else is; ledger, outboxes and consumption agree with the truth."""
        true = self._truth.readings()
        rows = self._query(_READINGS)
        stored = {(meter, at): value for meter, at, value, _ in rows}
        assert len(rows) == len(stored)
        assert not (lost := true.keys() - stored.keys()), f"{len(lost)} lost, such as {sorted(lost)[:5]}"
        assert stored == true
        assert {quality for *_, quality in rows} == {0}
        self._check_ledger(len(true))
        assert dict(self._query(_TOTALS)) == self._truth.totals()
        self._check_rebuilt()
        assert self._query("SELECT is_called FROM pending_id_seq") == [(True,)], "no reading was late"

    def _check_ledger(self, readings: int) -> None:
        reasons = self._query("SELECT reason, detail, epoch, seq FROM quarantine WHERE organisation = %s", self._key)
        assert reasons == []
        assert self._query("SELECT * FROM ledger_ahead WHERE organisation = %s", self._key) == []
        entries = self._query(_LEDGER, self._key)
        assert [entry[0] for entry in entries] == sorted(AGENTS)
        for agent, stored_seq, highest_seq, received, stored, repeated, quarantined, messages, epoch in entries:
            outbox = self._outbox(agent)
            assert (outbox["epoch"], outbox["last_seq"], outbox["stored_seq"]) == (epoch, stored_seq, stored_seq)
            assert outbox["readings"] == received == stored + repeated
            assert (highest_seq, messages, quarantined, outbox["dropped_readings"]) == (stored_seq, stored_seq, 0, 0)
        assert sum(entry[4] for entry in entries) == readings
        print("ledger", *entries, sep="\n  ")

    def _check_rebuilt(self) -> None:
        """From scratch it comes out the same."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            rebuilt = rebuild(connection)
        assert rebuilt.quarters > 0
        assert rebuilt.is_identical, rebuilt

    @property
    def _key(self) -> str:
        return self._organisation

    def _query(self, statement: LiteralString, *arguments: Any) -> list[Any]:
        with psycopg.connect(self._database_url) as connection:
            return connection.execute(statement, arguments or None).fetchall()

    def _outbox(self, agent: str) -> dict[str, Any]:
        with closing(sqlite3.connect(self._folder / f"{agent}.sqlite")) as database:
            database.row_factory = sqlite3.Row
            return dict(database.execute("SELECT * FROM outbox").fetchone())

    def _has_finished_part(self, agent: str) -> bool:
        name = f"edge-{agent}"
        status = self.processes.ended(name) if self.processes.is_running(name) else None
        if status is not None:
            self._note_end(agent, status)
        return status is not None

    def _note_end(self, agent: str, status: int) -> None:
        assert status == 0, f"edge-{agent} ended by itself with {status}"
        self._agents[agent].done.add(self._agents[agent].part)

    def _left(self, agent: str) -> list[int]:
        return sorted(set(range(len(self._truth.parts[agent]))) - self._agents[agent].done - self._held_back)

    def _is_first_part_closed(self) -> bool:
        self.processes.check(*self.collectors, "rollup")
        return self.computed_to_ms() >= self._begin_ms + (_HELD_BACK + 1) * PART_MS

    def _is_all_read(self) -> bool:
        self.processes.check(*self.collectors, "rollup")
        for agent in AGENTS:
            if self._has_finished_part(agent) and self._left(agent):
                self._start_edge(agent, speed="max")
        return not any(self.processes.is_running(name) for name in self.edges)

    def _is_rolled_up(self) -> bool:
        self.processes.check(*self.collectors, "rollup")
        return self._query(_IS_ROLLED_UP, self._truth.end_ms) == [(True,)]

    def _is_rollup_connected(self) -> bool:
        self.processes.check(*self.collectors, "rollup")
        return self._query(_ROLLUPS) != [(0,)]

    def _are_statuses_final(self) -> bool:
        self.processes.check(*self.collectors, "rollup")
        expected = {(agent, "offline", 0, self._outbox(agent)["last_seq"]) for agent in AGENTS}
        return set(self._query(_STATUS, self._key)) == expected

    def _start_edge(self, agent: str, *, speed: str | int) -> None:
        """With its next file; when it has read all, with any of them once more."""
        replaying = self._agents[agent]
        left = self._left(agent)
        replaying.part = left[0] if left else self._rng.choice(sorted(replaying.done))
        if not left and speed == "max":
            speed = SPEED * 100
        settings = {
            "organisation": self._organisation,
            "site": "hall",
            "agent": agent,
            "broker": self._through(f"edge-{agent}→broker", self._broker_url),
            "outbox": {"path": f"{agent}.sqlite"},
            "batch": {"readings": 6, "age": "100ms"},
            "resend_after": "2s",
            "drivers": [
                {"name": "meters", "driver": "replay", "path": f"{agent}-{replaying.part}.csv", "speed": speed},
            ],
        }
        config = self._folder / f"{agent}.yaml"
        config.write_text(yaml.safe_dump(settings), "utf-8")
        self.processes.start(f"edge-{agent}", "edge", "run", "--config", config.name, "--until-stored")

    def _collector_environment(self, name: str) -> dict[str, str]:
        return {
            "AFKOBLING_DATABASE_URL": self._through(f"{name}→database", self._database_url),
            "AFKOBLING_BROKER_URL": self._through(f"{name}→broker", self._broker_url),
            "AFKOBLING_COLLECTOR_ID": f"{self._organisation}-{name}",
            "AFKOBLING_BATCH_AGE_MS": "20",
            **({"AFKOBLING_SHARE_GROUP": self._share_group} if self._share_group else {}),
        }

    def _rollup_environment(self) -> dict[str, str]:
        return {
            "AFKOBLING_DATABASE_URL": self._through("rollup→database", self._database_url),
            "AFKOBLING_ROLLUP_GRACE_MS": "300000",
            "AFKOBLING_ROLLUP_POLL_MS": "50",
        }

    def _through(self, name: str, url: str) -> str:
        """The same address by way of the proxy of that name."""
        if not self._is_proxied:
            return url
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        if name not in self.proxies:
            self.proxies[name] = Proxy(name, parts.hostname, parts.port).start()
        before, _, _ = parts.netloc.rpartition("@")
        own = f"127.0.0.1:{self.proxies[name].port}"
        return parts._replace(netloc=f"{before}@{own}" if before else own).geturl()


@contextmanager
def running_plant(**settings: Any) -> Iterator[Plant]:
    """A plant that is taken away whole, whatever happens."""
    with Processes(settings["folder"], {}) as processes:
        plant = Plant(processes=processes, **settings)
        try:
            yield plant
        finally:
            for proxy in plant.proxies.values():
                proxy.stop()
