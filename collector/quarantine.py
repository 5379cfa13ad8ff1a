"""What can't be stored, as entries whose payload is a message that can be sent again as it stands. Pure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collector.decode import ReadingsMessage, RunsMessage
from schemas.quarantine import Reason
from schemas.topics import KEY_PATTERN, AgentAddress, Kind
from schemas.wire import FIRST_INSTANT, JSON_TYPE, LAST_INSTANT, Readings, RunSpan, SingleReading

_KEY = re.compile(KEY_PATTERN)
_LONGEST_UNIT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMeter:
    """The readings of one meter in an entry. Instants (Unix milliseconds) are None where all are beyond any clock."""

    meter: str
    unit: str
    readings: int
    first_at: int | None
    last_at: int | None
    last_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """Something that can't be stored, and why. `payload` is a message that can be sent again as it stands."""

    reason: Reason
    detail: str
    topic: str
    address: AgentAddress | None
    epoch: str | None
    seq: int | None
    readings: int
    content_type: str
    payload: bytes
    meters: tuple[WaitingMeter, ...] = ()

    @property
    def digest(self) -> bytes:
        """The same refused bytes on the same topic are one entry, however often they come."""
        return hashlib.sha256(b"\0".join((self.topic.encode(), self.reason.encode(), self.payload))).digest()


def quarantine_rows(message: ReadingsMessage, rows: NDArray[np.intp], reason: Reason, detail: str) -> QuarantineEntry:
    """Some readings of a message as an entry whose payload is a message of just these."""
    return QuarantineEntry(
        reason=reason,
        detail=detail,
        topic=message.address.topic(Kind.READINGS),
        address=message.address,
        epoch=message.epoch,
        seq=message.seq,
        readings=len(rows),
        content_type=JSON_TYPE,
        payload=readings_payload(message, rows),
        meters=_waiting(message, rows),
    )


def quarantine_runs(message: RunsMessage, spans: Sequence[RunSpan], reason: Reason, detail: str) -> QuarantineEntry:
    """Some runs of a message as an entry whose payload is a message of just these."""
    return QuarantineEntry(
        reason=reason,
        detail=detail,
        topic=message.address.topic(Kind.RUNS),
        address=message.address,
        epoch=message.runs.epoch,
        seq=message.runs.seq,
        readings=0,
        content_type=JSON_TYPE,
        payload=message.runs.model_copy(update={"runs": list(spans)}).model_dump_json().encode(),
    )


def readings_payload(message: ReadingsMessage, rows: NDArray[np.intp]) -> bytes:
    """A message of just these readings. What comes of it again, of the same readings, is the same byte for byte."""
    # Non-finite values stand as NaN and Infinity, outside strict JSON: what came is kept as it came.
    if message.epoch is None or message.seq is None:
        single = SingleReading.model_construct(
            meter=message.meters[0],
            at=int(message.at[0]),
            value=float(message.value[0]),
            unit=message.units[0],
            quality=int(message.quality[0]),
        )
        return single.model_dump_json(exclude_none=True).encode()
    used, meter = np.unique(message.meter[rows], return_inverse=True)
    subset = Readings.model_construct(
        epoch=message.epoch,
        seq=message.seq,
        sent_at=message.sent_at,
        meters=[message.meters[i] for i in used],
        units=[message.units[i] for i in used],
        meter=meter.tolist(),
        at=message.at[rows].tolist(),
        value=message.value[rows].tolist(),
        quality=message.quality[rows].tolist(),
    )
    return subset.model_dump_json().encode()


def _waiting(message: ReadingsMessage, rows: NDArray[np.intp]) -> tuple[WaitingMeter, ...]:
    """By meter and unit; only names that are keys, as no other can be a meter's."""
    found: dict[tuple[str, str], WaitingMeter] = {}
    for place in np.unique(message.meter[rows]).tolist():
        meter, unit = message.meters[place], message.units[place]
        if not _KEY.fullmatch(meter):
            continue
        mine = rows[message.meter[rows] == place]
        at, value = message.at[mine], message.value[mine]
        likely = np.flatnonzero((at >= FIRST_INSTANT) & (at <= LAST_INSTANT))
        last = likely[np.argmax(at[likely])] if len(likely) else None
        part = WaitingMeter(
            meter=meter,
            unit=unit if len(unit) <= _LONGEST_UNIT and unit.isprintable() else "",
            readings=len(mine),
            first_at=int(at[likely].min()) if len(likely) else None,
            last_at=None if last is None else int(at[last]),
            last_value=None if last is None or not math.isfinite(value[last]) else float(value[last]),
        )
        key = (part.meter, part.unit)
        found[key] = _together(found[key], part) if key in found else part
    return tuple(found.values())


def _together(one: WaitingMeter, other: WaitingMeter) -> WaitingMeter:
    # A dictionary may name a meter twice.
    later = max(one, other, key=lambda part: -1 if part.last_at is None else part.last_at)
    first = [part.first_at for part in (one, other) if part.first_at is not None]
    return replace(later, readings=one.readings + other.readings, first_at=min(first, default=None))
