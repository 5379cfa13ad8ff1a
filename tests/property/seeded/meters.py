"""What the meters of a seeded factory say: registers that err within their classes, by quarters, with gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import Resource
from schemas.sharing import Share
from tests.property.seeded.lines import COMPRESSOR_HEAT, LineFlows, Served, total
from tests.property.seeded.plan import DAY_MS, FIRST_MS, HOUR_MS, Floats, Ints, Plan

AIR_KWH_PER_NM3 = 0.12
STEP = 0.001
"""By what a register advances, in canonical units; one that counts pieces, by a piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededMeter:
    """A meter and its quarters, in billionths of the canonical unit. `accuracy_class` in percent."""

    key: str
    resource: Resource
    carrier: str
    accuracy_class: float
    measured: Ints
    estimated: Ints
    covered_ms: Ints
    line: str | None = None
    utility: str | None = None
    parent: str | None = None
    share: Share | None = None


def read_meters(
    plan: Plan,
    lines: Sequence[LineFlows],
    served: Sequence[Served],
    rng_of: Callable[[str], np.random.Generator],
    *,
    gain: float,
    gaps: float,
) -> list[SeededMeter]:
    """All meters. `gain` and `gaps` are how much they err and fall silent against how much they usually do."""

    def meter(key: str, resource: Resource, carrier: str, accuracy: float, flow: Floats, **place: Any) -> SeededMeter:
        rng = rng_of(key)
        shown = flow * (1.0 + gain * rng.uniform(-1, 1) * accuracy / 100)
        step = 1.0 if resource is Resource.PRODUCTION else STEP
        measured, estimated, covered_ms = _quarters(plan, shown, _gaps(plan, rng, gaps), step)
        return SeededMeter(
            key=key,
            resource=resource,
            carrier=carrier,
            accuracy_class=accuracy,
            measured=measured,
            estimated=estimated,
            covered_ms=covered_ms,
            **place,
        )

    energy, water = Resource.ENERGY, Resource.WATER
    # Offices and wash rooms are on no meter of their own.
    office_kw, washing = np.full(plan.hours.size, 8.0), np.full(plan.hours.size, 0.05)
    electricity = total([office_kw, *(line.electricity for line in lines), *(of.whole for of in served)])
    found = [
        meter("main", energy, "electricity", 0.5, electricity),
        meter("main-water", water, "mains_water", 2.0, total([washing, *(line.water for line in lines)])),
    ]
    for of in served:
        own = {"share": of.share} if of.utility is None else {"utility": of.utility}
        found.append(meter(of.name, energy, "electricity", 1.0, of.whole, parent="main", **own))
    if any(of.name == "chiller" for of in served):
        cold = {line.name: line.cold for line in lines[:-1]} | {"compressor": COMPRESSOR_HEAT * served[0].whole}
        found += [meter(f"{name}-cold", energy, "cold", 3.0, flow, parent="chiller") for name, flow in cold.items()]
    for line in lines:
        for what, resource, carrier, accuracy, flow, parent in (
            ("electricity", energy, "electricity", 1.0, line.electricity, "main"),
            ("air", energy, "compressed_air", 3.0, line.air * AIR_KWH_PER_NM3, "compressor"),
            ("gas", energy, "natural_gas", 1.5, line.gas, None),
            ("water", water, "mains_water", 2.0, line.water, "main-water"),
            ("material", Resource.MATERIAL, "steel", 1.0, line.material, None),
            ("waste", Resource.WASTE, "steel_scrap", 1.0, line.waste, None),
            ("good", Resource.PRODUCTION, "good", 0.0, line.good, None),
            ("scrap", Resource.PRODUCTION, "scrap", 0.0, line.scrap, None),
        ):
            if flow.any():
                place = {"line": line.name, "parent": parent}
                found.append(meter(f"{line.name}-{what}", resource, carrier, accuracy, flow, **place))
    return found


def _quarters(plan: Plan, flow: Floats, gaps: Ints, step: float) -> tuple[Ints, Ints, Ints]:
    """Measured, estimated and covered by quarter: a gap keeps its total, which is spread evenly [METHODS §1]."""
    register = np.concatenate(([0.0], np.cumsum(flow * plan.hours)))
    edges = np.arange(FIRST_MS, plan.end_ms + 1, QUARTER_MS)
    points = np.unique(np.concatenate((edges, gaps.ravel())))
    silent = np.zeros(points.size, np.bool_)
    within = np.zeros(points.size - 1, np.bool_)
    for begins, ends in gaps:
        silent |= (begins < points) & (points < ends)
        within |= (begins <= points[:-1]) & (points[1:] <= ends)
    shown = np.floor(np.interp(points, plan.edges, register) / step) * step
    shown = np.interp(points, points[~silent], shown[~silent])
    billionths = np.diff(np.rint(shown * SCALE).astype(np.int64))
    quarter = (points[:-1] - FIRST_MS) // QUARTER_MS
    columns = np.zeros((3, edges.size - 1), np.int64)
    np.add.at(columns[0], quarter[~within], billionths[~within])
    np.add.at(columns[1], quarter[within], billionths[within])
    np.add.at(columns[2], quarter[~within], np.diff(points)[~within])
    return columns[0], columns[1], columns[2]


def _gaps(plan: Plan, rng: np.random.Generator, often: float) -> Ints:
    """When the meter is silent, shape (n, 2): mostly never, else for some hours."""
    count = int(rng.poisson(0.25 * often))
    starts = np.sort(FIRST_MS + rng.integers(DAY_MS, (plan.days - 2) * DAY_MS, count))
    ends = np.minimum(starts + rng.integers(HOUR_MS, 10 * HOUR_MS, count), np.append(starts[1:], plan.end_ms))
    return np.stack((starts, ends), axis=1).astype(np.int64)
