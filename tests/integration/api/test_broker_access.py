"""The broker's list of agents: what a real broker does with it, and the fake that stands for it in other tests."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.agents.broker_access import (
    BrokerAccess,
    BrokerAccessError,
    BrokerAccessSettings,
    MemoryBrokerAccess,
    NoBrokerError,
    Reconciled,
    UntoldBroker,
    Way,
    open_broker_access,
)
from api.agents.dynamic_security import CONTROL, DynamicSecurity, agent_acls, agent_role
from deploy.stack.ports import choose
from schemas.broker_tls import BrokerTls
from schemas.broker_url import parse_broker_url
from schemas.enrolment import username
from schemas.topics import AgentAddress
from tests.drivers.rigs.mosquitto import OwnBroker

pytestmark = pytest.mark.stack

Make = Callable[..., tuple[str, AgentAddress]]


@pytest.fixture(params=["memory", "dynamic security"])
def access(request: pytest.FixtureRequest) -> BrokerAccess:
    if request.param == "memory":
        return MemoryBrokerAccess()
    return _access(request.getfixturevalue("broker_url"))


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make(organisation: str) -> Make:
    """Another certificate's name, and for whom it is."""

    def name(agent: str = "press", *, of: str = organisation) -> tuple[str, AgentAddress]:
        address = AgentAddress(organisation=of, site="hall", agent=agent)
        return username(address, secrets.randbits(159)), address

    return name


def _access(url: str) -> BrokerAccess:
    return open_broker_access(BrokerAccessSettings(broker_url=url))


async def _of(access: BrokerAccess, organisation: str) -> dict[str, AgentAddress]:
    return {name: a for name, a in (await access.agents()).items() if a.organisation == organisation}


async def test_who_is_admitted_is_listed_until_expelled(access: BrokerAccess, organisation: str, make: Make) -> None:
    assert access.is_told
    (one, press), (two, _), (three, oven) = make(), make(), make("oven")
    await access.admit(press, one)
    await access.admit(press, two)
    await access.admit(oven, three)
    await access.admit(oven, three)
    assert await _of(access, organisation) == {one: press, two: press, three: oven}
    await access.expel(one)
    await access.expel(one)
    await access.expel("nobody:00")
    assert await _of(access, organisation) == {two: press, three: oven}


async def test_reconciling_leaves_exactly_who_is_wanted(access: BrokerAccess, organisation: str, make: Make) -> None:
    (stays, press), (goes, oven), (comes, saw) = make(), make("oven"), make("saw")
    stranger, elsewhere = make(of=f"{organisation}-other")
    await access.admit(press, stays)
    await access.admit(oven, goes)
    await access.admit(elsewhere, stranger)
    wanted = {stays: press, comes: saw}
    ours = {organisation}
    assert await access.reconcile(wanted, organisations=ours) == Reconciled(admitted=1, expelled=1)
    assert await _of(access, organisation) == wanted
    assert await access.reconcile(wanted, organisations=ours) == Reconciled(admitted=0, expelled=0)
    # Of a name that is another agent's now, the old entry goes.
    assert await access.reconcile({stays: saw}, organisations=ours) == Reconciled(admitted=1, expelled=2)
    assert await _of(access, organisation) == {stays: saw}
    assert await _of(access, f"{organisation}-other") == {stranger: elsewhere}
    await access.reconcile({}, organisations={organisation, f"{organisation}-other"})
    assert await _of(access, f"{organisation}-other") == {}


async def test_many_agents_are_told_and_read_in_parts(broker_url: str, organisation: str, make: Make) -> None:
    access = _access(broker_url)
    wanted = dict(make(f"agent-{number}") for number in range(20))
    await access.reconcile(wanted, organisations={organisation})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.agents.dynamic_security._PAGE", 7)
        assert await _of(access, organisation) == wanted
    assert await access.reconcile({}, organisations={organisation}) == Reconciled(admitted=0, expelled=20)


async def test_a_role_of_another_version_is_brought_up_to_date(broker_url: str, organisation: str, make: Make) -> None:
    access = _access(broker_url)
    assert isinstance(access, DynamicSecurity)
    name, press = make()
    await access.admit(press, name)
    role = agent_role(press)
    access._tell([{"command": "modifyRole", "rolename": role, "acls": agent_acls(press)[:1]}])
    access._tell([{"command": "createRole", "rolename": f"agent:{organisation}/hall/left-over"}])
    await access.reconcile({name: press}, organisations={organisation})
    with access._conversation() as conversation:
        roles = {one["rolename"]: one["acls"] for one in conversation.listed("listRoles", "roles")}
    assert sorted(acl["topic"] for acl in roles[role]) == sorted(str(acl["topic"]) for acl in agent_acls(press))
    assert f"agent:{organisation}/hall/left-over" not in roles
    assert {"server"} <= set(roles)
    await access.reconcile({}, organisations={organisation})


async def test_a_broker_that_is_away_is_named(make: Make) -> None:
    name, press = make()
    port = choose()
    with pytest.raises(BrokerAccessError, match=rf"127\.0\.0\.1:{port} can't be reached.*AFKOBLING_BROKER_URL"):
        await _access(f"mqtt://server:secret@127.0.0.1:{port}").admit(press, name)
    away = MemoryBrokerAccess(is_away=True)
    with pytest.raises(BrokerAccessError):
        await away.reconcile({})


async def test_who_may_not_change_the_list_is_told_so(broker_url: str, make: Make) -> None:
    name, press = make()
    port = urlsplit(broker_url).port
    with pytest.raises(BrokerAccessError, match=r"refuses the connection.*check user and password") as caught:
        await _access(f"mqtt://server:wrong-secret@127.0.0.1:{port}").admit(press, name)
    assert "wrong-secret" not in str(caught.value)


@pytest.fixture
def other_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    broker = OwnBroker(tmp_path)
    yield broker
    broker.kill()


@pytest.mark.parametrize(
    "rules", ["topic readwrite #\n", f"topic read {CONTROL}/response\n", "topic readwrite other\n"]
)
async def test_a_broker_that_takes_no_changes_says_what_to_do(
    other_broker: OwnBroker, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, rules: str
) -> None:
    monkeypatch.setattr("api.agents.dynamic_security._TIMEOUT_S", 0.5)
    (tmp_path / "rules").write_text(rules)
    (tmp_path / "rules").chmod(0o600)
    other_broker.start(f"acl_file {tmp_path / 'rules'}\n")
    name, press = make()
    with pytest.raises(BrokerAccessError, match=r"dynamic-security plugin.*AFKOBLING_BROKER_ACCESS=none"):
        await _access(other_broker.url).admit(press, name)


async def test_a_broker_that_learns_of_agents_in_another_way_is_told_nothing(make: Make) -> None:
    access = open_broker_access(BrokerAccessSettings(broker_access=Way.NONE, broker_url="mqtt://127.0.0.1:1"))
    assert isinstance(access, UntoldBroker)
    assert not access.is_told
    name, press = make()
    await access.admit(press, name)
    await access.expel(name)
    assert await access.reconcile({name: press}) == Reconciled(admitted=0, expelled=0)
    assert await access.agents() == {}


def test_without_a_broker_there_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFKOBLING_BROKER_URL", raising=False)
    with pytest.raises(NoBrokerError, match="AFKOBLING_BROKER_ACCESS=none"):
        open_broker_access(BrokerAccessSettings())


async def test_a_broker_that_wants_encryption_is_told_with_a_certificate(tmp_path: Path, make: Make) -> None:
    access = DynamicSecurity(parse_broker_url("mqtts://127.0.0.1:1"), BrokerTls(authority=tmp_path / "root.pem"))
    name, press = make()
    with pytest.raises(Exception, match="AFKOBLING_BROKER_AUTHORITY"):
        await access.admit(press, name)
