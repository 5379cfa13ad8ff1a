"""What drivers hand over, and what of it can be sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.resources import Quality
from schemas.wire import RunSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a meter said at `at_ms` (Unix milliseconds UTC, taken where the meter was read).

    Of an interval meter, `at_ms` is the END of the interval: the value covers [at − interval, at).
    """

    meter: str
    at_ms: int
    value: float
    unit: str
    quality: int = Quality.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Readings and runs that a driver took together. A value that could not be read is simply absent.

    `kept` is called in the agent's event loop, once, when all of it is in the outbox and on disk: a source that can be
    read only once lets go of it then, not before. After a kill in between it hands the same over again, which is
    a no-op further on.
    """

    readings: Sequence[Reading] = ()
    runs: Sequence[RunSpan] = ()
    kept: Callable[[], None] | None = None


def refusal(reading: Reading) -> str | None:
    """Why this reading cannot travel on the wire; None where it can.

    Drivers of third parties are trusted to read meters, not to know JSON: it has no NaN and no infinity, and one
    such value would make a whole batch unreadable.
    """
    value: object = reading.value
    at_ms: object = reading.at_ms
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "the value is not a finite number"
    if not isinstance(at_ms, int) or not -(2**53) < at_ms < 2**53:
        return "the instant is not in whole Unix milliseconds"
    if not 0 < len(reading.meter) <= 100 or len(reading.unit) > 20:
        return "the meter's name or unit is empty or too long"
    return None
