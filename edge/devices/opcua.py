"""An OPC UA server that does not exist, at the end of a cable that can fail. Needs the extra `opcua`."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import closing
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.attribute_ids import AttributeIds

from edge.devices.line import Line, State

NAMESPACE = "urn:afkobling:device"
"""Its nodes are `ns=2;s=NAME`."""


class OpcUaDevice:
    """Variables by name, each a number to begin with. The server itself stays up; the cable makes the faults."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        certificate: tuple[Path, Path] | None = None,
        user: tuple[str, str] | None = None,
    ) -> None:
        """`certificate`: the server's and its key, which has it take secured connections only."""
        self._names = tuple(names)
        self._certificate = certificate
        self._user = user
        self._port = _free_port()
        self._server: Server | None = None
        self._nodes: dict[str, Node] = {}
        self.line = Line(to_port=self._port)

    @property
    def endpoint(self) -> str:
        """Where a client finds it; known after `start`. The server itself believes to be at another port."""
        return f"opc.tcp://127.0.0.1:{self.line.port}"

    async def start(self) -> None:
        """Be there, also after a fault. The values stay."""
        if self._server is None:
            await self._start_server()
        await self.line.set_state(State.WHOLE)

    async def say(self, name: str, value: object, *, status: int = 0, at: datetime | None = None) -> None:
        """What the variable holds from now on, with the source's time (now, unless given)."""
        await self._nodes[name].write_value(
            ua.DataValue(
                ua.Variant(value),
                ua.StatusCode(ua.UInt32(status)),
                SourceTimestamp=_date_time(at or datetime.now(UTC)),
                ServerTimestamp=_date_time(datetime.now(UTC)),
            )
        )

    async def add(self, name: str, value: float) -> None:
        """A variable that was not there before."""
        assert self._server is not None  # noqa: S101 - only after start()
        self._nodes[name] = await self._server.nodes.objects.add_variable(
            ua.NodeId(ua.String(name), ua.Int16(2)), name, value
        )

    async def drop_subscriptions(self) -> None:
        """Forget what clients subscribed to, without a word, as a server that was programmed anew does."""
        assert self._server is not None  # noqa: S101
        service = self._server.iserver.subscription_service
        await service.delete_subscriptions(list(service.subscriptions))

    async def vanish(self) -> None:
        await self.line.set_state(State.CUT)

    async def fall_silent(self) -> None:
        await self.line.set_state(State.SILENT)

    async def go_mad(self) -> None:
        """Noise on the wire."""
        await self.line.set_state(State.NOISY)

    async def stop(self) -> None:
        """Safe twice, and before `start`."""
        await self.line.close()
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def _start_server(self) -> None:
        logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
        internal = _InternalServer(user_manager=None if self._user is None else _OneUser(*self._user))
        internal.disabled_clock = True  # stopping would wait for its next second
        server = Server(iserver=internal)
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self._port}/afkobling")
        if self._certificate is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            certificate, key = self._certificate
            await server.load_certificate(str(certificate))
            await server.load_private_key(str(key))
            server.set_security_policy(
                [
                    ua.SecurityPolicyType.Basic256Sha256_Sign,
                    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
                    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
                ]
            )
        await server.register_namespace(NAMESPACE)
        self._server = server
        for name in self._names:
            await self.add(name, 0.0)
        await server.start()


class _Standard(MutableMapping[ua.NodeId, NodeData]):
    """The address space that every server has, built once a process: it takes seconds. A node is copied when used."""

    _built: ClassVar[dict[ua.NodeId, NodeData]] = {}

    def __init__(self) -> None:
        self._own: dict[ua.NodeId, NodeData] = {}

    def __getitem__(self, key: ua.NodeId) -> NodeData:
        if key not in self._own:
            self._own[key] = _copied(self._built[key])
        return self._own[key]

    def __setitem__(self, key: ua.NodeId, value: NodeData) -> None:
        self._own[key] = value

    def __delitem__(self, key: ua.NodeId) -> None:
        del self._own[key]

    def __contains__(self, key: object) -> bool:
        return key in self._own or key in self._built

    def __iter__(self) -> Iterator[ua.NodeId]:
        return iter({**self._built, **self._own})

    def __len__(self) -> int:
        return len({**self._built, **self._own})


def _copied(node: NodeData) -> NodeData:
    """What a server changes in place is its own; the rest, whole type trees of it, is shared and only ever replaced."""
    copy = NodeData(node.nodeid)
    copy.references = list(node.references)
    copy.call = node.call
    for which, attribute in node.attributes.items():
        assert attribute.value is not None  # noqa: S101 - those that are computed come when a server starts
        value = deepcopy(attribute.value) if which == AttributeIds.Value else attribute.value
        copy.attributes[which] = AttributeValue(value)
    return copy


class _InternalServer(InternalServer):
    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        built = _Standard._built  # noqa: SLF001
        if not built:
            gc.disable()  # there is no garbage among the 100,000 objects that it makes
            try:
                await super().load_standard_address_space(shelf_file)
            finally:
                gc.enable()
            built.update(self.aspace._nodes)  # noqa: SLF001 - asyncua's own way to keep it (a shelf) is slower still
        self.aspace._nodes = _Standard()  # type: ignore[assignment]  # noqa: SLF001


class _OneUser(UserManager):
    def __init__(self, name: str, password: str) -> None:
        self._known = (name, password)

    def get_user(
        self, iserver: InternalServer, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        del iserver, certificate
        return User(role=UserRole.User, name=username) if (username, password) == self._known else None


def _date_time(at: datetime) -> ua.DateTime:
    return ua.DateTime.fromtimestamp(at.timestamp(), UTC)


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
