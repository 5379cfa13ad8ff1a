"""What somebody else does at the broker: says what nobody can store, and says old things again."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import LiteralString

import psycopg

from deploy.chaos.fault import Kind, Open
from deploy.chaos.meters import CABINET, SITE
from deploy.chaos.plant import Plant, now_ms
from deploy.chaos.poison import POISONS, Dose, Poison, number_used_twice

_MOST_POISONS = 3
_MOST_REPLAYED = 30
_LOOKED_AT = 50
_STORED_SEQ: LiteralString = """
    SELECT stored_seq FROM ledger WHERE (organisation, site, agent, epoch) = (%s, %s, %s, %s)
"""


class Intrusions:
    """Begins them on one plant; None where they came to nothing. `poisons` is all that was ever given."""

    def __init__(self, plant: Plant, rng: random.Random) -> None:
        self.poisons: list[Poison] = []
        self._plant = plant
        self._rng = rng
        self._left: list[Callable[[Dose], Poison]] = []

    def give_poison(self, _claimed: Collection[str]) -> Open | None:
        """Some of every kind in turn; now and then a number that was used."""
        poisons = [self._next() for _ in range(self._rng.randint(1, _MOST_POISONS))]
        if self._rng.random() < 0.3 and (twice := self._number_used_twice()) is not None:
            poisons.append(twice)
        self.poisons += poisons
        # All of them, also when one is not taken.
        taken = [self._plant.outsider.give(poison) for poison in poisons]
        names = ", ".join(poison.name for poison in poisons)
        return Open(kind=Kind.POISON, place=names, claims=frozenset()) if all(taken) else None

    def replay(self, _claimed: Collection[str]) -> Open | None:
        """Messages of readings as agents published them, in any order."""
        heard = self._plant.outsider.heard(self._rng, self._rng.randint(1, _MOST_REPLAYED))
        if not heard or not all(self._plant.outsider.publish(old.topic, old.payload) for old in heard):
            return None
        return Open(kind=Kind.REPLAY, place=f"{len(heard)} messages", claims=frozenset())

    def _next(self) -> Poison:
        if not self._left:
            self._left = self._rng.sample(POISONS, len(POISONS))
        dose = Dose(
            organisation=self._plant.settings.organisation,
            seq=(len(self.poisons) + 1) * 100 + len(self._left),
            at_ms=self._plant.settings.clock.at(now_ms()),
            rng=self._rng,
        )
        return self._left.pop()(dose)

    def _number_used_twice(self) -> Poison | None:
        """Of a message that is stored for certain; another would take the place of what it copies."""
        for heard in self._plant.outsider.heard(self._rng, _LOOKED_AT):
            if f"/{CABINET}/" not in heard.topic:
                continue
            poison = number_used_twice(heard.topic, heard.payload)
            key = (self._plant.settings.organisation, SITE, CABINET, poison.epoch)
            try:
                rows = self._plant.query(_STORED_SEQ, *key)
            except psycopg.Error:
                return None
            if rows and poison.seq is not None and poison.seq <= rows[0][0]:
                return poison
        return None
