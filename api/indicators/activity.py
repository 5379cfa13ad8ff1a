"""Why consumption changed: V = Σ_ij Q·S_i·I_ij(·F_ij) of products i and carriers j [METHODS §5].

Q is the activity (all that was made), S_i the share of product i in it, I_ij what a unit of it uses of carrier j, and
F_ij the CO2e of one unit of that. What no product carries is an effect of its own, so that the sum is the whole change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from api.indicators.decomposition import Category, Decomposition, Values, decompose


class Effect(StrEnum):
    """What may change consumption."""

    ACTIVITY = "activity"
    MIX = "mix"
    INTENSITY = "intensity"
    FACTOR = "factor"
    UNATTRIBUTED = "unattributed"


class Beside(StrEnum):
    """What no category carries, and why. `no_output`: used by one that made nothing good in the period."""

    IDLE = "idle"
    UNATTRIBUTED = "unattributed"
    NO_OUTPUT = "no_output"
    NO_ENERGY = "no_energy"
    NEGATIVE = "negative"


FACTORS = (Effect.ACTIVITY, Effect.MIX, Effect.INTENSITY, Effect.FACTOR)
"""In the order of the product: activity, then one more for each thing that is counted of a category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a category made in a period, and by carrier what it used; of CO2e (what it used, what that emitted)."""

    made: Fraction
    used: Mapping[str, tuple[Fraction, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """A period by category, and what no category carries, by why; the last numbers of all carriers and this sum to V.

    All that is made is in one unit.
    """

    by_category: Mapping[str, Account]
    beside: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def activity(self) -> Fraction:
        """Q; a category that took back more than it made adds nothing."""
        return sum((max(account.made, Fraction(0)) for account in self.by_category.values()), Fraction(0))


def explain(
    before: Accounts, after: Accounts, *, with_factor: bool = False, quantum: Fraction | None = None
) -> Decomposition:
    """The change from one period to another by effect; each carrier has (used,), or (used, emitted) with a factor.

    A category is (product, carrier), or (product,) where the carrier is "". What can't be taken apart is beside the
    products: what is used without good output in that period, what is emitted without energy, and both periods of
    what is below zero in one of them.
    """
    names = FACTORS[: 4 if with_factor else 3]
    sides = _Side(before, with_factor=with_factor), _Side(after, with_factor=with_factor)
    negative = {pair for side in sides for pair in side.negative()}
    factors = [side.factors(negative) for side in sides]
    # Told in both periods, so that a category that one of them lacks is nothing by its share, not by the activity.
    pairs = {*factors[0], *factors[1]}
    aside = [side.aside(negative) for side in sides]
    return decompose(
        names,
        *(
            {_category(pair): found.get(pair) or side.nothing(pair) for pair in pairs}
            for side, found in zip(sides, factors, strict=True)
        ),
        beside={
            (name,): (aside[0].get(name, Fraction(0)), aside[1].get(name, Fraction(0)))
            for name in {*aside[0], *aside[1]}
        },
        quantum=quantum,
    )


Pair = tuple[str, str]
"""A category and a carrier."""


class _Side:
    """One period, pair by pair."""

    def __init__(self, accounts: Accounts, *, with_factor: bool) -> None:
        self._accounts = accounts
        self._depth = 2 if with_factor else 1
        self._activity = accounts.activity

    def negative(self) -> Iterator[Pair]:
        """What has no logarithm."""
        for pair, made, used in self._pairs():
            if made < 0 or min(used) < 0:
                yield pair

    def factors(self, negative: set[Pair]) -> dict[Pair, Values]:
        """Q, S, I (and F) of each pair that can be taken apart; a pair that used nothing as well."""
        return {
            pair: self._values(made, used)
            for pair, made, used in self._pairs()
            if pair not in negative and _trouble(made, used) is None
        }

    def nothing(self, pair: Pair) -> Values:
        """Q, S, I (and F) of a pair that used nothing here, or whose use is beside."""
        account = self._accounts.by_category.get(pair[0])
        made = max(account.made, Fraction(0)) if account is not None else Fraction(0)
        return self._values(made, (Fraction(0),) * self._depth)

    def aside(self, negative: set[Pair]) -> dict[str, Fraction]:
        """What is beside the categories, by why."""
        found = dict(self._accounts.beside)
        for pair, made, used in self._pairs():
            trouble = Beside.NEGATIVE if pair in negative else _trouble(made, used)
            if trouble is not None:
                found[trouble] = found.get(trouble, Fraction(0)) + used[-1]
        return found

    def _pairs(self) -> Iterator[tuple[Pair, Fraction, tuple[Fraction, ...]]]:
        for category, account in self._accounts.by_category.items():
            for carrier, used in account.used.items():
                if len(used) != self._depth:
                    raise ValueError(f"{category} has {len(used)} numbers of {carrier or 'its use'}, not {self._depth}")
                yield (category, carrier), account.made, used

    def _values(self, made: Fraction, used: Sequence[Fraction]) -> Values:
        """Each divided by the one before it; undefined where that is nothing."""
        levels = (self._activity, made, *used)
        ratios = (level / base if base else None for base, level in pairwise(levels))
        return (self._activity, *ratios)


def _trouble(made: Fraction, used: Sequence[Fraction]) -> Beside | None:
    """Why what is used is nobody's in these terms, though a category has it."""
    if not used[-1]:
        return None
    if not made:
        return Beside.NO_OUTPUT
    return None if used[0] else Beside.NO_ENERGY


def _category(pair: Pair) -> Category:
    return pair if pair[1] else pair[:1]
