"""Units and sizes change no verdict, and no interval leaves its own point out."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from api.indicators.accuracy import class_error
from api.indicators.comparison import State
from api.indicators.decoupling import Judgement, Pressure, judge

amount = st.fractions(-1000, 10**6, max_denominator=1000)
error = st.fractions(0, 1000, max_denominator=1000)
positive = st.fractions(Fraction(1, 1000), 10**6, max_denominator=1000)
pressures = st.builds(Pressure, measured=amount, estimated=amount, spread=amount)
pairs = st.tuples(pressures, pressures)
drivers = st.tuples(amount, amount)
meters = st.dictionaries(st.sampled_from("abcd"), amount, min_size=1)
classes = st.dictionaries(st.sampled_from("abcd"), st.none() | st.floats(0, 10))


def judged(pair, driver, errors, by, *, scale: Fraction = Fraction(1), money: Fraction = Fraction(1)) -> Judgement:
    base, period = (
        Pressure(measured=one.measured * scale, estimated=one.estimated * scale, spread=one.spread * scale)
        for one in pair
    )
    return judge(
        pressure=(base, period),
        driver=(driver[0] * money, driver[1] * money),
        usable_days=(1, 1),
        accuracy=by,
        driver_error=(errors[0] * money, errors[1] * money),
    )


@given(pairs, drivers, st.tuples(error, error), st.fractions(0, 1), positive, positive)
def test_doubling_all_flows_and_drivers_or_another_unit_changes_nothing(pair, driver, errors, by, scale, money):
    one = judged(pair, driver, errors, by)
    assert judged(pair, driver, errors, by, scale=Fraction(2), money=Fraction(2)) == one
    assert judged(pair, driver, errors, by, scale=scale, money=money) == one


@given(pairs, drivers, st.tuples(error, error), st.fractions(0, 1))
def test_an_interval_contains_its_point_and_its_state(pair, driver, errors, by):
    found = judged(pair, driver, errors, by)
    point = found.comparison.pressure_growth
    if point is None:
        assert (found.growth_low, found.growth_high) == (None, None)
        return
    assert found.growth_low is None or found.growth_low <= point
    assert found.growth_high is None or found.growth_high >= point
    if found.comparison.state is not State.NOT_ASSESSABLE:
        assert found.comparison.state in found.states
        assert bool(found.sources) == (len(found.states) > 1)


@given(pairs, drivers, st.tuples(error, error), st.fractions(0, 1))
def test_more_doubt_never_takes_a_state_away(pair, driver, errors, by):
    sure = judged([Pressure(measured=one.total) for one in pair], driver, (Fraction(0), Fraction(0)), Fraction(0))
    doubtful = judged(pair, driver, errors, by)
    assert set(sure.states) <= set(doubtful.states)
    wider = judged(pair, driver, errors, by + Fraction(1, 100))
    assert set(doubtful.states) <= set(wider.states)


@given(meters, meters, classes, st.sets(st.sampled_from("abcd")), positive)
def test_accuracy_knows_no_units_and_cancels_where_nothing_changed(base, period, percents, exchanged, scale):
    def by(before, after, swapped=frozenset()) -> Fraction:
        totals = sum(before.values(), Fraction(0)), sum(after.values(), Fraction(0))
        return class_error(before, after, totals=totals, classes=percents, exchanged=swapped)

    found = by(base, period, exchanged)
    assert found >= 0
    larger, later = ({meter: count * scale for meter, count in one.items()} for one in (base, period))
    assert by(larger, later, exchanged) == found
    assert by(base, {meter: count * scale for meter, count in base.items()}) == 0
    # Two devices are never surer than one that is as wrong in both periods, where both counts have one sign.
    if all(count >= 0 for count in (*base.values(), *period.values())):
        assert by(base, period) <= by(base, period, set("abcd")) + Fraction(1, 10**11)
