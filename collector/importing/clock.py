"""From what a clock on the wall showed to instants, whole columns at once. Times are whole microseconds since 1970.

Row by row it comes to the same as `schemas.local_time.place`; a property test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.local_time import instants

Micros = NDArray[np.int64]
Flags = NDArray[np.bool_]

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_MOMENT = 1_000
"""How long before a change of the clock an interval still ends in time that was shown."""
_DAY_S = 86_400
_FROM_S = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
_TO_S = int(datetime(2110, 1, 1, tzinfo=UTC).timestamp())
_STEP_S = _DAY_S // 2
"""No zone has changed its clock twice within that since 1990."""
FIRST_TIME, LAST_TIME = (
    (datetime(year, 1, day, tzinfo=UTC) - _1970) // _MICROSECOND for year, day in ((1, 5), (9999, 1))
)
"""What lies beyond is no time that a clock shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """When the clock showed each of some times: for the `first` and for the `second` time.

    They differ where the clock was put back (`is_ambiguous`), and where it was put forward past it (`is_missing`).
    """

    first: Micros
    second: Micros

    @property
    def is_ambiguous(self) -> Flags:
        """The clock showed it twice."""
        return self.second > self.first

    @property
    def is_missing(self) -> Flags:
        """The clock never showed it."""
        return self.second < self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A zone's changes. `first_from[i]` is the local time from which `offsets[i + 1]` holds, for a first showing."""

    zone: ZoneInfo
    offsets: Micros
    first_from: Micros
    second_from: Micros

    def shown(self, labels: Micros) -> Shown:
        """When it showed these local times."""
        first = labels - self.offsets[np.searchsorted(self.first_from, labels, side="right")]
        second = labels - self.offsets[np.searchsorted(self.second_from, labels, side="right")]
        # Where the table does not reach, and time zones are history or guesswork, one by one.
        far = (labels < (_FROM_S + 2 * _DAY_S) * _SECOND) | (labels >= (_TO_S - 2 * _DAY_S) * _SECOND)
        for i in np.flatnonzero(far).tolist():
            label = (_1970 + int(labels[i]) * _MICROSECOND).replace(tzinfo=None)
            first[i], second[i] = ((at - _1970) // _MICROSECOND for at in instants(label, self.zone))
        return Shown(first=first, second=second)

    def is_moment_of_change(self, labels: Micros) -> Flags:
        """Which of these local times, that never were, are the very moment at which the clock was put forward."""
        return ~self.shown(labels - _MOMENT).is_missing


@lru_cache(maxsize=16)
def clock_of(zone: ZoneInfo) -> Clock:
    """The clock of a zone."""
    steps = list(range(_FROM_S, _TO_S + _STEP_S, _STEP_S))
    offsets = [_offset(zone, at) for at in steps]
    changes = [
        _find_change(zone, steps[i], steps[i + 1]) for i in range(len(steps) - 1) if offsets[i] != offsets[i + 1]
    ]
    at = np.array(changes, dtype=np.int64) * _SECOND
    held = np.array([offsets[0], *(_offset(zone, change) for change in changes)], dtype=np.int64)
    return Clock(
        zone=zone,
        offsets=held,
        first_from=at + np.maximum(held[:-1], held[1:]),
        second_from=at + np.minimum(held[:-1], held[1:]),
    )


def _offset(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    return 0 if offset is None else offset // _MICROSECOND


def _find_change(zone: ZoneInfo, from_s: int, to_s: int) -> int:
    """The first second at which the offset is another than at `from_s`."""
    before = _offset(zone, from_s)
    while to_s - from_s > 1:
        middle = (from_s + to_s) // 2
        if _offset(zone, middle) == before:
            from_s = middle
        else:
            to_s = middle
    return to_s
