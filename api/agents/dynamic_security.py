"""The broker's list of agents in Mosquitto's dynamic-security plugin, told over its control topic.

Roles name topics literally: before Mosquitto 2.1 a role knows no `%u`. The plugin writes its whole file for each
command, and the broker does nothing else meanwhile; so a message carries few commands.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from api.agents.broker_access import HEARS, SAYS, BrokerAccessError, Reconciled, differences
from api.broker_client import new_client
from schemas.broker_tls import BrokerTls, BrokerTlsError
from schemas.broker_url import BrokerUrl
from schemas.topics import AgentAddress

CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSE = f"{CONTROL}/response"
AGENT_ROLE = "agent:"
"""Before an agent's address: the name of its role."""
_TIMEOUT_S = 10.0
_AT_ONCE = 8
_PAGE = 500
_DONE_BEFORE = frozenset({"Role already exists", "Client already exists", "Role not found", "Client not found"})
_NOT_AUTHORIZED = 0x87
_WAYS_OUT = (
    "give AFKOBLING_BROKER_URL a user who may change it, load Mosquitto's dynamic-security plugin there, or set "
    "AFKOBLING_BROKER_ACCESS=none and let the broker know its agents in another way (docs/security.md)"
)

Command = dict[str, Any]


def agent_role(address: AgentAddress) -> str:
    """The name of an agent's role."""
    return f"{AGENT_ROLE}{address}"


def agent_acls(address: AgentAddress) -> list[dict[str, object]]:
    """What an agent may do, all else being forbidden: publish what it says, and hear what it is told."""
    said = [("publishClientSend", address.topic(kind)) for kind in SAYS]
    heard = [(what, address.topic(kind)) for kind in HEARS for what in ("subscribeLiteral", "publishClientReceive")]
    return [{"acltype": what, "topic": topic, "priority": 0, "allow": True} for what, topic in (*said, *heard)]


class DynamicSecurity:
    """Connects for each call: changes are rare, and a connection of days would be one more thing to mend."""

    def __init__(self, broker: BrokerUrl, tls: BrokerTls) -> None:
        self._broker = broker
        self._tls = tls

    @property
    def is_told(self) -> bool:
        return True

    async def admit(self, address: AgentAddress, username: str) -> None:
        await asyncio.to_thread(self._tell, _admission(address, username))

    async def expel(self, username: str) -> None:
        # The plugin's word for a halt, disableClient, does not hold for who comes with a certificate.
        await asyncio.to_thread(self._tell, [{"command": "deleteClient", "username": username}])

    async def agents(self) -> dict[str, AgentAddress]:
        return await asyncio.to_thread(self._agents)

    async def reconcile(
        self, wanted: Mapping[str, AgentAddress], *, organisations: Collection[str] | None = None
    ) -> Reconciled:
        return await asyncio.to_thread(self._reconcile, dict(wanted), organisations)

    def _tell(self, commands: Sequence[Command]) -> None:
        with self._conversation() as conversation:
            conversation.tell(commands)

    def _agents(self) -> dict[str, AgentAddress]:
        with self._conversation() as conversation:
            return _admitted(conversation)

    def _reconcile(self, wanted: Mapping[str, AgentAddress], organisations: Collection[str] | None) -> Reconciled:
        with self._conversation() as conversation:
            have = _admitted(conversation)
            gone, new = differences(have, wanted, organisations)
            conversation.tell([{"command": "deleteClient", "username": name} for name in gone])
            roles = {role["rolename"]: role["acls"] for role in conversation.listed("listRoles", "roles")}
            left = [address for name, address in (have | new).items() if name not in gone]
            needed = {agent_role(address): agent_acls(address) for address in left}
            conversation.tell(
                [
                    {"command": "deleteRole", "rolename": name}
                    for name in roles
                    if name.startswith(AGENT_ROLE) and name not in needed
                ]
            )
            conversation.tell(
                [
                    {"command": "modifyRole", "rolename": name, "acls": acls}
                    for name, acls in needed.items()
                    if name in roles and _comparable(roles[name]) != _comparable(acls)
                ]
            )
            conversation.tell([c for name, address in new.items() for c in _admission(address, name)])
        return Reconciled(admitted=len(new), expelled=len(gone))

    @contextmanager
    def _conversation(self) -> Iterator[_Conversation]:
        try:
            conversation = _Conversation(self._broker, self._tls)
        except BrokerTlsError as error:
            raise BrokerAccessError(str(error)) from error
        try:
            conversation.begin()
            yield conversation
        finally:
            conversation.end()


class _Conversation:
    """One connection: commands in, answers out. Raises BrokerAccessError, and BrokerTlsError when it is made."""

    def __init__(self, broker: BrokerUrl, tls: BrokerTls) -> None:
        self._broker = broker
        self._trouble: str | None = None
        self._is_ready = threading.Event()
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.client = client = new_client(broker, tls, reconnects=False)
        client.connect_timeout = _TIMEOUT_S / 2
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def begin(self) -> None:
        try:
            self.client.connect(self._broker.host, self._broker.port)
        except (OSError, ValueError) as error:
            raise self._error(
                f"can't be reached: {error}; is it running, and is AFKOBLING_BROKER_URL right?"
            ) from error
        self.client.loop_start()
        if not self._is_ready.wait(_TIMEOUT_S):
            raise self._error(f"does not answer within {_TIMEOUT_S:.0f} s")
        if self._trouble:
            raise self._error(self._trouble)

    def end(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def tell(self, commands: Sequence[Command]) -> None:
        """Have all of it done, in this order; what is so already counts as done."""
        for start in range(0, len(commands), _AT_ONCE):
            self._ask(commands[start : start + _AT_ONCE])

    def listed(self, command: str, what: str) -> list[dict[str, Any]]:
        """Everything that a list command tells, read a page at a time."""
        found: list[dict[str, Any]] = []
        while True:
            [answer] = self._ask([{"command": command, "verbose": True, "count": _PAGE, "offset": len(found)}])
            page = answer["data"][what]
            found += page
            if len(page) < _PAGE:
                return found

    def _ask(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        self.client.publish(CONTROL, json.dumps({"commands": list(commands)}), qos=1)
        deadline = time.monotonic() + _TIMEOUT_S
        answers: list[dict[str, Any]] = []
        while len(answers) < len(commands):
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                answer = None
            if answer is None:
                raise self._error(self._trouble or f"does not answer at {CONTROL}; {_WAYS_OUT}")
            answers += answer["responses"]
        refused = [f"{a['command']}: {a['error']}" for a in answers if a.get("error", "") not in {"", *_DONE_BEFORE}]
        if refused:
            raise self._error(f"refuses a change of its list of agents ({'; '.join(refused)})")
        return answers

    def _error(self, words: str) -> BrokerAccessError:
        return BrokerAccessError(f"the broker at {self._broker} {words}")

    def _fail(self, words: str) -> None:
        self._trouble = self._trouble or words
        self._is_ready.set()
        self._answers.put(None)

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._fail(f"refuses the connection ({reason}); check user and password in AFKOBLING_BROKER_URL")
        else:
            client.subscribe(RESPONSE, qos=1)

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._fail(f"takes no changes of its list of agents at {CONTROL}; {_WAYS_OUT}")
        self._is_ready.set()

    def _on_publish(
        self, _client: mqtt.Client, _data: object, _mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.value == _NOT_AUTHORIZED:
            self._fail(f"takes no changes of its list of agents at {CONTROL}; {_WAYS_OUT}")

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: object, reason: ReasonCode, _p: object
    ) -> None:
        self._fail(f"ended the connection ({reason}); try again")

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._answers.put(json.loads(message.payload))


def _admission(address: AgentAddress, username: str) -> list[Command]:
    role = agent_role(address)
    return [
        {"command": "createRole", "rolename": role, "acls": agent_acls(address)},
        {"command": "createClient", "username": username, "roles": [{"rolename": role}]},
    ]


def _admitted(conversation: _Conversation) -> dict[str, AgentAddress]:
    found: dict[str, AgentAddress] = {}
    for client in conversation.listed("listClients", "clients"):
        for role in client["roles"]:
            parts = role["rolename"].removeprefix(AGENT_ROLE).split("/")
            if role["rolename"].startswith(AGENT_ROLE) and len(parts) == 3:
                organisation, site, agent = parts
                found[client["username"]] = AgentAddress(organisation=organisation, site=site, agent=agent)
    return found


def _comparable(acls: Sequence[Mapping[str, object]]) -> set[tuple[object, ...]]:
    return {(acl["acltype"], acl["topic"], acl["allow"]) for acl in acls}
