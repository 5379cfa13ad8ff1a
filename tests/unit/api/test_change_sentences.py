"""What drove a change, in words."""

from __future__ import annotations

from fractions import Fraction

from api.indicators.activity import Account, Accounts, explain
from api.indicators.change_sentences import cannot_explain, names_of, of_indicator, tell_change, tell_gaps
from api.indicators.takings import Whose
from api.indicators.wording import Text

NAMES = names_of("energy", Whose.PRODUCT)


def accounts(made: int, used: int, *, idle: int = 0) -> Accounts:
    return Accounts(
        by_category={"a": Account(made=Fraction(made), used={"": (Fraction(used),)})} if made or used else {},
        beside={"idle": Fraction(idle)},
    )


def told(before: Accounts, after: Accounts) -> Text:
    return tell_change(explain(before, after), of_indicator("energy"), NAMES, unit="kWh")


def test_what_pulled_its_way_comes_first():
    found = told(accounts(100, 90, idle=10), accounts(110, 80, idle=10))
    assert found.en == "Energy use fell 10.0 %: energy per unit took off 18.1 %; how much was made added 8.1 %."
    assert found.da == (
        "Energiforbruget faldt 10,0 %: energien pr. enhed trak 18,1 % fra; den producerede mængde lagde 8,1 % til."
    )


def test_several_of_one_direction():
    found = told(accounts(100, 90, idle=10), accounts(110, 120, idle=15))
    assert found.en == (
        "Energy use grew 35.0 %: energy per unit added 20.1 %, how much was made 9.9 % and what no product"
        " carries 5.0 %."
    )
    assert found.da == (
        "Energiforbruget steg 35,0 %: energien pr. enhed lagde 20,1 % til, den producerede mængde 9,9 % og det, som"
        " intet produkt bærer, 5,0 %."
    )


def test_nothing_changed():
    assert told(accounts(1, 5), accounts(1, 5)) == Text("Energy use stayed the same.", "Energiforbruget var uændret.")


def test_no_percentage_of_nothing():
    found = told(accounts(0, 0), accounts(10, 12345))
    assert found.en == (
        "Energy use was nothing in the base period and 12,345.0 kWh in the period, so no percentage can be told."
    )
    assert "12.345,0 kWh" in found.da
    assert "below zero" in told(accounts(0, 0, idle=-5), accounts(1, 1)).en


def test_next_to_nothing_is_not_told_as_nothing():
    after = Accounts(by_category={"a": Account(made=Fraction(1), used={"": (Fraction(1, 1000),)})})
    found = told(accounts(0, 0), after)
    assert "less than 0.1 kWh in the period" in found.en
    assert "under 0,1 kWh i perioden" in found.da


def test_what_can_not_be_told():
    assert cannot_explain("water", Text("no meter measures it", "ingen måler måler det")).en == (
        "What changed water use can't be told: no meter measures it."
    )


def test_gaps_are_told_where_there_are_any():
    whole = Fraction(1), Fraction(1)
    assert tell_gaps(base=whole, period=(Fraction(9, 10), Fraction(1))) == Text("", "")
    found = tell_gaps(base=(Fraction(1, 2), Fraction(1)), period=(Fraction(1), Fraction(4, 5)))
    assert found.en == (
        " Of the base period 50.0 % is measured, so this may change."
        " A CO2 factor is known for 80.0 % of the period's energy."
    )
    assert found.da.endswith("for 80,0 % af energien i perioden.")
