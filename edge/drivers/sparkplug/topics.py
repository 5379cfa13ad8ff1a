"""Where Sparkplug B's messages travel: `spBv1.0/{group}/{type}/{edge node}[/{device}]`, and the host's own state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
"""The metric of a command that has a node tell its births again."""


class MessageType(StrEnum):
    """What an edge node tells, and what it is told."""

    NODE_BIRTH = "NBIRTH"
    NODE_DEATH = "NDEATH"
    NODE_DATA = "NDATA"
    NODE_COMMAND = "NCMD"
    DEVICE_BIRTH = "DBIRTH"
    DEVICE_DEATH = "DDEATH"
    DEVICE_DATA = "DDATA"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Node:
    """An edge node."""

    group: str
    node: str

    def __str__(self) -> str:
        return f"{self.group}/{self.node}"

    def topic(self, kind: MessageType, device: str | None = None) -> str:
        return "/".join([NAMESPACE, self.group, kind, self.node, *([device] if device is not None else [])])

    def filter(self) -> str:
        """All that it tells, and its devices."""
        return f"{NAMESPACE}/{self.group}/+/{self.node}/#"


def state_topic(host_id: str) -> str:
    return f"{NAMESPACE}/STATE/{host_id}"


def parse_topic(topic: str) -> tuple[Node, MessageType, str | None] | None:
    """The edge node, what it says, and the device that it says it of; None for other topics."""
    parts = topic.split("/")
    if len(parts) not in {4, 5} or parts[0] != NAMESPACE or parts[2] not in set(MessageType):
        return None
    kind = MessageType(parts[2])
    if (len(parts) == 5) != kind.startswith("D"):
        return None
    return Node(group=parts[1], node=parts[3]), kind, parts[4] if len(parts) == 5 else None


def parse_place(text: str) -> tuple[Node, str | None]:
    """`group/edge-node` or `group/edge-node/device`. Raises ValueError."""
    parts = text.split("/")
    if len(parts) not in {2, 3} or not all(parts) or set(text) & set("+#\0"):
        raise ValueError(f"{text!r} is not an edge node; write group/edge-node or group/edge-node/device")
    return Node(group=parts[0], node=parts[1]), parts[2] if len(parts) == 3 else None
