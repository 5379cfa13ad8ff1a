"""Our own servers beside a broker elsewhere: over TLS, with an authority of our own and a client certificate."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.agents.authority import Authorities, key_pem
from api.agents.broker_access import BrokerAccessSettings, open_broker_access
from api.agents.dynamic_security import DynamicSecurity
from api.alerts.channels import Broker
from collector.collector import Collector
from collector.settings import CollectorSettings
from deploy.stack.security import SERVER
from schemas.broker_tls import BrokerTlsError
from schemas.topics import AgentAddress
from tests.integration.collector.conftest import Publisher, query, readings, wait_for

pytestmark = pytest.mark.stack


@pytest.fixture
def files(broker_url: str, authority_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """A server's certificate that the broker's list knows, as settings name its files."""
    now = datetime.now(UTC)
    root = Authorities(authority_dir, now=now).root
    key, name = ec.generate_private_key(ec.SECP256R1()), f"collector-{uuid.uuid4().hex[:8]}"
    texts = {"certificate": root.issue_server_agent(key.public_key(), name, now=now).chain, "key": key_pem(key)}
    texts["authority"] = root.pem
    found = {f"broker_{what}": tmp_path / f"{what}.pem" for what in texts}
    for what, text in texts.items():
        found[f"broker_{what}"].write_text(text)
    access = open_broker_access(BrokerAccessSettings(broker_url=broker_url))
    assert isinstance(access, DynamicSecurity)
    access._tell([{"command": "createClient", "username": name, "roles": [{"rolename": SERVER}]}])
    return found


async def test_a_collector_alerts_and_the_list_of_agents_work_over_tls(
    files: dict[str, Any],
    agent_broker_url: str,
    database_url: str,
    start_collector: Callable[..., Collector],
    publisher: Publisher,
    address: AgentAddress,
) -> None:
    start_collector(broker_url=agent_broker_url, **files)
    publisher.publish(readings(1, [("power", 10, 42.5)]))
    wait_for(lambda: publisher.stored_seq("E1") == 1, "the agent told that it is stored")
    assert query(database_url, "SELECT value FROM reading") == [(42.5,)]

    settings = BrokerAccessSettings(broker_url=agent_broker_url, **files)
    assert (await open_broker_access(settings).agents()) is not None

    channel = Broker(agent_broker_url, settings.broker_tls)
    try:
        channel.send({"message": "m", "organisation": address.organisation, "site": "hall"})
    finally:
        channel.close()


def test_a_collector_that_cannot_read_its_files_says_which(
    files: dict[str, Any], agent_broker_url: str, database_url: str
) -> None:
    files["broker_key"].unlink()
    with pytest.raises(BrokerTlsError, match=r"key\.pem.*AFKOBLING_BROKER_KEY"):
        Collector(CollectorSettings(database_url=database_url, broker_url=agent_broker_url, **files))


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_collector_that_does_not_know_the_authority_says_so(
    files: dict[str, Any], agent_broker_url: str, database_url: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_text(Authorities(tmp_path / "other", now=datetime.now(UTC)).root.pem)
    settings = CollectorSettings(
        database_url=database_url, broker_url=agent_broker_url, **files | {"broker_authority": other}
    )
    collector = Collector(settings)
    collector._subscriber.start()
    try:
        wait_for(lambda: any("VERIFY_FAILED" in p for p in collector._subscriber.problems()), "the reason")
        assert "AFKOBLING_BROKER_AUTHORITY" in collector._subscriber.problems()[0]
    finally:
        collector._subscriber.stop()
