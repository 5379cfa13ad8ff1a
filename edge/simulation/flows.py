"""From the plan to what flows in every quarter: the physics, before any register rounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.simulation.calendar import Day, is_working_day
from edge.simulation.development import Development
from edge.simulation.factory import (
    COMPRESSOR_KWH_PER_NM3,
    LIGHTS_AND_OFFICE_KW,
    MIXED_WASTE_KG,
    OFFICE_QUARTERS,
    OFFICE_WEEKDAYS,
    PRICES_DKK,
    PRODUCTS,
    SANITARY_WATER_M3,
    VENTILATION_KW,
    Building,
    Flow,
)
from edge.simulation.plan import CHANGEOVER, NO_PRODUCT, RUNNING, LinePlan

HOUR = 0.25
"""Hours in a quarter."""
LONGEST_DAY_QUARTERS = 100
NOISE = 100
"""Third word of the noise's seed; the plans use 1, 2, … for their lines."""
PACE_SCATTER = 0.03
SCRAP_SCATTER = 0.25
STEEL_SCATTER = 0.004
COMPRESSOR_SCATTER = 0.01
GAS_IN_WINTER = 0.04
BASE_LOAD_FLOWS = frozenset({Flow.ELECTRICITY, Flow.AIR, Flow.GAS})

Series = NDArray[np.float64]
"""One value a quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFlows:
    """What one line used and made in each quarter. Flows in their meters' units, steel in kg, pieces as fractions.

    `product` is who owns the quarter, NO_PRODUCT when idle or down. `occupied` is true while running or changing over.
    """

    line: str
    product: NDArray[np.int8]
    occupied: NDArray[np.bool_]
    drawn: dict[Flow, Series]
    compressor_kwh: Series
    good: Series
    scrap: Series
    steel_kg: Series
    scrap_metal_kg: Series
    revenue_dkk: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFlows:
    """The lines, and what belongs to none. `ventilation_kw` is the power at every quarter's edge, one more value."""

    lines: dict[str, LineFlows]
    lights_kwh: Series
    ventilation_kw: Series
    ventilation_kwh: Series
    sanitary_m3: Series
    mixed_waste_kg: Series


class Noise:
    """Standard normal numbers by channel and quarter, cut at ±3, the same for a day whatever span is built."""

    def __init__(self, days: Sequence[Day], *, seed: int, channels: Sequence[str]) -> None:
        self._columns = {channel: column for column, channel in enumerate(channels)}
        shape = (LONGEST_DAY_QUARTERS, len(channels))
        blocks = [
            np.random.default_rng([seed, day.date.toordinal(), NOISE]).standard_normal(shape)[: day.quarters]
            for day in days
        ]
        self._values = np.clip(np.concatenate(blocks), -3.0, 3.0)

    def around_one(self, channel: str, scatter: float) -> Series:
        """Factors with mean 1 and standard deviation `scatter`; positive for `scatter` below a third."""
        return np.asarray(1.0 + scatter * self._values[:, self._columns[channel]])


class Factors:
    """The development's factors, one value a quarter."""

    def __init__(self, days: Sequence[Day], developments: Sequence[Development]) -> None:
        quarters = [day.quarters for day in days]

        def spread(values: list[float]) -> Series:
            return np.repeat(np.array(values), quarters)

        self.volume = spread([d.volume for d in developments])
        self.premium = spread([d.premium for d in developments])
        self.steel = spread([d.steel for d in developments])
        self.scrap = spread([d.scrap for d in developments])
        self.gas = spread([d.gas * (1.0 + GAS_IN_WINTER * d.winter) for d in developments])
        self.compressor = spread([d.compressor for d in developments])
        self.base_load = spread([d.base_load for d in developments])
        self.mixed_waste = spread([d.mixed_waste for d in developments])
        self.winter = spread([d.winter for d in developments])


def simulate(
    plans: Sequence[LinePlan], days: Sequence[Day], developments: Sequence[Development], *, seed: int
) -> SiteFlows:
    """All flows of the site. A quarter depends on the seed, its day and the plan up to then."""
    lines = [plan.design.line for plan in plans]
    per_line = ("pace", "scrap", "steel", *Flow)
    channels = [f"{line} {what}" for line in lines for what in per_line]
    noise = Noise(days, seed=seed, channels=[*channels, "compressor", "lights", "ventilation", "sanitary", "mixed"])
    factors = Factors(days, developments)
    office = _office_hours(days)
    ventilation_kw = _building(VENTILATION_KW, office, factors, noise.around_one("ventilation", VENTILATION_KW.scatter))
    # Power at a quarter's end is drawn with the quarter, so the last edge doesn't depend on a day not built.
    edges_kw = np.concatenate((ventilation_kw[:1], ventilation_kw))
    sanitary = _building(SANITARY_WATER_M3, office, None, noise.around_one("sanitary", SANITARY_WATER_M3.scatter))
    mixed = _building(MIXED_WASTE_KG, office, None, noise.around_one("mixed", MIXED_WASTE_KG.scatter))
    lights = _building(LIGHTS_AND_OFFICE_KW, office, factors, noise.around_one("lights", LIGHTS_AND_OFFICE_KW.scatter))
    return SiteFlows(
        lines={plan.design.line: _line_flows(plan, factors, noise) for plan in plans},
        lights_kwh=lights * HOUR,
        ventilation_kw=edges_kw,
        ventilation_kwh=(edges_kw[:-1] + edges_kw[1:]) / 2 * HOUR,
        sanitary_m3=sanitary * HOUR,
        mixed_waste_kg=mixed * factors.mixed_waste * HOUR,
    )


def _office_hours(days: Sequence[Day]) -> NDArray[np.bool_]:
    opens, closes = OFFICE_QUARTERS
    parts = []
    for day in days:
        manned = np.zeros(day.quarters, np.bool_)
        manned[opens:closes] = is_working_day(day.date, OFFICE_WEEKDAYS)
        parts.append(manned)
    return np.concatenate(parts)


def _building(building: Building, office: NDArray[np.bool_], factors: Factors | None, noise: Series) -> Series:
    """Per hour. With `factors`: an energy use, that follows the season and the base load."""
    flow = (building.base + building.manned * office) * noise
    if factors is None:
        return np.asarray(flow)
    return np.asarray(flow * (1.0 + building.season * factors.winter) * factors.base_load)


def _line_flows(plan: LinePlan, factors: Factors, noise: Noise) -> LineFlows:
    line = plan.design.line
    good, scrap, steel, net, price = (np.zeros(plan.state.size) for _ in range(5))
    extra = {flow: np.zeros(plan.state.size) for flow in plan.design.loads}
    running = plan.state == RUNNING
    pace = factors.volume * noise.around_one(f"{line} pace", PACE_SCATTER) * HOUR
    scrap_noise = noise.around_one(f"{line} scrap", SCRAP_SCATTER) * factors.scrap
    for recipe in plan.design.recipes:
        makes = running & (plan.product == PRODUCTS.index(recipe.product))
        share = recipe.scrap_share * scrap_noise[makes]
        good[makes] = recipe.good_per_hour * pace[makes]
        made = good[makes] / (1.0 - share)
        scrap[makes] = made - good[makes]
        steel[makes] = made * recipe.gross_kg
        net[makes] = good[makes] * recipe.net_kg
        price[makes] = PRICES_DKK[recipe.product]
        for flow, per_piece in recipe.per_piece.items():
            extra[flow][makes] = per_piece * made
    steel *= factors.steel * noise.around_one(f"{line} steel", STEEL_SCATTER)
    steel += (plan.state == CHANGEOVER) * plan.design.setup_steel_kg_per_hour * HOUR
    drawn = {flow: _drawn(plan, flow, extra[flow], factors, noise) for flow in plan.design.loads}
    specific_kwh = COMPRESSOR_KWH_PER_NM3 * factors.compressor * noise.around_one("compressor", COMPRESSOR_SCATTER)
    return LineFlows(
        line=line,
        product=plan.product,
        occupied=plan.product != NO_PRODUCT,
        drawn=drawn,
        compressor_kwh=drawn[Flow.AIR] * specific_kwh,
        good=good,
        scrap=scrap,
        steel_kg=steel,
        # What went in and did not leave in a good piece: offcuts, scrapped pieces, set-up pieces.
        scrap_metal_kg=steel - net * factors.steel,
        revenue_dkk=good * price * factors.premium,
    )


def _drawn(plan: LinePlan, flow: Flow, per_pieces: Series, factors: Factors, noise: Noise) -> Series:
    load = plan.design.loads[flow]
    base_load = factors.base_load if flow in BASE_LOAD_FLOWS else 1.0
    by_state = np.select(
        [plan.state == RUNNING, plan.state == CHANGEOVER, plan.manned],
        [np.asarray(load.running), np.asarray(load.changeover), load.standby * base_load],
        default=load.closed * base_load,
    )
    hourly = by_state + load.preheat * plan.preheat
    project = factors.gas if flow is Flow.GAS else 1.0
    scatter = noise.around_one(f"{plan.design.line} {flow}", load.scatter)
    return np.asarray((hourly * HOUR + per_pieces) * project * scatter)
