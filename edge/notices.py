"""Keeps a recurring trouble from filling the log: counters tell how often, one line a minute tells that."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Seldom:
    """Says whether it is time to log about `key` again."""

    def __init__(self, *, every_s: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._last: dict[Hashable, float] = {}

    def due(self, key: Hashable) -> bool:
        """True the first time, and again when `every_s` have passed since the last True."""
        now = self._clock()
        last = self._last.get(key)
        if last is not None and now - last < self._every_s:
            return False
        self._last[key] = now
        return True

    def forget(self, key: Hashable) -> bool:
        """The trouble is over: the next time is news. True when there was any."""
        return self._last.pop(key, None) is not None
