"""One connection to an OPC UA server, from connecting to its end.

Each has a client of asyncua of its own: after a failure nothing of it lives on. Everything that the library knows stays
behind this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import DataChangeNotif, Subscription
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edge.drivers.opcua.certificates import Identity
from edge.drivers.opcua.settings import OpcUaSettings, Policy
from edge.drivers.opcua.values import Sample
from edge.errors import EdgeTransientError

_SESSION_MS = 60_000
"""How long the server keeps a session that we left without a word: small controllers have few."""
_CLOSE_S = 1.0
_AT_ONCE = 100
"""Nodes in one request: small controllers take no more."""
_QUEUE = 100
"""Samples of a node that the server keeps between two messages."""
_MOST_CHANGES = 50_000
"""What may wait here while the agent's outbox is slow; beyond, the session is made again and the loss is told."""

logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # what it would say at each attempt, the driver says once


class ServerAwayError(EdgeTransientError):
    """No connection, no answer in time, one that makes no sense, or a refusal; the message says what to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to the server, and whom we take it to be."""

    user: str | None = None
    password: str | None = None
    identity: Identity | None = None
    server_certificate: bytes | None = None


class Session:
    """Everything but `close` raises ServerAwayError."""

    def __init__(self, settings: OpcUaSettings, credentials: Credentials) -> None:
        self.changed = asyncio.Event()
        """Set when something came, or the connection was lost."""
        self._settings = settings
        self._credentials = credentials
        self._changes: deque[tuple[str, Sample]] = deque()
        self._lost: str | None = None
        self._nodes: dict[str, Node] = {}
        self._subscription: Subscription | None = None
        self._subscribed: set[str] = set()
        self._client = Client(
            settings.endpoint, timeout=settings.timeout / 1000, watchdog_intervall=settings.timeout / 1000
        )

    async def open(self) -> None:
        """Connect, and find the nodes' namespaces."""
        client, credentials = self._client, self._credentials
        client.name = client.description = "Afkobling"
        client.session_timeout = _SESSION_MS
        client.connection_lost_callback = self._on_lost
        if credentials.user is not None:
            client.set_user(credentials.user)
            client.set_password(credentials.password or "")
        with self._words(
            "" if credentials.server_certificate is None else "; is `server_certificate` the server's own?"
        ):
            await self._secure()
            await client.connect()
            namespaces = await self._namespaces()
        self._nodes = {
            meter: client.get_node(_node_id(said.node, namespaces)) for meter, said in self._settings.meters.items()
        }

    async def read(self) -> list[tuple[str, Sample]]:
        """What each meter's node holds now."""
        self._check()
        meters = list(self._nodes)
        found: list[tuple[str, Sample]] = []
        for i in range(0, len(meters), _AT_ONCE):
            some = meters[i : i + _AT_ONCE]
            with self._words():
                values = await self._client.uaclient.session.read(_request([self._nodes[meter] for meter in some]))
                found += [(meter, _sample(value, is_asked=True)) for meter, value in zip(some, values, strict=True)]
        return found

    async def subscribe(self) -> None:
        """Have the server tell what changes, of the nodes that it hasn't been asked about; it may not know some yet."""
        with self._words():
            if self._subscription is None:
                self._subscription = await self._client.create_subscription(self._parameters(), self)
            missing = {node.nodeid: node for meter, node in self._nodes.items() if meter not in self._subscribed}
            wanted = list(missing.values())
            for i in range(0, len(wanted), _AT_ONCE):
                some = wanted[i : i + _AT_ONCE]
                answers = await self._subscription.subscribe_data_change(
                    some, sampling_interval=ua.Double(self._settings.every), queuesize=_QUEUE
                )
                taken = {node.nodeid for node, answer in zip(some, answers, strict=True) if isinstance(answer, int)}
                self._subscribed |= {meter for meter, node in self._nodes.items() if node.nodeid in taken}

    def take_changes(self) -> list[tuple[str, Sample]]:
        """What the server has told since the last time."""
        self._check()
        self.changed.clear()
        found = list(self._changes)
        self._changes.clear()
        return found

    async def close(self) -> None:
        """Leave, with a word to the server where it still listens. Safe twice, and before `open`."""
        with contextlib.suppress(Exception):  # whatever it stumbles over, it is over
            async with asyncio.timeout(_CLOSE_S):
                await self._client.disconnect()
        self._client.disconnect_socket()
        self._lost = self._lost or "the connection was closed"
        self.changed.set()

    def datachange_notification(self, node: Node, _value: object, data: DataChangeNotif) -> None:
        """For asyncua, in the event loop."""
        sample = _sample(data.monitored_item.Value, is_asked=False)
        for meter, own in self._nodes.items():
            if own.nodeid == node.nodeid:
                self._changes.append((meter, sample))
        if len(self._changes) > _MOST_CHANGES:
            self._lost = f"{len(self._changes)} changes came before the agent could keep them; raise `every`"
            self._changes.clear()
        self.changed.set()

    def status_change_notification(self, status: ua.StatusChangeNotification) -> None:
        """For asyncua: the subscription is over."""
        self._lost = self._lost or f"the server ended the subscription: {status.Status.name}"
        self.changed.set()

    async def _on_lost(self, error: Exception) -> None:
        self._lost = self._lost or f"the connection broke: {_explain(error)}"
        self.changed.set()

    def _check(self) -> None:
        if self._lost is not None:
            raise ServerAwayError(self._lost)

    async def _secure(self) -> None:
        security, identity = self._settings.security, self._credentials.identity
        if security.policy is Policy.NONE or identity is None:
            return
        self._client.application_uri = identity.application_uri
        server = self._credentials.server_certificate
        await self._client.set_security(
            getattr(security_policies, f"SecurityPolicy{security.policy}"),
            CertProperties(identity.certificate, "der"),
            CertProperties(identity.key, "pem"),
            server_certificate=None if server is None else CertProperties(server, "der"),
            mode=ua.MessageSecurityMode[security.mode],
        )

    async def _namespaces(self) -> Sequence[str]:
        if not any(meter.node.startswith("nsu=") for meter in self._settings.meters.values()):
            return ()
        return await self._client.get_namespace_array()

    def _parameters(self) -> ua.CreateSubscriptionParameters:
        settings = self._settings
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = settings.every
        # With nothing to tell, the server says at least so often that it is still there.
        parameters.RequestedMaxKeepAliveCount = max(1, settings.repeat // settings.every)
        parameters.RequestedLifetimeCount = max(10, 5 * parameters.RequestedMaxKeepAliveCount)
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        parameters.Priority = 0
        return parameters

    @contextlib.contextmanager
    def _words(self, hint: str = "") -> Iterator[None]:
        try:
            yield
        except ServerAwayError:
            raise
        except Exception as error:  # what the library's parser stumbles over may be anything
            raise ServerAwayError(f"{_explain(error)}{hint}") from error


def _request(nodes: Sequence[Node]) -> ua.ReadParameters:
    request = ua.ReadParameters()
    request.TimestampsToReturn = ua.TimestampsToReturn.Both
    for node in nodes:
        what = ua.ReadValueId()
        what.NodeId = node.nodeid
        what.AttributeId = AttributeIds.Value
        request.NodesToRead.append(what)
    return request


def _node_id(text: str, namespaces: Sequence[str]) -> str:
    """The node id with its namespace's number, which may change when the server is programmed anew."""
    if not text.startswith("nsu="):
        return text
    uri, _, identifier = text.removeprefix("nsu=").partition(";")
    if uri not in namespaces:
        raise ServerAwayError(f"the server has no namespace {uri}; it has: {', '.join(namespaces)}")
    return f"ns={namespaces.index(uri)};{identifier}"


def _sample(value: ua.DataValue, *, is_asked: bool) -> Sample:
    status = value.StatusCode
    return Sample(
        value=None if value.Value is None else value.Value.Value,
        status=0 if status is None else int(status.value),
        status_name="Good" if status is None else status.name,
        source_ms=_milliseconds(value.SourceTimestamp),
        server_ms=_milliseconds(value.ServerTimestamp),
        is_asked=is_asked,
    )


def _milliseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return round((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


_WORDS: Mapping[int, str] = {
    0x801F_0000: "the server does not let us in: wrong user or password, or the user may not read",
    0x8021_0000: "the server does not let us in: wrong user or password",
    0x8020_0000: "the server does not take this kind of user; it may want `user` and `password`, or none",
    0x8013_0000: "the server does not trust our certificate; trust it in the server's settings (its rejected list)",
    0x801A_0000: "the server does not trust our certificate; trust it in the server's settings (its rejected list)",
    0x8012_0000: "the server finds our certificate invalid; remove it and its key to have new ones made",
    0x8014_0000: "a certificate has expired, or a clock is wrong; check the clocks of server and agent",
    0x8055_0000: "the server does not offer this security policy; see which it offers, and set security.policy",
    0x8054_0000: "the server does not offer this security mode; see which it offers, and set security.mode",
    0x8056_0000: "the server has too many sessions open; close some, or raise its limit",
    0x800C_0000: "the server shuts down",
    0x800E_0000: "the server has stopped",
}


def _explain(error: BaseException) -> str:
    """What the library raised, in words for a technician."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time; check address, network and power, or raise `timeout`"
    if isinstance(error, UaStatusCodeError):
        code = int(error.code) & 0xFFFF_0000
        return _WORDS.get(code, f"the server refuses: {type(error).__name__}: {error}")
    if isinstance(error, UaError):
        text = str(error)
        if "No matching endpoints" in text:
            return "the server does not offer this security policy and mode; see which it offers, and set `security`"
        if "certificate mismatch" in text.lower():
            return "the server shows another certificate than `server_certificate`: is it the right server?"
        return text
    if isinstance(error, OSError):
        return f"no connection ({error}); check address, port and network"
    return f"an answer that makes no sense ({type(error).__name__}: {error})"
