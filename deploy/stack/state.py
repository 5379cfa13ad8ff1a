"""What the stack is, runs and answers: for people, and as JSON for programs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import checks, folders, mosquitto, postgres, runtime
from deploy.stack.addresses import given_broker_tls, given_servers, masked
from deploy.stack.errors import StackError
from deploy.stack.folders import DataFolder, Ports
from deploy.stack.listening import agent_url
from deploy.stack.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server. `given` when the environment names it; then it is nobody's process here."""

    given: bool
    running: bool
    pid: int | None
    port: int | None
    url: str | None
    """With the password masked; None before the first start."""
    version: str | None
    trouble: str | None
    """Why it does not answer although it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """Both servers and where they live. Versions come from the servers, or from the programs when they are down.

    Agents connect to `agent_broker_url` with certificates of the authority in `authority_dir`.
    """

    data_dir: Path
    agent_broker_url: str | None
    agents_port: int | None
    authority_dir: Path | None
    runtime_dir: Path | None
    database: ServerStatus
    broker: ServerStatus
    timescaledb: str | None
    timescaledb_license: str | None

    def as_json(self) -> Mapping[str, object]:
        """The status as the command prints it with --json."""
        return {
            "data_dir": str(self.data_dir),
            "runtime_dir": None if self.runtime_dir is None else str(self.runtime_dir),
            "running": {"postgresql": self.database.running, "mosquitto": self.broker.running},
            "given": {"postgresql": self.database.given, "mosquitto": self.broker.given},
            "pids": {"postgresql": self.database.pid, "mosquitto": self.broker.pid},
            "ports": {
                "postgresql": self.database.port,
                "mosquitto": self.broker.port,
                "mosquitto_agents": self.agents_port,
            },
            "versions": {
                "postgresql": self.database.version,
                "timescaledb": self.timescaledb,
                "mosquitto": self.broker.version,
            },
            "timescaledb_license": self.timescaledb_license,
            "database_url": self.database.url,
            "broker_url": self.broker.url,
            "agent_broker_url": self.agent_broker_url,
            "authority_dir": None if self.authority_dir is None else str(self.authority_dir),
            "trouble": {"postgresql": self.database.trouble, "mosquitto": self.broker.trouble},
        }


def status(data_dir: Path | None = None) -> StackStatus:
    """Look at the stack and change nothing; a server that is down or does not answer is a finding, not an error."""
    given = given_servers()
    folder = folders.data_folder(data_dir)
    ready = runtime.find()
    kept = folder.ports()
    if given.database_url:
        database, facts = _given_database(given.database_url)
    else:
        database, facts = _own_database(folder, kept, ready)
    broker = _given_broker(given.broker_url) if given.broker_url else _own_broker(folder, kept, ready)
    offered = ready.timescaledb_version() if ready and not given.database_url else None
    agents = None if given.broker_url or kept is None or kept.agents is None else kept.agents
    own_url = None if agents is None or kept is None else agent_url(kept.listen, agents)
    return StackStatus(
        data_dir=folder.path,
        agent_broker_url=given.agent_broker_url or own_url,
        agents_port=agents,
        authority_dir=given.authority_dir or (None if given.broker_url else folder.authority),
        runtime_dir=ready.root if ready else None,
        database=database,
        broker=broker,
        timescaledb=facts.timescaledb if facts else offered,
        timescaledb_license=facts.timescaledb_license if facts else None,
    )


def _given_database(url: str) -> tuple[ServerStatus, checks.DatabaseFacts | None]:
    facts: checks.DatabaseFacts | None = None
    trouble: str | None = None
    try:
        facts = checks.look_at_database(url)
    except StackError as error:
        trouble = str(error)
    found = ServerStatus(
        given=True,
        running=facts is not None,
        pid=None,
        port=None,
        url=masked(url),
        version=facts.postgresql if facts else None,
        trouble=trouble,
    )
    return found, facts


def _own_database(
    folder: DataFolder, kept: Ports | None, ready: Runtime | None
) -> tuple[ServerStatus, checks.DatabaseFacts | None]:
    process = postgres.process(folder)
    facts: checks.DatabaseFacts | None = None
    trouble: str | None = None
    url: str | None = None
    if kept is not None:
        with contextlib.suppress(StackError):
            url = postgres.url(folder, kept.database)
        if process is not None:
            try:
                facts = checks.look_at_database(postgres.url(folder, kept.database))
            except StackError as error:
                trouble = str(error)
    offered = ready.postgres_version() if ready else None
    found = ServerStatus(
        given=False,
        running=process is not None,
        pid=process.pid if process else None,
        port=kept.database if kept else None,
        url=masked(url) if url else None,
        version=facts.postgresql if facts else offered,
        trouble=trouble,
    )
    return found, facts


def _given_broker(url: str) -> ServerStatus:
    version: str | None = None
    trouble: str | None = None
    try:
        version = checks.look_at_broker(url, tls=given_broker_tls(), ask_version=True)
    except StackError as error:
        trouble = str(error)
    return ServerStatus(
        given=True,
        running=trouble is None,
        pid=None,
        port=None,
        url=masked(url),
        version=version,
        trouble=trouble,
    )


def _own_broker(folder: DataFolder, kept: Ports | None, ready: Runtime | None) -> ServerStatus:
    process = mosquitto.process(folder)
    version = ready.mosquitto_version() if ready else None
    trouble: str | None = None
    url: str | None = None
    if kept is not None:
        with contextlib.suppress(StackError):
            url = mosquitto.url(folder, kept.broker)
        if process is not None:
            try:
                told = checks.look_at_broker(mosquitto.url(folder, kept.broker), ask_version=True)
                version = told or version
            except StackError as error:
                trouble = str(error)
    return ServerStatus(
        given=False,
        running=process is not None,
        pid=process.pid if process else None,
        port=kept.broker if kept else None,
        url=masked(url) if url else None,
        version=version,
        trouble=trouble,
    )
