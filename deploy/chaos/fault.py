"""One fault: what it is, how long it lasts, and whether it was seen to happen.

A fault that came to nothing (nobody was connected to be cut off, no broker was there to take poison) does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The faults, in the words of the report."""

    KILL_AGENT = "agent killed"
    KILL_COLLECTOR = "collector killed"
    KILL_ROLLUP = "roll-up killed"
    KILL_BROKER = "broker killed"
    KILL_DATABASE = "database killed"
    KILL_SERVERS = "broker and database killed at once"
    CUT = "connections cut"
    REFUSE = "connections refused"
    TEAR = "connections torn in the midst of a message"
    STALL = "connections stalled"
    DELAY = "connections delayed"
    VANISH = "clients gone without a word to the server"
    FULL_STOP = "outbox full, reading stops"
    FULL_DROP = "outbox full, the oldest dropped"
    DISK_FULL = "disk of an agent full"
    SKEW = "clock of an agent wrong"
    POISON = "poison among good messages"
    REPLAY = "old batches published again"


OF_SERVERS = frozenset({Kind.KILL_BROKER, Kind.KILL_DATABASE, Kind.KILL_SERVERS})


def _always() -> bool:
    return True


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A fault that lasts: for `least_s`, and on until it is seen to work, but no longer than `most_s`.

    `claims` are what no other fault may touch meanwhile.
    """

    kind: Kind
    place: str
    claims: frozenset[str]
    least_s: float = 0.0
    most_s: float = 0.0
    is_seen: Callable[[], bool] = _always
    make_good: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What was done, where, and for how long. `is_seen`: it worked, and counts."""

    kind: Kind
    place: str
    seconds: float
    is_seen: bool


class Running:
    """Open faults, with when each began."""

    def __init__(self) -> None:
        self._open: list[tuple[float, Open]] = []

    @property
    def claimed(self) -> frozenset[str]:
        """What no other fault may touch now."""
        return frozenset().union(*(fault.claims for _, fault in self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, fault: Open) -> None:
        self._open.append((time.monotonic(), fault))

    def end_due(self, *, at_once: bool = False) -> list[Happened]:
        """Make good what has lasted long enough; `at_once`: everything."""
        ended: list[Happened] = []
        for began_s, fault in list(self._open):
            lasted_s = time.monotonic() - began_s
            if lasted_s < fault.least_s and not at_once:
                continue
            is_seen = fault.is_seen()
            if is_seen or lasted_s >= fault.most_s or at_once:
                self._open.remove((began_s, fault))
                fault.make_good()
                ended.append(Happened(kind=fault.kind, place=fault.place, seconds=lasted_s, is_seen=is_seen))
        return ended
