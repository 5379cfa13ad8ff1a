"""What really happened: resource use by product, and whether the workshop decoupled.

Computed from the flows that the simulator made, before any register rounds or any rule attributes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.simulation.emissions import GAS_KG_PER_KWH, RESIDUAL_MIX_KG_PER_KWH, Basis
from edge.simulation.factory import GAS_KWH_PER_M3, LINES, PRODUCTS, Flow
from edge.simulation.flows import HOUR, LineFlows, Series, SiteFlows
from schemas.resources import Resource

Driver = Literal["revenue", "production_volume"]
State = Literal["absolute", "relative", "none", "not_assessable"]

USED = (Resource.ENERGY, Resource.WATER, Resource.MATERIAL, Resource.WASTE)
"""The resources that products use; production is what they are divided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one product took, in a unit of its own (kg CO2e for emissions), as ProductTruth tells it."""

    marginal: float
    fully_loaded: float
    good_pcs: float

    @property
    def marginal_intensity(self) -> float | None:
        """Units a good piece; None where none was made."""
        return self.marginal / self.good_pcs if self.good_pcs > 0 else None

    @property
    def fully_loaded_intensity(self) -> float | None:
        """Units a good piece; None where none was made."""
        return self.fully_loaded / self.good_pcs if self.good_pcs > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTruth(Taken):
    """What one product used of one resource, in its canonical unit, scrapped pieces included.

    `marginal` is processing, the changeovers before it and its share of the compressor by the air that it really
    took. `fully_loaded` adds its lines' idle use by occupied (running and changeover) hours.
    """

    product: str
    resource: Resource
    scrap_pcs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Co2Truth:
    """kg CO2e by one basis; marginal products + idle + unattributed = scope_1 (gas) + scope_2 (electricity)."""

    products: dict[str, Taken]
    idle: float
    unattributed: float
    scope_1: float
    scope_2: float

    @property
    def total(self) -> float:
        return self.scope_1 + self.scope_2


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A span of whole quarters. All in canonical units; marginal products + idle + unattributed = totals.

    `recycled_kg` is the recycled steel in each product's marginal material.
    """

    from_ms: int
    to_ms: int
    consumption: dict[str, float]
    products: dict[tuple[str, Resource], ProductTruth]
    idle_by_line: dict[tuple[str, Resource], float]
    idle: dict[Resource, float]
    unattributed: dict[Resource, float]
    totals: dict[Resource, float]
    revenue_dkk: float
    production_pcs: float
    co2: dict[Basis, Co2Truth]
    recycled_kg: dict[str, float]

    def driver(self, name: Driver) -> float:
        """Revenue in DKK of the base year's prices, or good pieces."""
        return self.revenue_dkk if name == "revenue" else self.production_pcs


def measure_truth(
    flows: SiteFlows,
    consumption: Mapping[str, Series],
    grid_kg_per_kwh: Series,
    *,
    first: int,
    after: int,
    from_ms: int,
    to_ms: int,
) -> Truth:
    """The truth of the quarters [first, after).

    `consumption` is by meter, in canonical units a quarter; `grid_kg_per_kwh` is the grid's factor in each quarter.
    """
    span = slice(first, after)
    marginal = dict.fromkeys(((product, resource) for product in PRODUCTS for resource in USED), 0.0)
    loaded = dict(marginal)
    good, scrap = dict.fromkeys(PRODUCTS, 0.0), dict.fromkeys(PRODUCTS, 0.0)
    recycled = dict.fromkeys(PRODUCTS, 0.0)
    idle_by_line: dict[tuple[str, Resource], float] = {}
    for line, used in flows.lines.items():
        for resource, flow in _line_use(used).items():
            shared = _over_owners(used, flow, span)
            idle_by_line[line, resource] = shared.idle
            for product in PRODUCTS:
                marginal[product, resource] += shared.marginal[product]
                loaded[product, resource] += shared.fully_loaded[product]
                if resource is Resource.MATERIAL:
                    recycled[product] += shared.marginal[product] * RECYCLED_CONTENT[line]
        for product in PRODUCTS:
            good[product] += _by_owner(used, used.good, span)[product]
            scrap[product] += _by_owner(used, used.scrap, span)[product]
    return Truth(
        from_ms=from_ms,
        to_ms=to_ms,
        consumption={meter: float(series[span].sum()) for meter, series in consumption.items()},
        products={
            (product, resource): ProductTruth(
                product=product,
                resource=resource,
                marginal=quantity,
                fully_loaded=loaded[product, resource],
                good_pcs=good[product],
                scrap_pcs=scrap[product],
            )
            for (product, resource), quantity in marginal.items()
        },
        idle_by_line=idle_by_line,
        idle={r: sum(quantity for (_, of), quantity in idle_by_line.items() if of is r) for r in USED},
        unattributed={
            Resource.ENERGY: float((flows.lights_kwh + flows.ventilation_kwh)[span].sum()),
            Resource.WATER: float(flows.sanitary_m3[span].sum()),
            Resource.MATERIAL: 0.0,
            Resource.WASTE: float(flows.mixed_waste_kg[span].sum()),
        },
        totals={resource: sum(float(consumption[m][span].sum()) for m in ROOTS[resource]) for resource in USED},
        revenue_dkk=sum(float(used.revenue_dkk[span].sum()) for used in flows.lines.values()),
        production_pcs=sum(good.values()),
        recycled_kg=recycled,
        co2={
            "location": _emitted(flows, consumption, grid_kg_per_kwh, good, span),
            "market": _emitted(flows, consumption, np.full_like(grid_kg_per_kwh, RESIDUAL_MIX_KG_PER_KWH), good, span),
        },
    )


def _emitted(
    flows: SiteFlows, consumption: Mapping[str, Series], kg_per_kwh: Series, good: Mapping[str, float], span: slice
) -> Co2Truth:
    """Each kilowatt-hour by the factor of its own hour; `kg_per_kwh` is that of electricity."""
    marginal, loaded = dict.fromkeys(PRODUCTS, 0.0), dict.fromkeys(PRODUCTS, 0.0)
    idle = 0.0
    for used in flows.lines.values():
        electricity_kwh, gas_kwh = _line_energy(used)
        shared = _over_owners(used, electricity_kwh * kg_per_kwh + gas_kwh * GAS_KG_PER_KWH, span)
        idle += shared.idle
        for product in PRODUCTS:
            marginal[product] += shared.marginal[product]
            loaded[product] += shared.fully_loaded[product]
    return Co2Truth(
        products={
            product: Taken(marginal=marginal[product], fully_loaded=loaded[product], good_pcs=good[product])
            for product in PRODUCTS
        },
        idle=idle,
        unattributed=float(((flows.lights_kwh + flows.ventilation_kwh) * kg_per_kwh)[span].sum()),
        scope_1=float(consumption["furnace-gas"][span].sum()) * GAS_KG_PER_KWH,
        scope_2=float((consumption["main-electricity"] * kg_per_kwh)[span].sum()),
    )


ROOTS: dict[Resource, tuple[str, ...]] = {
    Resource.ENERGY: ("main-electricity", "furnace-gas"),
    Resource.WATER: ("main-water",),
    Resource.MATERIAL: ("press-steel", "furnace-steel"),
    Resource.WASTE: ("press-scrap-metal", "furnace-scrap-metal", "mixed-waste"),
}
"""The meters that are a part of no other: their sum counts nothing twice."""
RECYCLED_CONTENT = {design.line: design.recycled_content for design in LINES}


def _line_use(used: LineFlows) -> dict[Resource, Series]:
    electricity_kwh, gas_kwh = _line_energy(used)
    return {
        Resource.ENERGY: electricity_kwh + gas_kwh,
        Resource.WATER: used.drawn[Flow.WATER],
        Resource.MATERIAL: used.steel_kg,
        Resource.WASTE: used.scrap_metal_kg,
    }


def _line_energy(used: LineFlows) -> tuple[Series, Series]:
    """Electricity, with that of the compressor for the line's air, and gas, in kWh."""
    electricity_kwh = used.drawn[Flow.ELECTRICITY] + used.compressor_kwh
    gas_m3 = used.drawn.get(Flow.GAS)
    return electricity_kwh, np.zeros_like(electricity_kwh) if gas_m3 is None else gas_m3 * GAS_KWH_PER_M3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """One flow of one line: by product, and what no product owns."""

    marginal: dict[str, float]
    fully_loaded: dict[str, float]
    idle: float


def _over_owners(used: LineFlows, flow: Series, span: slice) -> _Shared:
    owned = _by_owner(used, flow, span)
    hours = _by_owner(used, np.where(used.occupied, HOUR, 0.0), span)
    occupied = sum(hours[product] for product in PRODUCTS)
    shares = {product: hours[product] / occupied if occupied else 0.0 for product in PRODUCTS}
    return _Shared(
        marginal={product: owned[product] for product in PRODUCTS},
        fully_loaded={product: owned[product] + owned[None] * shares[product] for product in PRODUCTS},
        idle=owned[None],
    )


def _by_owner(used: LineFlows, flow: Series, span: slice) -> dict[str | None, float]:
    """The flow's sum by product; under None what no product owns."""
    sums = np.bincount(used.product[span] + 1, weights=flow[span], minlength=1 + len(PRODUCTS))
    return dict(zip((None, *PRODUCTS), sums.tolist(), strict=True))


def state_of(pressure_growth: float, driver_growth: float) -> State:
    """The state by METHODS §4, where growth is b/a − 1."""
    if driver_growth <= 0:
        return "not_assessable"
    if pressure_growth < 0:
        return "absolute"
    return "relative" if pressure_growth < driver_growth else "none"


def true_states(base: Truth, period: Truth, driver: Driver) -> dict[Resource, State]:
    """Each resource's state, from `base` to `period`. Both must have used and made something."""
    driver_growth = period.driver(driver) / base.driver(driver) - 1
    return {r: state_of(period.totals[r] / base.totals[r] - 1, driver_growth) for r in USED}


def true_co2_state(base: Truth, period: Truth, driver: Driver, basis: Basis = "location") -> State:
    """The state of CO2, from `base` to `period`. Both must have used and made something."""
    driver_growth = period.driver(driver) / base.driver(driver) - 1
    return state_of(period.co2[basis].total / base.co2[basis].total - 1, driver_growth)
