"""Which fault comes when: from a seed alone, but for what the machine makes of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection

from deploy.chaos.fault import Happened, Kind, Open, Running
from deploy.chaos.faults import Faults
from deploy.chaos.plant import Plant

_WEIGHTS = {
    Kind.KILL_AGENT: 4,
    Kind.KILL_COLLECTOR: 3,
    Kind.KILL_ROLLUP: 2,
    Kind.KILL_BROKER: 2,
    Kind.CUT: 2,
    Kind.TEAR: 4,
    Kind.STALL: 2,
    Kind.SKEW: 2,
    Kind.POISON: 3,
    Kind.REPLAY: 2,
}
"""How many of a kind are in a deck; one of any other."""
_TURN_S = 0.02
_ATTEMPTS = 5
_SOON = 6


class Cards:
    """First every kind once, then deck after deck, each shuffled. What came to nothing comes again soon."""

    def __init__(self, rng: random.Random, kinds: Collection[Kind]) -> None:
        self._rng = rng
        self._kinds = sorted(kinds)
        self._left = rng.sample(self._kinds, len(self._kinds))

    def draw(self) -> Kind:
        """The next; there is always one."""
        if len(self._left) <= _SOON:
            deck = [kind for kind in self._kinds for _ in range(_WEIGHTS.get(kind, 1))]
            self._left += self._rng.sample(deck, len(deck))
        return self._left.pop(0)

    def put_back(self, kind: Kind) -> None:
        """Unless it comes anyway. Not to the top: what hinders it now may be over in a moment."""
        if kind not in self._left:
            self._left.insert(_SOON, kind)


class Schedule:
    """Draws faults from decks that hold every kind, at instants of chance, until enough have happened."""

    def __init__(self, plant: Plant, rng: random.Random, kinds: Collection[Kind], say: Callable[[str], None]) -> None:
        self.happened: list[Happened] = []
        self._plant = plant
        self._rng = rng
        self._say = say
        self._began_s = time.monotonic()
        self._running = Running()
        self.faults = Faults(plant, rng)
        self._cards = Cards(rng, kinds)

    @property
    def injected(self) -> int:
        """How many faults were seen to happen."""
        return sum(fault.is_seen for fault in self.happened)

    def play(self, *, faults: int, seconds: float, longest_s: float) -> None:
        """About `seconds` for so many faults; ends with what there was after `longest_s`. Everything is made good then.

        Raises PartEndedError when a part ends that nobody killed, and StackError when a server can't be restarted.
        """
        mean_s = seconds / faults
        began_s = next_s = time.monotonic()
        try:
            while self.injected < faults and time.monotonic() - began_s < longest_s:
                self._plant.check()
                self._note(self._running.end_due())
                if time.monotonic() >= next_s and self.injected + len(self._running) < faults:
                    self._begin()
                    next_s += self._rng.uniform(0, 2 * mean_s)
                time.sleep(_TURN_S)
        finally:
            self._note(self._running.end_due(at_once=True))

    def _begin(self) -> None:
        """The next fault that is possible now."""
        for _ in range(_ATTEMPTS):
            kind = self._cards.draw()
            fault = self.faults.begin(kind, self._running.claimed)
            if fault is not None:
                self._tell(fault)
                self._running.add(fault)
                return
            self._note([Happened(kind=kind, place="", seconds=0, is_seen=False)])

    def _note(self, ended: list[Happened]) -> None:
        self.happened += ended
        for fault in ended:
            words = f"{fault.kind} {fault.place}".strip()
            if not fault.is_seen:
                self._cards.put_back(fault.kind)
                self._say(f"{self._now()} came to nothing: {words}")
            elif fault.seconds > _TURN_S:
                self._say(f"{self._now()} over after {fault.seconds:.1f} s: {words}")

    def _tell(self, fault: Open) -> None:
        self._say(f"{self._now()} {fault.kind}: {fault.place}")

    def _now(self) -> str:
        return f"{time.monotonic() - self._began_s:7.2f} s "
