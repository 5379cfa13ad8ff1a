"""`afkobling agent configure` and `agent configuration`: real database, real broker, real signatures."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from api.agents.authority import Authorities
from api.agents.configurations import Fate, what_became
from api.broker_client import new_client
from api.site_model import apply_site_model
from deploy.cli import main
from edge.care.verifying import why_not
from edge.enrolment.keys import make_request
from schemas.broker_url import parse_broker_url
from schemas.signed import configuration_bytes
from schemas.topics import AgentAddress, Kind
from schemas.wire import Configuration
from tests.integration.api.conftest import SITE, site_model

pytestmark = pytest.mark.stack

METER = {"name": "oven", "driver": "modbus", "host": "192.168.1.20", "profile": "eastron-sdm630"}
NEW = {"drivers": [{**METER, "meters": {"main": "energy-import"}}]}
Run = Callable[..., str]


@pytest.fixture
def organisation(connection: psycopg.Connection) -> str:
    key = f"org-{uuid.uuid4().hex[:8]}"
    apply_site_model(connection, site_model(SITE.replace("id: acme", f"id: {key}")))
    return key


@pytest.fixture
def address(organisation: str) -> AgentAddress:
    return AgentAddress(organisation=organisation, site="odense", agent="cabinet-1")


@pytest.fixture
def authorities(tmp_path: Path, organisation: str) -> Authorities:
    return Authorities(tmp_path / "authority", now=datetime.now(UTC))


@pytest.fixture
def run(
    database_url: str,
    broker_url: str,
    authorities: Authorities,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.setenv("AFKOBLING_AUTHORITY_DIR", str(tmp_path / "authority"))
    monkeypatch.setenv("AFKOBLING_BROKER_URL", broker_url)

    def command(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(["agent", *words, "--database-url", database_url]) == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.yaml"
    path.write_text("# for the oven\n" + yaml.safe_dump(NEW))
    return path


def retained(broker_url: str, topic: str) -> tuple[bytes, str | None]:
    """What the broker has kept there, and of which type it is; nothing where it has kept nothing."""
    broker = parse_broker_url(broker_url)
    client = new_client(broker, reconnects=False)
    found: list[tuple[bytes, str | None]] = []
    done = threading.Event()

    def heard(_client: Any, _data: Any, message: Any) -> None:
        found.append((message.payload, getattr(message.properties, "ContentType", None)))

    client.on_message = heard
    client.on_connect = lambda client, *_: client.subscribe([(topic, 1), ("nothing/there", 1)])
    client.on_subscribe = lambda client, *_: client.publish("nothing/there", b"", qos=1)
    # The broker answers in order: what it has kept comes before.
    client.on_publish = lambda *_: done.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert done.wait(30)
    client.disconnect()
    client.loop_stop()
    return found[0] if found else (b"", None)


def report(connection: psycopg.Connection, address: AgentAddress, **said: Any) -> None:
    status = {"v": 1, "state": "online", "at": 0, "configuration": said}
    connection.execute(
        "INSERT INTO agent_report (organisation, site, agent, status, status_at) VALUES (%s, %s, %s, %s, now())"
        " ON CONFLICT (organisation, site, agent) DO UPDATE SET status = excluded.status",
        [address.organisation, address.site, address.agent, json.dumps(status)],
    )


def test_what_is_sent_is_signed_kept_and_retained(
    run: Run, file: Path, address: AgentAddress, authorities: Authorities, broker_url: str
) -> None:
    assert f"version 1 is sent to {address}" in run("configure", "odense/cabinet-1", str(file), "--author", "lin")
    payload, content_type = retained(broker_url, address.topic(Kind.CONFIGURATION))
    assert content_type == "application/json"
    message = Configuration.model_validate_json(payload)
    assert (message.version, message.body) == (1, file.read_text())
    data = configuration_bytes(address, version=1, sent_at=message.sent_at, body=message.body)
    now = datetime.now(UTC)
    authority = authorities.of(address.organisation, now=now)
    issued = authority.issue_agent(make_request().csr, address, now=now, valid=now - now)
    assert why_not(data, message.signature, chain=issued.chain, root=authorities.root.pem) is None
    assert "the agent has not said that it got it" in run("configuration", "cabinet-1")


def test_versions_rise_above_all_that_the_agent_knows(
    run: Run, file: Path, connection: psycopg.Connection, address: AgentAddress
) -> None:
    report(connection, address, running=0, latest=6, standing="refused", reason="version 6 was no good")
    assert json.loads(run("configure", "cabinet-1", str(file), "--json"))["version"] == 7
    # The word about the one before says nothing of this one.
    assert "has not said that it got it" in run("configuration", "cabinet-1")
    report(connection, address, running=7, latest=7, standing="applied")
    assert "in use" in run("configuration", "cabinet-1")
    run("configure", "cabinet-1", str(file), "--because", "a new\noven")
    report(connection, address, running=7, latest=8, standing="rolled_back", reason="oven gave nothing")
    told = run("configuration", "cabinet-1", "--history", status=1)
    assert "version 8" in told
    assert "taken back; the agent runs with what it had before\n    oven gave nothing" in told
    assert "replaced by a later one (it runs with it)" in told
    items = json.loads(run("configuration", "cabinet-1", "--history", "--json", status=1))["items"]
    assert [(item["version"], item["fate"], item["running"]) for item in items] == [
        (8, "rolled_back", False),
        (7, "replaced", True),
    ]
    assert run("configuration", "cabinet-1", "--body", status=1) == file.read_text()


def test_what_the_broker_lost_is_sent_again(run: Run, file: Path, address: AgentAddress, broker_url: str) -> None:
    assert "was sent no configuration" in run("configuration", "cabinet-1", status=1)
    run("configure", "cabinet-1", str(file))
    topic = address.topic(Kind.CONFIGURATION)
    before, _ = retained(broker_url, topic)
    client = new_client(parse_broker_url(broker_url), reconnects=False)
    client.connect(parse_broker_url(broker_url).host, parse_broker_url(broker_url).port)
    client.loop_start()
    client.publish(topic, b"", qos=1, retain=True).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    assert retained(broker_url, topic) == (b"", None)
    assert "version 1 is sent again" in run("configuration", "cabinet-1", "--publish")
    assert retained(broker_url, topic)[0] == before


def test_what_cannot_be_right_is_not_sent(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no agent 'nobody'" in run("configure", "nobody", str(file), status=1)
    assert "none.yaml cannot be read" in run("configure", "cabinet-1", str(tmp_path / "none.yaml"), status=1)
    for body, words in (
        (NEW | {"site": "other"}, "site: this is sent to"),
        ({"drivers": [{"name": "x", "driver": "shell"}]}, "there is no driver 'shell'"),
        (NEW | {"windw": 3}, "there is no such setting"),
    ):
        file.write_text(yaml.safe_dump(body))
        told = run("configure", "cabinet-1", str(file), status=1)
        assert words in told
        assert "new.yaml:" in told
        assert "nothing was sent" in told
    file.write_bytes(b"\xff")
    assert "is not UTF-8" in run("configure", "cabinet-1", str(file), status=1)
    assert "was sent no configuration" in run("configuration", "cabinet-1", status=1)
    # Signed and kept, and the broker is away: nothing is lost.
    file.write_text(yaml.safe_dump(NEW))
    with monkeypatch.context() as without:
        without.setenv("AFKOBLING_BROKER_URL", "mqtt://127.0.0.1:1")
        told = run("configure", "cabinet-1", str(file), status=1)
    assert "version 1 is signed and kept, and not sent: the broker at mqtt://127.0.0.1:1 can't be reached" in told
    assert "--publish" in told
    assert "version 1 is sent again" in run("configuration", "cabinet-1", "--publish")


def test_what_became_of_a_version() -> None:
    assert what_became(3, {}) == (Fate.UNHEARD, None)
    assert what_became(3, {"latest": 2, "standing": "applied"}) == (Fate.UNHEARD, None)
    not_enrolled = "version 3 of the configuration is refused: this agent was not enrolled"
    assert what_became(3, {"latest": 0, "standing": "refused", "reason": not_enrolled}) == (Fate.REFUSED, not_enrolled)
    assert what_became(3, {"latest": 2, "standing": "refused", "reason": "edge.yaml:1"}) == (Fate.UNHEARD, None)
    assert what_became(3, {"latest": 3, "standing": "on_trial"}) == (Fate.ON_TRIAL, None)
    assert what_became(3, {"latest": 3, "standing": "local"}) == (Fate.CHANGED_THERE, None)
    refused = {"latest": 3, "standing": "refused", "reason": "version 2 of the configuration was sent, and 3 before it"}
    assert what_became(3, {**refused, "running": 2}) == (Fate.REFUSED, refused["reason"])
    assert what_became(3, {**refused, "running": 3}) == (Fate.APPLIED, refused["reason"])
    assert what_became(3, {"latest": 3, "standing": "of a later version"}) == (Fate.UNHEARD, None)
