"""LMDI-I: METHODS' worked numbers, zeros by their limits, closure, chains and refusals."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from api.indicators import decomposition
from api.indicators.decomposition import (
    UNATTRIBUTED,
    NegativeValueError,
    NoMultiplier,
    close,
    logarithmic_mean,
)

QSI = ("activity", "mix", "intensity")


def table(*rows: Any) -> Any:
    """Factors by category; None stays undefined."""
    return {
        (str(i),): tuple(None if value is None else Fraction(str(value)) for value in row)
        for i, row in enumerate(rows)
        if row is not None
    }


Y1971, Y1972, Y1973 = table([1, 10, 2], [4, 5, 3]), table([4, 5, 3], [5, 6, 4]), table([8, 2, 4], [5, 7, 5])


def decompose(*periods: Any, **options: Any) -> Any:
    return decomposition.decompose(*periods, **options)


def chain(steps: Any) -> Any:
    return decomposition.chain(steps)


def effects(found: Any) -> list[float]:
    return [float(effect) for effect in found.effects.values()]


class TestWorkedNumbers:
    def test_additive(self):
        assert effects(decompose(QSI, Y1971, Y1972)) == pytest.approx(
            [69.79006598, -9.455125793, 39.66505981], rel=1e-9
        )

    def test_multiplicative(self):
        found = decompose(QSI, Y1971, Y1972)
        told = [float(multiplier) for multiplier in found.multipliers.values()]
        assert told == pytest.approx([1.761117821, 0.926191306, 1.379410116], rel=1e-9)

    def test_the_next_year(self):
        assert effects(decompose(QSI, Y1972, Y1973)) == pytest.approx([42.96021467, -34.31902656, 50.3588119], rel=1e-9)

    def test_closure_is_exact(self):
        found = decompose(QSI, Y1971, Y1972)
        assert sum(found.effects.values()) == found.change == 100
        assert math.prod(found.multipliers.values()) == Fraction(180, 80)
        assert found.residual < Fraction(1, 10**12)
        assert abs(found.multiplier_residual) < 1e-14

    def test_a_chain_adds_up_and_multiplies(self):
        steps = [decompose(QSI, Y1971, Y1972), decompose(QSI, Y1972, Y1973)]
        whole = chain(steps)
        assert (whole.before, whole.after) == (80, 239)
        assert effects(whole) == pytest.approx([112.75028065, -43.774152353, 90.02387171], rel=1e-9)
        assert sum(whole.effects.values()) == 159
        assert math.prod(whole.multipliers.values()) == Fraction(239, 80)
        # By another path it is shared out otherwise.
        assert effects(whole) != pytest.approx(effects(decompose(QSI, Y1971, Y1973)), rel=1e-3)
        for term in whole.terms:
            assert sum(term.effects.values()) == term.after - term.before


class TestLogarithmicMean:
    @pytest.mark.parametrize(
        ("a", "b", "mean"),
        [
            (2, 2, 2.0),
            (1, 2, 1 / math.log(2)),
            (10**20, 1, (10**20 - 1) / math.log(10**20)),
            (Fraction(1, 10**20), 1, 1 / math.log(10**20)),
        ],
    )
    def test_values(self, a, b, mean):
        assert float(logarithmic_mean(Fraction(a), Fraction(b))) == pytest.approx(mean, rel=1e-15)

    @pytest.mark.parametrize("digits", [3, 8, 12, 16, 20, 40, 400])
    def test_it_is_stable_where_both_are_nearly_alike(self, digits):
        # (a + b) / 2 is right to the second order of their difference.
        a, b = Fraction(7), 7 + Fraction(1, 10**digits)
        assert float(logarithmic_mean(a, b) / ((a + b) / 2) - 1) == pytest.approx(0, abs=1e-8 if digits < 8 else 4e-16)
        assert logarithmic_mean(a, b) == logarithmic_mean(b, a)

    def test_beyond_what_a_float_holds(self):
        a, b = Fraction(10) ** 500, Fraction(1, 10**500)
        assert float(logarithmic_mean(a, b) / a) == pytest.approx(1 / (1000 * math.log(10)))


class TestZeros:
    def test_a_launch_is_the_mix_and_given_once(self):
        # Nothing was made of it, so its use per unit was undefined: the share is what vanished.
        found = decompose(QSI, table([100, 1, 3], [100, 0, None]), table([120, "0.75", 3], [120, "0.25", 2]))
        launched = found.terms[1]
        assert launched.effects == {"activity": 0, "mix": 60, "intensity": 0}
        assert sum(found.effects.values()) == found.change == 30

    def test_a_drop_likewise(self):
        found = decompose(QSI, table([120, "0.75", 3], [120, "0.25", 2]), table([100, 1, 3], [100, 0, None]))
        assert found.terms[1].effects == {"activity": 0, "mix": -60, "intensity": 0}

    @pytest.mark.parametrize(
        ("before", "cause"),
        [
            ([0, None, None], "activity"),
            ([5, 0, None], "mix"),
            ([5, 1, 0], "intensity"),
            ([0, 0, 0], "activity"),
            ([5, None, 0], "intensity"),
            (None, "activity"),
        ],
    )
    def test_what_vanishes_is_given_to_one_factor(self, before, cause):
        found = decompose(QSI, table(before), table([4, 1, 2]))
        assert {name: effect for name, effect in found.effects.items() if effect} == {cause: 8}
        back = decompose(QSI, table([4, 1, 2]), table(before))
        assert {name: effect for name, effect in back.effects.items() if effect} == {cause: -8}

    def test_nothing_before_and_after(self):
        found = decompose(QSI, table([5, 0, None], [5, 1, 2]), table([6, 1, 0], [6, 1, 2]))
        assert set(found.terms[0].effects.values()) == {0}

    @pytest.mark.parametrize(
        ("before", "after", "reason"),
        [
            ([0, 1, 1], [1, 1, 1], NoMultiplier.NO_BASE),
            ([1, 1, 1], [0, 1, 1], NoMultiplier.NOTHING_LEFT),
        ],
    )
    def test_no_multiplier_from_or_to_nothing(self, before, after, reason):
        found = decompose(QSI, table(before), table(after))
        assert (found.multipliers, found.no_multiplier) == (None, reason)
        assert chain([found, decompose(QSI, table(after), table(after))]).no_multiplier is reason

    def test_multipliers_beyond_a_float(self):
        big = f"1e{400}"
        found = decompose(("a", "b"), table([1, big]), table([big, 1]))
        assert (found.change, found.no_multiplier) == (0, NoMultiplier.TOO_FAR)
        assert found.effects["a"] == -found.effects["b"] > 0

    def test_no_change_has_multipliers_of_one(self):
        found = decompose(QSI, Y1971, Y1971)
        assert set(found.effects.values()) == {0}
        assert set(found.multipliers.values()) == {1}

    def test_changes_that_cancel(self):
        found = decompose(("a", "b"), table([2, 3]), table([3, 2]))
        assert found.change == 0
        assert float(found.effects["a"]) == pytest.approx(6 * math.log(1.5))
        assert math.prod(found.multipliers.values()) == 1


class TestBeside:
    def test_it_is_an_effect_of_its_own(self):
        found = decompose(QSI, Y1971, Y1972, beside={("idle",): (Fraction(20), Fraction(15))})
        assert (found.before, found.after) == (100, 195)
        assert found.effects[UNATTRIBUTED] == -5
        assert sum(found.effects.values()) == 95
        assert math.prod(found.multipliers.values()) == Fraction(195, 100)

    def test_it_may_be_negative_and_the_sum_too(self):
        found = decompose(QSI, Y1971, Y1972, beside={("rest",): (Fraction(-100), Fraction(-300))})
        assert (found.change, found.no_multiplier) == (-100, NoMultiplier.NEGATIVE)

    def test_its_name_may_be_that_of_a_category(self):
        steps = [decompose(QSI, Y1971, Y1972, beside={("0",): (Fraction(1), Fraction(2))}) for _ in range(2)]
        whole = chain(steps)
        assert [(term.category, term.is_beside, term.before) for term in whole.terms] == [
            (("0",), False, 20),
            (("1",), False, 60),
            (("0",), True, 1),
        ]


def test_below_zero_is_refused_and_says_which():
    with pytest.raises(NegativeValueError, match="intensity of 1 is below zero"):
        decompose(QSI, Y1971, table([4, 5, 3], [5, 6, -4]))


def test_effects_are_whole_billionths_where_values_are():
    found = decompose(("q", "i"), table([3, 7], [11, 13]), table([5, 8], [9, 17]), quantum=Fraction(1))
    assert all(effect.denominator == 1 for effect in found.effects.values())
    assert sum(found.effects.values()) == found.change


def test_the_largest_takes_what_rounding_leaves():
    assert close([Fraction(4, 10), Fraction(14, 10), Fraction(2, 10)], Fraction(2), Fraction(1)) == [0, 2, 0]
    assert close([], Fraction(0), Fraction(1)) == []
