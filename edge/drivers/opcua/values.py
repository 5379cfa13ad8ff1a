"""What a server says of a value, and the reading that it makes. Pure; status codes and times as OPC UA has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from edge.drivers.quantity import Quantity
from edge.readings import Reading
from schemas.resources import MeterKind, Quality

_EARLIEST_MS = 946_684_800_000
"""2000-01-01: a source that tells an earlier instant has no clock, or one that nobody set."""
_BEHIND_MS = 366 * 86_400_000
"""A source that tells an instant so long ago lost its time with its battery; most begin at some year of the past."""
_AHEAD_MS = 300_000
"""A source whose clock is ahead by more than this keeps local time, or none."""

_SEVERITY_SHIFT = 30
_UNCERTAIN = 1
_CODE = 0xFFFF_0000
_INITIAL = 0x4092_0000
_SUBSTITUTE = 0x4091_0000


class Clock(StrEnum):
    """Whose word on the instant counts: the device's behind the server, the server's, or the agent's own."""

    SOURCE = "source"
    SERVER = "server"
    AGENT = "agent"


class RefusedValueError(Exception):
    """The server's answer holds no value that a meter can have; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer about one node. `status` is OPC UA's 32 bit code; the times are Unix ms UTC, None where absent.

    `is_asked`: it is what the node held when it was read; else the server tells of a change, perhaps later than that.
    """

    value: object
    status: int = 0
    status_name: str = "Good"
    source_ms: int | None = None
    server_ms: int | None = None
    is_asked: bool = False


class Teller:
    """Makes readings of one meter's samples.

    A value that did not change keeps the source's time of its last change. It is told again with the time at which the
    server still held it to be true: a counter that stands still is read, not missing. What comes late keeps its time.
    """

    def __init__(self, meter: str, quantity: Quantity, *, clock: Clock = Clock.SOURCE) -> None:
        self._meter = meter
        self._quantity = quantity
        self._clock = clock
        self._newest_ms: int | None = None
        self._last_ms: int | None = None
        self._asked_ms: int | None = None
        """The server's time of what it said last when it was asked."""

    def reading(self, sample: Sample, *, now_ms: int) -> Reading | None:
        """None where it says nothing new. Raises RefusedValueError."""
        quality = _quality(sample)
        value = _number(sample.value)
        at_ms = self._instant(sample, quality, now_ms)
        if at_ms is None:
            return None
        scaled = self._quantity.scaled(value)
        if not math.isfinite(scaled):
            raise RefusedValueError(f"the value is {scaled}, not a number; the server has none just now")
        self._last_ms = max(at_ms, self._last_ms or at_ms)
        return Reading(meter=self._meter, at_ms=at_ms, value=scaled, unit=self._quantity.unit, quality=quality)

    def _instant(self, sample: Sample, quality: Quality, now_ms: int) -> int | None:
        server_ms = _sane(sample.server_ms, now_ms)
        is_overtaken = self._is_overtaken(sample, server_ms)
        source_ms = _sane(sample.source_ms, now_ms) if self._clock is Clock.SOURCE else None
        if source_ms is not None and source_ms != self._newest_ms:
            self._newest_ms = max(source_ms, self._newest_ms or source_ms)
            return source_ms
        if self._quantity.kind is MeterKind.INTERVAL:
            if source_ms is None:
                raise RefusedValueError(
                    "an interval's value needs the source's time, and the server gives none that can be right; "
                    "read a counter instead"
                )
            return None
        if source_ms is not None and quality is not Quality.GOOD:
            # The last usable value is not one of now.
            return None
        if self._clock is Clock.AGENT:
            return None if is_overtaken else now_ms
        if server_ms is not None and (is_overtaken or self._last_ms is None or server_ms > self._last_ms):
            return server_ms
        return now_ms

    def _is_overtaken(self, sample: Sample, server_ms: int | None) -> bool:
        """Whether the server was asked after this change and before it told of it: then it is not the value of now."""
        if sample.is_asked:
            self._asked_ms = server_ms
            return False
        return server_ms is not None and self._asked_ms is not None and server_ms < self._asked_ms


def _sane(at_ms: int | None, now_ms: int) -> int | None:
    if at_ms is None or not max(_EARLIEST_MS, now_ms - _BEHIND_MS) <= at_ms <= now_ms + _AHEAD_MS:
        return None
    return at_ms


def _quality(sample: Sample) -> Quality:
    severity = sample.status >> _SEVERITY_SHIFT
    if severity == 0:
        return Quality.GOOD
    code = sample.status & _CODE
    if severity > _UNCERTAIN or code == _INITIAL:
        raise RefusedValueError(f"the server has no good value: {sample.status_name}; {_remedy(code)}")
    return Quality.ESTIMATED if code == _SUBSTITUTE else Quality.SUSPECT


def _number(value: object) -> int | float:
    if isinstance(value, bool):
        raise RefusedValueError("the node is a Boolean, not a number; give the node of a number")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise RefusedValueError(f"the value is {value}, not a number; the server has none just now")
        return value
    if isinstance(value, list | tuple):
        raise RefusedValueError(f"the node is an array of {len(value)} values; give the node of a single number")
    if value is None:
        raise RefusedValueError("the node has no value; give the node of the value itself, not that of its folder")
    raise RefusedValueError(f"the node holds {type(value).__name__}, not a number; give the node of a number")


_REMEDIES = {
    0x8033_0000: "the node id is malformed; copy it from the server's address space, as in ns=2;s=Oven.Energy",
    0x8034_0000: "the server has no such node; look its id up in its address space (namespaces may have moved)",
    0x8035_0000: "the node has no value; give the node of the value itself, not that of its folder",
    0x801F_0000: "the server does not let this user see it; give a user that may",
    0x803A_0000: "the node cannot be read; ask whoever programmed the server",
    0x8031_0000: "the server has no connection to the device behind it; check that device",
    0x808A_0000: "the server has no connection to the device behind it; check that device",
    0x808B_0000: "the device behind the server reports a failure; check that device",
    0x808C_0000: "the sensor behind the server reports a failure; check it",
    0x808D_0000: "the server's source is out of service; check that device",
    0x4092_0000: "nothing has been measured since the server started",
}


def _remedy(code: int) -> str:
    return _REMEDIES.get(code, "see what the server's own tools say of the node")
