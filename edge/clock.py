"""Whether somebody keeps the machine's clock, as the kernel tells, and how far it is beside the collector's."""

from __future__ import annotations

import ctypes
from collections import deque

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_SAMPLES = 20
_JUMP_MS = 1_000
"""So far apart, our clock and the steady one say that ours was set."""


class _Timex(ctypes.Structure):
    """struct timex up to what is read, with room for the rest of it on any machine."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def is_synchronised() -> bool | None:
    """Whether NTP or the like sets the clock, by adjtimex(2); None where the kernel does not tell.

    It only asks, which needs no rights.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    found = _Timex()
    state = adjtimex(ctypes.byref(found))
    if state < 0:
        return None
    return bool(state != _TIME_ERROR and not found.status & _STA_UNSYNC)


class ClockOffset:
    """How far our clock is ahead of the collector's: the least of the last samples.

    Each is when a confirmation came, less when the collector wrote it, and so too large by the way that it took.
    """

    def __init__(self) -> None:
        self._samples: deque[int] = deque(maxlen=_SAMPLES)
        self._beside_steady_ms: float | None = None

    def note(self, *, said_ms: int, heard_ms: int, steady_s: float) -> None:
        """A confirmation, written at `said_ms` by the collector's clock, came at `heard_ms` by ours.

        `steady_s` is the steady clock then: once ours was set, what was noted before says nothing any more.
        """
        beside_ms = heard_ms - steady_s * 1000
        if self._beside_steady_ms is not None and abs(beside_ms - self._beside_steady_ms) > _JUMP_MS:
            self._samples.clear()
        self._beside_steady_ms = beside_ms
        self._samples.append(heard_ms - said_ms)

    @property
    def ahead_ms(self) -> int | None:
        """None until something is known."""
        return min(self._samples, default=None)
