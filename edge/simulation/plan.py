"""What each line makes when, by quarter of an hour, and the spans that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge.simulation.calendar import Day, working_quarters
from edge.simulation.factory import LINES, PRODUCTS, SWITCH_WEEKDAYS, LineDesign
from schemas.resources import RunState

STATES = tuple(RunState)
RUNNING, CHANGEOVER, IDLE, DOWN = (STATES.index(state) for state in RunState)
NO_PRODUCT = -1
CHANGEOVER_QUARTERS = 2
SHORTEST_RUN_QUARTERS = 8
SWITCH_SPREAD_QUARTERS = 8
LONGEST_DOWN_QUARTERS = 8

Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlan:
    """One value a quarter. `state` counts into STATES; `product` into PRODUCTS, NO_PRODUCT when idle or down.

    During a changeover `product` is the one that follows, so it owns what the changeover takes.
    """

    design: LineDesign
    state: Codes
    product: Codes
    manned: NDArray[np.bool_]
    preheat: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Quarters [first, after) in which a line was in one state with one product."""

    first: int
    after: int
    state: RunState
    product: str | None


def plan_line(design: LineDesign, days: Sequence[Day], *, seed: int) -> LinePlan:
    """The plan of one line. A day depends on the seed, its date and the days before, never on later ones."""
    total = sum(day.quarters for day in days)
    plan = LinePlan(
        design=design,
        state=np.full(total, IDLE, np.int8),
        product=np.full(total, NO_PRODUCT, np.int8),
        manned=np.zeros(total, np.bool_),
        preheat=np.zeros(total, np.bool_),
    )
    # A line has two products and alternates.
    products = [PRODUCTS.index(recipe.product) for recipe in design.recipes]
    set_up, switch_to = products
    first = 0
    for day in days:
        manned = working_quarters(day.date, design.shifts)
        if manned is not None:
            rng = np.random.default_rng([seed, day.date.toordinal(), 1 + LINES.index(design)])
            if day.date.isoweekday() in SWITCH_WEEKDAYS:
                _plan_day(plan, midnight=first, manned=manned, set_up=set_up, switch_to=switch_to, rng=rng)
                set_up, switch_to = switch_to, set_up
            else:
                _plan_day(plan, midnight=first, manned=manned, set_up=set_up, switch_to=set_up, rng=rng)
        first += day.quarters
    return plan


def _plan_day(
    plan: LinePlan, *, midnight: int, manned: tuple[int, int], set_up: int, switch_to: int, rng: np.random.Generator
) -> None:
    """Plan one working day in place: it begins with product `set_up` and ends with `switch_to`."""
    opens, closes = midnight + manned[0], midnight + manned[1]
    plan.manned[opens:closes] = True
    plan.state[opens:closes] = RUNNING
    plan.product[opens:closes] = set_up
    if manned[0] > 0:
        plan.preheat[opens - plan.design.preheat_quarters : opens] = True
    if switch_to != set_up:
        middle = (opens + closes) // 2
        at = middle + int(rng.integers(-SWITCH_SPREAD_QUARTERS, SWITCH_SPREAD_QUARTERS + 1))
        at = min(max(at, opens + SHORTEST_RUN_QUARTERS), closes - SHORTEST_RUN_QUARTERS)
        plan.state[at : at + CHANGEOVER_QUARTERS] = CHANGEOVER
        plan.product[at:closes] = switch_to
    # A changeover goes on through a break and is never down: only running quarters give way.
    for begins, ends in plan.design.breaks:
        _interrupt(plan, max(opens, midnight + begins), min(closes, midnight + ends), IDLE)
    if rng.random() < plan.design.down_chance:
        at = int(rng.integers(opens, closes - LONGEST_DOWN_QUARTERS))
        _interrupt(plan, at, at + int(rng.integers(1, LONGEST_DOWN_QUARTERS + 1)), DOWN)


def _interrupt(plan: LinePlan, first: int, after: int, state: int) -> None:
    stops = np.flatnonzero(plan.state[first:after] == RUNNING) + first
    plan.state[stops] = state
    plan.product[stops] = NO_PRODUCT


def spans_of(plan: LinePlan) -> list[Span]:
    """The plan's spans in order; they touch, and cover all of it."""
    changes = np.flatnonzero((np.diff(plan.state) != 0) | (np.diff(plan.product) != 0)) + 1
    edges = [0, *changes.tolist(), plan.state.size]
    spans = []
    for first, after in pairwise(edges):
        product = int(plan.product[first])
        spans.append(
            Span(
                first=first,
                after=after,
                state=STATES[plan.state[first]],
                product=None if product == NO_PRODUCT else PRODUCTS[product],
            )
        )
    return spans
