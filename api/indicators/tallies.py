"""Sums of attribution's parts, by meter: what every figure of a product, run, order, line or site is told from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

import numpy as np

from api.indicators.carbon import Carbon
from api.indicators.flows import Amount
from api.indicators.parts import NO_CARBON, Part
from api.indicators.pressures import CO2_UNIT, Indicator
from api.indicators.sharing import MEASURED_RULES, Rule
from api.indicators.splitting import split_at
from schemas.resources import Resource

UNITS = {
    Indicator.ENERGY: "kWh",
    Indicator.WATER: "m3",
    Indicator.MATERIAL: "kg",
    Indicator.WASTE: "kg",
    Indicator.CO2_LOCATION: CO2_UNIT,
    Indicator.CO2_MARKET: CO2_UNIT,
}
"""The canonical unit of each indicator."""

_CARBON = tuple(item.name for item in fields(Carbon))
_carbon = attrgetter(*_CARBON)
_AT = {name: i for i, name in enumerate(("measured", "estimated", "otherwise", "primary", *_CARBON))}


def is_primary(part: Part) -> bool:
    """Whether it got to its place by a meter of its own line or by measured keys, all the way [our own choice]."""
    return part.rule in MEASURED_RULES and MEASURED_RULES.issuperset(part.hops)


@dataclass(slots=True)
class Tally:
    """What one place took of one meter: whole numbers that add up, and the rules and factors behind them."""

    numbers: list[int] = field(default_factory=lambda: [0] * len(_AT))
    rules: frozenset[Rule] = frozenset()
    factors: frozenset[int] = frozenset()

    def take(self, part: Part) -> None:
        amount, numbers = part.amount, self.numbers
        numbers[0] += amount.measured
        numbers[1] += amount.estimated
        numbers[2] += part.otherwise
        if is_primary(part):
            numbers[3] += amount.measured
        if part.carbon is not NO_CARBON:
            for i, number in enumerate(_carbon(part.carbon), 4):
                numbers[i] += number
        if part.rule not in self.rules or part.hops:
            self.rules = self.rules.union((part.rule, *part.hops))
        if not self.factors.issuperset(part.factors):
            self.factors = self.factors.union(part.factors)

    def add(self, other: Tally) -> None:
        self.numbers = [one + two for one, two in zip(self.numbers, other.numbers, strict=True)]
        self.rules |= other.rules
        self.factors |= other.factors

    def copy(self) -> Tally:
        return Tally(numbers=list(self.numbers), rules=self.rules, factors=self.factors)

    def __getitem__(self, name: str) -> int:
        return self.numbers[_AT[name]]

    @property
    def amount(self) -> Amount:
        return Amount(self.numbers[0], self.numbers[1])

    @property
    def total(self) -> int:
        return self.numbers[0] + self.numbers[1]

    def of(self, indicator: Indicator) -> Amount:
        """The quantity in billionths of the resource's unit, or of kg CO2e."""
        match indicator:
            case Indicator.CO2_LOCATION:
                return Amount(self["location_measured"], self["location_estimated"])
            case Indicator.CO2_MARKET:
                return Amount(self["market_measured"], self["market_estimated"])
            case _:
                return self.amount


Tallies = dict[str, Tally]
"""By meter."""


def divide(tallies: Sequence[Tally], weights: Sequence[int]) -> list[list[Tally]]:
    """Of each tally its shares by weight, which sum to it in every number.

    They are shared out by a rule, and not by a meter, so none of them is primary. Weights are not negative, not all
    zero, and sum to MAX_WEIGHT_SUM at most.
    """
    numbers = np.array([tally.numbers for tally in tallies], np.int64).reshape(len(tallies), len(_AT))
    numbers[:, _AT["primary"]] = 0
    upto = np.cumsum(np.array([weights], np.int64), axis=1)
    parts = split_at(numbers.reshape(-1), upto).reshape(len(tallies), len(_AT), len(weights))
    return [
        [Tally(numbers=share, rules=tally.rules, factors=tally.factors) for share in shares]
        for tally, shares in zip(tallies, parts.transpose(0, 2, 1).tolist(), strict=True)
    ]


def put(tallies: Tallies, meter: str, tally: Tally) -> None:
    """Add a tally that is the caller's own."""
    there = tallies.get(meter)
    if there is None:
        tallies[meter] = tally
    else:
        there.add(tally)


def merge(parts: Iterable[Mapping[str, Tally]]) -> Tallies:
    """The sum, meter by meter."""
    found: Tallies = {}
    for part in parts:
        for meter, tally in part.items():
            put(found, meter, tally.copy())
    return found


def of_indicator(
    tallies: Mapping[str, Tally], indicator: Indicator, resources: Mapping[str, Resource]
) -> Iterator[tuple[str, Tally]]:
    """The meters that a figure rests on: those of its resource; for CO2e those that had a factor, or needed one."""
    if indicator.is_carbon:
        for meter, tally in tallies.items():
            if resources[meter] is Resource.ENERGY or tally["location_known"] or tally["market_known"]:
                yield meter, tally
        return
    wanted = Resource(indicator.value)
    for meter, tally in tallies.items():
        if resources[meter] is wanted:
            yield meter, tally
