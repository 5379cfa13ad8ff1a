"""What each line draws and makes at every instant, and what serves several lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.resources import RunState
from schemas.sharing import Share, ShareBy
from tests.property.seeded.plan import HOUR_MS, MINUTE_MS, NOBODY, Floats, Ints, Plan, segments_of

COMPRESSOR_HEAT = 0.7
"""kWh that cooling takes away for each kWh of the compressor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFlows:
    """One value a segment, by the hour: kWh, Nm³, m³, kg, pieces. `owner` is the product that takes what is used."""

    name: str
    owner: Ints
    running: NDArray[np.bool_]
    electricity: Floats
    gas: Floats
    air: Floats
    water: Floats
    material: Floats
    waste: Floats
    cold: Floats
    good: Floats
    scrap: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Electricity of what serves several lines: how much each really draws, and the rule that the site shares it by."""

    name: str
    drawn: list[Floats]
    share: Share
    utility: str | None = None

    @property
    def whole(self) -> Floats:
        return total(self.drawn)


def total(flows: Iterable[Floats]) -> Floats:
    """The sum of flows that are at least one."""
    return np.asarray(np.sum(list(flows), axis=0), np.float64)


def draw_line(plan: Plan, line: str, rng: np.random.Generator, *, has_gas: bool) -> LineFlows:
    """Powers by state and product that scatter from cycle to cycle; a run's first minutes take more or less."""
    spans = plan.spans[line]
    span = segments_of(spans, plan.edges)
    owner = np.array([s.product for s in spans], np.int64)[span]
    running = np.array([s.state is RunState.RUNNING for s in spans])[span]
    changeover = np.array([s.state is RunState.CHANGEOVER for s in spans])[span]
    closed = (owner == NOBODY) & np.array([s.end_ms - s.start_ms > 4 * HOUR_MS for s in spans])[span]
    since_ms = plan.edges[:-1] - np.array([s.start_ms for s in spans])[span]
    starting = running & (since_ms < rng.uniform(2, 10) * MINUTE_MS)
    cycle = np.exp(0.12 * rng.standard_normal(span.size))

    def rate(*, night: float, idle: float, change: float, busy: tuple[float, float], start_up: float = 1.0) -> Floats:
        by_product = rng.uniform(*busy, len(plan.products))
        flow = np.select([running, changeover, closed], [by_product[owner], change, night], default=idle)
        return np.asarray(flow * cycle * np.where(starting, start_up, 1.0))

    kw, start_up = rng.uniform(15, 60), rng.uniform(0.6, 1.5)
    pace = rng.uniform(40, 400, len(plan.products))[owner] * running * np.where(starting, 0.6, 1.0) * cycle
    scrap_share = rng.uniform(0.01, 0.08)
    material = pace * np.array(plan.mass_kg)[owner] * rng.uniform(1.05, 1.4) + changeover * rng.uniform(0, 30)
    return LineFlows(
        name=line,
        owner=owner,
        running=running,
        electricity=rate(
            night=0.06 * kw, idle=0.3 * kw, change=0.35 * kw, busy=(0.6 * kw, 1.6 * kw), start_up=start_up
        ),
        gas=rate(night=1, idle=15, change=25, busy=(30, 90)) if has_gas else np.zeros(span.size),
        air=rate(night=rng.uniform(3, 15), idle=20, change=25, busy=(30, 120)),
        water=rate(night=0.003, idle=0.02, change=rng.uniform(0, 0.5), busy=(0.05, 0.6)),
        material=material,
        waste=material * rng.uniform(0.1, 0.25),
        cold=rate(night=0.2, idle=2, change=2, busy=(3, 15)),
        good=pace * (1 - scrap_share),
        scrap=pace * scrap_share,
    )


def draw_served(
    lines: Sequence[LineFlows], mass_kg: Sequence[float], rng: np.random.Generator, *, unlike: float
) -> list[Served]:
    """Compressed air by measure, in half of the factories behind cooling by measure too, and what else there is.

    What is shared by area, run time or mass is drawn up to a tenth (times `unlike`) more or less than the rule says.
    """
    bents = 1.0 + unlike * rng.uniform(-0.1, 0.1, (3, len(lines)))
    areas = {line.name: float(rng.integers(50, 800)) for line in lines}
    manned = 0.2 + 0.8 * np.any([line.owner != NOBODY for line in lines], axis=0)
    kw_per_m2, fan_kw, kwh_per_kg = rng.uniform(0.004, 0.015), rng.uniform(3, 10), rng.uniform(0.002, 0.02)
    masses = [line.good * np.array(mass_kg)[line.owner] for line in lines]
    by_rule = [
        Served(
            name="ventilation",
            drawn=[kw_per_m2 * area * bent * manned for area, bent in zip(areas.values(), bents[0], strict=True)],
            share=Share(by=ShareBy.AREA, weights=areas),
        ),
        Served(
            name="extraction",
            drawn=[fan_kw * bent * line.running for line, bent in zip(lines, bents[1], strict=True)],
            share=Share(by=ShareBy.RUN_TIME),
        ),
        Served(
            name="transport",
            drawn=[kwh_per_kg * bent * mass for mass, bent in zip(masses, bents[2], strict=True)],
            share=Share(by=ShareBy.MASS),
        ),
    ]
    return [*_air_and_cooling(lines, rng), *(served for served in by_rule if rng.random() < 0.7)]


def _air_and_cooling(lines: Sequence[LineFlows], rng: np.random.Generator) -> list[Served]:
    air = total(line.air for line in lines)
    # At part load more for each Nm³.
    kw = rng.uniform(1, 4) + rng.uniform(0.13, 0.2) * air * (air / air.max()) ** -0.1
    by_air = Share(by=ShareBy.MEASURED, keys={line.name: f"{line.name}-air" for line in lines})
    drawn = [kw * line.air / air for line in lines]
    if rng.random() < 0.5:
        return [Served(name="compressor", drawn=drawn, share=by_air)]
    heat, cooled = COMPRESSOR_HEAT * kw, lines[:-1]
    cold = heat + total(line.cold for line in cooled)
    chiller = rng.uniform(0.25, 0.4) * cold * (cold / cold.max()) ** -0.1
    through_air = [chiller * heat / cold * line.air / air for line in lines]
    itself = [*(chiller * line.cold / cold for line in cooled), np.zeros(len(cold))]
    by_cold = {line.name: f"{line.name}-cold" for line in cooled} | {"air": "compressor-cold"}
    return [
        Served(name="compressor", drawn=drawn, share=by_air, utility="air"),
        Served(
            name="chiller",
            drawn=[one + other for one, other in zip(through_air, itself, strict=True)],
            share=Share(by=ShareBy.MEASURED, keys=by_cold),
            utility="cooling",
        ),
    ]
