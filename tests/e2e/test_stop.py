"""The real processes are told to stop: in the middle of their work, without servers, twice, and when they can't."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from api.broker_client import new_client
from deploy.chaos.processes import Processes, wait_for
from deploy.demo.parts import free_port
from schemas.broker_url import parse_broker_url
from schemas.topics import AgentAddress, Kind

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SITE = """
organisation: {{id: {organisation}}}
site: {{id: hall, time_zone: Europe/Copenhagen}}
lines: [{{id: press}}]
agents: [{{id: cabinet}}]
meters:
  - {{id: power, agent: cabinet, line: press, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
"""
EDGE = """
organisation: {organisation}
site: hall
agent: cabinet
resend_after: 1s
drivers:
  - {{name: power, driver: replay, path: power.csv, speed: max}}
"""
AWAY = {"AFKOBLING_DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/none",
        "AFKOBLING_BROKER_URL": "mqtt://me:hunter2@127.0.0.1:1"}  # fmt: skip


@pytest.fixture
def address() -> AgentAddress:
    return AgentAddress(organisation=f"org-{uuid.uuid4().hex[:12]}", site="hall", agent="cabinet")


@pytest.fixture
def processes(tmp_path: Path, database_url: str, broker_url: str, address: AgentAddress) -> Iterator[Processes]:
    (tmp_path / "site.yaml").write_text(SITE.format(organisation=address.organisation), "utf-8")
    (tmp_path / "edge.yaml").write_text(EDGE.format(organisation=address.organisation), "utf-8")
    rows = "\n".join(
        f"2026-01-01T00:{i // 60:02}:{i % 60:02}Z,power,{i},kWh,energy,counter,electricity" for i in range(900)
    )
    (tmp_path / "power.csv").write_text(f"at,meter,value,unit,resource,kind,carrier\n{rows}\n", "utf-8")
    environment = {
        "AFKOBLING_DATABASE_URL": database_url,
        "AFKOBLING_BROKER_URL": broker_url,
        "AFKOBLING_COLLECTOR_ID": address.organisation,
        "AFKOBLING_SHARE_GROUP": address.organisation,
    }
    with Processes(tmp_path, environment, tell=print) as running:
        yield running


def log_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """Each line of a process's log; all of them are JSON."""
    return [json.loads(line) for line in (folder / f"{name}.log").read_text("utf-8").splitlines()]


def actions(folder: Path, name: str) -> list[str]:
    return [line["action"] for line in log_of(folder, name)]


def ready(port: int) -> tuple[int, dict[str, Any]] | None:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False, timeout=20)
    except httpx.TransportError:
        return None
    return answer.status_code, answer.json()


def answers(port: int) -> bool:
    return ready(port) is not None


class Load:
    """Publishes readings without a pause, a hundred a message, and remembers what it is told is stored."""

    def __init__(self, broker_url: str, address: AgentAddress) -> None:
        self._address = address
        self._client = new_client(parse_broker_url(broker_url))
        self._client.on_connect = lambda client, *_: client.subscribe(address.topic(Kind.STORED), qos=1)
        self._client.on_message = lambda _c, _u, message: self.stored.append(json.loads(message.payload)["seq"])
        self._parts = urlsplit(broker_url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self.stored: list[int] = [0]

    def __enter__(self) -> Load:
        self._client.connect(str(self._parts.hostname), self._parts.port or 1883)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._client.disconnect()
        self._client.loop_stop()

    def end(self) -> None:
        """Publish no more."""
        self._ended.set()
        self._thread.join()

    def _publish(self) -> None:
        seq = 0
        while not self._ended.wait(0.002):
            if seq - self.stored[-1] > 500:
                continue
            seq += 1
            first = 1_767_225_600_000 + seq * 100_000
            message = {
                "v": 1, "epoch": "E1", "seq": seq, "sent_at": first, "meters": ["power"], "units": ["kWh"],
                "meter": [0] * 100, "at": [first + 1000 * i for i in range(100)], "value": [float(seq)] * 100,
            }  # fmt: skip
            self._client.publish(self._address.topic(Kind.READINGS), json.dumps(message), qos=1)


def test_what_is_committed_is_confirmed_before_the_end(
    processes: Processes, database_url: str, broker_url: str, address: AgentAddress, tmp_path: Path
) -> None:
    processes.run("site", "apply", "site.yaml")
    port = free_port()
    processes.start("collector", "collector", "run", "--metrics-port", str(port))
    processes.start("rollup", "rollup", "run")
    wait_for(lambda: ready(port) == (200, {"ready": True, "problems": []}), "the collector")
    with Load(broker_url, address) as load:
        wait_for(lambda: load.stored[-1] > 200, "readings to be stored")
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "afkobling_collector_batch_readings_count" in metrics
        # Twice: a supervisor in a hurry.
        os.kill(processes.pid("collector"), signal.SIGTERM)
        assert processes.stop("collector") == 0
        assert processes.stop("rollup") == 0
        with psycopg.connect(database_url) as connection:
            row = connection.execute("SELECT stored_seq, stored, readings FROM ledger WHERE epoch = 'E1'").fetchone()
        assert row is not None
        wait_for(lambda: load.stored[-1] == row[0], "the last word to agree with the ledger", 20)
    assert row[1] == row[2] >= 100 * row[0]
    for name in ("collector", "rollup"):
        assert actions(tmp_path, name)[-2:] == ["process.stopping", "process.stopped"]
    assert actions(tmp_path, "collector").count("process.stopping") == 1


def test_without_any_server_each_says_what_is_wrong_and_ends(processes: Processes, tmp_path: Path) -> None:
    parts = {
        "collector": ("collector", "run"), "rollup": ("rollup", "run"), "alerts": ("alerts", "run"),
        "edge": ("edge", "run", "--config", "edge.yaml"), "api": ("api", "run"),
    }  # fmt: skip
    ports = {name: free_port() for name in parts}
    with (tmp_path / "edge.yaml").open("a") as config:
        config.write(f"metrics_port: {ports['edge']}\n")
    for name, words in parts.items():
        option = [] if name == "edge" else ["--port" if name == "api" else "--metrics-port", str(ports[name])]
        processes.start(name, *words, *option, environment=AWAY)
    told: dict[str, str] = {}
    for name, port in ports.items():
        wait_for(partial(answers, port), name)
        status, answer = ready(port) or (0, {})
        assert status == 503, name
        told[name] = answer["detail"] if name == "api" else " ".join(answer["problems"])
    for name, said in told.items():
        assert "broker" in said if name == "edge" else "database" in said, name
    with ThreadPoolExecutor() as stopping:
        assert dict(zip(parts, stopping.map(processes.stop, parts), strict=True)) == dict.fromkeys(parts, 0)
    for name in parts:
        assert actions(tmp_path, name)[-1] in {"process.stopped", "agent.stopped"}, name
        assert "hunter2" not in (tmp_path / f"{name}.log").read_text("utf-8")


def test_what_the_database_holds_up_is_cut_off_and_comes_again(
    processes: Processes, database_url: str, tmp_path: Path
) -> None:
    processes.run("site", "apply", "site.yaml")
    processes.start("edge", "edge", "run", "--config", "edge.yaml", "--until-stored")
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        processes.start("collector", "collector", "run", environment={"AFKOBLING_STOP_SECONDS": "1"})
        wait_for(lambda: is_waiting(database_url), "the collector to wait for the lock")
        assert processes.stop("collector") == 1
    overdue = log_of(tmp_path, "collector")[-1]
    assert (overdue["action"], overdue["after_s"]) == ("process.overdue", 1.0)
    batch, unacknowledged = overdue["unfinished"]
    assert batch.endswith("it is not committed yet")
    assert unacknowledged.endswith("messages are not acknowledged; they come again")
    processes.start("collector", "collector", "run")
    statuses: list[int | None] = []

    def has_ended() -> bool:
        statuses.append(processes.ended("edge"))
        return statuses[-1] is not None

    wait_for(has_ended, "the agent to have everything stored")
    assert statuses[-1] == 0
    assert processes.stop("collector") == 0
    ledger = json.loads(processes.run("ledger", "--agent", "cabinet", "--json"))
    (entry,) = ledger["items"]
    assert (entry["verdict"], entry["stored"], entry["sent"]) == ("complete", 900, 900)


def is_waiting(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'afkobling-collector' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        return found.fetchone() is not None


def test_a_request_at_hand_is_answered(
    processes: Processes, database_url: str, address: AgentAddress, tmp_path: Path
) -> None:
    processes.run("site", "apply", "site.yaml")
    token = processes.run("token", "create", "--organisation", address.organisation, "--name", "e2e").strip()
    port = free_port()
    processes.start("api", "api", "run", "--port", str(port))
    wait_for(lambda: ready(port) is not None, "the API")
    with ThreadPoolExecutor() as asking, psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE line IN ACCESS EXCLUSIVE MODE")
        asked = asking.submit(
            httpx.get, f"http://127.0.0.1:{port}/v1/sites/hall/lines", headers={"Authorization": f"Bearer {token}"},
            trust_env=False, timeout=60,
        )  # fmt: skip
        wait_for(lambda: is_held_up(database_url), "the request to wait")
        stopping = asking.submit(processes.stop, "api")
        wait_for(lambda: ready(port) is None, "the API to take no more requests")
        connection.rollback()
        assert asked.result().status_code == 200
        assert stopping.result() == 0
    assert actions(tmp_path, "api") == ["process.started", "process.stopped"]


def is_held_up(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'afkobling api' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        return found.fetchone() is not None
