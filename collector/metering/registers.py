"""Which of a register's readings count, and how they follow each other [METHODS §1].

Most pairs of neighbouring readings are calm: the register did not fall, and did not rise faster than the meter can
count. All readings between two breaks of that calm are taken as they are; only at a break somebody has to judge, and
that is done here one break after the other, along the chain of readings that count:

- a **fall** is a *rollover* where the register's width explains it; a *dip* where the register comes back within
  `dip_window`; a *spike* where the very next reading is back on the old line, however late it comes, or where this one
  goes on from the line before the last; a *reset* when it has stayed low for longer than `dip_window`; until then it is
  undecided, and set aside.
- a **jump** beyond the rated maximum is set aside as a *spike* up to the reading that goes on plausibly from before.
  When none does within `dip_window`, the register goes on from its new value, and what lies between is unknown.

A judgement looks ahead no further than `dip_window`, or to the next reading. So two chains that begin at different
readings are one after any calm stretch longer than that (`is_synchronised`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from collector.metering.tables import HOUR_MS, Bools, Floats, Ints
from schemas.events import Decision, EventKind

_NEAR_THE_END = 10
"""Without a rated maximum a rollover is believed within the last and the first tenth of the register."""


class Link(IntEnum):
    """How a reading follows the one that counts before it."""

    DIFFERENCE = 0
    ROLLOVER = 1
    RESET = 2
    UNKNOWN = 3


_TOLD_LINKS = {
    Decision.COUNT: Link.DIFFERENCE,
    Decision.ROLLOVER: Link.ROLLOVER,
    Decision.RESET: Link.RESET,
    Decision.RESTART: Link.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The readings of one device, from one exchange to the next. `register` is in billionths, `rated` an hour.

    `pins` says of rows what a person decided about them. No break is seen before the rows in `vouched`. All readings
    before `known_to` are given.
    """

    at: Ints
    register: Ints
    width: int
    rated: float
    dip_window_ms: int
    known_to: int
    pins: Mapping[int, tuple[EventKind, Decision]] = field(default_factory=dict)
    vouched: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A judgement. Rows of the life: `first` to `last` are what it is about; `before` and `after` count (-1: none)."""

    kind: EventKind
    decision: Decision
    first: int
    last: int
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`is_counted` and `link` are one a row; `settled_ms` is the instant before which no later reading changes it.

    `is_open`: there is something that readings or time still to come will decide, or decide otherwise.
    """

    is_counted: Bools
    link: Ints
    findings: tuple[Finding, ...]
    settled_ms: int
    is_open: bool


def is_break(rise: Ints, span_ms: Ints, rated: Floats | float) -> Bools:
    """Whether a register falls, or rises faster than `rated` (billionths an hour; infinite: not known)."""
    return np.asarray((rise < 0) | (rise * HOUR_MS / np.maximum(span_ms, 1) > rated), dtype=np.bool_)


def find_breaks(at: Ints, register: Ints, rated: float) -> Ints:
    """Rows from which the next reading falls, or rises faster than `rated`."""
    return np.flatnonzero(is_break(np.diff(register), np.diff(at), rated))


def is_synchronised(at: Ints, stops: Ints, dip_window_ms: int) -> bool:
    """Whether any chain that began earlier counts the last readings of these as one that begins here does.

    `stops` are the rows after which something had to be judged.
    """
    begins = np.r_[0, stops + 1]
    ends = np.r_[stops, len(at) - 1]
    # Two readings after the window, as a judgement looks at the reading before the last.
    is_long = ends - begins >= 2
    begins, ends = begins[is_long], ends[is_long]
    return bool((at[ends - 1] - at[begins] > dip_window_ms).any())


def judge(life: Life) -> Judgement:
    """Follow the chain from the first reading, which counts."""
    return _Chain(life).follow()


class _Chain:
    """Where the judging stands: `_last` is the newest row that counts, `_previous` the one before it."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._count = len(life.at)
        self._is_counted = np.ones(self._count, dtype=np.bool_)
        self._link = np.zeros(self._count, dtype=np.int64)
        self._findings: list[Finding] = []
        self._known_to = max(life.known_to, int(life.at[-1]))
        self._settled = self._count
        self._is_open = False
        self._previous, self._last = -1, 0
        pinned = np.array(sorted(life.pins), dtype=np.int64)
        self._pinned = pinned.tolist()
        breaks = find_breaks(life.at, life.register, life.rated)
        breaks = breaks[~np.isin(breaks + 1, list(life.vouched))]
        self._stops = np.union1d(breaks, pinned[pinned > 0] - 1).tolist()

    def follow(self) -> Judgement:
        while (stop := bisect_left(self._stops, self._last)) < len(self._stops):
            row = self._stops[stop]
            if row > self._last:
                self._previous, self._last = row - 1, row
            if not self._judge(row + 1):
                break
        self._finish()
        return Judgement(
            is_counted=self._is_counted,
            link=self._link,
            findings=tuple(self._findings),
            settled_ms=int(self._life.at[self._settled]),
            is_open=self._is_open,
        )

    def _judge(self, row: int) -> bool:
        """Judge the reading after the last one that counts. False when nothing after it can be told yet."""
        life = self._life
        if row in life.pins:
            return self._take_as_told(row, *life.pins[row])
        if life.register[row] < life.register[self._last]:
            return self._judge_fall(row)
        return self._judge_jump(row)

    def _judge_fall(self, row: int) -> bool:
        if self._is_rollover(row):
            if row == self._count - 1 or not self._is_window_over(row):
                self._leave_open(self._previous)
            self._find(EventKind.ROLLOVER, Decision.ROLLOVER, row, row)
            return self._count_row(row, Link.ROLLOVER)
        back = self._return(row)
        kind = EventKind.DIP
        if back is None and self._returns_at_once(row):
            back, kind = row + 1, EventKind.SPIKE
        if self._is_line_of_previous(row) and (back is None or back > row + 1):
            return self._set_last_aside(row)
        if back is not None:
            return self._set_aside(kind, row, back)
        if not self._is_window_over(row):
            return self._leave_undecided(EventKind.DIP, row)
        link, decision = (Link.RESET, Decision.RESET) if self._is_from_zero(row) else (Link.UNKNOWN, Decision.RESTART)
        return self._go_on_from(row, EventKind.RESET, decision, link)

    def _judge_jump(self, row: int) -> bool:
        back = self._return(row)
        if back is None and self._returns_at_once(row):
            back = row + 1
        if back is not None:
            return self._set_aside(EventKind.SPIKE, row, back)
        if not self._is_window_over(row):
            return self._leave_undecided(EventKind.SPIKE, row)
        return self._go_on_from(row, EventKind.SPIKE, Decision.RESTART, Link.UNKNOWN)

    def _go_on_from(self, row: int, kind: EventKind, decision: Decision, link: Link) -> bool:
        if row == self._count - 1:
            # The next reading, whenever it comes, may still return to the old line.
            self._leave_open(self._previous)
        self._find(kind, decision, row, row)
        return self._count_row(row, link)

    def _take_as_told(self, row: int, kind: EventKind, decision: Decision) -> bool:
        link = _TOLD_LINKS.get(decision, Link.UNKNOWN)
        falls = self._life.register[row] < self._life.register[self._last]
        if link in {Link.ROLLOVER, Link.RESET} and not falls:
            # A reading that came late stands between: the register fell before it already, and counts on from there.
            link = Link.DIFFERENCE if self._is_plausible(self._last, row) else Link.UNKNOWN
        if (link is Link.DIFFERENCE and falls) or (link is Link.ROLLOVER and not self._life.width):
            link = Link.UNKNOWN
        self._find(kind, decision, row, row)
        return self._count_row(row, link)

    def _count_row(self, row: int, link: Link = Link.DIFFERENCE) -> bool:
        self._link[row] = link
        self._previous, self._last = self._last, row
        return True

    def _set_aside(self, kind: EventKind, row: int, back: int) -> bool:
        """Pass over the rows up to `back`, which goes on from the last that counts."""
        self._is_counted[row:back] = False
        self._find(kind, Decision.SET_ASIDE, row, back - 1, after=back)
        return self._count_row(back)

    def _set_last_aside(self, row: int) -> bool:
        """The last reading was a spike: this one goes on from the one before it."""
        spike, self._last = self._last, self._previous
        if row == self._count - 1:
            # The next reading may show that it was this one that fell out of line.
            self._leave_open(self._last)
        self._is_counted[spike] = False
        self._link[spike] = Link.DIFFERENCE
        self._find(EventKind.SPIKE, Decision.SET_ASIDE, spike, spike, after=row)
        return self._count_row(row)

    def _leave_undecided(self, kind: EventKind, row: int) -> bool:
        self._leave_open(self._previous)
        upto = self._next_pin(row)
        self._is_counted[row:upto] = False
        self._find(kind, Decision.UNDECIDED, row, upto - 1)
        # What a person decided about a later reading stands, whatever comes of these.
        return upto < self._count and self._take_as_told(upto, *self._life.pins[upto])

    def _find(self, kind: EventKind, decision: Decision, first: int, last: int, *, after: int = -1) -> None:
        finding = Finding(kind=kind, decision=decision, first=first, last=last, before=self._last, after=after)
        self._findings.append(finding)

    def _leave_open(self, row: int) -> None:
        self._is_open = True
        self._unsettle(row)

    def _unsettle(self, row: int) -> None:
        self._settled = min(self._settled, max(row, 0))

    def _finish(self) -> None:
        if self._last < self._count - 1 and self._is_counted[-1]:
            self._previous, self._last = self._count - 2, self._count - 1
        self._unsettle(self._previous)

    def _is_plausible(self, first: int, second: int) -> bool:
        life = self._life
        rise, span = life.register[second] - life.register[first], life.at[second] - life.at[first]
        return not is_break(rise, span, life.rated)

    def _is_rollover(self, row: int) -> bool:
        """The width explains the fall at a rate that the meter can count, and the register does not jump back."""
        life = self._life
        if not life.width:
            return False
        old, new = int(life.register[self._last]), int(life.register[row])
        counted = new + life.width - old
        if np.isinf(life.rated):
            tenth = life.width // _NEAR_THE_END
            is_likely = old >= life.width - tenth and 0 <= new <= tenth
        else:
            span = int(life.at[row] - life.at[self._last])
            is_likely = new >= 0 and old <= life.width and counted * HOUR_MS / span <= life.rated
        # A register that is back on its old line with the next reading had not passed its width.
        if not is_likely or self._returns_at_once(row):
            return False
        back = self._return(row)
        return back is None or not self._is_jump(back - 1, back)

    def _is_jump(self, first: int, second: int) -> bool:
        """Whether the register can't have counted from one reading to the next."""
        if np.isinf(self._life.rated):
            return int(self._life.register[second] - self._life.register[first]) > self._life.width // 2
        return not self._is_plausible(first, second)

    def _return(self, row: int) -> int | None:
        """The first reading after `row`, within the window, that goes on plausibly from the last that counts."""
        life = self._life
        end = int(np.searchsorted(life.at, life.at[row] + life.dip_window_ms, side="right"))
        end = min(end, self._next_pin(row))
        rise = life.register[row + 1 : end] - life.register[self._last]
        span = life.at[row + 1 : end] - life.at[self._last]
        found = np.flatnonzero(~is_break(rise, span, life.rated))
        return row + 1 + int(found[0]) if len(found) else None

    def _returns_at_once(self, row: int) -> bool:
        """Whether the very next reading, however late, goes on from the last that counts."""
        after = row + 1
        if after >= self._next_pin(row):
            return False
        return self._life.register[after] >= self._life.register[self._last] and self._is_plausible(self._last, after)

    def _next_pin(self, row: int) -> int:
        return next((pin for pin in self._pinned if pin > row), self._count)

    def _is_line_of_previous(self, row: int) -> bool:
        """Whether this reading goes on from the one before the last, as if the last had not come."""
        if self._previous < 0 or self._last in self._life.pins or self._link[self._last] != Link.DIFFERENCE:
            return False
        return bool(self._life.register[row] >= self._life.register[self._previous])

    def _is_window_over(self, row: int) -> bool:
        return self._known_to > int(self._life.at[row]) + self._life.dip_window_ms

    def _is_from_zero(self, row: int) -> bool:
        """Whether the register can have counted from zero to here since the last reading.

        A value nearer to the old one than to zero is a step back, and no new beginning, however long it had for it.
        """
        life = self._life
        old, new = int(life.register[self._last]), int(life.register[row])
        if not 0 <= new < old - new:
            return False
        return bool(new * HOUR_MS / int(life.at[row] - life.at[self._last]) <= life.rated)
