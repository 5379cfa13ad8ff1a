"""The whole factory: what its meters and lines say, and the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.quantities import QUARTER_MS
from schemas.sharing import Share
from tests.property.seeded.lines import LineFlows, Served, draw_line, draw_served, total
from tests.property.seeded.meters import SeededMeter, read_meters
from tests.property.seeded.plan import FIRST_MS, HOUR_MS, Floats, Plan, Span, draw_plan

GAS_KG_PER_KWH = 0.204


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How much goes wrong against how much usually does; all 0: only that quarters hold several things."""

    gain: float = 1.0
    gaps: float = 1.0
    rules: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a product really took, in canonical units: its own, and that with the idle of its lines."""

    marginal: float
    fully_loaded: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """`grid_kg_per_kwh` is by hour. `truth` is by product and indicator, `good` the pieces that really came out."""

    seed: int
    quarters: int
    lines: tuple[str, ...]
    products: tuple[str, ...]
    mass_kg: dict[str, float]
    spans: tuple[Span, ...]
    utilities: dict[str, Share]
    meters: tuple[SeededMeter, ...]
    grid_kg_per_kwh: Floats
    truth: dict[tuple[str, str], Used]
    good: dict[str, float]

    @property
    def keys(self) -> frozenset[str]:
        """The meters that only tell how others are shared out."""
        shares = [*self.utilities.values(), *(meter.share for meter in self.meters if meter.share is not None)]
        return frozenset(key for share in shares for key in share.keys.values())


def build_factory(seed: int, errors: Errors | None = None) -> Factory:
    """The factory of that seed. What goes wrong changes nothing of what happened."""

    def rng_of(what: str) -> np.random.Generator:
        return np.random.default_rng([seed, *what.encode()])

    errors = errors or Errors()
    plan = draw_plan(rng_of("plan"))
    with_gas = int(rng_of("gas").integers(len(plan.spans)))
    lines = [draw_line(plan, line, rng_of(line), has_gas=i == with_gas) for i, line in enumerate(plan.spans)]
    served = draw_served(lines, plan.mass_kg, rng_of("served"), unlike=errors.rules)
    hours = np.arange(plan.days * 24)
    noise = rng_of("grid").standard_normal(hours.size)
    grid_kg_per_kwh = 0.15 * np.exp(0.2 * noise) * (1.0 + 0.4 * np.cos(2 * np.pi * (hours - 19) / 24))
    return Factory(
        seed=seed,
        quarters=(plan.end_ms - FIRST_MS) // QUARTER_MS,
        lines=tuple(plan.spans),
        products=plan.products,
        mass_kg=dict(zip(plan.products, plan.mass_kg, strict=True)),
        spans=tuple(span for spans in plan.spans.values() for span in spans),
        utilities={of.utility: of.share for of in served if of.utility is not None},
        meters=tuple(read_meters(plan, lines, served, rng_of, gain=errors.gain, gaps=errors.gaps)),
        grid_kg_per_kwh=grid_kg_per_kwh,
        truth=dict(_truth(plan, lines, served, grid_kg_per_kwh)),
        good={
            product: float(sum((line.good * plan.hours)[line.owner == i].sum() for line in lines))
            for i, product in enumerate(plan.products)
        },
    )


def _truth(
    plan: Plan, lines: Sequence[LineFlows], served: Sequence[Served], grid_kg_per_kwh: Floats
) -> Iterator[tuple[tuple[str, str], Used]]:
    kg_per_kwh = grid_kg_per_kwh[(plan.edges[:-1] - FIRST_MS) // HOUR_MS]
    flows: dict[str, list[Floats]] = {}
    for i, line in enumerate(lines):
        electricity = total([line.electricity, *(of.drawn[i] for of in served)])
        for indicator, flow in {
            "energy": electricity + line.gas,
            "water": line.water,
            "material": line.material,
            "waste": line.waste,
            "co2_location": electricity * kg_per_kwh + line.gas * GAS_KG_PER_KWH,
        }.items():
            flows.setdefault(indicator, []).append(flow * plan.hours)
    count = len(plan.products)
    # Everybody's by product; that of nobody, which is idle, comes first.
    occupied = [np.bincount(line.owner + 1, plan.hours, 1 + count)[1:] for line in lines]
    for indicator, used in flows.items():
        marginal, loaded = np.zeros(count), np.zeros(count)
        for line, hours, flow in zip(lines, occupied, used, strict=True):
            idle, *taken = np.bincount(line.owner + 1, flow, 1 + count)
            marginal += taken
            loaded += taken + idle * hours / hours.sum()
        for i, product in enumerate(plan.products):
            yield (product, indicator), Used(marginal=float(marginal[i]), fully_loaded=float(loaded[i]))
