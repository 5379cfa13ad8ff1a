"""Hears when a piece of a file is in the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from edge.readings import Reading, Taken

_AT_ONCE = 500


class Keeping:
    """One piece, handed over in parts. `afterwards` is called when all of them are kept and nobody waits any more."""

    def __init__(self, readings: Sequence[Reading], *, afterwards: Callable[[], None]) -> None:
        self._parts = [readings[i : i + _AT_ONCE] for i in range(0, len(readings), _AT_ONCE)]
        self._missing = len(self._parts)
        self._afterwards = afterwards
        self._all = asyncio.Event()
        self._is_left = False

    def parts(self) -> Iterator[Taken]:
        """To be handed over in this order."""
        for part in self._parts:
            yield Taken(readings=part, kept=self._note)

    async def wait(self, stop: asyncio.Event) -> bool:
        """Until all are kept: True. False when `stop` was set before."""
        if not self._missing:
            return True
        stopped = asyncio.ensure_future(stop.wait())
        kept = asyncio.ensure_future(self._all.wait())
        try:
            await asyncio.wait([stopped, kept], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            kept.cancel()
        self._is_left = bool(self._missing)
        return not self._missing

    def _note(self) -> None:
        self._missing -= 1
        if self._missing:
            return
        self._all.set()
        if self._is_left:
            self._afterwards()
