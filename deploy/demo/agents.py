"""The demo's agents: let in as real ones are, by a code, a key made on the device, and a certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from api.agents.broker_access import BrokerAccessError, BrokerAccessSettings, open_broker_access
from deploy.demo.client import Client
from deploy.demo.parts import Parts
from deploy.demo.scenario import Scenario
from deploy.stack import Endpoints
from schemas.topics import AgentAddress

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetIn:
    """An agent with its certificate: what it is, where its key lies, and until when the certificate is good."""

    address: AgentAddress
    folder: Path
    until: datetime

    def as_json(self) -> dict[str, str]:
        """As the demo's outcome tells it."""
        return {"agent": str(self.address), "topic": _topics(self.address), "until": self.until.isoformat()}


def write_configurations(parts: Parts, scenario: Scenario, servers: Endpoints) -> dict[str, Path]:
    """Each agent's edge.yaml in a folder of its own, as a technician would have it before the agent is enrolled."""
    files = {}
    for agent, drivers in scenario.drivers.items():
        folder = parts.folder / agent
        folder.mkdir()
        settings: dict[str, Any] = {
            "organisation": scenario.model.organisation.id,
            "site": scenario.model.site.id,
            "agent": agent,
            "broker": servers.agent_broker_url or servers.broker_url,
            "outbox": {"path": "outbox.sqlite"},
            "drivers": drivers,
        }
        files[agent] = folder / "edge.yaml"
        files[agent].write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    return files


def enrol(
    client: Client, files: dict[str, Path], servers: Endpoints, *, server: str, data_dir: Path | None, say: Say
) -> list[LetIn]:
    """Invite each agent, and enrol it as `afkobling edge enrol` does; nobody, where nothing says how."""
    from edge.enrolment import enrolling, writing

    if servers.agent_broker_url is None or servers.authority_dir is None:
        say(
            "Agents are not enrolled here: nothing says how the given broker lets them in (AFKOBLING_AGENT_BROKER_URL, "
            "AFKOBLING_AUTHORITY_DIR); they come in as AFKOBLING_BROKER_URL says"
        )
        return []
    say(f"The broker lets in agents with a certificate only; they enrol at {server}, as anybody's would:")
    found = []
    for agent, file in files.items():
        invitation = client.invite(agent)
        done = enrolling.enrol(invitation["code"], file.parent, now=datetime.now(UTC))
        writing.write_configuration(file, writing.wanted(done.identity, done.folder, file))
        until = datetime.fromtimestamp(done.identity.not_after / 1000, UTC)
        one = LetIn(address=done.identity.address, folder=done.folder, until=until)
        found.append(one)
        say(f"  {agent}")
        say("    invited     a code that is good once, as `afkobling agent invite` makes it")
        say(f"    enrolled    with a key made on the device, which stays there: {done.folder / 'key.pem'}")
        say(f"    certificate for {one.address} until {until:%Y-%m-%d}, at {servers.agent_broker_url}")
        say(f"    may publish {_topics(one.address)}, and nothing else")
    # Of a stack elsewhere than where it usually is, the command has to be told.
    where = "" if data_dir is None else f"AFKOBLING_DATA_DIR={data_dir} "
    say(
        "  another one, while the demo runs (DATA: the address after `data:` below)\n"
        f"    invite      {where}afkobling agent invite --agent NAME --server {server} --database-url DATA\n"
        "    enrol       afkobling edge enrol CODE --config edge.yaml, at the device: writes who it is into edge.yaml"
    )
    return found


@contextmanager
def nobody_left_behind(scenario: Scenario, servers: Endpoints) -> Iterator[None]:
    """No certificate of a demo before is let in, and none of this one afterwards."""
    organisation = scenario.model.organisation.id
    _send_away(organisation, servers)
    try:
        yield
    finally:
        _send_away(organisation, servers)


def start_agents(parts: Parts, scenario: Scenario, files: dict[str, Path]) -> None:
    """Run them, each as a process of its own."""
    for agent, config in files.items():
        ahead_ms = scenario.clocks_ahead_ms.get(agent)
        if ahead_ms is not None:
            parts.start(edge_of(agent), str(config), str(ahead_ms), module="deploy.demo.wrong_clock")
            continue
        ending = ["--until-stored"] if scenario.is_finite else []
        parts.start(edge_of(agent), "edge", "run", "--config", str(config), *ending, may_end=scenario.is_finite)


def edge_of(agent: str) -> str:
    """The name of an agent's process."""
    return f"edge-{agent}"


def _send_away(organisation: str, servers: Endpoints) -> None:
    if servers.agent_broker_url is None or servers.authority_dir is None:
        return
    access = open_broker_access(BrokerAccessSettings(broker_url=servers.broker_url))
    try:
        asyncio.run(access.reconcile({}, organisations={organisation}))
    except BrokerAccessError:
        # A broker that is away meets everybody else, too, and they tell it.
        return


def _topics(address: AgentAddress) -> str:
    return f"afkobling/v1/{address}/…"
