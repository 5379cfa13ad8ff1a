"""Time that runs faster than real, so that quarters close while a short run of chaos looks on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SPEED = 600
_BEHIND_MS = 45 * 60_000
"""It never comes nearer to real time than this: the real roll-up must find all of it due in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FastClock:
    """Says `begin_ms` at `origin_ms` of the real clock and runs `SPEED` times as fast (all Unix milliseconds)."""

    origin_ms: int
    begin_ms: int

    def at(self, real_ms: int) -> int:
        """What it says at an instant of the real clock."""
        return min(self.begin_ms + (real_ms - self.origin_ms) * SPEED, real_ms - _BEHIND_MS)


def clock_for(real_ms: int, *, span_s: float) -> FastClock:
    """A clock that begins on a whole hour now, and has room for `span_s` real seconds at full speed."""
    room_ms = int(span_s * 1000) * SPEED + 2 * _BEHIND_MS
    return FastClock(origin_ms=real_ms, begin_ms=(real_ms - room_ms) // 3_600_000 * 3_600_000)
