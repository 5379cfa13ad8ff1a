"""Decoded messages between the network's thread and the writer, bounded in number and bytes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from collector.delivery import Delivery


class Buffer:
    """Messages between the network's thread and the writer, bounded in number and bytes: `put` waits for room.

    A batch is there to be taken when it has readings, messages or bytes enough, or its oldest message has waited long
    enough, or the buffer is full: so the taker is woken twice a batch, not once a message.
    """

    def __init__(
        self,
        *,
        most_messages: int,
        most_bytes: int,
        batch_readings: int,
        batch_messages: int,
        batch_bytes: int,
        batch_age_s: float,
    ) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._bytes = 0
        self._readings = 0
        self.most_messages, self.most_bytes = most_messages, most_bytes
        self._batch_readings, self._batch_messages, self._batch_bytes = batch_readings, batch_messages, batch_bytes
        self._batch_age_s = batch_age_s
        self._is_waiting_for_room = False
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Add in this order; waits while full. After `close` they are dropped, for the broker to keep."""
        with self._changed:
            was_empty = not self._deliveries
            for delivery in deliveries:
                if not self._has_room(delivery.size):
                    self._wait_for_room(delivery.size)
                if self._is_closed:
                    return
                self._deliveries.append(delivery)
                self._bytes += delivery.size
                self._readings += delivery.readings
            if was_empty or self._is_enough():
                self._changed.notify_all()

    def take(self, *, timeout: float) -> list[Delivery]:
        """A batch; after `timeout` seconds without a message, none. After `close` what is left, without waiting."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_closed or bool(self._deliveries), timeout):
                return []
            if self._deliveries:
                patience = self._deliveries[0].arrived_s + self._batch_age_s - time.monotonic()
                self._changed.wait_for(lambda: self._is_closed or self._is_enough(), patience)
            taken = self._take_batch()
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def size_bytes(self) -> int:
        """Memory that the messages take."""
        return self._bytes

    @property
    def readings(self) -> int:
        """How much they add to batches."""
        return self._readings

    @property
    def oldest_s(self) -> float | None:
        """When the oldest came, by the monotonic clock; None while there is none."""
        with self._changed:
            return self._deliveries[0].arrived_s if self._deliveries else None

    def _take_batch(self) -> list[Delivery]:
        taken: list[Delivery] = []
        readings, size = 0, 0
        while self._deliveries and readings < self._batch_readings:
            # One message alone may be larger.
            if taken and size + self._deliveries[0].size > self._batch_bytes:
                break
            delivery = self._deliveries.popleft()
            readings += delivery.readings
            size += delivery.size
            taken.append(delivery)
        self._readings -= readings
        self._bytes -= size
        return taken

    def _wait_for_room(self, size: int) -> None:
        self._is_waiting_for_room = True
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._is_closed or self._has_room(size))
        self._is_waiting_for_room = False

    def _is_enough(self) -> bool:
        return (
            self._readings >= self._batch_readings
            or len(self._deliveries) >= self._batch_messages
            or self._bytes >= self._batch_bytes
            or self._is_waiting_for_room
        )

    def _has_room(self, size: int) -> bool:
        # A message larger than the whole buffer still gets through, alone.
        return not self._deliveries or (
            len(self._deliveries) < self.most_messages and self._bytes + size <= self.most_bytes
        )
