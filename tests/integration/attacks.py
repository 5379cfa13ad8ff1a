"""Whoever attacks: agents with certificates of every kind, and a client that tells what the broker did to it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from api.agents.authority import Authorities, key_pem
from schemas.broker_url import BrokerUrl
from schemas.enrolment import username
from schemas.topics import AgentAddress

FORGED = 666.25
"""The value of everything that is no agent's own."""
_ANSWER_S = 10


@dataclass(frozen=True, kw_only=True)
class Device:
    """A key and its certificate, as files, and the name that the broker knows it by."""

    address: AgentAddress
    certificate: Path
    key: Path
    username: str

    def context(self, authority: Path) -> ssl.SSLContext:
        """For a connection to the broker whose root is `authority`."""
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_device(
    authorities: Authorities,
    address: AgentAddress,
    folder: Path,
    *,
    now: datetime | None = None,
    valid: timedelta = timedelta(days=90),
) -> Device:
    """What enrolment makes: a key, and a certificate of the organisation's authority for it."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    issued = authorities.of(address.organisation, now=now).issue_agent(csr, address, now=now, valid=valid)
    return keep_device(address, issued.chain, key, username(address, issued.serial), folder)


def keep_device(address: AgentAddress, chain: str, key: ec.EllipticCurvePrivateKey, name: str, folder: Path) -> Device:
    """The files of a certificate."""
    base = folder / f"{name.replace(':', '-')}-{len(list(folder.iterdir()))}"
    certificate, key_file = base.with_suffix(".pem"), base.with_suffix(".key")
    certificate.write_text(chain)
    key_file.write_text(key_pem(key))
    return Device(address=address, certificate=certificate, key=key_file, username=name)


@dataclass(kw_only=True)
class Attacker:
    """A connection, and what came of it. Reasons are the broker's own words."""

    client: mqtt.Client
    connected: str | None = None
    ended: str | None = None
    answers: dict[int, list[str]] = field(default_factory=dict)
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes | str | dict[str, Any], *, retain: bool = False) -> str:
        """The broker's answer to a message of QoS 1."""
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        info = self.client.publish(topic, body, qos=1, retain=retain)
        return self._answer(info.mid)[0]

    def subscribe(self, topic: str) -> str:
        """The broker's answer to a subscription."""
        _, mid = self.client.subscribe(topic, qos=1)
        assert mid is not None
        return self._answer(mid)[0]

    def cut(self) -> None:
        """End the connection so that the broker tells the last will."""
        live = self.client.socket()
        assert live is not None
        live.shutdown(2)  # type: ignore[attr-defined]
        until(lambda: self.ended is not None, "the end of a connection that was cut")

    def _answer(self, mid: int) -> list[str]:
        until(lambda: mid in self.answers or self.ended is not None, "the broker's answer")
        return self.answers.get(mid, [f"connection ended: {self.ended}"])


@contextmanager
def connected(
    broker: BrokerUrl,
    *,
    context: ssl.SSLContext | None = None,
    user: str | None = None,
    password: str | None = None,
    client_id: str = "",
    will: str | None = None,
    will_says: bytes = b'{"forged": %g}' % FORGED,
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
) -> Iterator[Attacker]:
    """Try to connect, and say how it went: `connected` or `ended` is set then."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False
    )
    attacker = Attacker(client=client)

    def on_connect(_client: object, _data: object, _flags: object, reason: object, _properties: object) -> None:
        attacker.connected = str(reason)

    def on_disconnect(_client: object, _data: object, _flags: object, reason: object, _properties: object) -> None:
        attacker.ended = str(reason)

    def on_publish(_client: object, _data: object, mid: int, reason: object, _properties: object) -> None:
        attacker.answers[mid] = [str(reason)]

    def on_subscribe(_client: object, _data: object, mid: int, reasons: list[Any], _properties: object) -> None:
        attacker.answers[mid] = [str(reason) for reason in reasons]

    client.on_connect, client.on_disconnect = on_connect, on_disconnect
    client.on_publish, client.on_subscribe = on_publish, on_subscribe
    client.on_message = lambda _client, _data, message: attacker.heard.append((message.topic, bytes(message.payload)))
    if user is not None:
        client.username_pw_set(user, password)
    if context is not None:
        client.tls_set_context(context)
    if will is not None:
        client.will_set(will, will_says, qos=1, retain=True)
    try:
        client.connect(broker.host, broker.port)
        client.loop_start()
        until(lambda: (attacker.connected or attacker.ended) is not None, "an answer to the connection")
    except OSError as error:
        attacker.ended = str(error)
    try:
        yield attacker
    finally:
        client.disconnect()
        client.loop_stop()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; fails, naming it, when it does not come."""
    deadline = time.monotonic() + _ANSWER_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)
