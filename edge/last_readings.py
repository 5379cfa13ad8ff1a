"""The last reading of each meter, in memory: how each one is, and whether it has fallen silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from edge.readings import Reading
from schemas.wire import OfferedMeter

MOST_METERS = 10_000
_CADENCES = 3
_LEAST_SILENCE_S = 10.0
"""Less says nothing: a device that is asked every second may take a moment to be reached again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReading:
    """`taken_s`: when the driver gave it, by the steady clock. `pause_s`: the longest wait between two of its meter."""

    reading: Reading
    driver: str
    taken_s: float
    pause_s: float | None = None


class LastReadings:
    """Noted in the event loop, looked at from any thread. Beyond `most` meters, further ones are not kept."""

    def __init__(self, *, most: int = MOST_METERS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._last: dict[str, LastReading] = {}

    def note(self, driver: str, readings: Iterable[Reading]) -> None:
        """A driver gave these."""
        now_s = self._clock()
        last = self._last
        for reading in readings:
            before = last.get(reading.meter)
            if before is None:
                if len(last) < self._most:
                    last[reading.meter] = LastReading(reading=reading, driver=driver, taken_s=now_s)
            elif before.taken_s == now_s:
                # One of several that came together.
                pause_s = before.pause_s
                last[reading.meter] = LastReading(reading=reading, driver=driver, taken_s=now_s, pause_s=pause_s)
            else:
                pause_s = max(before.pause_s or 0.0, now_s - before.taken_s)
                last[reading.meter] = LastReading(reading=reading, driver=driver, taken_s=now_s, pause_s=pause_s)

    def all(self) -> dict[str, LastReading]:
        """By meter, as it is now."""
        return self._last.copy()

    def keep_only(self, meters: Collection[str]) -> None:
        """Forget the others: nobody reads them any more."""
        self._last = {meter: last for meter, last in self._last.items() if meter in meters}


def patience_s(cadence_ms: int | None, last: LastReading | None = None) -> float | None:
    """How long a meter may give nothing: three times its cadence, or its longest pause; None when neither is known."""
    if cadence_ms:
        return _CADENCES * cadence_ms / 1000
    if last is not None and last.pause_s is not None:
        return _CADENCES * last.pause_s
    return None


def silent_meters(
    offers: Iterable[OfferedMeter], last: dict[str, LastReading], *, since_s: float, now_s: float
) -> list[str]:
    """Meters that gave nothing for three times their cadence, and 10 s at least; `since_s` is when reading began.

    A meter that comes when it likes is never silent.
    """
    found = []
    for offer in offers:
        allowed_s = patience_s(offer.cadence_ms)
        heard = last.get(offer.meter)
        taken_s = since_s if heard is None else max(heard.taken_s, since_s)
        if allowed_s is not None and now_s - taken_s > max(allowed_s, _LEAST_SILENCE_S):
            found.append(offer.meter)
    return found
