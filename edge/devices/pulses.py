"""A GPIO chip that does not exist: what its lines do is said here, and drivers of this process open it by its name.

The kernel has such chips too (gpio-sim), but few machines have that module. The clock of this one is its own, and goes
on only when it is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from edge.drivers.pulses.counting import Edge
from edge.drivers.pulses.input import SIMULATED, InputAwayError, Line, PulseInput

_MS = 1_000_000
_chips: dict[str, SimulatedChip] = {}


def find_chip(name: str) -> SimulatedChip:
    """Raises InputAwayError."""
    try:
        return _chips[name]
    except KeyError:
        raise InputAwayError(f"there is no chip {SIMULATED}{name} in this process") from None


class SimulatedChip:
    """In a driver's settings `chip: simulated:NAME`. Any line may be watched, by one at a time."""

    def __init__(self, name: str) -> None:
        self.chip = f"{SIMULATED}{name}"
        self.now_ns = 0
        self._input: _Input | None = None
        self._is_there = True
        _chips[name] = self

    def open(self, lines: Mapping[int | str, Line]) -> PulseInput:
        """For the driver. Raises InputAwayError."""
        if not self._is_there:
            raise InputAwayError(f"there is no GPIO chip {self.chip}")
        self._input = _Input(self, lines)
        return self._input

    def pulse(self, line: int | str, pulses: int = 1, *, length_ms: float = 50, gap_ms: float = 50) -> int:
        """So many pulses, each after a gap. Returns how many were watched: the others nobody can count."""
        for _ in range(pulses):
            self.now_ns += round(gap_ms * _MS)
            self._edge(line, is_active=True)
            self.now_ns += round(length_ms * _MS)
            self._edge(line, is_active=False)
        self.now_ns += round(gap_ms * _MS)
        return pulses if self._input is not None and self._input.watches(line) else 0

    @property
    def is_read(self) -> bool:
        """Whether all edges were taken by who watches."""
        return self._input is not None and not self._input.waiting

    def lose(self, line: int | str, edges: int) -> None:
        """Edges for which there is no room."""
        if self._input is not None:
            self._input.numbers[line] += edges

    def vanish(self) -> None:
        """Pulled out."""
        self._is_there = False
        if self._input is not None:
            self._input.change(is_gone=True)

    def appear(self) -> None:
        self._is_there = True

    def _edge(self, line: int | str, *, is_active: bool) -> None:
        if self._input is not None:
            self._input.add(line, self.now_ns, is_active=is_active)


class _Input:
    def __init__(self, chip: SimulatedChip, lines: Mapping[int | str, Line]) -> None:
        self.numbers = dict.fromkeys(lines, 0)
        self._chip = chip
        self._edges: deque[Edge] = deque()
        self._is_gone = False
        self._changed = asyncio.Event()

    def add(self, line: int | str, at_ns: int, *, is_active: bool) -> None:
        if self.watches(line):
            self.numbers[line] += 1
            self._edges.append(Edge(line=line, at_ns=at_ns, is_active=is_active, number=self.numbers[line]))
            self._changed.set()

    @property
    def waiting(self) -> int:
        return len(self._edges)

    def watches(self, line: int | str) -> bool:
        return line in self.numbers and not self._is_gone

    def change(self, *, is_gone: bool) -> None:
        self._is_gone = is_gone
        self._changed.set()

    async def edges(self) -> Sequence[Edge]:
        while not self._edges:
            if self._is_gone:
                raise InputAwayError(f"the GPIO chip {self._chip.chip} is gone")
            self._changed.clear()
            await self._changed.wait()
        found = list(self._edges)
        self._edges.clear()
        return found

    def close(self) -> None:
        self.change(is_gone=True)
