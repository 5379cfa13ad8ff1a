"""Activity, mix, intensity and factor of accounts; what can't be taken apart stands beside."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from api.indicators import activity
from api.indicators.activity import Account, Accounts


def account(made: Any, **used: Any) -> Account:
    """One number, or (energy, CO2e), by carrier; `_` is no carrier."""
    return Account(
        made=Fraction(made),
        used={
            "" if carrier == "_" else carrier: tuple(map(Fraction, told if isinstance(told, tuple) else (told,)))
            for carrier, told in used.items()
        },
    )


def accounts(beside: Any = (), **by_category: Account) -> Any:
    return Accounts(by_category=by_category, beside={name: Fraction(value) for name, value in dict(beside).items()})


def explain(*periods: Any, **options: Any) -> Any:
    return activity.explain(*periods, **options)


def told(found: Any) -> Any:
    """Every term with its effects that are not zero."""
    return {
        (term.is_beside, *term.category): {name: effect for name, effect in term.effects.items() if effect}
        for term in found.terms
    }


def test_each_effect_alone():
    base = accounts(a=account(60, _=120), b=account(40, _=160))
    more = explain(base, accounts(a=account(120, _=240), b=account(80, _=320)))
    assert {name: effect for name, effect in more.effects.items() if effect} == {"activity": 280}
    other = explain(base, accounts(a=account(40, _=80), b=account(60, _=240)))
    # 20 of a at 2 became 20 of b at 4.
    assert float(other.effects["mix"]) == pytest.approx(40)
    assert (other.effects["activity"], other.effects["intensity"]) == (0, 0)
    worse = explain(base, accounts(a=account(60, _=150), b=account(40, _=160)))
    assert {name: effect for name, effect in worse.effects.items() if effect} == {"intensity": 30}


def test_a_factor_of_co2_alone():
    base = accounts(a=account(10, electricity=(100, 20), gas=(50, 10)))
    cleaner = accounts(a=account(10, electricity=(100, 5), gas=(50, 10)))
    found = explain(base, cleaner, with_factor=True)
    assert {name: effect for name, effect in found.effects.items() if effect} == {"factor": -15}
    assert told(found)[False, "a", "electricity"] == {"factor": -15}


def test_another_carrier_is_intensity():
    base = accounts(a=account(10, gas=(50, 10)))
    found = explain(base, accounts(a=account(10, electricity=(40, 4))), with_factor=True)
    assert told(found) == {(False, "a", "electricity"): {"intensity": 4}, (False, "a", "gas"): {"intensity": -10}}


def test_launched_and_dropped_products_are_the_mix():
    found = explain(accounts(a=account(10, _=20), b=account(5, _=7)), accounts(b=account(5, _=7), c=account(10, _=33)))
    assert told(found) == {(False, "a"): {"mix": -20}, (False, "b"): {}, (False, "c"): {"mix": 33}}


def test_what_nobody_carries_is_its_own():
    base = accounts({"idle": 5, "unattributed": 7}, a=account(10, _=20))
    found = explain(base, accounts({"idle": 3}, a=account(10, _=20)))
    assert (found.before, found.after) == (32, 23)
    assert told(found) == {
        (False, "a"): {},
        (True, "idle"): {"unattributed": -2},
        (True, "unattributed"): {"unattributed": -7},
    }


def test_use_without_output_stands_beside():
    base = accounts(a=account(10, _=20), b=account(5, _=7))
    found = explain(base, accounts(a=account(15, _=20), b=account(0, _=2)))
    assert told(found)[True, "no_output"] == {"unattributed": 2}
    assert told(found)[False, "b"] == {"mix": -7}
    assert sum(found.effects.values()) == found.change == -5


def test_nothing_made_at_all():
    found = explain(accounts(a=account(10, _=20)), accounts(a=account(0, _=4)))
    assert told(found) == {(False, "a"): {"activity": -20}, (True, "no_output"): {"unattributed": 4}}


def test_below_zero_in_one_period_stands_beside_in_both():
    base = accounts(a=account(10, _=20), b=account(5, _=7))
    found = explain(base, accounts(a=account(10, _=20), b=account(5, _=-3)))
    assert told(found) == {(False, "a"): {}, (True, "negative"): {"unattributed": -10}}


def test_output_taken_back_stands_beside():
    base = accounts(a=account(10, _=20), b=account(5, _=7))
    after = accounts(a=account(15, _=20), b=account(-1, _=3))
    assert after.activity == 15
    found = explain(base, after)
    assert told(found)[True, "negative"] == {"unattributed": -4}
    assert sum(found.effects.values()) == found.change


def test_emissions_without_energy_stand_beside():
    base = accounts(a=account(10, gas=(50, 10)))
    found = explain(base, accounts(a=account(10, gas=(0, 3))), with_factor=True)
    assert told(found)[True, "no_energy"] == {"unattributed": 3}
    assert told(found)[False, "a", "gas"] == {"intensity": -10}


def test_as_many_numbers_as_the_effects_need():
    one = accounts(a=account(10, gas=(50, 10)))
    with pytest.raises(ValueError, match="2 numbers of gas, not 1"):
        explain(one, one)
