"""Pressure against driver, from a base period to a later one: growth, state, elasticity and factor, METHODS §4.

Everything is computed in exact fractions, so that a bound is either reached or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

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


class Reason(StrEnum):
    """Why a state can't be told."""

    DRIVER_DID_NOT_GROW = "driver_did_not_grow"
    NO_BASE_PRESSURE = "no_base_pressure"
    NEGATIVE_BASE_PRESSURE = "negative_base_pressure"
    NO_BASE_DRIVER = "no_base_driver"
    NEGATIVE_BASE_DRIVER = "negative_base_driver"


class EdgeCase(StrEnum):
    """Where a number is undefined, or says less than it seems to."""

    PRESSURE_UNCHANGED = "pressure_unchanged"
    EQUAL_GROWTH = "equal_growth"
    PRESSURE_GONE = "pressure_gone"
    NEGATIVE_PRESSURE = "negative_pressure"
    DRIVER_UNCHANGED = "driver_unchanged"
    DRIVER_GONE = "driver_gone"
    NEGATIVE_DRIVER = "negative_driver"
    NO_BASE_PRESSURE = "no_base_pressure"
    NEGATIVE_BASE_PRESSURE = "negative_base_pressure"
    NO_BASE_DRIVER = "no_base_driver"
    NEGATIVE_BASE_DRIVER = "negative_base_driver"
    UNBOUNDED = "unbounded"


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


def growth(before: Fraction, after: Fraction) -> Fraction | None:
    """after/before − 1; None where before is not above zero."""
    return after / before - 1 if before > 0 else None


def compare(*, pressure: tuple[Fraction, Fraction], driver: tuple[Fraction, Fraction]) -> Comparison:
    """State, elasticity and OECD factor of (base, period) pairs. METHODS §4."""
    p, d = growth(*pressure), growth(*driver)
    elasticity = p / d if p is not None and d else None
    state, reason = state_of(p, d)
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


def state_of(p: Fraction | None, d: Fraction | None) -> tuple[State, Reason | None]:
    """The state of two growths, None being undefined, and why it can't be told where it can't."""
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


def edge_cases(*, pressure: tuple[Fraction, Fraction], driver: tuple[Fraction, Fraction]) -> Iterator[EdgeCase]:
    """Every edge that (base, period) pairs lie on, those of the pressure first."""
    p, d = growth(*pressure), growth(*driver)
    if p is None:
        yield EdgeCase.NEGATIVE_BASE_PRESSURE if pressure[0] < 0 else EdgeCase.NO_BASE_PRESSURE
    elif p == 0:
        yield EdgeCase.PRESSURE_UNCHANGED
    elif p == d and p > 0:
        yield EdgeCase.EQUAL_GROWTH
    if pressure[1] < 0:
        yield EdgeCase.NEGATIVE_PRESSURE
    elif pressure[1] == 0 and p is not None:
        yield EdgeCase.PRESSURE_GONE
    if d is None:
        yield EdgeCase.NEGATIVE_BASE_DRIVER if driver[0] < 0 else EdgeCase.NO_BASE_DRIVER
    elif d == 0:
        yield EdgeCase.DRIVER_UNCHANGED
    if driver[1] < 0:
        yield EdgeCase.NEGATIVE_DRIVER
    elif driver[1] == 0 and d is not None:
        yield EdgeCase.DRIVER_GONE


def indices(values: Sequence[tuple[Fraction, int] | None], *, base: tuple[Fraction, int]) -> list[Fraction | None]:
    """The index series 100 · x/x_base of (quantity, days) spans, x being the quantity a day.

    Daily means, so that February does not look like a saving. `base` is the whole base period.
    """
    quantity, days = base
    if quantity <= 0 or days <= 0:
        return [None] * len(values)
    return [None if value is None else 100 * (value[0] / value[1]) / (quantity / days) for value in values]
