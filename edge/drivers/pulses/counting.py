"""Pulses out of a line's edges: what lasts long enough counts, what bounces does not. Pure; times in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The line changed at `at_ns` of a steady clock. `number` counts the line's edges from 1, lost ones too."""

    line: int | str
    at_ns: int
    is_active: bool
    number: int


class PulseCounter:
    """Counts one line. A pulse of `shortest_pulse_ns` after a gap of `shortest_gap_ns`, or longer, counts at its end.

    What is shorter is a bounce and changes nothing. Where edges were lost, no pulse is made up. Only the edges' own
    times are used: how late they are read does not matter.
    """

    def __init__(self, *, shortest_pulse_ns: int, shortest_gap_ns: int) -> None:
        self.pulses = 0
        self.bounces = 0
        self.lost_edges = 0
        """Edges that the kernel had no room for; pulses may have been among them."""
        self._shortest_ns = {True: shortest_pulse_ns, False: shortest_gap_ns}
        self._level = False
        self._since: tuple[bool, int] | None = None
        """Another level than the settled one, and since when."""
        self._number = 0

    def take(self, edge: Edge) -> None:
        """The next edge; in order of `number`."""
        lost = max(0, edge.number - self._number - 1)
        self._number = edge.number
        if lost:
            # Nobody knows how long the level lasted.
            self.lost_edges += lost
            self._since = None
        self._settle(edge.at_ns)
        if edge.is_active != self._level:
            self._since = (edge.is_active, edge.at_ns)
        elif self._since is not None:
            self.bounces += 1
            self._since = None

    def _settle(self, now_ns: int) -> None:
        if self._since is None:
            return
        level, since_ns = self._since
        if now_ns - since_ns < self._shortest_ns[level]:
            return
        self._level, self._since = level, None
        if level:
            self.pulses += 1
