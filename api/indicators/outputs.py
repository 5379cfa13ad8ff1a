"""What was made: good, scrap and rework of products, in units or kilograms, and how sure that is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from math import ceil, hypot

from api.balance import DEFAULT_CLASS
from api.indicators.figures import MeterFacts
from api.indicators.flows import Amount
from api.indicators.parts import Attribution, Part
from api.indicators.products import ProductUnit, last_lines, scale, times
from schemas.quantities import SCALE

NOTHING = Amount()


class Per(StrEnum):
    """What a figure is divided by: good units of the product, or kilograms of them."""

    UNIT = "unit"
    KG = "kg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one meter counted of one product on one line in one run, in billionths of the meter's unit."""

    meter: str
    line: str | None
    product: str | None
    run: str | None
    order: str | None
    kind: str
    unit: str
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Good, scrap and rework in billionths of `unit`. `error`: how far off the good ones may be, up or down.

    `unit` is None, and nothing is told, where the output can't be added up in one unit; `problem` says why.
    """

    unit: str | None
    good: Amount = NOTHING
    scrap: Amount = NOTHING
    rework: Amount = NOTHING
    error: int = 0
    problem: str | None = None

    @property
    def scrap_ratio(self) -> Fraction | None:
        """Scrap of all that was produced [ISO 22400-2]."""
        return self._ratio(self.scrap)

    @property
    def rework_ratio(self) -> Fraction | None:
        """What has to be worked on again, of all that was produced [ISO 22400-2]."""
        return self._ratio(self.rework)

    def _ratio(self, part: Amount) -> Fraction | None:
        produced = self.good.total + self.scrap.total + self.rework.total
        return Fraction(part.total, produced) if produced > 0 else None


def batches(production: Iterable[Part]) -> list[Batch]:
    """Each production part as what it counted; its carrier says what became of the output."""
    return [
        Batch(
            meter=part.meter,
            line=part.line,
            product=part.slot.product,
            run=part.run,
            order=part.order,
            kind=part.carrier or "",
            unit=part.unit,
            amount=part.amount,
        )
        for part in production
    ]


def finished(found: Iterable[Batch], onward: Mapping[str, str | None]) -> frozenset[tuple[str, str]]:
    """(line, product) of the lines whose good output is finished, by `last_lines`, over all of these batches."""
    made_on: dict[str, dict[str, int]] = {}
    for batch in found:
        if batch.kind == "good" and batch.line is not None and batch.product is not None:
            of = made_on.setdefault(batch.product, {})
            of[batch.line] = of.get(batch.line, 0) + batch.amount.total
    return frozenset((line, product) for product, lines in made_on.items() for line in last_lines(lines, onward))


def only_finished(
    found: Iterable[Batch], ends: Collection[tuple[str, str]], onward: Mapping[str, str | None]
) -> list[Batch]:
    """Without good output that went on to another line and was counted there again. Scrap counts wherever it falls.

    What was made in no run of a product is finished where the line has no next one.
    """
    return [
        batch
        for batch in found
        if batch.kind != "good"
        or batch.line is None
        or ((batch.line, batch.product) in ends if batch.product is not None else onward.get(batch.line) is None)
    ]


def add_up(
    found: Sequence[Batch],
    *,
    per: Per,
    products: Mapping[str, ProductUnit],
    meters: Mapping[str, MeterFacts],
    unit: str | None = None,
) -> Made:
    """The output of these batches in one unit: kilograms, or the one that all of their products have; else `unit`.

    The error of the good ones is what is estimated, each meter's accuracy class, and one piece for each meter
    that counts pieces. A counter of pieces without a class is taken to miss none, a scale to have the usual class.
    """
    units: set[str | None] = {"kg"} if per is Per.KG else {_own_unit(batch, products) for batch in found}
    units = units or {unit}
    if len(units) > 1:
        return Made(unit=None, problem="what was made is counted in pcs and in kg; ask per kg")
    told = units.pop()
    totals = dict.fromkeys(("good", "scrap", "rework"), Amount())
    good: dict[str, Fraction] = {}
    error = Fraction(0)
    for batch in _summed(found):
        by = scale(batch.unit, told or batch.unit, products.get(batch.product or ""))
        if by is None:
            name = batch.product or "what was made in no run"
            return Made(unit=None, problem=f"{name} has no mass_kg; give it in the site model")
        amount = times(batch.amount, by)
        totals[batch.kind] = totals.get(batch.kind, Amount()) + amount
        if batch.kind == "good":
            facts = meters.get(batch.meter)
            counts_exactly = batch.unit == "pcs" and (facts is None or facts.accuracy_class is None)
            if batch.unit == "pcs" and batch.meter not in good:
                error += SCALE * by
            off = 0.0 if counts_exactly else facts.off if facts else DEFAULT_CLASS / 100
            good[batch.meter] = good.get(batch.meter, Fraction(0)) + amount.total * Fraction(off)
            error += abs(amount.estimated)
    error += Fraction(hypot(*(float(quantity) for quantity in good.values())))
    return Made(unit=told, good=totals["good"], scrap=totals["scrap"], rework=totals["rework"], error=ceil(error))


def _summed(found: Iterable[Batch]) -> list[Batch]:
    """What became alike of one product at one meter as one, in order: so nothing hangs on how its time was cut."""
    sums: dict[tuple[str, str, str], Batch] = {}
    for batch in found:
        key = batch.product or "", batch.meter, batch.kind
        sums[key] = replace(batch, amount=sums[key].amount + batch.amount) if key in sums else batch
    return [sums[key] for key in sorted(sums)]


def _own_unit(batch: Batch, products: Mapping[str, ProductUnit]) -> str:
    """The unit of the product, where the batch can be told in it."""
    product = products.get(batch.product or "")
    if product is None or scale(batch.unit, product.unit, product) is None:
        return batch.unit
    return product.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Good, scrap and rework of one product on one line, in billionths of `unit`. None: made in no run of a product."""

    line: str | None
    product: str | None
    unit: str
    good: Amount
    scrap: Amount
    rework: Amount = NOTHING


def outputs(attribution: Attribution, products: Mapping[str, ProductUnit]) -> list[Output]:
    """What was made by line and product, each in the product's own unit where that can be told."""
    found: dict[tuple[str, str, str], dict[str, Amount]] = {}
    for batch in batches(attribution.production):
        unit = _own_unit(batch, products)
        by = scale(batch.unit, unit, products.get(batch.product or ""))
        kinds = found.setdefault((batch.line or "", batch.product or "", unit), {})
        kinds[batch.kind] = kinds.get(batch.kind, Amount()) + times(batch.amount, by or Fraction(1))
    return [
        Output(
            line=line or None,
            product=product or None,
            unit=unit,
            good=kinds.get("good", Amount()),
            scrap=kinds.get("scrap", Amount()),
            rework=kinds.get("rework", Amount()),
        )
        for (line, product, unit), kinds in sorted(found.items())
    ]
