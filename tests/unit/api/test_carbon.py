"""Which factor holds when, and what it makes of consumption."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from api.indicators.carbon import (
    HOUR_MS,
    Basis,
    Carbon,
    Factor,
    Matched,
    Series,
    emit,
    match,
)
from api.indicators.lines import Grid
from schemas.carriers import FactorBasis, Scope
from schemas.quantities import SCALE

HOURS = 4
GRID = Grid(first=4 * 1000, count=4 * HOURS)
START = 1000 * HOUR_MS
NOTHING = np.zeros(GRID.count, np.int64)


def factor(number=1, **settings) -> Factor:
    given: dict[str, Any] = {
        "value": Fraction(1, 4),
        "basis": FactorBasis.LOCATION,
        "valid_from": START,
        "valid_to": None,
    }
    if "hourly" in settings:
        given["value"] = None
    given |= {"key": f"f{number}", "version": 1, "carrier": "electricity", "scope": Scope.SCOPE_2, "unit": "kWh"}
    return Factor(id=number, **(given | settings))


def series(*values, first=1000) -> Series:
    known = [(first + i, value) for i, value in enumerate(values) if value is not None]
    return Series(
        hour=np.array([hour for hour, _ in known], np.int64), kg_per_unit=np.array([value for _, value in known])
    )


def matched(*factors, basis=Basis.LOCATION, area: str | None = "DK1", **asked) -> Matched:
    return match(GRID, factors, **{"carrier": "electricity", "area": area, "basis": basis, **asked})


def by_hour(found) -> list[float | None]:
    """The value of each hour, which all its quarters must have."""
    rows = found.kg_per_unit.reshape(HOURS, 4)
    assert ((rows == rows[:, :1]) | np.isnan(rows).all(axis=1, keepdims=True)).all()
    return [None if np.isnan(row[0]) else float(row[0]) for row in rows]


def test_worked_example_of_the_methods():
    """1234, 242, 654, 1800 Wh × 124, 234, 85, 120 g/kWh = 481.234 g; the flat mean would say 553.1 g."""
    watt_hours = [1234, 242, 654, 1800]
    amount = np.zeros(GRID.count, np.int64)
    amount[::4] = [quantity * SCALE // 1000 for quantity in watt_hours]
    hourly = matched(factor(hourly=series(0.124, 0.234, 0.085, 0.120)))
    assert emit(amount, NOTHING, location=hourly, market=hourly).location == 481_234_000
    flat = matched(factor(value=Fraction(124 + 234 + 85 + 120, 4 * 1000)))
    assert emit(amount, NOTHING, location=flat, market=flat).location == pytest.approx(0.5531 * SCALE, rel=1e-4)


def test_an_hour_without_its_own_value_takes_the_constant_one():
    found = matched(factor(1, hourly=series(0.1, None, 0.3)), factor(2))
    assert by_hour(found) == [0.1, 0.25, 0.3, 0.25]
    assert found.hourly.reshape(HOURS, 4)[:, 0].tolist() == [True, False, True, False]
    assert found.ids == (1, 2)
    assert found.scope is Scope.SCOPE_2


def test_no_factor_is_not_a_factor_of_zero():
    found = matched(factor(valid_to=START + HOUR_MS))
    assert by_hour(found) == [0.25, None, None, None]
    amount = np.full(GRID.count, SCALE, np.int64)
    told = emit(amount, NOTHING, location=found, market=found)
    assert (told.location, told.location_known) == (SCALE, 4 * SCALE)
    nothing = matched()
    assert (nothing.ids, nothing.scope) == ((), None)
    assert emit(amount, NOTHING, location=nothing, market=nothing) == Carbon()


def test_a_true_zero_is_known():
    found = matched(factor(value=Fraction(0)))
    amount = np.full(GRID.count, SCALE, np.int64)
    told = emit(amount, NOTHING, location=found, market=found)
    assert (told.location, told.location_known) == (0, 16 * SCALE)


def test_the_area_wins_over_everywhere_and_another_area_is_none():
    here, anywhere = factor(1, area="DK1"), factor(2, value=Fraction(1, 2))
    assert by_hour(matched(anywhere, here)) == [0.25] * HOURS
    assert by_hour(matched(anywhere, here, area="DK2")) == [0.5] * HOURS
    assert by_hour(matched(here, area="DK2")) == [None] * HOURS
    assert by_hour(matched(here, area=None)) == [None] * HOURS


def test_market_goes_down_the_hierarchy_and_says_so():
    grid = factor(1, value=Fraction(1, 4))
    rest = factor(2, basis=FactorBasis.RESIDUAL_MIX, value=Fraction(1, 2))
    own = factor(3, basis=FactorBasis.MARKET, value=Fraction(0), valid_to=START + HOUR_MS)
    assert by_hour(matched(grid, rest, own, basis=Basis.MARKET)) == [0, 0.5, 0.5, 0.5]
    assert by_hour(matched(grid, rest, own)) == [0.25] * HOURS
    found = matched(grid, own, basis=Basis.MARKET)
    assert by_hour(found) == [0, 0.25, 0.25, 0.25]
    amount = np.full(GRID.count, SCALE, np.int64)
    told = emit(amount, NOTHING, location=matched(grid, own), market=found)
    assert (told.market_known, told.market_by_location) == (16 * SCALE, 12 * SCALE)


def test_a_contract_wins_over_an_hourly_grid_average():
    grid, own = factor(1, hourly=series(1, 1, 1, 1)), factor(2, basis=FactorBasis.MARKET)
    assert by_hour(matched(grid, own, basis=Basis.MARKET)) == [0.25] * HOURS


def test_a_fuel_is_the_same_in_both_figures():
    gas = factor(carrier="natural_gas", scope=Scope.SCOPE_1, basis=None)
    for basis in Basis:
        found = matched(gas, basis=basis, carrier="natural_gas")
        assert by_hour(found) == [0.25] * HOURS
        assert found.scope is Scope.SCOPE_1
        assert not found.by_location.any()


def test_the_newest_version_counts_also_where_it_holds_shorter():
    old, new = factor(1, key="k"), factor(2, key="k", version=2, value=Fraction(1), valid_to=START + HOUR_MS)
    found = matched(new, old)
    assert by_hour(found) == [1, None, None, None]
    assert found.ids == (2,)


def test_another_carrier_or_unit_has_no_factor():
    assert by_hour(matched(factor(), carrier="steam")) == [None] * HOURS
    assert by_hour(matched(factor(), carrier=None)) == [None] * HOURS
    assert by_hour(matched(factor(), unit="m3")) == [None] * HOURS
    assert by_hour(matched(factor(unit="m3"), unit="m3")) == [0.25] * HOURS


def test_a_factor_from_long_before_and_one_from_later():
    assert by_hour(matched(factor(valid_from=0))) == [0.25] * HOURS
    assert by_hour(matched(factor(valid_from=START + 2 * HOUR_MS))) == [None, None, 0.25, 0.25]
    assert by_hour(matched(factor(valid_from=0, valid_to=1))) == [None] * HOURS
    assert by_hour(matched(factor(valid_from=START + 99 * HOUR_MS))) == [None] * HOURS


def test_measured_and_estimated_stay_apart():
    found = matched(factor(hourly=series(0.5)), factor(2))
    measured, estimated = np.full(GRID.count, SCALE, np.int64), np.full(GRID.count, 2 * SCALE, np.int64)
    told = emit(measured, estimated, location=found, market=found)
    assert told.location_measured == (4 * SCALE) // 2 + (12 * SCALE) // 4
    assert told.location_estimated == 2 * told.location_measured
    assert told.location_hourly == 12 * SCALE
    assert told + Carbon() == told
    assert (told + told).market == 2 * told.market
