"""The best run and why, and E = a + b·Q."""

from __future__ import annotations

from fractions import Fraction
from math import log
from typing import Any

import numpy as np
import pytest

from api.indicators.best_run import Effect, Rank, Ranking, rank_runs
from api.indicators.lines import Phase
from api.indicators.pressures import Indicator
from api.indicators.regression import Unfit, regress
from api.indicators.sharing import Rule
from tests.unit.api.test_intensity import attribution, facts, hours, made, part

CHANGEOVER = Phase.CHANGEOVER


def one_run(run, *, power, good, ran=1.0, scrap=0.0, air=0.0, change=0.0) -> tuple[list[Any], list[Any], list[Any]]:
    """Parts, output and hours of one run."""
    return (
        [
            part("power", power, "A", run=run),
            part("air", air, "A", run=run, rule=Rule.SHARE_MEASURED),
            part("power", change, "A", run=run, phase=CHANGEOVER),
        ],
        [made("A", good, run=run), made("A", scrap, run=run, carrier="scrap")],
        [hours("A", ran, run=run)],
    )


def ranked(*runs, idle=0.0, **asked) -> Ranking:
    parts, output, times = ([one for run in runs for one in run[i]] for i in range(3))
    found = attribution([*parts, part("power", idle)], output, times)
    return rank_runs(found, facts("A"), product="A", indicator=Indicator.ENERGY, **asked)


def named(ranking) -> list[str | None]:
    return [run.owner.run for run in ranking.runs]


def test_effects_sum_to_the_difference_and_name_the_cause():
    best = one_run("1", power=90, good=100, ran=1, change=5, air=10)
    middle = one_run("2", power=100, good=80, ran=1.25, scrap=20, change=20, air=20)
    worst = one_run("3", power=200, good=80)
    found = ranked(best, middle, worst, idle=32.5)
    assert (named(found), found.median and found.median.owner.run) == (["1", "2", "3"], "2")
    assert found.median is not None
    assert found.best is not None
    assert sum(found.effects.values()) == pytest.approx(float(found.best.value - found.median.value))
    assert found.effects[Effect.CHANGEOVER] == pytest.approx(0.05 - 0.25)
    assert found.effects[Effect.SHARED] == pytest.approx(0.1 - 0.25)
    # 0.9 against 1.25 kWh a good one: by scrap (80 of 100 good), by rate (100 pieces in 1 h or 1.25 h), by draw.
    weight = (0.9 - 1.25) / log(0.9 / 1.25)
    assert found.effects[Effect.SCRAP] == pytest.approx(weight * log(0.8))
    assert found.effects[Effect.RATE] == pytest.approx(weight * log(1 / 1.25))
    assert found.effects[Effect.DRAW] == pytest.approx(weight * log(90 / 80))
    assert found.best.rate == 100


def test_runs_that_made_little_are_passed_over():
    runs = [one_run("1", power=1, good=4), one_run("2", power=100, good=100), one_run("3", power=110, good=100)]
    found = ranked(*runs)
    assert (named(found), found.passed_over, found.least_good) == (["2", "3"], 1, Fraction(50))
    assert named(ranked(*runs, least_good=Fraction(0))) == ["1", "2", "3"]


def test_marginal_leaves_idle_out():
    slow, quick = one_run("slow", power=90, good=100, ran=9), one_run("quick", power=100, good=100, ran=1)
    assert named(ranked(slow, quick, idle=100)) == ["quick", "slow"]
    assert named(ranked(slow, quick, idle=100, rank=Rank.MARGINAL)) == ["slow", "quick"]


def test_a_single_run_has_no_difference_and_no_run_is_no_error():
    alone = ranked(one_run("1", power=10, good=10))
    assert alone.best is alone.median
    assert set(alone.effects.values()) == {0.0}
    nothing = ranked(one_run("1", power=10, good=0))
    assert (nothing.best, nothing.median, nothing.effects) == (None, None, {})


def test_a_run_without_own_meters_is_told_all_the_same():
    found = ranked(one_run("1", power=0, good=10, air=5), one_run("2", power=0, good=10, air=8))
    assert found.effects == {effect: (-0.3 if effect is Effect.SHARED else 0) for effect in Effect} | {
        Effect.SHARED: pytest.approx(-0.3)
    }


class TestRegression:
    def test_known_figures(self):
        # Anscombe's first quartet [The American Statistician 27 (1973)]: y = 3.0001 + 0.5001 x, R² = 0.6665,
        # standard errors 1.1247 and 0.1179.
        x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
        found = regress(list(zip(x, y, strict=True)))
        told = [found.base, found.slope, found.se_base, found.se_slope, found.r2]
        assert told == pytest.approx([3.0001, 0.5001, 1.1247, 0.1179, 0.6665], abs=5e-5)
        assert (found.n, found.unfit) == (11, (Unfit.LOW_R2,))

    def test_a_base_load_and_its_share(self):
        found = regress([(q, 50.0 + 2 * q) for q in range(0, 100, 5)])
        assert [found.base, found.slope, found.r2] == pytest.approx([50, 2, 1])
        assert found.base_share == pytest.approx(50 / (50 + 2 * 47.5))
        assert found.unfit == ()

    @pytest.mark.parametrize(
        ("points", "unfit"),
        [
            ([], {Unfit.FEW_DAYS}),
            ([(1, 1), (2, 2)], {Unfit.FEW_DAYS}),
            ([(q, q + 1) for q in range(9)], {Unfit.FEW_DAYS}),
            ([(7, q) for q in range(20)], {Unfit.SAME_OUTPUT}),
            ([(0.1, 1.0)] * 20, {Unfit.SAME_OUTPUT}),
            ([(q, 5.0) for q in range(20)], {Unfit.LOW_R2}),
            ([(q, 3 * q - 10) for q in range(20)], {Unfit.NEGATIVE_BASE}),
            ([(q, 100 - 3 * q) for q in range(20)], {Unfit.NEGATIVE_SLOPE}),
        ],
    )
    def test_what_should_not_be_relied_on_says_so(self, points, unfit):
        assert set(regress(points).unfit) == unfit

    def test_units_change_nothing_but_the_unit(self):
        random = np.random.default_rng(7)
        points = [
            (float(q), 10 + 3 * float(q) + float(e)) for q, e in zip(range(30), random.normal(size=30), strict=True)
        ]
        kwh, mwh = regress(points), regress([(q, e / 1000) for q, e in points])
        assert mwh.r2 == pytest.approx(kwh.r2)
        assert [mwh.base, mwh.slope, mwh.se_slope] == pytest.approx(
            [value / 1000 for value in (kwh.base, kwh.slope, kwh.se_slope) if value is not None]
        )
