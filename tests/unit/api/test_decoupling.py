"""Decoupling: the published cases of METHODS §4, the eight states with their bounds, and what is undefined."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from api.balance import Member, Place
from api.indicators.accuracy import class_error, through_rests
from api.indicators.comparison import EdgeCase, ElasticityState, Reason, State, compare, edge_cases, indices
from api.indicators.decoupling import Judgement, Pressure, Source, Verdict, judge
from api.indicators.sentences import tell_edge

E = ElasticityState


def pair(a, b) -> tuple[Fraction, Fraction]:
    return Fraction(str(a)), Fraction(str(b))


@pytest.mark.parametrize(
    ("pressure", "driver", "numbers", "states"),
    [
        (
            (81921.06, 75981.92),
            (19067.03, 19830.34),
            {"elasticity": -1.8110, "oecd_factor": 0.1082},
            (State.ABSOLUTE, E.STRONG_DECOUPLING),
        ),
        (
            (78412.16, 82335.24),
            (20216.90, 21668.55),
            {"elasticity": 0.6968, "oecd_factor": 0.0203},
            (State.RELATIVE, E.WEAK_DECOUPLING),
        ),
        (
            (71226.18, 81921.06),
            (18225.48, 19067.03),
            {"elasticity": 3.2519},
            (State.NONE, E.EXPANSIVE_NEGATIVE_DECOUPLING),
        ),
    ],
    ids=["Denmark 1992", "Denmark 1994", "Denmark 1991"],
)
def test_published_cases(pressure, driver, numbers, states):
    found = compare(pressure=pair(*pressure), driver=pair(*driver))
    assert {name: round(float(getattr(found, name)), 4) for name in numbers} == numbers
    assert (found.state, found.elasticity_state) == states


@pytest.mark.parametrize(
    ("p", "d", "eighth"),
    [
        ("-0.01", "0.1", E.STRONG_DECOUPLING),
        ("0", "0.1", E.WEAK_DECOUPLING),
        ("0.0799", "0.1", E.WEAK_DECOUPLING),
        ("0.08", "0.1", E.EXPANSIVE_COUPLING),
        ("0.12", "0.1", E.EXPANSIVE_COUPLING),
        ("0.1201", "0.1", E.EXPANSIVE_NEGATIVE_DECOUPLING),
        ("0.01", "-0.1", E.STRONG_NEGATIVE_DECOUPLING),
        ("0", "-0.1", E.WEAK_NEGATIVE_DECOUPLING),
        ("-0.0799", "-0.1", E.WEAK_NEGATIVE_DECOUPLING),
        ("-0.08", "-0.1", E.RECESSIVE_COUPLING),
        ("-0.12", "-0.1", E.RECESSIVE_COUPLING),
        ("-0.1201", "-0.1", E.RECESSIVE_DECOUPLING),
    ],
)
def test_eight_states_and_their_bounds(p, d, eighth):
    one = Fraction(1)
    found = compare(pressure=(one, 1 + Fraction(p)), driver=(one, 1 + Fraction(d)))
    assert found.elasticity_state is eighth
    assert (found.state is State.NOT_ASSESSABLE) == (Fraction(d) < 0)


@pytest.mark.parametrize(
    ("pressure", "driver", "state", "reason"),
    [
        ((100, 100), (100, 101), State.RELATIVE, None),
        ((100, 110), (100, 110), State.NONE, None),
        ((100, Decimal("99.999999999")), (100, 101), State.ABSOLUTE, None),
        ((100, 90), (100, 100), State.NOT_ASSESSABLE, Reason.DRIVER_DID_NOT_GROW),
        ((100, 90), (100, 90), State.NOT_ASSESSABLE, Reason.DRIVER_DID_NOT_GROW),
        ((0, 90), (100, 110), State.NOT_ASSESSABLE, Reason.NO_BASE_PRESSURE),
        ((-5, 90), (100, 110), State.NOT_ASSESSABLE, Reason.NEGATIVE_BASE_PRESSURE),
        ((100, 90), (0, 110), State.NOT_ASSESSABLE, Reason.NO_BASE_DRIVER),
        ((100, 90), (-5, 110), State.NOT_ASSESSABLE, Reason.NEGATIVE_BASE_DRIVER),
    ],
)
def test_states_at_their_edges(pressure, driver, state, reason):
    found = compare(pressure=pair(*pressure), driver=pair(*driver))
    assert (found.state, found.reason) == (state, reason)


def test_what_is_undefined_is_none():
    no_growth = compare(pressure=pair(100, 90), driver=pair(100, 100))
    assert (no_growth.elasticity, no_growth.elasticity_state) == (None, None)
    assert no_growth.oecd_factor == Fraction(1, 10)
    nothing_before = compare(pressure=pair(0, 90), driver=pair(100, 110))
    assert nothing_before.pressure_growth is nothing_before.elasticity is nothing_before.oecd_factor is None
    assert compare(pressure=pair(1, 1), driver=pair(1, 0)).oecd_factor is None


def pressures(base, period, estimated=0) -> tuple[Pressure, Pressure]:
    return Pressure(measured=Fraction(base)), Pressure(
        measured=Fraction(period) - Fraction(estimated), estimated=Fraction(estimated)
    )


class TestVerdict:
    DRIVER = (Fraction(100), Fraction(110))

    def test_measured_and_complete_is_firm(self):
        found = judge(pressure=pressures(100, 95), driver=self.DRIVER, usable_days=(1, 0.9))
        assert (found.verdict, found.states) == (Verdict.FIRM, (State.ABSOLUTE,))
        assert found.growth_low == found.growth_high == Fraction(-5, 100)

    def test_too_few_days_is_leaning(self):
        found = judge(pressure=pressures(100, 95), driver=self.DRIVER, usable_days=(1, 0.89))
        assert found.verdict is Verdict.LEANING

    def test_an_estimated_part_that_could_turn_the_state_is_leaning(self):
        found = judge(pressure=pressures(100, 98, estimated=6), driver=self.DRIVER, usable_days=(1, 1))
        assert (found.verdict, found.states) == (Verdict.LEANING, (State.ABSOLUTE, State.RELATIVE))
        assert (found.growth_low, found.growth_high) == (Fraction(-5, 100), Fraction(1, 100))

    def test_an_estimated_part_that_could_not_is_firm(self):
        found = judge(pressure=pressures(100, 90, estimated=6), driver=self.DRIVER, usable_days=(1, 1))
        assert found.verdict is Verdict.FIRM

    def test_an_estimate_may_span_all_states(self):
        found = judge(pressure=pressures(100, 105, estimated=60), driver=self.DRIVER, usable_days=(1, 1))
        assert found.states == (State.ABSOLUTE, State.RELATIVE, State.NONE)

    def test_what_is_not_assessable_has_no_verdict(self):
        found = judge(pressure=pressures(100, 95), driver=(Fraction(1), Fraction(1)), usable_days=(1, 1))
        assert (found.verdict, found.states) == (None, ())


class TestLengths:
    """Periods of unequal length: what holds for totals and not for means by the day is not firm."""

    def judged(self, days, *, energy, revenue) -> Judgement:
        """Both by the day, in base and period."""
        base, period = (Pressure(measured=Fraction(str(e)) * n) for e, n in zip(energy, days, strict=True))
        before, after = (Fraction(str(r)) * n for r, n in zip(revenue, days, strict=True))
        return judge(
            pressure=(base, period),
            driver=(before, after),
            usable_days=(1, 1),
            days=days,
        )

    def test_a_shorter_period_saves_nothing_by_being_shorter(self):
        found = self.judged((365, 358), energy=(1000, 1000), revenue=(1000, 1030))
        assert (found.states, found.daily_states) == ((State.ABSOLUTE,), (State.RELATIVE,))
        assert found.verdict is Verdict.LEANING

    def test_a_leap_year_loses_nothing_by_being_longer(self):
        found = self.judged((365, 366), energy=(1000, 999), revenue=(1000, 1001))
        assert (found.states, found.daily_states) == ((State.RELATIVE,), (State.ABSOLUTE,))
        assert found.verdict is Verdict.LEANING

    def test_a_driver_that_grew_by_the_length_alone(self):
        found = self.judged((365, 366), energy=(1000, 900), revenue=(1000, 999))
        assert found.daily_states == (State.NOT_ASSESSABLE,)
        assert found.verdict is Verdict.LEANING

    def test_one_state_by_both_is_firm(self):
        found = self.judged((365, 366), energy=(1000, 900), revenue=(1000, 1030))
        assert (found.daily_states, found.verdict) == ((State.ABSOLUTE,), Verdict.FIRM)

    def test_lengths_far_apart_are_never_firm(self):
        assert self.judged((365, 357), energy=(1000, 500), revenue=(1000, 2000)).verdict is Verdict.LEANING

    def test_equal_lengths_of_any_size_give_the_same(self):
        assert self.judged((7, 7), energy=(5, 4), revenue=(5, 6)) == self.judged(
            (365, 365), energy=(5, 4), revenue=(5, 6)
        )


@pytest.mark.parametrize(
    ("base", "period", "bounds"),
    [
        (Pressure(measured=Fraction(0), estimated=Fraction(100)), Pressure(measured=Fraction(-10)), ("-1.2", "-16/15")),
        (
            Pressure(measured=Fraction(50), estimated=Fraction(50)),
            Pressure(measured=Fraction(0), estimated=Fraction(-20)),
            ("-1.4", "-1.08"),
        ),
        (Pressure(measured=Fraction(-20), estimated=Fraction(40)), Pressure(measured=Fraction(10)), ("-0.75", None)),
        (Pressure(measured=Fraction(-20), estimated=Fraction(40)), Pressure(measured=Fraction(-10)), (None, "-1.25")),
        (Pressure(measured=Fraction(-20), estimated=Fraction(10)), Pressure(measured=Fraction(10)), (None, None)),
    ],
)
def test_bounds_are_in_order_below_zero_too(base, period, bounds):
    found = judge(pressure=(base, period), driver=(Fraction(1), Fraction(2)), usable_days=(1, 1))
    assert (found.growth_low, found.growth_high) == tuple(None if b is None else Fraction(b) for b in bounds)


def test_indices_are_of_daily_means():
    base = (Fraction(365), 365)
    assert indices([(Fraction(28), 28), None, (Fraction(62), 31)], base=base) == [100, None, 200]
    assert indices([(Fraction(28), 28)], base=(Fraction(0), 365)) == [None]


class TestInterval:
    """What moves the pressure, and what brings a second state into the interval."""

    DRIVER = (Fraction(100), Fraction(110))

    def judged(self, base: Pressure, period: Pressure, **more) -> Judgement:
        return judge(pressure=(base, period), driver=self.DRIVER, usable_days=(1, 1), **more)

    def test_a_rule_that_errs_alike_in_both_periods_moves_nothing(self):
        found = self.judged(
            Pressure(measured=Fraction(100), spread=Fraction(10)),
            Pressure(measured=Fraction(99), spread=Fraction("9.9")),
        )
        assert (found.growth_low, found.growth_high) == (Fraction(-1, 100), Fraction(-1, 100))
        assert (found.verdict, found.sources) == (Verdict.FIRM, ())

    def test_a_rule_that_errs_in_one_period_only(self):
        found = self.judged(Pressure(measured=Fraction(100)), Pressure(measured=Fraction(99), spread=Fraction(-3)))
        assert (found.growth_low, found.growth_high) == (Fraction(-4, 100), Fraction(2, 100))
        assert found.states == (State.ABSOLUTE, State.RELATIVE)
        assert found.sources == (Source.SHARING,)

    def test_accuracy_widens_to_both_sides(self):
        found = self.judged(*pressures(100, 99), accuracy=Fraction(2, 100))
        assert (found.growth_low, found.growth_high) == (Fraction(-3, 100), Fraction(1, 100))
        assert (found.verdict, found.sources) == (Verdict.LEANING, (Source.ACCURACY,))

    def test_what_only_matters_together_is_named_together(self):
        found = self.judged(*pressures(100, 97, estimated=4), accuracy=Fraction(2, 100))
        assert found.states == (State.ABSOLUTE, State.RELATIVE)
        assert found.sources == (Source.ESTIMATES, Source.ACCURACY)

    def test_a_driver_that_may_not_have_grown(self):
        found = self.judged(*pressures(100, 99), driver_error=(Fraction(0), Fraction(12)))
        assert found.states == (State.ABSOLUTE, State.NOT_ASSESSABLE)
        assert (found.verdict, found.sources) == (Verdict.LEANING, (Source.DRIVER,))

    def test_a_driver_that_may_have_grown_more(self):
        found = self.judged(*pressures(100, 108), driver_error=(Fraction(0), Fraction(3)))
        assert found.states == (State.RELATIVE, State.NONE)

    def test_a_base_driver_that_may_be_zero_has_no_upper_bound(self):
        found = self.judged(*pressures(100, 500), driver_error=(Fraction(100), Fraction(0)))
        assert found.states == (State.RELATIVE, State.NONE, State.NOT_ASSESSABLE)


@pytest.mark.parametrize(
    ("pressure", "driver", "edges"),
    [
        ((100, 90), (100, 110), []),
        ((100, 100), (100, 110), [EdgeCase.PRESSURE_UNCHANGED]),
        ((100, 100), (100, 100), [EdgeCase.PRESSURE_UNCHANGED, EdgeCase.DRIVER_UNCHANGED]),
        ((100, 110), (100, 110), [EdgeCase.EQUAL_GROWTH]),
        ((100, 90), (100, 90), []),
        ((100, 0), (100, 110), [EdgeCase.PRESSURE_GONE]),
        ((100, -5), (100, 110), [EdgeCase.NEGATIVE_PRESSURE]),
        ((0, 5), (100, 110), [EdgeCase.NO_BASE_PRESSURE]),
        ((0, 0), (0, 0), [EdgeCase.NO_BASE_PRESSURE, EdgeCase.NO_BASE_DRIVER]),
        ((-1, 5), (-1, 5), [EdgeCase.NEGATIVE_BASE_PRESSURE, EdgeCase.NEGATIVE_BASE_DRIVER]),
        ((100, 90), (100, 0), [EdgeCase.DRIVER_GONE]),
        ((100, 90), (100, -1), [EdgeCase.NEGATIVE_DRIVER]),
    ],
)
def test_every_edge_is_named(pressure, driver, edges):
    assert list(edge_cases(pressure=pair(*pressure), driver=pair(*driver))) == edges
    judged = judge(
        pressure=(Pressure(measured=Fraction(pressure[0])), Pressure(measured=Fraction(pressure[1]))),
        driver=pair(*driver),
        usable_days=(1, 1),
    )
    assert list(judged.edges) == edges


def test_an_interval_without_a_bound_is_an_edge():
    base = Pressure(measured=Fraction(-20), estimated=Fraction(40))
    found = judge(pressure=(base, Pressure(measured=Fraction(10))), driver=pair(1, 2), usable_days=(1, 1))
    assert (found.growth_high, found.edges) == (None, (EdgeCase.UNBOUNDED,))


@pytest.mark.parametrize("edge", EdgeCase)
def test_each_edge_is_told_in_both_languages(edge):
    told = tell_edge(edge)
    assert told.en.endswith(".")
    assert told.da.endswith(".")
    assert told.en != told.da


class TestAccuracy:
    def error(self, base, period, classes=None, exchanged=()) -> Fraction:
        before, after = ({m: Fraction(str(q)) for m, q in one.items()} for one in (base, period))
        return class_error(
            before,
            after,
            totals=(sum(before.values(), Fraction(0)), sum(after.values(), Fraction(0))),
            classes=classes or {},
            exchanged=exchanged,
        )

    def test_one_device_is_as_wrong_in_both_periods(self):
        assert self.error({"a": 100}, {"a": 250}) == 0

    def test_the_same_mix_lets_nothing_through(self):
        assert self.error({"a": 100, "b": 300}, {"a": 110, "b": 330}) == 0

    def test_another_mix_does(self):
        # r = 1; 0.01 · (60 − 50) and 0.02 · (40 − 50), over 100.
        found = self.error({"a": 50, "b": 50}, {"a": 60, "b": 40}, {"a": 1.0, "b": None})
        assert float(found) == pytest.approx((0.1**2 + 0.2**2) ** 0.5 / 100)

    def test_an_exchanged_meter_is_two_devices(self):
        assert float(self.error({"a": 100}, {"a": 100}, {"a": 0.5}, {"a"})) == pytest.approx(0.005 * 2**0.5)
        found = self.error({"a": 30, "b": 0}, {"a": 0, "b": 40}, {"a": 3, "b": 3}, {"a", "b"})
        assert float(found) == pytest.approx(0.03 * (4 / 3) * 2**0.5)

    def test_a_class_of_nothing_and_a_base_of_nothing(self):
        assert self.error({"a": 50, "b": 50}, {"a": 60, "b": 40}, {"a": 0.0, "b": 0.0}) == 0
        assert self.error({"a": 0}, {"a": 60}) == 0

    def test_a_rest_is_as_wrong_as_the_meters_around_it(self):
        place = Place(
            parent="main",
            resource="energy",
            unit="kWh",
            parts=("part",),
            members=(
                Member(number=1, meter="main", in_whole=Decimal(1), in_parts=Decimal(0), accuracy_class=None),
                Member(number=2, meter="part", in_whole=Decimal(0), in_parts=Decimal(1), accuracy_class=None),
            ),
        )
        counted = {"main": 1000, "part": 990}
        found = through_rests({"main": Fraction(5), "part": Fraction(990)}, places={"main": place}, counted=counted)
        # Half of a rest of 10: half of both counts.
        assert found == {"main": 500, "part": 990 - 495}
        assert through_rests({"main": Fraction(0)}, places={"main": place}, counted={}) == {"main": 0}
