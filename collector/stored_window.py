"""What agents are still to be told: up to where everything of theirs is stored. Pure.

Only the latest word for an agent's epoch matters, so that what a slow broker holds up stays as small as the agents are
many, and each agent hears the newest first.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.packets import encode_publish
from schemas.topics import AgentAddress, Kind
from schemas.wire import JSON_TYPE, Stored

_CONTENT_TYPE = JSON_TYPE.encode()
_MOST_ON_THE_WAY = 2_000
_LAST_PACKET_ID = 65_535

_Key = tuple[AgentAddress, str]


class StoredWindow:
    """Words to be said, and those on the way that the broker has not answered yet. Shut until `open`."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, Stored] = {}
        self._on_the_way: dict[int, tuple[_Key, Stored]] = {}
        self._most = 0
        self._last_id = 0

    @property
    def is_talking(self) -> bool:
        """Whether there is a connection, and something to be said or answered on it."""
        return self._most > 0 and bool(self._waiting or self._on_the_way)

    @property
    def has_to_send(self) -> bool:
        """Whether something could be sent now."""
        return bool(self._waiting) and len(self._on_the_way) < self._most

    def add(self, words: Iterable[tuple[AgentAddress, Stored]]) -> None:
        """To be said next; takes the place of what was to be said of the same epoch."""
        for address, stored in words:
            self._waiting[address, stored.epoch] = stored

    def open(self, most: int) -> None:
        """There is a connection, on which the broker takes `most` messages ahead of its answers."""
        self._most = min(most, _MOST_ON_THE_WAY)

    def shut(self) -> None:
        """The connection has ended: what was on the way is said again, unless there is something newer."""
        self._most = 0
        again = dict(self._on_the_way.values())
        self._waiting = again | self._waiting
        self._on_the_way.clear()

    def answered(self, packet_id: int) -> AgentAddress | None:
        """Make room. Whom the answered word was for; None when it was none of this connection."""
        found = self._on_the_way.pop(packet_id, None)
        return found[0][0] if found else None

    def take(self) -> bytes:
        """Ready-made packets of what there is room for."""
        packets = []
        while self.has_to_send:
            key = next(iter(self._waiting))
            stored = self._waiting.pop(key)
            packet_id = self._free_id()
            self._on_the_way[packet_id] = (key, stored)
            packets.append(
                encode_publish(
                    key[0].topic(Kind.STORED).encode(),
                    stored.model_dump_json().encode(),
                    packet_id=packet_id,
                    content_type=_CONTENT_TYPE,
                    is_retained=True,
                )
            )
        return b"".join(packets)

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LAST_PACKET_ID + 1
            if self._last_id not in self._on_the_way:
                return self._last_id
