"""What a manager reads."""

from __future__ import annotations

from fractions import Fraction

import pytest

from api.indicators.decoupling import Pressure, judge
from api.indicators.sentences import Text, doubt_of_days, doubt_of_states, tell
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
    return tell(found, resource=resource, driver=name, doubts=doubts)


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
            "Energy use stayed the same, less than revenue grew (4.0 %): relative decoupling. The data make this firm.",
            "Energiforbruget var uændret, mindre end omsætningen steg (4,0 %): relativ afkobling."
            " Data gør det sikkert.",
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
            "Energiforbruget faldt under 0,1 %, mens omsætningen steg 4,0 %: absolut afkobling. Data gør det sikkert.",
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
            "Der var intet at måle for energiforbruget i basisperioden, så ingen vækst kan angives.",
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
