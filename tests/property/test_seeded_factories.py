"""The truth of seeded factories lies within the stated intervals.

200 factories here; AFKOBLING_SEEDED_FACTORIES=2000 tries more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from api.indicators.attribution import attribute
from api.indicators.carbon import HOUR_MS, Basis, Factor, Matched, Series, match
from api.indicators.figures import MeterFacts
from api.indicators.flows import Flow, Ruled
from api.indicators.intensity import Facts, Intensity, Ratio, intensities
from api.indicators.lines import Grid, Run
from api.indicators.parts import Attribution
from api.indicators.products import ProductUnit
from schemas.carriers import FactorBasis, Scope
from schemas.quantities import QUARTER_MS
from schemas.resources import CANONICAL_UNITS, Resource
from tests.property.seeded.factory import GAS_KG_PER_KWH, Errors, Factory, Used, build_factory
from tests.property.seeded.plan import FIRST_MS, NOBODY

FACTORIES = int(os.environ.get("AFKOBLING_SEEDED_FACTORIES", "200"))
NEEDED = 0.95
"""The share of factories in which the truth of all products must lie within the stated interval."""


def attributed(factory: Factory) -> Attribution:
    """The factory as attribution gets it from the store."""
    grid = Grid(first=FIRST_MS // QUARTER_MS, count=factory.quarters)
    matched = {carrier: _matched(grid, factory, carrier) for carrier in {meter.carrier for meter in factory.meters}}
    flows = [
        Flow(
            meter=meter.key,
            resource=meter.resource,
            unit=CANONICAL_UNITS[meter.resource],
            carrier=meter.carrier,
            line=meter.line,
            utility=meter.utility,
            parent=meter.parent,
            share=meter.share,
            location=matched[meter.carrier],
            market=matched[meter.carrier],
            measured=meter.measured,
            estimated=meter.estimated,
            covered_ms=meter.covered_ms,
            present=np.ones(factory.quarters, np.bool_),
        )
        for meter in factory.meters
    ]
    runs = [
        Run(
            line=span.line,
            state=span.state,
            product=None if span.product == NOBODY else factory.products[span.product],
            start_ms=span.start_ms,
            end_ms=span.end_ms,
        )
        for span in factory.spans
    ]
    utilities = {key: (Ruled(since=0, share=share),) for key, share in factory.utilities.items()}
    return attribute(grid, flows, runs, lines=factory.lines, mass_kg=factory.mass_kg, utilities=utilities)


def _matched(grid: Grid, factory: Factory, carrier: str) -> Matched | None:
    hours = FIRST_MS // HOUR_MS + np.arange(factory.grid_kg_per_kwh.size, dtype=np.int64)
    gas = Factor(
        id=1,
        key="gas",
        version=1,
        carrier="natural_gas",
        scope=Scope.SCOPE_1,
        unit="kWh",
        valid_from=FIRST_MS,
        valid_to=None,
        value=Fraction(repr(GAS_KG_PER_KWH)),
    )
    grid_factor = replace(
        gas,
        id=2,
        key="grid",
        carrier="electricity",
        scope=Scope.SCOPE_2,
        basis=FactorBasis.LOCATION,
        value=None,
        hourly=Series(hour=hours, kg_per_unit=factory.grid_kg_per_kwh),
    )
    factors = [gas, grid_factor]
    if carrier not in {factor.carrier for factor in factors}:
        return None
    return match(grid, factors, carrier=carrier, area=None, basis=Basis.LOCATION)


def facts_of(factory: Factory) -> Facts:
    """What the site model would say of the factory. Its counters of pieces are exact, and have no class."""
    return Facts(
        products={product: ProductUnit(unit="pcs", mass_kg=mass) for product, mass in factory.mass_kg.items()},
        meters={
            meter.key: MeterFacts(
                resource=meter.resource,
                part_of=None if meter.key in factory.keys else meter.parent,
                line=meter.line,
                carrier=meter.carrier,
                accuracy_class=None if meter.resource is Resource.PRODUCTION else meter.accuracy_class,
                coverage=float(meter.covered_ms.sum() / (factory.quarters * QUARTER_MS)),
            )
            for meter in factory.meters
        },
    )


def judged(factory: Factory) -> Iterator[tuple[Intensity, Used]]:
    """Each product's figures with what is true of them; a product that nobody made has none."""
    for found in intensities(attributed(factory), facts_of(factory)):
        product = found.owner.product
        truth = factory.truth.get((product or "", found.indicator.value))
        # CO2 by the market is here the same as by location.
        if truth is not None and product is not None and factory.good[product] > 0:
            yield found, truth


def holds(stated: Ratio, true: float) -> bool:
    return (stated.low is None or float(stated.low) <= true) and (stated.high is None or true <= float(stated.high))


def test_the_truth_of_all_products_lies_within_the_stated_interval() -> None:
    marginal, loaded = [], []
    for seed in range(FACTORIES):
        factory = build_factory(seed)
        found = list(judged(factory))
        assert {figure.indicator.value for figure, _ in found} == {
            "energy",
            "water",
            "material",
            "waste",
            "co2_location",
        }
        good = [factory.good[figure.owner.product or ""] for figure, _ in found]
        marginal.append(all(holds(f.value, t.marginal / g) for (f, t), g in zip(found, good, strict=True)))
        loaded.append(all(holds(f.fully_loaded, t.fully_loaded / g) for (f, t), g in zip(found, good, strict=True)))
    assert np.mean(marginal) >= NEEDED
    assert np.mean(loaded) >= NEEDED


def test_the_intervals_say_something() -> None:
    """An interval that holds everything would pass the test above."""
    widths: dict[str, list[float]] = {}
    for seed in range(20):
        for figure, _ in judged(build_factory(seed)):
            low, value, high = (
                float(bound or "nan") for bound in (figure.value.low, figure.value.value, figure.value.high)
            )
            widths.setdefault(figure.indicator.value, []).append((high - low) / 2 / value)
    assert {indicator: float(np.median(of)) < 0.1 for indicator, of in widths.items()} == dict.fromkeys(widths, True)


@pytest.mark.parametrize("seed", range(10))
def test_without_errors_figures_are_off_by_their_quarters_only(seed: int) -> None:
    factory = build_factory(seed, Errors(gain=0, gaps=0, rules=0))
    for figure, truth in judged(factory):
        assert figure.marginal.by_estimates == 0
        assert figure.marginal.total / 1e9 == pytest.approx(truth.marginal, rel=0.06), figure.owner


def test_the_site_takes_what_the_factory_took() -> None:
    for seed in range(20):
        factory = build_factory(seed, Errors(gain=0, gaps=0))
        roots = {"main", *(f"{line}-gas" for line in factory.lines)}
        counted = sum(int((m.measured + m.estimated).sum()) for m in factory.meters if m.key in roots)
        parts = [part for part in attributed(factory).parts if part.resource is Resource.ENERGY]
        assert sum(part.amount.total for part in parts) == counted
