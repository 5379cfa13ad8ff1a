"""How often somebody without a token may try, by the minute: with one code or certificate, from one peer, in all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

_WITHIN_S = 60.0


class Attempts:
    """Counts by the minute, and forgets with it: never more entries than twice `most_in_all`.

    The bound on a peer keeps one from using up what is there for all. Behind a proxy all are one peer.
    """

    def __init__(
        self,
        *,
        most_each: int = 20,
        most_from_one: int = 120,
        most_in_all: int = 600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_each = most_each
        self._most_from_one = most_from_one
        self._most_in_all = most_in_all
        self._clock = clock
        self._began_s = clock()
        self._in_all = 0
        self._each: Counter[str] = Counter()
        self._from: Counter[str] = Counter()

    def wait_s(self, what: str, *, peer: str = "") -> float | None:
        """Counts an attempt with `what` from `peer`: None when it may go on, else seconds until a try is worth it."""
        now = self._clock()
        if now - self._began_s >= _WITHIN_S:
            self._began_s, self._in_all = now, 0
            self._each.clear()
            self._from.clear()
        if (
            self._in_all >= self._most_in_all
            or self._each[what] >= self._most_each
            or self._from[peer] >= self._most_from_one
        ):
            return self._began_s + _WITHIN_S - now
        self._in_all += 1
        self._each[what] += 1
        self._from[peer] += 1
        return None
