"""What was found in a file: counts, and the first of everything that was odd."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LISTED = 100
"""Values left out that are listed; all are counted."""
_NEVER = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A value, or a whole row, that could not be read, and why."""

    row: int
    reason: str


@dataclass(slots=True, kw_only=True)
class Findings:
    """Of the rows read so far. Instants are Unix milliseconds, UTC.

    `left_out`: rows and values that can't be read. `blank`: cells without a value. `unwanted`: rows of names that are
    no meter here. `out_of_order`: rows whose time is before that of their meter's row before. `moved_midnights`: rows
    labelled 0:00 that end their day. `ambiguous`: times that the clock showed twice.
    `readings`, `first_at` and `last_at` are by meter, in the order of the file's meters.
    """

    meters: int
    rows: int = 0
    left_out: int = 0
    blank: int = 0
    unwanted: Counter[str] = field(default_factory=Counter)
    out_of_order: int = 0
    moved_midnights: int = 0
    ambiguous: int = 0
    listed: list[LeftOut] = field(default_factory=list)
    readings: NDArray[np.int64] = field(init=False)
    first_at: NDArray[np.int64] = field(init=False)
    last_at: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.readings = np.zeros(self.meters, dtype=np.int64)
        self.first_at = np.full(self.meters, _NEVER, dtype=np.int64)
        self.last_at = np.full(self.meters, -_NEVER, dtype=np.int64)

    @property
    def is_list_full(self) -> bool:
        """Whether further ones are only counted."""
        return len(self.listed) >= LISTED

    def list_left_out(self, row: int, reason: str) -> None:
        """Tell of one that is counted."""
        if not self.is_list_full:
            self.listed.append(LeftOut(row=row, reason=reason))

    def count_readings(self, meter: NDArray[np.int32], at_ms: NDArray[np.int64]) -> None:
        """Readings of these meters at these instants."""
        self.readings += np.bincount(meter, minlength=self.meters)
        np.minimum.at(self.first_at, meter, at_ms)
        np.maximum.at(self.last_at, meter, at_ms)
