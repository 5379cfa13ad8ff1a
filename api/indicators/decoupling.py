"""Pressure against driver, a base period against a later one: METHODS §4.

Everything is computed in exact fractions, so that a bound is either reached or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

LEAST_USABLE_DAYS = 0.9
"""Of a period's days, at least this share must be usable for a firm verdict [METHODS §1, OpenDSM defaults]."""
ESTIMATE_ERROR = Fraction(1, 2)
"""How far off the estimated part of a pressure may be, up and down [our own choice].

An estimated quantity is mostly the span of a gap whose total the register still gave, and only its spread over time
is a guess: what falls outside the period instead is seldom more than half of it.
"""
ALIKE = Fraction(2, 100)
"""Periods whose lengths differ by more than this share of the base period's are never firm [our own choice]."""
_WEAK, _COUPLED = Fraction(4, 5), Fraction(6, 5)


class State(StrEnum):
    """Does it make more while using less?"""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"
    NONE = "none"
    NOT_ASSESSABLE = "not_assessable"


class ElasticityState(StrEnum):
    """The eight states of Tapio, by the signs of p and d and the bounds 0, 0.8 and 1.2 of e = p/d."""

    STRONG_DECOUPLING = "strong decoupling"
    WEAK_DECOUPLING = "weak decoupling"
    EXPANSIVE_COUPLING = "expansive coupling"
    EXPANSIVE_NEGATIVE_DECOUPLING = "expansive negative decoupling"
    STRONG_NEGATIVE_DECOUPLING = "strong negative decoupling"
    WEAK_NEGATIVE_DECOUPLING = "weak negative decoupling"
    RECESSIVE_COUPLING = "recessive coupling"
    RECESSIVE_DECOUPLING = "recessive decoupling"


class Verdict(StrEnum):
    """Firm: the whole interval has one state, by the day too, and the data are complete. Leaning: one of them fails."""

    FIRM = "firm"
    LEANING = "leaning"


class Reason(StrEnum):
    """Why a state can't be told."""

    DRIVER_DID_NOT_GROW = "driver_did_not_grow"
    NO_BASE_PRESSURE = "no_base_pressure"
    NEGATIVE_BASE_PRESSURE = "negative_base_pressure"
    NO_BASE_DRIVER = "no_base_driver"
    NEGATIVE_BASE_DRIVER = "negative_base_driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """What was used in a period, measured and estimated apart, in any one unit."""

    measured: Fraction
    estimated: Fraction = Fraction(0)

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
class Comparison:
    """One indicator from a to b. What is undefined is None, and `reason` says why there is no state."""

    pressure_growth: Fraction | None
    driver_growth: Fraction | None
    state: State
    reason: Reason | None
    elasticity: Fraction | None
    elasticity_state: ElasticityState | None
    oecd_factor: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A comparison with its interval: growth of the pressure at the least and at the most, and every state between.

    A bound is None where there is none: where the base pressure may be as small as zero. `daily_states` are the
    states between when means by the day are compared, in place of totals.
    """

    comparison: Comparison
    growth_low: Fraction | None
    growth_high: Fraction | None
    states: tuple[State, ...]
    daily_states: tuple[State, ...]
    verdict: Verdict | None


def growth(before: Fraction, after: Fraction) -> Fraction | None:
    """after/before − 1; None where before is not above zero."""
    return after / before - 1 if before > 0 else None


def compare(*, pressure: tuple[Fraction, Fraction], driver: tuple[Fraction, Fraction]) -> Comparison:
    """State, elasticity and OECD factor of (base, period) pairs. METHODS §4."""
    p, d = growth(*pressure), growth(*driver)
    elasticity = p / d if p is not None and d else None
    state, reason = _state(p, d)
    if reason is Reason.NO_BASE_PRESSURE and pressure[0] < 0:
        reason = Reason.NEGATIVE_BASE_PRESSURE
    if reason is Reason.NO_BASE_DRIVER and driver[0] < 0:
        reason = Reason.NEGATIVE_BASE_DRIVER
    return Comparison(
        pressure_growth=p,
        driver_growth=d,
        state=state,
        reason=reason,
        elasticity=elasticity,
        elasticity_state=None if elasticity is None or d is None else elasticity_state(elasticity, d),
        oecd_factor=oecd_factor(pressure=pressure, driver=driver),
    )


def _state(p: Fraction | None, d: Fraction | None) -> tuple[State, Reason | None]:
    if p is None:
        return State.NOT_ASSESSABLE, Reason.NO_BASE_PRESSURE
    if d is None:
        return State.NOT_ASSESSABLE, Reason.NO_BASE_DRIVER
    if d <= 0:
        return State.NOT_ASSESSABLE, Reason.DRIVER_DID_NOT_GROW
    if p < 0:
        return State.ABSOLUTE, None
    # Eurostat counts p = 0 as absolute; the programme says that the pressure falls.
    return (State.RELATIVE if p < d else State.NONE), None


def elasticity_state(elasticity: Fraction, driver_growth: Fraction) -> ElasticityState:
    """One of eight, for a driver that grew or shrank. 0 belongs to weak, 0.8 and 1.2 to coupling."""
    if driver_growth > 0:
        names = (
            ElasticityState.STRONG_DECOUPLING,
            ElasticityState.WEAK_DECOUPLING,
            ElasticityState.EXPANSIVE_COUPLING,
            ElasticityState.EXPANSIVE_NEGATIVE_DECOUPLING,
        )
    else:
        names = (
            ElasticityState.STRONG_NEGATIVE_DECOUPLING,
            ElasticityState.WEAK_NEGATIVE_DECOUPLING,
            ElasticityState.RECESSIVE_COUPLING,
            ElasticityState.RECESSIVE_DECOUPLING,
        )
    if elasticity < 0:
        return names[0]
    if elasticity < _WEAK:
        return names[1]
    return names[2] if elasticity <= _COUPLED else names[3]


def oecd_factor(*, pressure: tuple[Fraction, Fraction], driver: tuple[Fraction, Fraction]) -> Fraction | None:
    """1 − (P_b/D_b)/(P_a/D_a): positive is decoupling of either kind. None where a ratio is undefined."""
    if pressure[0] <= 0 or driver[0] <= 0 or driver[1] <= 0:
        return None
    return 1 - (pressure[1] / driver[1]) / (pressure[0] / driver[0])


def judge(
    *,
    pressure: tuple[Pressure, Pressure],
    driver: tuple[Fraction, Fraction],
    usable_days: tuple[float, float],
    days: tuple[int, int] = (1, 1),
) -> Judgement:
    """Compare, and tell how sure that is. `days` are the lengths of both periods.

    The interval lets the estimated part of each pressure be off by ESTIMATE_ERROR, in the worst combination. The
    verdict is firm when all of the interval has one state, both periods have LEAST_USABLE_DAYS, and the periods are
    ALIKE in length. A longer period uses and makes more by being longer: so means by the day must have that one
    state too.
    """
    base, period = pressure
    comparison = compare(pressure=(base.total, period.total), driver=driver)
    low, high = growth_bounds(base, period)
    if comparison.state is State.NOT_ASSESSABLE:
        return Judgement(
            comparison=comparison, growth_low=low, growth_high=high, states=(), daily_states=(), verdict=None
        )
    states = _states_between(low, high, growth(*driver))
    by_day = Fraction(days[0], days[1])
    daily_low, daily_high = (None if bound is None else (1 + bound) * by_day - 1 for bound in (low, high))
    daily_states = _states_between(daily_low, daily_high, growth(driver[0], driver[1] * by_day))
    firm = len(states) == 1 and daily_states == states and min(usable_days) >= LEAST_USABLE_DAYS and are_alike(*days)
    return Judgement(
        comparison=comparison,
        growth_low=low,
        growth_high=high,
        states=states,
        daily_states=daily_states,
        verdict=Verdict.FIRM if firm else Verdict.LEANING,
    )


def are_alike(base_days: int, days: int) -> bool:
    """Whether two periods are nearly of one length."""
    return abs(Fraction(days - base_days, base_days)) <= ALIKE


def growth_bounds(base: Pressure, period: Pressure) -> tuple[Fraction | None, Fraction | None]:
    """The least and the greatest growth when each estimated part is off by ESTIMATE_ERROR at most; None: no bound.

    Both are None where there is no growth, as the base pressure is not above zero. More may be given off than taken
    (a pressure below zero), so each bound may be at any corner.
    """
    if base.total <= 0:
        return None, None
    corners = [
        after / before - 1 for before in (base.low, base.high) if before > 0 for after in (period.low, period.high)
    ]
    # Towards a base of zero growth goes beyond every bound, up or down by the sign of the period.
    is_open = base.low <= 0
    return (
        None if is_open and period.low < 0 else min(corners),
        None if is_open and period.high > 0 else max(corners),
    )


def _states_between(low: Fraction | None, high: Fraction | None, d: Fraction | None) -> tuple[State, ...]:
    """Every state that a growth from `low` to `high` passes, None being no bound."""
    if d is None or d <= 0:
        return (State.NOT_ASSESSABLE,)
    order = (State.ABSOLUTE, State.RELATIVE, State.NONE)
    first = 0 if low is None else order.index(_state(low, d)[0])
    last = len(order) - 1 if high is None else order.index(_state(high, d)[0])
    return order[first : last + 1]


def indices(values: Sequence[tuple[Fraction, int] | None], *, base: tuple[Fraction, int]) -> list[Fraction | None]:
    """The index series 100 · x/x_base of (quantity, days) spans, x being the quantity a day.

    Daily means, so that February does not look like a saving. `base` is the whole base period.
    """
    quantity, days = base
    if quantity <= 0 or days <= 0:
        return [None] * len(values)
    return [None if value is None else 100 * (value[0] / value[1]) / (quantity / days) for value in values]
