"""Decoded messages between the network's thread and the writer, bounded in number and bytes."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from collector.decode import Decoded, ReadingsMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A decoded message, its size in memory, and where its acknowledgement belongs.

    A packet id holds for one connection only.
    """

    decoded: Decoded
    size: int
    packet_id: int
    connection: int

    @property
    def readings(self) -> int:
        """How much it adds to a batch; a message without readings counts as one."""
        return len(self.decoded.meter) if isinstance(self.decoded, ReadingsMessage) else 1


class Buffer:
    """Messages between the network thread and the writer, bounded in number and bytes: `put` waits for room."""

    def __init__(self, *, most_messages: int, most_bytes: int) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._bytes = 0
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, delivery: Delivery) -> None:
        """Add one; waits while full. After `close` it is dropped, unacknowledged, for the broker to keep."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room(delivery.size))
            if not self._is_closed:
                self._deliveries.append(delivery)
                self._bytes += delivery.size
                if len(self._deliveries) == 1:
                    self._changed.notify_all()

    def take(self, *, timeout: float, most_readings: int) -> list[Delivery]:
        """What is there, of about `most_readings` and at least one, waiting up to `timeout` seconds for the first."""
        taken: list[Delivery] = []
        readings = 0
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._deliveries), timeout=timeout)
            while self._deliveries and readings < most_readings:
                delivery = self._deliveries.popleft()
                self._bytes -= delivery.size
                readings += delivery.readings
                taken.append(delivery)
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._deliveries)

    def _has_room(self, size: int) -> bool:
        # A message larger than the whole buffer still gets through, alone.
        return not self._deliveries or (
            len(self._deliveries) < self._most_messages and self._bytes + size <= self._most_bytes
        )
