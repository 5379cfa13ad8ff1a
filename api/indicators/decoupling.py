"""How sure a comparison is: the interval of the pressure's growth, the states in it, and the verdict. METHODS §4.

Three things move the pressure. What is estimated may be off by half, in either period. A meter's accuracy class bounds
an error that one device has in both periods alike, so only a change in the mix of meters lets it through. Another
admissible rule would share out otherwise, in both periods alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from api.indicators.comparison import Comparison, EdgeCase, State, compare, edge_cases, growth, state_of

LEAST_USABLE_DAYS = 0.9
"""Of a period's days, at least this share must be usable for a firm verdict [METHODS §1, OpenDSM defaults]."""
ESTIMATE_ERROR = Fraction(1, 2)
"""How far off the estimated part of a pressure may be, up and down [our own choice].

An estimated quantity is mostly the span of a gap whose total the register still gave, and only its spread over time
is a guess: what falls outside the period instead is seldom more than half of it.
"""
ALIKE = Fraction(2, 100)
"""Periods whose lengths differ by more than this share of the base period's are never firm [our own choice]."""

Bounds = tuple[Fraction | None, Fraction | None]
"""The least and the greatest growth; None where there is no bound."""


class Verdict(StrEnum):
    """Firm: the whole interval has one state, by the day too, and the data are complete. Leaning: one of them fails."""

    FIRM = "firm"
    LEANING = "leaning"


class Source(StrEnum):
    """What an interval comes from."""

    ESTIMATES = "estimates"
    ACCURACY = "accuracy"
    SHARING = "sharing"
    DRIVER = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """What was used in a period, measured and estimated apart, in any one unit.

    `spread` is how much more another admissible rule would have given.
    """

    measured: Fraction
    estimated: Fraction = Fraction(0)
    spread: Fraction = Fraction(0)

    @property
    def total(self) -> Fraction:
        return self.measured + self.estimated

    @property
    def low(self) -> Fraction:
        return self.total - abs(self.estimated) * ESTIMATE_ERROR

    @property
    def high(self) -> Fraction:
        return self.total + abs(self.estimated) * ESTIMATE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A comparison with its interval: growth of the pressure at the least and at the most, and every state between.

    A bound is None where there is none: where the base pressure may be as small as zero. `daily_states` are the
    states between when means by the day are compared, in place of totals. `accuracy` is what the meters' classes add
    to the interval on either side. `sources` are what brings more than one state into it, none where there is one.
    """

    comparison: Comparison
    growth_low: Fraction | None
    growth_high: Fraction | None
    accuracy: Fraction
    states: tuple[State, ...]
    daily_states: tuple[State, ...]
    sources: tuple[Source, ...]
    edges: tuple[EdgeCase, ...]
    verdict: Verdict | None


def judge(
    *,
    pressure: tuple[Pressure, Pressure],
    driver: tuple[Fraction, Fraction],
    usable_days: tuple[float, float],
    days: tuple[int, int] = (1, 1),
    accuracy: Fraction = Fraction(0),
    driver_error: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0)),
) -> Judgement:
    """Compare, and tell how sure that is. `days` are the lengths of both periods.

    `accuracy` is by how much the meters' classes may move the growth (`accuracy.class_error`), `driver_error` by how
    much each driver may be off, as measured production may. All of it is taken in the worst combination. The verdict
    is firm when all of the interval has one state, both periods have LEAST_USABLE_DAYS, and the periods are ALIKE in
    length. A longer period uses and makes more by being longer: so means by the day must have that one state too.
    """
    before, after = pressure[0].total, pressure[1].total
    comparison = compare(pressure=(before, after), driver=driver)
    low, high = _widen(growth_bounds(*pressure), accuracy)
    edges = list(edge_cases(pressure=(before, after), driver=driver))
    if comparison.pressure_growth is not None and (low is None or high is None):
        edges.append(EdgeCase.UNBOUNDED)
    by_day = Fraction(days[0], days[1])
    is_assessable = comparison.state is not State.NOT_ASSESSABLE
    bounds = driver_bounds(driver, driver_error)
    states = states_within((low, high), bounds) if is_assessable else ()
    daily_states = states_within(_scale((low, high), by_day), _scale(bounds, by_day)) if is_assessable else ()
    firm = len(states) == 1 and daily_states == states and min(usable_days) >= LEAST_USABLE_DAYS and are_alike(*days)
    return Judgement(
        comparison=comparison,
        growth_low=low,
        growth_high=high,
        accuracy=accuracy,
        states=states,
        daily_states=daily_states,
        sources=tuple(_sources(pressure, accuracy, driver, driver_error)) if len(states) > 1 else (),
        edges=tuple(edges),
        verdict=(Verdict.FIRM if firm else Verdict.LEANING) if is_assessable else None,
    )


def are_alike(base_days: int, days: int) -> bool:
    """Whether two periods are nearly of one length."""
    return abs(Fraction(days - base_days, base_days)) <= ALIKE


def growth_bounds(base: Pressure, period: Pressure, *, with_estimates: bool = True, with_spread: bool = True) -> Bounds:
    """The least and the greatest growth when each estimated part is off by ESTIMATE_ERROR at most; None: no bound.

    The true sharing may lie as far to either side of ours as the other rule does, in both periods in the same
    direction: what a rule gives too much of, it gives too much of each year.
    Both are None where there is no growth, as the base pressure is not above zero. More may be given off than taken
    (a pressure below zero), so each bound may be at any corner.
    """
    if base.total <= 0:
        return None, None
    corners: list[Fraction] = []
    is_open_down = is_open_up = False
    for direction in {-1, 0, 1} if with_spread else {0}:
        befores = _reach(base, direction, with_estimates)
        afters = _reach(period, direction, with_estimates)
        corners += [after / before - 1 for before in befores if before > 0 for after in afters]
        # Towards a base of zero growth goes beyond every bound, up or down by the sign of the period.
        is_open = min(befores) <= 0
        is_open_down |= is_open and min(afters) < 0
        is_open_up |= is_open and max(afters) > 0
    return None if is_open_down else min(corners), None if is_open_up else max(corners)


def _reach(pressure: Pressure, direction: int, with_estimates: bool) -> tuple[Fraction, Fraction]:
    moved = direction * pressure.spread
    if not with_estimates:
        return pressure.total + moved, pressure.total + moved
    return pressure.low + moved, pressure.high + moved


def driver_bounds(driver: tuple[Fraction, Fraction], error: tuple[Fraction, Fraction]) -> Bounds:
    """The least and the greatest growth of a driver whose values may be off by these errors, each for itself."""
    if driver[0] <= 0:
        return None, None
    after = (driver[1] - error[1], driver[1] + error[1])
    before = (driver[0] - error[0], driver[0] + error[0])
    corners = [b / a - 1 for a in before if a > 0 for b in after]
    is_open = before[0] <= 0
    return None if is_open and after[0] < 0 else min(corners), None if is_open and after[1] > 0 else max(corners)


def states_within(p: Bounds, d: Bounds) -> tuple[State, ...]:
    """Every state that growths of pressure and driver within these bounds pass, the best first; None is no bound."""
    low, high = p
    least, most = d
    not_assessable = (State.NOT_ASSESSABLE,) if least is None or least <= 0 else ()
    if most is not None and most <= 0:
        return (State.NOT_ASSESSABLE,)
    order = (State.ABSOLUTE, State.RELATIVE, State.NONE)
    # However much the pressure grew, a driver without a bound may have grown more.
    best = State.ABSOLUTE if low is None else state_of(low, abs(low) + 1 if most is None else most)[0]
    if high is None:
        worst = State.NONE
    elif least is not None and least > 0:
        worst = state_of(high, least)[0]
    else:
        # A driver that grew next to nothing: whatever grew at all grew more.
        worst = State.NONE if high > 0 else state_of(high, Fraction(1))[0]
    return order[order.index(best) : order.index(worst) + 1] + not_assessable


def _sources(
    pressure: tuple[Pressure, Pressure],
    accuracy: Fraction,
    driver: tuple[Fraction, Fraction],
    driver_error: tuple[Fraction, Fraction],
) -> Iterator[Source]:
    """What alone brings a second state in; where nothing does alone, everything that takes part in it."""
    sure = driver_bounds(driver, (Fraction(0), Fraction(0)))
    point = growth(pressure[0].total, pressure[1].total)
    alone: dict[Source, tuple[Bounds, Bounds]] = {}
    if any(one.estimated for one in pressure):
        alone[Source.ESTIMATES] = growth_bounds(*pressure, with_spread=False), sure
    if accuracy:
        alone[Source.ACCURACY] = _widen((point, point), accuracy), sure
    if any(one.spread for one in pressure):
        alone[Source.SHARING] = growth_bounds(*pressure, with_estimates=False), sure
    if any(driver_error):
        alone[Source.DRIVER] = (point, point), driver_bounds(driver, driver_error)
    decisive = [source for source, bounds in alone.items() if len(states_within(*bounds)) > 1]
    yield from decisive or alone


def _widen(bounds: Bounds, by: Fraction) -> Bounds:
    low, high = bounds
    return None if low is None else low - by, None if high is None else high + by


def _scale(bounds: Bounds, by_day: Fraction) -> Bounds:
    low, high = bounds
    return None if low is None else (1 + low) * by_day - 1, None if high is None else (1 + high) * by_day - 1
