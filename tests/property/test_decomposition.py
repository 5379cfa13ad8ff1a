"""Decompositions of any periods: they close, and don't depend on units, order or direction."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.indicators.activity import Account, Accounts, explain
from api.indicators.decomposition import Decomposition, chain, decompose

POSITIVE = st.fractions(min_value=Fraction(1, 10**6), max_value=10**6, max_denominator=10**6)
FACTOR = st.one_of(st.just(Fraction(0)), st.none(), POSITIVE)
NAMES = ("activity", "mix", "intensity", "factor")


def factors(values: Any) -> Any:
    """Periods of categories; launched, dropped, and with any of their factors gone."""
    row = st.lists(values, min_size=len(NAMES), max_size=len(NAMES)).map(tuple)
    return st.dictionaries(st.sampled_from([(name,) for name in "abcd"]), row, max_size=4)


QUANTITY = st.integers(min_value=0, max_value=10**15)
ACCOUNT = st.builds(
    lambda made, energy, share: Account(
        made=made, used={"gas": (Fraction(energy), Fraction(int(energy * share)))} if energy else {}
    ),
    made=st.one_of(st.just(Fraction(0)), POSITIVE),
    energy=QUANTITY,
    share=st.fractions(min_value=0, max_value=2, max_denominator=1000),
)
ACCOUNTS = st.builds(
    Accounts,
    by_category=st.dictionaries(st.sampled_from("abcd"), ACCOUNT, max_size=4),
    beside=st.dictionaries(st.sampled_from(["idle", "unattributed"]), st.integers(-(10**12), 10**15).map(Fraction)),
)


def assert_closed(found: Decomposition) -> None:
    assert sum(found.effects.values()) == found.change
    for term in found.terms:
        assert sum(term.effects.values()) == term.after - term.before
    assert sum(term.before for term in found.terms) == found.before
    assert sum(term.after for term in found.terms) == found.after
    if found.multipliers is not None:
        assert math.prod(found.multipliers.values()) == found.after / found.before
        assert abs(found.multiplier_residual or 0) < 1e-12
    else:
        assert found.before <= 0 or found.after <= 0 or found.no_multiplier == "too_far"
    # What rounding left is nothing that anybody could see.
    size = sum(term.before + term.after for term in found.terms if not term.is_beside)
    steps = sum(abs(effect) for term in found.terms for effect in term.effects.values())
    assert found.residual <= (size + steps) * Fraction(1, 10**13)


@given(factors(FACTOR), factors(FACTOR))
def test_effects_sum_and_multiply_to_the_change(before, after):
    assert_closed(decompose(NAMES, before, after))


@given(factors(FACTOR), factors(FACTOR))
def test_back_in_time_every_effect_has_the_other_sign(before, after):
    there, back = decompose(NAMES, before, after), decompose(NAMES, after, before)
    assert back.effects == {name: -effect for name, effect in there.effects.items()}


@given(factors(FACTOR), factors(FACTOR), st.randoms(use_true_random=False))
def test_the_order_of_categories_does_not_matter(before, after, random):
    def shuffled(period: Any) -> Any:
        keys = list(period)
        random.shuffle(keys)
        return {key: period[key] for key in keys}

    assert decompose(NAMES, shuffled(before), shuffled(after)) == decompose(NAMES, before, after)


@given(factors(POSITIVE), factors(POSITIVE), st.permutations(range(len(NAMES))))
def test_the_order_of_factors_does_not_matter(before, after, order):
    def permuted(period: Any) -> Any:
        return {key: tuple(values[i] for i in order) for key, values in period.items()}

    common = {key for key in before if key in after}
    before, after = ({key: period[key] for key in common} for period in (before, after))
    found = decompose(NAMES, before, after)
    other = decompose([NAMES[i] for i in order], permuted(before), permuted(after))
    size = sum(abs(effect) for term in found.terms for effect in term.effects.values())
    for name, effect in found.effects.items():
        assert abs(other.effects[name] - effect) <= size * Fraction(1, 10**12) + found.residual


@given(factors(FACTOR), factors(FACTOR), st.integers(min_value=-6, max_value=6), st.sampled_from(range(len(NAMES))))
def test_another_unit_changes_no_more_than_the_unit(before, after, exponent, which):
    by = Fraction(10) ** exponent

    def scaled(period: Any) -> Any:
        return {
            key: tuple(v if v is None or i != which else v * by for i, v in enumerate(values))
            for key, values in period.items()
        }

    found, other = decompose(NAMES, before, after), decompose(NAMES, scaled(before), scaled(after))
    assert (other.before, other.after) == (found.before * by, found.after * by)
    assert other.effects == {name: effect * by for name, effect in found.effects.items()}
    assert other.multipliers == found.multipliers


@given(st.lists(factors(FACTOR), min_size=2, max_size=5))
def test_a_chain_closes(periods):
    steps = [decompose(NAMES, before, after) for before, after in pairwise(periods)]
    whole = chain(steps)
    assert (whole.before, whole.after) == (steps[0].before, steps[-1].after)
    assert sum(whole.effects.values()) == whole.change
    for term in whole.terms:
        assert sum(term.effects.values()) == term.after - term.before
    if whole.multipliers is not None:
        assert math.prod(whole.multipliers.values()) == whole.after / whole.before


@given(ACCOUNTS, ACCOUNTS)
def test_accounts_close_over_all_that_was_emitted(before, after):
    found = explain(before, after, with_factor=True, quantum=Fraction(1))
    assert_closed(found)
    for accounts, told in ((before, found.before), (after, found.after)):
        carried = sum(used[-1] for account in accounts.by_category.values() for used in account.used.values())
        assert told == carried + sum(accounts.beside.values())
    assert all(effect.denominator == 1 for term in found.terms for effect in term.effects.values())


@given(ACCOUNTS, ACCOUNTS)
def test_accounts_back_in_time(before, after):
    there = explain(before, after, with_factor=True, quantum=Fraction(1))
    back = explain(after, before, with_factor=True, quantum=Fraction(1))
    assert back.effects == {name: -effect for name, effect in there.effects.items()}


@given(ACCOUNTS, st.integers(min_value=2, max_value=50))
def test_more_of_the_same_is_activity_alone(before, times):
    after = Accounts(
        by_category={
            category: Account(
                made=account.made * times,
                used={carrier: (used[0] * times, used[1] * times) for carrier, used in account.used.items()},
            )
            for category, account in before.by_category.items()
        }
    )
    before = Accounts(by_category=before.by_category)
    found = explain(before, after, with_factor=True)
    assert found.effects["mix"] == found.effects["intensity"] == found.effects["factor"] == 0
    assert sum(found.effects.values()) == found.before * (times - 1)
