"""What a manager reads."""

from __future__ import annotations

from fractions import Fraction

import pytest

from api.indicators.comparison import EdgeCase, State
from api.indicators.decoupling import Pressure, judge
from api.indicators.doubts import (
    doubt_of_daily_means,
    doubt_of_days,
    doubt_of_lengths,
    doubt_of_sharing,
    doubt_of_states,
)
from api.indicators.sentences import tell, tell_edge
from api.indicators.wording import Text
from schemas.resources import Resource


def sentence(pressure, driver, *, usable=1.0, estimated=0, resource=Resource.ENERGY, name="revenue") -> Text:
    found = judge(
        pressure=(
            Pressure(measured=Fraction(pressure[0])),
            Pressure(measured=Fraction(pressure[1]) - estimated, estimated=Fraction(estimated)),
        ),
        driver=(Fraction(driver[0]), Fraction(driver[1])),
        usable_days=(1.0, usable),
    )
    doubts = []
    if len(found.states) > 1:
        doubts.append(doubt_of_states(found.states, 0.05))
    if usable < 0.9:
        doubts.append(doubt_of_days(usable, is_base=False, meter="main"))
    return tell(found, indicator=resource, driver=name, doubts=doubts)


@pytest.mark.parametrize(
    ("pressure", "driver", "en", "da"),
    [
        (
            (100, 101),
            (100, 104),
            "Energy use grew 1.0 %, less than revenue grew (4.0 %): relative decoupling. The data make this firm.",
            "Energiforbruget steg 1,0 %, mindre end omsætningen steg (4,0 %): relativ afkobling. Data gør det sikkert.",
        ),
        (
            (100, 100),
            (100, 104),
            "Energy use stayed the same while revenue grew 4.0 %: relative decoupling. The data make this firm.",
            "Energiforbruget var uændret, mens omsætningen steg 4,0 %: relativ afkobling. Data gør det sikkert.",
        ),
        (
            (100, 106),
            (100, 104),
            "Energy use grew 6.0 %, no less than revenue grew (4.0 %): no decoupling. The data make this firm.",
            "Energiforbruget steg 6,0 %, ikke mindre end omsætningen steg (4,0 %): ingen afkobling."
            " Data gør det sikkert.",
        ),
        (
            (10_000, 9_999),
            (100, 104),
            "Energy use fell by less than 0.1 % while revenue grew 4.0 %: absolute decoupling."
            " The data make this firm.",
            "Energiforbruget faldt med under 0,1 %, mens omsætningen steg 4,0 %: absolut afkobling."
            " Data gør det sikkert.",
        ),
        (
            (100, 103),
            (100, 90),
            "Revenue fell 10.0 %, so decoupling can't be assessed; energy use grew 3.0 % (strong negative decoupling).",
            "Omsætningen faldt 10,0 %, så afkobling kan ikke vurderes; energiforbruget steg 3,0 %"
            " (stærk negativ afkobling).",
        ),
        (
            (100, 103),
            (100, 100),
            "Revenue stayed the same, so decoupling can't be assessed; energy use grew 3.0 %.",
            "Omsætningen var uændret, så afkobling kan ikke vurderes; energiforbruget steg 3,0 %.",
        ),
        (
            (0, 103),
            (100, 104),
            "There was no energy use in the base period, so no growth can be told.",
            "I basisperioden var energiforbruget nul, så ingen vækst kan angives.",
        ),
        (
            (-5, 103),
            (100, 104),
            "Energy use was below zero in the base period, so no growth can be told.",
            "Energiforbruget var under nul i basisperioden, så ingen vækst kan angives.",
        ),
        (
            (100, 103),
            (0, 104),
            "There was no revenue in the base period, so no growth can be told.",
            "I basisperioden var omsætningen nul, så ingen vækst kan angives.",
        ),
        (
            (100, 103),
            (-100, 104),
            "Revenue was below zero in the base period, so no growth can be told.",
            "Omsætningen var under nul i basisperioden, så ingen vækst kan angives.",
        ),
        (
            (10_000, 10_296),
            (10_000, 10_304),
            "Energy use grew 2.96 %, less than revenue grew (3.04 %): relative decoupling. The data make this firm.",
            "Energiforbruget steg 2,96 %, mindre end omsætningen steg (3,04 %): relativ afkobling."
            " Data gør det sikkert.",
        ),
        (
            (100_000, 103_001),
            (100_000, 103_000),
            "Energy use grew 3.001 %, no less than revenue grew (3.000 %): no decoupling. The data make this firm.",
            "Energiforbruget steg 3,001 %, ikke mindre end omsætningen steg (3,000 %): ingen afkobling."
            " Data gør det sikkert.",
        ),
        (
            (100, 103),
            (100, 103),
            "Energy use grew 3.0 %, no less than revenue grew (3.0 %): no decoupling. The data make this firm.",
            "Energiforbruget steg 3,0 %, ikke mindre end omsætningen steg (3,0 %): ingen afkobling."
            " Data gør det sikkert.",
        ),
        (
            (10_000_000, 10_000_400),
            (10_000_000, 10_000_600),
            "Energy use grew by less than 0.01 %, less than revenue grew (0.01 %): relative decoupling."
            " The data make this firm.",
            "Energiforbruget steg med under 0,01 %, mindre end omsætningen steg (0,01 %): relativ afkobling."
            " Data gør det sikkert.",
        ),
        (
            (100, 103),
            (10_000, 9_999),
            "Revenue fell by less than 0.1 %, so decoupling can't be assessed; energy use grew 3.0 %"
            " (strong negative decoupling).",
            "Omsætningen faldt med under 0,1 %, så afkobling kan ikke vurderes; energiforbruget steg 3,0 %"
            " (stærk negativ afkobling).",
        ),
    ],
)
def test_sentences(pressure, driver, en, da):
    told = sentence(pressure, driver)
    assert (told.en, told.da) == (en, da)


def test_what_would_settle_a_leaning_verdict_is_told():
    told = sentence((100, 98), (100, 110), estimated=6, usable=0.5, resource=Resource.WASTE, name="production_volume")
    assert told.en == (
        "Waste fell 2.0 % while production grew 10.0 %: absolute decoupling. This is leaning, not firm: 5.0 % of the "
        "quantity is estimated, which leaves room for absolute decoupling or relative decoupling; measured values for "
        "the gaps would settle it; only 50.0 % of the period's days are measured well enough by main (90 % are needed)."
    )
    assert told.da.startswith("Affaldsmængden faldt 2,0 %, mens produktionen steg 10,0 %: absolut afkobling. Det peger")


@pytest.mark.parametrize(
    ("usable", "en", "da"),
    [
        (0.8999, "only 89.99 % of the period's days are", "kun 89,99 % af dagene i perioden"),
        (0.5, "only 50.0 % of the period's days are", "kun 50,0 % af dagene i perioden"),
        (0.0004, "less than 0.1 % of the period's days are", "under 0,1 % af dagene i perioden"),
        (0, "none of the period's days are", "ingen af dagene i perioden"),
    ],
)
def test_days_that_are_missing(usable, en, da):
    told = doubt_of_days(usable, is_base=False, meter="main")
    assert told.en == f"{en} measured well enough by main (90 % are needed)"
    assert told.da == f"{da} er målt godt nok af main (90 % kræves)"


@pytest.mark.parametrize(
    ("share", "en", "da"),
    [
        (0.0003, "less than 0.1 % of the quantity is estimated,", "under 0,1 % af mængden er anslået,"),
        (0.25, "25.0 % of the quantity is estimated,", "25,0 % af mængden er anslået,"),
        (0.99999, "more than 99.9 % of the quantity is estimated,", "over 99,9 % af mængden er anslået,"),
        (1, "100.0 % of the quantity is estimated,", "100,0 % af mængden er anslået,"),
    ],
)
def test_how_much_is_estimated(share, en, da):
    told = doubt_of_states([State.ABSOLUTE, State.RELATIVE], share)
    assert told.en.startswith(en)
    assert told.da.startswith(da)


def test_unequal_lengths():
    assert doubt_of_lengths(1, 2) == Text(
        "the base period has 1 day and the period 2; equal lengths would settle it",
        "basisperioden har 1 dag og perioden 2; lige lange perioder ville afgøre det",
    )
    assert doubt_of_daily_means(365, 358, [State.RELATIVE], driver="revenue") == Text(
        "the base period has 365 days and the period 358, and by the day it is relative decoupling;"
        " equal lengths would settle it",
        "basisperioden har 365 dage og perioden 358, og regnet pr. dag er det relativ afkobling;"
        " lige lange perioder ville afgøre det",
    )
    assert doubt_of_daily_means(365, 366, [State.NOT_ASSESSABLE], driver="value_added") == Text(
        "the base period has 365 days and the period 366, and by the day value added did not grow;"
        " equal lengths would settle it",
        "basisperioden har 365 dage og perioden 366, og pr. dag steg værditilvæksten ikke;"
        " lige lange perioder ville afgøre det",
    )


def test_several_states_are_listed_as_one_would_say_them():
    found = doubt_of_sharing((State.ABSOLUTE, State.RELATIVE, State.NOT_ASSESSABLE))
    assert "leaves room for absolute decoupling, relative decoupling or no assessment at all;" in found.en
    assert "giver plads til absolut afkobling, relativ afkobling eller slet ingen vurdering;" in found.da


def test_a_pressure_below_zero_after_nothing_did_not_fall():
    told = tell_edge(EdgeCase.NEGATIVE_PRESSURE)
    assert told.en.endswith("its pressure is below zero, which from above zero is a fall of more than 100 %.")
