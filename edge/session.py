"""What the publisher knows within one connection to the broker, and what outlasts it."""

from __future__ import annotations

import time

from edge.broker import BrokerConnection, Limits
from edge.configuration import EdgeConfiguration
from edge.outbox import Outbox
from edge.outbox_table import Waiting
from edge.window import Window
from schemas.wire import MAX_PAYLOAD_BYTES, Stored

_RESERVED = 3
"""Of the broker's receive maximum, kept for status and meters."""
_PACKET_OVERHEAD = 64


class Published:
    """How far the outbox was published in this process, over all connections."""

    def __init__(self) -> None:
        self._epoch = ""
        self._seq = 0

    def up_to(self, epoch: str) -> int:
        """The highest seq of that epoch that was published; 0 for none."""
        return self._seq if epoch == self._epoch else 0

    def note(self, epoch: str, seq: int) -> None:
        """Everything up to `seq` was published."""
        self._seq = max(self.up_to(epoch), seq)
        self._epoch = epoch


class Session:
    """What is known within one connection."""

    def __init__(self, configuration: EdgeConfiguration, limits: Limits, outbox: Outbox, published: Published) -> None:
        self.stored: Stored | None = None
        self.status_s = float("-inf")
        self.news: object = None
        self._limits = limits
        self._published = published
        self._size = configuration.window
        self._most_bytes = configuration.window_size
        self._resend_after_s = configuration.resend_after / 1000
        self.begin(outbox)

    def begin(self, outbox: Outbox) -> None:
        """Start from what is stored: with a connection, and with an epoch."""
        state = outbox.state()
        self.epoch = state.epoch
        self.last_seq_before = state.last_seq
        """What is confirmed beyond it was made since, and so was confirmed just now."""
        self.window = Window(
            size=self._size,
            in_flight=max(1, self._limits.receive_maximum - _RESERVED),
            resend_after_s=self._resend_after_s,
            stored_seq=state.stored_seq,
            now_s=time.monotonic(),
            most_bytes=self._most_bytes,
            sent_before=self._published.up_to(state.epoch),
        )

    def most_payload_bytes(self, topic: str) -> int:
        """The largest payload that broker and collector take."""
        packet = self._limits.max_packet_bytes
        return MAX_PAYLOAD_BYTES if packet is None else min(MAX_PAYLOAD_BYTES, packet - len(topic) - _PACKET_OVERHEAD)

    def takes(self, topic: str, payload: bytes) -> bool:
        """Whether it is small enough for broker and collector."""
        return len(payload) <= self.most_payload_bytes(topic)

    def publish(self, connection: BrokerConnection, topic: str, waiting: Waiting) -> int | None:
        """Hand it to the broker; its number, or None when the connection is gone or the window has no room."""
        window = self.window
        size = len(waiting.payload)
        if waiting.seq > window.last_seq and not window.may_send(size):
            return None
        mid = connection.publish(topic, waiting.payload, expiry_s=window.expiry_s(waiting.seq))
        if mid is not None:
            window.note_sent(waiting.seq, mid, time.monotonic(), size=size)
            self._published.note(self.epoch, window.last_seq)
        return mid
