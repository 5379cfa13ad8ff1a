"""What a good unit of each product takes, from an attribution.

Marginal: processing, changeover and shares of utilities. Fully loaded: that and the line's idle, by occupied hours.
Both are divided by good units, so scrap burdens the good ones (METHODS §2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from api.indicators.attribution import Attribution, Part
from api.indicators.flows import Amount
from api.indicators.lines import Phase
from api.indicators.sharing import Rule
from api.indicators.splitting import split
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductUnit:
    """What a product is counted in, and its mass where it is known, to make pieces of kilograms and back."""

    unit: str
    mass_kg: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Good and scrap of one product on one line, in billionths of `unit`. None: made in no run of a product."""

    line: str | None
    product: str | None
    unit: str
    good: Amount
    scrap: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """What one product took of one resource. Per-unit figures are canonical units per good unit; None without any."""

    product: str
    resource: Resource
    unit: str
    product_unit: str
    good: Amount
    marginal: Amount
    idle: Amount
    value: Fraction | None
    fully_loaded: Fraction | None
    estimated_share: float | None
    coverage: float
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One resource: consumed = products + idle + unattributed, exactly."""

    resource: Resource
    unit: str
    consumed: Amount
    products: Amount
    idle: Amount
    unattributed: Amount
    coverage: float

    @property
    def difference(self) -> int:
        """Zero, in billionths; shown so that a reader need not take our word."""
        return self.consumed.total - self.products.total - self.idle.total - self.unattributed.total


def outputs(attribution: Attribution, units: Mapping[str, ProductUnit]) -> list[Output]:
    """Good and scrap by line and product, each in the product's own unit where that can be told."""
    found: dict[tuple[str, str, str], dict[str, Amount]] = {}
    for part in attribution.production:
        unit, amount = _in_product_unit(part, units)
        kinds = found.setdefault((part.line or "", part.slot.product or "", unit), {})
        kinds[part.carrier or ""] = kinds.get(part.carrier or "", Amount()) + amount
    return [
        Output(
            line=line or None,
            product=product or None,
            unit=unit,
            good=kinds.get("good", Amount()),
            scrap=kinds.get("scrap", Amount()),
        )
        for (line, product, unit), kinds in sorted(found.items())
    ]


def intensities(attribution: Attribution, units: Mapping[str, ProductUnit]) -> list[Intensity]:
    """Every product that took something of a resource, by product and resource."""
    good: dict[str, Amount] = {}
    for output in outputs(attribution, units):
        if output.product is not None and output.product in units and output.unit == units[output.product].unit:
            good[output.product] = good.get(output.product, Amount()) + output.good
    idle = share_idle(attribution)
    coverage = {ledger.resource: ledger.coverage for ledger in attribution.ledgers}
    taken: dict[tuple[str, Resource, str], list[Part]] = {}
    for part in attribution.parts:
        if part.slot.product is not None:
            taken.setdefault((part.slot.product, part.resource, part.unit), []).append(part)
    found = []
    for (product, resource, unit), parts in sorted(taken.items()):
        marginal = _total(parts)
        loaded = idle.get((product, resource), Amount())
        units_made = good.get(product, Amount()).total
        found.append(
            Intensity(
                product=product,
                resource=resource,
                unit=unit,
                product_unit=units[product].unit if product in units else "pcs",
                good=good.get(product, Amount()),
                marginal=marginal,
                idle=loaded,
                value=Fraction(marginal.total, units_made) if units_made > 0 else None,
                fully_loaded=Fraction((marginal + loaded).total, units_made) if units_made > 0 else None,
                estimated_share=estimated_share(marginal + loaded),
                coverage=coverage[resource],
                rules=tuple(sorted({part.rule for part in parts})),
            )
        )
    return found


def balances(attribution: Attribution) -> list[Balance]:
    """Where each resource went."""
    found = []
    for ledger in attribution.ledgers:
        parts = [part for part in attribution.parts if part.resource is ledger.resource]
        found.append(
            Balance(
                resource=ledger.resource,
                unit=ledger.unit,
                consumed=ledger.consumed,
                products=_total([part for part in parts if part.slot.product is not None]),
                idle=_total([part for part in parts if part.slot.phase is Phase.IDLE]),
                unattributed=_total([part for part in parts if part.slot.phase is Phase.UNATTRIBUTED]),
                coverage=ledger.coverage,
            )
        )
    return found


def share_idle(attribution: Attribution) -> dict[tuple[str, Resource], Amount]:
    """Each line's idle divided over its products by occupied time. A line without any keeps its idle."""
    found: dict[tuple[str, Resource], Amount] = {}
    for line, resource in sorted(
        {(p.line, p.resource) for p in attribution.parts if p.line is not None and p.slot.phase is Phase.IDLE}
    ):
        occupied = {product: ms for (at, product), ms in attribution.occupied_ms.items() if at == line and ms > 0}
        if not occupied:
            continue
        idle = _total(
            [
                part
                for part in attribution.parts
                if part.line == line and part.resource is resource and part.slot.phase is Phase.IDLE
            ]
        )
        weights = np.array([list(occupied.values())], np.int64)
        measured = split(np.array([idle.measured], np.int64), weights)[0]
        estimated = split(np.array([idle.estimated], np.int64), weights)[0]
        for i, product in enumerate(occupied):
            share = Amount(int(measured[i]), int(estimated[i]))
            found[product, resource] = found.get((product, resource), Amount()) + share
    return found


def estimated_share(amount: Amount) -> float | None:
    """How much of a quantity is estimated, 0 to 1; None of nothing."""
    size = abs(amount.measured) + abs(amount.estimated)
    return abs(amount.estimated) / size if size else None


def _in_product_unit(part: Part, units: Mapping[str, ProductUnit]) -> tuple[str, Amount]:
    product = units.get(part.slot.product or "")
    if product is None or product.unit == part.unit or product.mass_kg is None:
        return part.unit, part.amount
    factor = Fraction(repr(product.mass_kg))
    if part.unit == "kg":
        factor = 1 / factor
    return product.unit, Amount(round(part.amount.measured * factor), round(part.amount.estimated * factor))


def _total(parts: Sequence[Part]) -> Amount:
    total = Amount()
    for part in parts:
        total += part.amount
    return total
