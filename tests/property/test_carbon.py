"""CO2e adds up: by quarter as by hour, whole as in parts, in whatever unit the factor was given."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.factors.given import UNITS, GivenFactor
from api.indicators.carbon import Basis, Carbon, Factor, Series, emit, match, weigh
from api.indicators.lines import Grid
from schemas.carriers import FactorBasis, Scope

HOURS = 3
FIRST = 4000
WHOLE = Grid(first=FIRST, count=4 * HOURS)
amounts = st.lists(st.integers(-(10**14), 10**15), min_size=WHOLE.count, max_size=WHOLE.count).map(
    lambda numbers: np.array(numbers, np.int64)
)
grams = st.integers(0, 2000)
basis_of_a_factor = st.sampled_from([*FactorBasis, None])


def factor(number, values, constant, *, basis=FactorBasis.LOCATION, area=None) -> Factor:
    hours = [(FIRST // 4 + i, value / 1000) for i, value in enumerate(values or ()) if value is not None]
    return Factor(
        id=number,
        key=f"f{number}",
        version=1,
        carrier="electricity",
        scope=Scope.SCOPE_2,
        unit="kWh",
        valid_from=0,
        valid_to=None,
        basis=basis,
        area=area,
        value=None if hours else Fraction(constant, 1000),
        hourly=Series(hour=np.array([h for h, _ in hours], np.int64), kg_per_unit=np.array([v for _, v in hours]))
        if hours
        else None,
    )


factors = st.lists(
    st.builds(
        lambda values, constant, basis, area: (values, constant, basis, area),
        st.none() | st.lists(st.none() | grams, min_size=HOURS, max_size=HOURS),
        grams,
        basis_of_a_factor,
        st.sampled_from([None, "DK1", "DK2"]),
    ),
    max_size=4,
).map(lambda rows: [factor(i, v, c, basis=b, area=a) for i, (v, c, b, a) in enumerate(rows)])


def carbon(grid, found, measured, estimated) -> Carbon:
    matches = {basis.value: match(grid, found, carrier="electricity", area="DK1", basis=basis) for basis in Basis}
    return emit(measured, estimated, **matches)


@given(found=factors, measured=amounts, estimated=amounts, cut=st.integers(1, WHOLE.count - 1))
def test_any_cut_of_the_time_adds_up_to_the_whole(found, measured, estimated, cut):
    early, late = Grid(first=FIRST, count=cut), Grid(first=FIRST + cut, count=WHOLE.count - cut)
    parts = carbon(early, found, measured[:cut], estimated[:cut]) + carbon(late, found, measured[cut:], estimated[cut:])
    assert parts == carbon(WHOLE, found, measured, estimated)


@given(found=factors, measured=amounts)
def test_quarters_add_up_to_their_hours(found, measured):
    """An hour's consumption by its factor is the sum over its quarters, but for their rounding."""
    matched = match(WHOLE, found, carrier="electricity", area="DK1", basis=Basis.MARKET)
    by_quarter = weigh(measured, matched).reshape(HOURS, 4).sum(axis=1)
    rates = np.nan_to_num(matched.kg_per_unit.reshape(HOURS, 4)[:, 0])
    by_hour = [
        Fraction(int(q)) * Fraction(float(r))
        for q, r in zip(measured.reshape(HOURS, 4).sum(axis=1), rates, strict=True)
    ]
    assert all(abs(a - b) <= 4 for a, b in zip(by_quarter.tolist(), by_hour, strict=True))


@given(found=factors, measured=amounts, estimated=amounts)
def test_shares_are_shares_and_both_figures_know_of_the_same_quantity_of_fuel(found, measured, estimated):
    told = carbon(WHOLE, found, np.abs(measured), np.abs(estimated))
    total = int(np.abs(measured).sum() + np.abs(estimated).sum())
    assert 0 <= told.location_hourly <= told.location_known <= told.market_known <= total
    assert 0 <= told.market_by_location <= told.market_known
    assert 0 <= told.market_hourly <= told.market_known


@given(found=factors, order=st.randoms(use_true_random=False), measured=amounts)
def test_the_order_in_which_factors_are_loaded_changes_nothing(found, order, measured):
    mixed = list(found)
    order.shuffle(mixed)
    nothing = np.zeros_like(measured)
    assert carbon(WHOLE, mixed, measured, nothing) == carbon(WHOLE, found, measured, nothing)


PER_KG_PER_KWH = {
    "kg/kWh": Fraction(1),
    "t/MWh": Fraction(1),
    "g/kWh": Fraction(1000),
    "kg/MWh": Fraction(1000),
    # 1 kWh = 3.6 MJ
    "g/MJ": Fraction(10_000, 36),
    "kg/GJ": Fraction(10_000, 36),
    "t/TJ": Fraction(10_000, 36),
}


@given(value=st.decimals(0, 10, places=6), unit=st.sampled_from(sorted(PER_KG_PER_KWH)))
def test_the_unit_of_a_factor_changes_nothing(value, unit):
    """A factor in any unit is the same number of kg per kWh, to the last digit."""
    assert {unit for unit, (of, _) in UNITS.items() if of == "kWh"} == set(PER_KG_PER_KWH)
    given_factor = GivenFactor.model_validate(
        {
            "key": "k",
            "carrier": "natural_gas",
            "value": value,
            "unit": unit,
            "gas": "CO2e",
            "from": "2025-01-01",
            "source": "s",
            "licence": "l",
        }
    )
    assert Fraction(given_factor.kg_per_unit) * PER_KG_PER_KWH[unit] == Fraction(value)


@given(measured=st.integers(0, 10**15), value=grams)
def test_one_quarter_is_quantity_times_factor(measured, value):
    grid = Grid(first=FIRST, count=1)
    told = carbon(grid, [factor(1, None, value)], np.array([measured]), np.array([0]))
    assert abs(told.location - Fraction(measured) * value / 1000) <= 1
    assert told.location_known == measured
