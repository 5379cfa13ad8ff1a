"""From a message off the connection to one that is decoded, measured, and knows where its acknowledgement belongs."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from collector.decode import Decoded, Incoming, ReadingsMessage, Refused, decode
from collector.packets import Publish
from schemas.quarantine import Reason

_LOG = structlog.get_logger(__name__)
_ROW_BYTES = 4 + 8 + 8 + 2
"""Of the columns meter, at, value and quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A decoded message, its size in memory, and where its acknowledgement belongs.

    A packet id holds for one connection only. `readings` is how much it adds to a batch; a message without readings
    counts as one. `arrived_s` is the monotonic clock then.
    """

    decoded: Decoded
    size: int
    readings: int
    packet_id: int
    connection: int
    arrived_s: float


def deliver(message: Publish, *, connection: int, most_bytes: int, now_ms: int, now_s: float) -> Delivery:
    """Never raises: what can't be decoded, or has more than `most_bytes`, goes on as `Refused`."""
    incoming = Incoming(
        topic=message.topic,
        payload=message.payload,
        content_type=message.content_type,
        arrived_ms=None if message.is_retained else now_ms,
    )
    decoded = _decode_at_all_costs(incoming, most_bytes)
    size, readings = len(incoming.payload), 1
    if isinstance(decoded, ReadingsMessage):
        # In memory a small Arrow message can unfold to a thousand times its size.
        readings = len(decoded.meter)
        size = max(size, readings * _ROW_BYTES)
    return Delivery(
        decoded=decoded,
        size=size,
        readings=readings,
        packet_id=message.packet_id,
        connection=connection,
        arrived_s=now_s,
    )


def _decode_at_all_costs(incoming: Incoming, most_bytes: int) -> Decoded:
    """An error here would end the network's thread, and with it everybody's readings."""
    try:
        return decode(incoming, most_bytes=most_bytes)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RecursionError) as error:
        _LOG.exception("a message could not be decoded", action="message.undecodable", topic=incoming.topic)
        return Refused(incoming=incoming, reason=Reason.MALFORMED, detail=f"{type(error).__name__}: {error}")
