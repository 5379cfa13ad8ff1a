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
    """Firm: the whole interval has one state and the data are complete. Leaning: one of both fails."""

    FIRM = "firm"
    LEANING = "leaning"


class Reason(StrEnum):
    """Why a state can't be told."""

    DRIVER_DID_NOT_GROW = "driver_did_not_grow"
    NO_BASE_PRESSURE = "no_base_pressure"
    NO_BASE_DRIVER = "no_base_driver"


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
    """A comparison with its interval: growth of the pressure at the least and at the most, and every state between."""

    comparison: Comparison
    growth_low: Fraction | None
    growth_high: Fraction | None
    states: tuple[State, ...]
    verdict: Verdict | None


def growth(before: Fraction, after: Fraction) -> Fraction | None:
    """after/before − 1; None where before is not above zero."""
    return after / before - 1 if before > 0 else None


def compare(*, pressure: tuple[Fraction, Fraction], driver: tuple[Fraction, Fraction]) -> Comparison:
    """State, elasticity and OECD factor of (base, period) pairs. METHODS §4."""
    p, d = growth(*pressure), growth(*driver)
    elasticity = p / d if p is not None and d else None
    state, reason = _state(p, d)
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
    alike: bool = True,
) -> Judgement:
    """Compare, and tell how sure that is.

    The interval lets the estimated part of each pressure be off by ESTIMATE_ERROR, in the worst combination. The
    verdict is firm when all of the interval has one state, both periods have LEAST_USABLE_DAYS, and the periods are
    alike (equally long, in short).
    """
    base, period = pressure
    comparison = compare(pressure=(base.total, period.total), driver=driver)
    low, high = growth(base.high, period.low), growth(base.low, period.high)
    if comparison.state is State.NOT_ASSESSABLE:
        return Judgement(comparison=comparison, growth_low=low, growth_high=high, states=(), verdict=None)
    # Between its ends the interval passes the states in this order, and misses none.
    order = (State.ABSOLUTE, State.RELATIVE, State.NONE)
    first = order.index(compare(pressure=(base.high, period.low), driver=driver).state)
    last = len(order) - 1
    if base.low > 0:
        last = order.index(compare(pressure=(base.low, period.high), driver=driver).state)
    states = order[first : last + 1]
    firm = len(states) == 1 and min(usable_days) >= LEAST_USABLE_DAYS and alike
    return Judgement(
        comparison=comparison,
        growth_low=low,
        growth_high=high,
        states=states,
        verdict=Verdict.FIRM if firm else Verdict.LEANING,
    )


def indices(values: Sequence[tuple[Fraction, int] | None], *, base: tuple[Fraction, int]) -> list[Fraction | None]:
    """The index series 100 · x/x_base of (quantity, days) spans, x being the quantity a day.

    Daily means, so that February does not look like a saving. `base` is the whole base period.
    """
    quantity, days = base
    if quantity <= 0 or days <= 0:
        return [None] * len(values)
    return [None if value is None else 100 * (value[0] / value[1]) / (quantity / days) for value in values]
