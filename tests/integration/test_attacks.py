"""Somebody on the factory's network, with or without a certificate, against the real broker and the real collector.

Each test says what the broker did, and looks at the end for what the database must not have.
"""

from __future__ import annotations

import ssl
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import MQTTProtocolVersion

from api.agents.authority import Authorities
from api.agents.broker_access import BrokerAccess, BrokerAccessSettings, open_broker_access
from api.broker_client import new_client
from api.site_model import apply_site_model
from collector.collector import Collector
from collector.settings import CollectorSettings
from schemas.broker_url import BrokerUrl, parse_broker_url
from schemas.configuration import parse_configuration
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from tests.conftest import Servers, fresh_database
from tests.integration.attacks import FORGED, Attacker, Device, connected, keep_device, make_device, until

pytestmark = [
    pytest.mark.stack,
    # paho leaves the socket of a failed handshake to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]

GENUINE = b'{"genuine": "though nobody can read it"}'
DENIED = "Not authorized"
OK = "Success"
SAID = (Kind.READINGS, Kind.RUNS, Kind.METERS, Kind.STATUS)
TOLD = (Kind.STORED, Kind.CONFIGURATION)
NEIGHBOURS = ("same site", "other site", "other organisation")
SITE = """
organisation: {{id: {organisation}}}
site: {{id: {site}, time_zone: Europe/Copenhagen}}
lines: [{{id: press}}]
products: [{{id: bracket}}]
agents: [{{id: ours}}, {{id: theirs}}]
meters:
  - {{id: {site}-power, agent: ours, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
  - {{id: {site}-heat, agent: theirs, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
"""


@dataclass(kw_only=True)
class House:
    """A factory with its neighbours, a collector that takes whatever gets through, and what it has stored."""

    url: str
    server: BrokerUrl
    agents: BrokerUrl
    root: Path
    authorities: Authorities
    access: BrokerAccess
    folder: Path
    ours: Device
    neighbours: dict[str, Device]
    told: list[tuple[str, bytes]] = field(default_factory=list)
    seq: int = 0

    @property
    def neighbour(self) -> Device:
        """The one next to us."""
        return self.neighbours["same site"]

    def query(self, statement: str, *values: object) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement, values).fetchall()

    async def let_in(self, address: AgentAddress) -> Device:
        """One more certificate for an agent."""
        device = make_device(self.authorities, address, self.folder)
        await self.access.admit(device.address, device.username)
        return device

    def as_device(self, device: Device, **how: Any) -> Any:
        """A connection with a certificate."""
        return connected(self.agents, context=device.context(self.root), **how)


@pytest.fixture(scope="module")
def house(stack: Servers, template_database: str, agent_broker_url: str, authority_dir: Path) -> Iterator[House]:
    import asyncio

    organisation, other = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ours", "theirs"))
    places = {
        "ours": AgentAddress(organisation=organisation, site="hall", agent="ours"),
        "same site": AgentAddress(organisation=organisation, site="hall", agent="theirs"),
        "other site": AgentAddress(organisation=organisation, site="yard", agent="theirs"),
        "other organisation": AgentAddress(organisation=other, site="mill", agent="theirs"),
    }
    authorities = Authorities(authority_dir, now=datetime.now(UTC))
    access = open_broker_access(BrokerAccessSettings(broker_url=stack.broker_url))
    with tempfile.TemporaryDirectory() as name, fresh_database(stack, template_database) as url:
        folder = Path(name)
        root = folder / "root.pem"
        root.write_text(authorities.root.pem)
        with psycopg.connect(url) as connection:
            for key, site in {(place.organisation, place.site) for place in places.values()}:
                text = SITE.format(organisation=key, site=site)
                apply_site_model(connection, parse_configuration(text, name="site.yaml", model=SiteModel))
        devices = {what: make_device(authorities, place, folder) for what, place in places.items()}
        for device in devices.values():
            asyncio.run(access.admit(device.address, device.username))
        found = House(
            url=url,
            server=parse_broker_url(stack.broker_url),
            agents=parse_broker_url(agent_broker_url),
            root=root,
            authorities=authorities,
            access=access,
            folder=folder,
            ours=devices.pop("ours"),
            neighbours=devices,
        )
        with _collecting(stack, found), _listening(found, {organisation, other}):
            yield found
        asyncio.run(access.reconcile({}, organisations={organisation, other}))


class _collecting:  # noqa: N801 - a `with` of this module
    def __init__(self, stack: Servers, house: House) -> None:
        name = f"attacks-{uuid.uuid4().hex[:8]}"
        settings = CollectorSettings(
            database_url=house.url, broker_url=stack.broker_url, collector_id=name, share_group=name, batch_age_ms=1
        )
        self._collector = Collector(settings)
        self._thread = threading.Thread(target=self._collector.run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        until(lambda: not any("broker" in p for p in self._collector.problems()), "the collector's subscription")

    def __exit__(self, *_: object) -> None:
        self._collector.stop()
        self._thread.join(30)


class _listening:  # noqa: N801
    """Our own server hears everything that the broker lets through of these organisations."""

    def __init__(self, house: House, organisations: set[str]) -> None:
        self._client = client = new_client(house.server)
        self._server = house.server
        self._subscribed = threading.Event()
        topics = [(f"afkobling/v1/{organisation}/#", 1) for organisation in organisations]
        client.on_connect = lambda client, *_: client.subscribe(topics)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _c, _d, message: house.told.append((message.topic, bytes(message.payload)))

    def __enter__(self) -> None:
        self._client.connect(self._server.host, self._server.port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(autouse=True)
def nothing_forged_is_stored(house: House) -> Iterator[None]:
    """After each attack: our agent is still heard, and of what was forged the broker let nothing through."""
    yield
    value = 1000.0 + house.seq
    with house.as_device(house.ours) as agent:
        house.seq += 1
        assert agent.publish(house.ours.address.topic(Kind.READINGS), _readings(house, house.ours, value)) == OK
        until(lambda: house.query("SELECT FROM reading WHERE value = %s", value) == [()], "our own reading")
    assert not [topic for topic, payload in house.told if str(FORGED).encode() in payload]
    assert house.query("SELECT count(*) FROM reading WHERE value = %s", FORGED) == [(0,)]
    kept = house.query("SELECT topic, payload FROM quarantine WHERE site = ANY(%s)", ["hall", "yard", "mill"])
    assert [topic for topic, payload in kept if bytes(payload) != GENUINE] == []
    assert house.query("SELECT DISTINCT agent, epoch FROM ledger WHERE site = 'hall'") == [("ours", "genuine")]
    assert house.query("SELECT count(*) FROM run") == [(0,)]
    assert house.query("SELECT agent FROM agent_report WHERE status::text LIKE %s", f"%{FORGED}%") == []


def _readings(house: House, device: Device, value: float, *, epoch: str = "genuine") -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    meter = f"{device.address.site}-{'power' if device.address.agent == 'ours' else 'heat'}"
    return {
        "v": 1,
        "epoch": epoch,
        "seq": house.seq,
        "sent_at": now_ms,
        "meters": [meter],
        "units": ["kWh"],
        "meter": [0],
        "at": [now_ms],
        "value": [value],
    }


def _forged(house: House, device: Device, kind: Kind) -> dict[str, Any]:
    """A message as that device would send or be sent it."""
    if kind is Kind.READINGS:
        return _readings(house, device, FORGED, epoch="forged")
    return {"v": 1, "epoch": "forged", "seq": 1, "at": 0, "forged": FORGED}


def _assert_may_do_nothing(house: House, attacker: Attacker, device: Device) -> None:
    """Let in or not: it says nothing and hears nothing."""
    if attacker.connected != OK:
        return
    for kind in Kind:
        topic = device.address.topic(kind)
        assert attacker.publish(topic, _forged(house, device, kind)) == DENIED
        assert attacker.subscribe(topic) == DENIED


def test_an_agent_says_what_is_its_own_and_hears_what_it_is_told(house: House) -> None:
    """Else all that follows would prove nothing."""
    with (
        house.as_device(house.ours) as agent,
        connected(house.server, user=house.server.user, password=house.server.password) as server,
    ):
        for kind in TOLD:
            assert agent.subscribe(house.ours.address.topic(kind)) == "Granted QoS 1"
            assert server.publish(house.ours.address.topic(kind), GENUINE) == OK
        until(lambda: {topic for topic, payload in agent.heard if payload == GENUINE} == {
            house.ours.address.topic(kind) for kind in TOLD
        }, "what the agent is told")  # fmt: skip


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_nobody_speaks_as_a_neighbour(house: House, neighbour: str, kind: Kind) -> None:
    victim = house.neighbours[neighbour]
    with house.as_device(house.ours) as attacker:
        assert attacker.publish(victim.address.topic(kind), _forged(house, victim, kind)) == DENIED
        assert attacker.publish(victim.address.topic(kind), _forged(house, victim, kind), retain=True) == DENIED
        assert attacker.ended is None


def test_nobody_speaks_as_a_neighbour_in_an_older_mqtt(house: House) -> None:
    """Version 3.1.1 has no word for a refusal: the broker acknowledges, and drops it."""
    victim = house.neighbour
    with house.as_device(house.ours, protocol=MQTTProtocolVersion.MQTTv311) as attacker:
        assert attacker.connected == OK
        attacker.publish(victim.address.topic(Kind.READINGS), _forged(house, victim, Kind.READINGS))


@pytest.mark.parametrize("kind", TOLD)
def test_nobody_confirms_its_own_readings_or_configures_itself(house: House, kind: Kind) -> None:
    with house.as_device(house.ours) as attacker:
        topic = house.ours.address.topic(kind)
        assert attacker.publish(topic, _forged(house, house.ours, kind), retain=True) == DENIED
        assert attacker.publish(house.neighbour.address.topic(kind), _forged(house, house.neighbour, kind)) == DENIED


@pytest.mark.parametrize("topic", ["outside", "afkobling/v2/{0}/readings", "{0}/readings", "afkobling/v1/{0}/other"])
def test_nobody_speaks_where_nothing_is_to_be_said(house: House, topic: str) -> None:
    with house.as_device(house.ours) as attacker:
        assert attacker.publish(topic.format(house.ours.address), _forged(house, house.ours, Kind.STATUS)) == DENIED


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_nobody_hears_a_neighbour(house: House, neighbour: str) -> None:
    address = house.neighbours[neighbour].address
    with house.as_device(house.ours) as attacker:
        for kind in Kind:
            assert attacker.subscribe(address.topic(kind)) == DENIED
        assert attacker.subscribe(f"afkobling/v1/{address}/#") == DENIED
        with house.as_device(house.neighbours[neighbour]) as victim:
            assert victim.publish(address.topic(Kind.METERS), GENUINE) == OK
        assert attacker.heard == []


@pytest.mark.parametrize(
    "pattern",
    [
        "#",
        "+/+/+/+/+/+",
        "afkobling/#",
        "afkobling/v1/+/+/+/stored",
        "afkobling/v1/{0}/#",
        "afkobling/v1/{0}/+",
        "afkobling/v1/{0}/readings",
        "$SYS/#",
        "$SYS/broker/version",
        "$CONTROL/#",
        "$CONTROL/dynamic-security/v1/response",
        "$share/thief/#",
        "$share/thief/afkobling/#",
        "$share/thief/afkobling/v1/{0}/stored",
    ],
)
def test_nobody_listens_in_by_a_pattern(house: House, pattern: str) -> None:
    with house.as_device(house.ours) as attacker:
        assert attacker.subscribe(pattern.format(house.ours.address)) == DENIED


async def test_nobody_changes_the_access_list(house: House) -> None:
    """Neither lets somebody in, nor throws a neighbour out, nor makes itself a server."""
    before = await house.access.agents()
    commands = [
        {"command": "deleteClient", "username": house.neighbour.username},
        {"command": "addClientRole", "username": house.ours.username, "rolename": "server"},
        {"command": "setDefaultACLAccess", "acls": [{"acltype": "publishClientSend", "allow": True}]},
    ]
    with house.as_device(house.ours) as attacker:
        for topic in ("$CONTROL/dynamic-security/v1", "$CONTROL/broker/v1"):
            assert attacker.publish(topic, {"commands": commands}) == DENIED
        assert attacker.publish("$SYS/broker/version", b"forged") == DENIED
        assert (
            attacker.publish(house.neighbour.address.topic(Kind.STATUS), _forged(house, house.neighbour, Kind.STATUS))
            == DENIED
        )
    assert await house.access.agents() == before


def test_a_last_will_under_a_neighbour_s_topic_is_never_told(house: House) -> None:
    topic = house.neighbour.address.topic(Kind.STATUS)
    before = len(house.told)
    with house.as_device(house.ours, will=topic) as attacker:
        assert attacker.connected == OK
        attacker.cut()
    # One of our own, told after it, shows that the broker tells last wills and has been through that one.
    own = house.ours.address.topic(Kind.STATUS)
    with house.as_device(house.ours, will=own, will_says=GENUINE) as agent:
        agent.cut()
    until(lambda: (own, GENUINE) in house.told[before:], "our own last will")
    assert [payload for where, payload in house.told[before:] if where == topic] == []


def test_nobody_takes_over_a_neighbour_s_session(house: House) -> None:
    """Whatever client id one gives, the broker puts the certificate's name in its place."""
    told = house.neighbour.address.topic(Kind.STORED)
    with house.as_device(house.neighbour, client_id="theirs") as victim:
        assert victim.subscribe(told) == "Granted QoS 1"
        for stolen in ("theirs", house.neighbour.username, f"afkobling/{house.neighbour.address}"):
            with house.as_device(house.ours, client_id=stolen) as attacker:
                assert attacker.connected == OK
                assert attacker.publish(house.neighbour.address.topic(Kind.STATUS), GENUINE) == DENIED
                with connected(house.server, user=house.server.user, password=house.server.password) as server:
                    before = len(victim.heard)
                    server.publish(told, GENUINE)
                until(lambda before=before: len(victim.heard) > before, "what the neighbour is told")  # type: ignore[misc]
                assert attacker.heard == []
        assert victim.ended is None


def test_nobody_takes_over_the_collector_s_session(house: House) -> None:
    name = f"collector-{uuid.uuid4().hex[:8]}"
    with (
        connected(house.server, user=house.server.user, password=house.server.password, client_id=name) as server,
        house.as_device(house.ours, client_id=name) as attacker,
    ):
        assert attacker.connected == OK
        assert server.publish(house.ours.address.topic(Kind.STORED), GENUINE) == OK
        assert server.ended is None


async def test_a_revoked_agent_is_cut_off_at_once_and_can_do_nothing(house: House) -> None:
    device = await house.let_in(house.ours.address)
    with house.as_device(device) as attacker:
        assert attacker.publish(device.address.topic(Kind.METERS), GENUINE) == OK
        await house.access.expel(device.username)
        until(lambda: attacker.ended is not None, "the end of a revoked agent's connection")
        assert attacker.ended == "Administrative action"
    topic = device.address.topic(Kind.STATUS)
    with house.as_device(device, will=topic) as attacker:
        _assert_may_do_nothing(house, attacker, device)
        attacker.cut()
    # Its agent goes on with the certificate that took its place.
    with house.as_device(house.ours) as agent:
        assert agent.publish(topic, GENUINE) == OK


def test_a_certificate_that_nobody_admitted_can_do_nothing(house: House) -> None:
    """Signed by us, and not in the broker's list: as after its code was withdrawn, or from an old backup."""
    device = make_device(house.authorities, house.ours.address, house.folder)
    with house.as_device(device) as attacker:
        _assert_may_do_nothing(house, attacker, device)


@pytest.mark.parametrize("when", ["expired", "not yet valid"])
async def test_a_certificate_out_of_its_time_is_not_let_in(house: House, when: str) -> None:
    now = datetime.now(UTC) + timedelta(days=-100 if when == "expired" else 100)
    device = make_device(house.authorities, house.ours.address, house.folder, now=now, valid=timedelta(days=90))
    # Even when the broker's list has it still.
    await house.access.admit(device.address, device.username)
    with house.as_device(device) as attacker:
        assert attacker.connected is None
        assert attacker.ended is not None
    await house.access.expel(device.username)


@pytest.mark.parametrize("kind", ["self-made", "of another installation"])
def test_a_certificate_of_somebody_else_s_authority_is_not_let_in(house: House, tmp_path: Path, kind: str) -> None:
    """With the very names that ours have, down to the serial number."""
    now = datetime.now(UTC)
    if kind == "self-made":
        own = x509.load_pem_x509_certificate(house.ours.certificate.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            x509.CertificateBuilder()
            .subject_name(own.subject)
            .issuer_name(own.issuer)
            .serial_number(own.serial_number)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=90))
            .public_key(key.public_key())
            .sign(key, hashes.SHA256())
        )
        chain = made.public_bytes(serialization.Encoding.PEM).decode()
        device = keep_device(house.ours.address, chain, key, house.ours.username, house.folder)
    else:
        device = make_device(Authorities(tmp_path, now=now), house.ours.address, house.folder)
    with house.as_device(device) as attacker:
        assert attacker.connected is None
        assert attacker.ended is not None


def test_an_agent_s_certificate_signs_no_other(house: House) -> None:
    """An agent has a key and a certificate of ours: it may not make another agent of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = serialization.load_pem_private_key(house.ours.key.read_bytes(), None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    ours = x509.load_pem_x509_certificate(house.ours.certificate.read_bytes())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, house.neighbour.username)]))
        .issuer_name(ours.subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(own, hashes.SHA256())
    )
    chain = made.public_bytes(serialization.Encoding.PEM).decode() + house.ours.certificate.read_text()
    device = keep_device(house.neighbour.address, chain, key, house.neighbour.username, house.folder)
    with house.as_device(device) as attacker:
        assert attacker.connected is None
        assert attacker.ended is not None


def test_without_a_certificate_nobody_is_let_in(house: House) -> None:
    context = ssl.create_default_context(cafile=str(house.root))
    for user, password in ((None, None), (house.ours.username, ""), (house.server.user, house.server.password)):
        with connected(house.agents, context=context, user=user, password=password) as attacker:
            assert attacker.connected is None
            assert attacker.ended is not None


def test_without_encryption_nobody_is_let_in(house: House) -> None:
    with connected(house.agents, user=house.ours.username, password="") as attacker:
        assert attacker.connected is None
        assert attacker.ended is not None


def test_old_encryption_is_refused(house: House) -> None:
    context = house.ours.context(house.root)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # Python warns of it, too.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connected(house.agents, context=context) as attacker:
        assert attacker.connected is None
        assert "PROTOCOL_VERSION" in str(attacker.ended)


def test_a_password_beside_a_certificate_makes_nobody_a_server(house: House) -> None:
    """Even the right one: with a certificate one is who it says."""
    server = {"user": house.server.user, "password": house.server.password}
    victim = house.neighbour
    with house.as_device(house.ours, **server) as attacker:
        assert attacker.publish(victim.address.topic(Kind.READINGS), _forged(house, victim, Kind.READINGS)) == DENIED
        assert attacker.subscribe("#") == DENIED


@pytest.mark.parametrize("password", [None, "", "server", "afkobling"])
@pytest.mark.parametrize("name", ["agent", "server", "admin", None])
def test_the_servers_listener_lets_in_nobody_by_a_guess(house: House, name: str | None, password: str | None) -> None:
    user = house.ours.username if name == "agent" else name
    with connected(house.server, user=user, password=password) as attacker:
        assert attacker.connected == DENIED


def test_a_broker_of_somebody_else_s_gets_nothing_from_an_agent(house: House, tmp_path: Path) -> None:
    """An agent that is led to another broker sees that its certificate is not of our root, and says nothing."""
    other = tmp_path / "other.pem"
    other.write_text(Authorities(tmp_path, now=datetime.now(UTC)).root.pem)
    with connected(house.agents, context=house.ours.context(other)) as agent:
        assert agent.connected is None
        assert "CERTIFICATE_VERIFY_FAILED" in str(agent.ended)
