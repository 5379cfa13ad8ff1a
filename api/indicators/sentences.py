"""A judgement as a manager would read it, in English and Danish."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from api.indicators.comparison import EdgeCase, ElasticityState, Reason, State
from api.indicators.decoupling import Judgement, Verdict
from api.indicators.wording import Text, change, sentence, size_of, telling_apart
from schemas.resources import Resource

NOWHERE = Text("", "")
"""The end of a phrase about a whole site or organisation."""

PRESSURES: dict[str, Text] = {
    Resource.ENERGY: Text("energy use", "energiforbruget"),
    Resource.WATER: Text("water use", "vandforbruget"),
    Resource.MATERIAL: Text("material use", "materialeforbruget"),
    Resource.WASTE: Text("waste", "affaldsmængden"),
    "co2_location": Text("location-based CO2", "den lokationsbaserede CO2-udledning"),
    "co2_market": Text("market-based CO2", "den markedsbaserede CO2-udledning"),
    "pressure": Text("the pressure", "belastningen"),
}
"""By indicator; `pressure` is that of a plain table."""
DRIVERS: dict[str, Text] = {
    "revenue": Text("revenue", "omsætningen"),
    "value_added": Text("value added", "værditilvæksten"),
    "production_volume": Text("production", "produktionen"),
    "driver": Text("the driver", "driveren"),
}
STATES = {
    State.ABSOLUTE: Text("absolute decoupling", "absolut afkobling"),
    State.RELATIVE: Text("relative decoupling", "relativ afkobling"),
    State.NONE: Text("no decoupling", "ingen afkobling"),
    State.NOT_ASSESSABLE: Text("not assessable", "kan ikke vurderes"),
}
_ELASTICITY_DA = {
    ElasticityState.STRONG_DECOUPLING: "stærk afkobling",
    ElasticityState.WEAK_DECOUPLING: "svag afkobling",
    ElasticityState.EXPANSIVE_COUPLING: "ekspansiv kobling",
    ElasticityState.EXPANSIVE_NEGATIVE_DECOUPLING: "ekspansiv negativ afkobling",
    ElasticityState.STRONG_NEGATIVE_DECOUPLING: "stærk negativ afkobling",
    ElasticityState.WEAK_NEGATIVE_DECOUPLING: "svag negativ afkobling",
    ElasticityState.RECESSIVE_COUPLING: "recessiv kobling",
    ElasticityState.RECESSIVE_DECOUPLING: "recessiv afkobling",
}


_EDGES = {
    EdgeCase.PRESSURE_UNCHANGED: Text(
        "The pressure did not change at all. Absolute decoupling is told only where it falls (Eurostat would count no"
        " change as absolute); the elasticity is 0, which is weak decoupling where the driver grew.",
        "Belastningen var helt uændret. Afkobling kaldes kun absolut, hvor den falder (Eurostat ville regne uændret som"
        " absolut); elasticiteten er 0, hvilket er svag afkobling, hvor driveren steg.",
    ),
    EdgeCase.EQUAL_GROWTH: Text(
        "Pressure and driver grew exactly alike, which is no decoupling.",
        "Belastning og driver steg nøjagtig lige meget, hvilket ikke er afkobling.",
    ),
    EdgeCase.PRESSURE_GONE: Text(
        "The pressure of the period is zero: it fell by all of it. Check that nothing is missing.",
        "Periodens belastning er nul: den faldt med det hele. Se efter, at intet mangler.",
    ),
    EdgeCase.NEGATIVE_PRESSURE: Text(
        "More was given off than used in the period: its pressure is below zero, which from above zero is a fall of"
        " more than 100 %.",
        "I perioden blev der afgivet mere end brugt: belastningen er under nul, hvilket fra over nul er et fald på mere"
        " end 100 %.",
    ),
    EdgeCase.DRIVER_UNCHANGED: Text(
        "The driver did not change at all: what did not grow can't be decoupled from, and no elasticity is defined.",
        "Driveren var helt uændret: uden vækst er der intet at afkoble fra, og ingen elasticitet er defineret.",
    ),
    EdgeCase.DRIVER_GONE: Text(
        "The driver of the period is zero, so no decoupling factor is defined.",
        "Periodens driver er nul, så ingen afkoblingsfaktor er defineret.",
    ),
    EdgeCase.NEGATIVE_DRIVER: Text(
        "The driver of the period is below zero, so no decoupling factor is defined.",
        "Periodens driver er under nul, så ingen afkoblingsfaktor er defineret.",
    ),
    EdgeCase.NO_BASE_PRESSURE: Text(
        "The pressure of the base period is zero: growth from nothing is undefined. Choose another base period.",
        "Basisperiodens belastning er nul: vækst fra intet er ikke defineret. Vælg en anden basisperiode.",
    ),
    EdgeCase.NEGATIVE_BASE_PRESSURE: Text(
        "More was given off than used in the base period: growth from below zero is undefined. Choose another base"
        " period.",
        "I basisperioden blev der afgivet mere end brugt: vækst fra under nul er ikke defineret. Vælg en anden"
        " basisperiode.",
    ),
    EdgeCase.NO_BASE_DRIVER: Text(
        "The driver of the base period is zero: growth from nothing is undefined. Choose another base period or"
        " driver.",
        "Basisperiodens driver er nul: vækst fra intet er ikke defineret. Vælg en anden basisperiode eller driver.",
    ),
    EdgeCase.NEGATIVE_BASE_DRIVER: Text(
        "The driver of the base period is below zero: growth from there is undefined. Choose another base period or"
        " driver.",
        "Basisperiodens driver er under nul: vækst derfra er ikke defineret. Vælg en anden basisperiode eller driver.",
    ),
    EdgeCase.UNBOUNDED: Text(
        "The base pressure is so uncertain that it may be zero, so the growth has no bound; measured values for the"
        " base period would give it one.",
        "Basisperiodens belastning er så usikker, at den kan være nul, så væksten har ingen grænse; målte værdier for"
        " basisperioden ville give den en.",
    ),
}
"""Each edge case for a person, and what to do where something can be done."""


def tell_edge(edge: EdgeCase) -> Text:
    """What an edge case means."""
    return _EDGES[edge]


def tell(
    judgement: Judgement, *, indicator: str, driver: str, doubts: Sequence[Text] = (), place: Text = NOWHERE
) -> Text:
    """The sentence for a judgement. `doubts` are what keeps a leaning verdict from being firm.

    `place` ends the phrase of the pressure, as in ` of line press`. Where nothing is known of the data, as of a plain
    table, both are left out with `tell_comparison`.
    """
    told = tell_comparison(judgement, indicator=indicator, driver=driver, place=place)
    if judgement.verdict is None:
        return told
    if judgement.verdict is Verdict.FIRM:
        return told + Text(" The data make this firm.", " Data gør det sikkert.")
    return told + Text(
        f" This is leaning, not firm: {'; '.join(doubt.en for doubt in doubts)}.",
        f" Det peger den vej, men er ikke sikkert: {'; '.join(doubt.da for doubt in doubts)}.",
    )


def tell_comparison(judgement: Judgement, *, indicator: str, driver: str, place: Text = NOWHERE) -> Text:
    """What pressure and driver did, and which state that is; nothing of how sure it is."""
    comparison = judgement.comparison
    p, d = comparison.pressure_growth, comparison.driver_growth
    pressure, economy = PRESSURES[indicator] + place, DRIVERS[driver]
    if p is None or d is None or comparison.state is State.NOT_ASSESSABLE:
        return _not_assessable(judgement, pressure=pressure, economy=economy)
    name = STATES[comparison.state]
    digits = telling_apart(p, d)
    first = sentence(pressure + Text(" ", " ") + change(p, digits))
    grew = size_of(d, digits)
    match comparison.state:
        case State.RELATIVE if p:
            middle = Text(f", less than {economy.en} grew ({grew.en})", f", mindre end {economy.da} steg ({grew.da})")
        case State.NONE:
            middle = Text(
                f", no less than {economy.en} grew ({grew.en})", f", ikke mindre end {economy.da} steg ({grew.da})"
            )
        case _:
            moved = change(d, digits)
            middle = Text(f" while {economy.en} {moved.en}", f", mens {economy.da} {moved.da}")
    return first + middle + Text(f": {name.en}.", f": {name.da}.")


def cannot_tell(indicator: str, reason: Text, *, place: Text = NOWHERE) -> Text:
    """The sentence where the data do not allow any comparison."""
    pressure = PRESSURES[indicator] + place
    return Text(
        f"Whether {pressure.en} is decoupled can't be told: {reason.en}.",
        f"Om {pressure.da} er afkoblet, kan ikke siges: {reason.da}.",
    )


def _not_assessable(judgement: Judgement, *, pressure: Text, economy: Text) -> Text:
    comparison = judgement.comparison
    match comparison.reason:
        case Reason.NO_BASE_PRESSURE:
            return _no_growth(pressure, is_negative=False)
        case Reason.NEGATIVE_BASE_PRESSURE:
            return _no_growth(pressure, is_negative=True)
        case Reason.NO_BASE_DRIVER:
            return _no_growth(economy, is_negative=False)
        case Reason.NEGATIVE_BASE_DRIVER:
            return _no_growth(economy, is_negative=True)
    p, d = comparison.pressure_growth or Fraction(0), comparison.driver_growth or Fraction(0)
    moved = sentence(economy + Text(" ", " ") + change(d))
    told = moved + Text(
        f", so decoupling can't be assessed; {pressure.en} {change(p).en}",
        f", så afkobling kan ikke vurderes; {pressure.da} {change(p).da}",
    )
    if comparison.elasticity_state is None:
        return told + Text(".", ".")
    state = comparison.elasticity_state
    return told + Text(f" ({state}).", f" ({_ELASTICITY_DA[state]}).")


def _no_growth(what: Text, *, is_negative: bool) -> Text:
    if is_negative:
        return sentence(what) + Text(
            " was below zero in the base period, so no growth can be told.",
            " var under nul i basisperioden, så ingen vækst kan angives.",
        )
    return Text(
        f"There was no {what.en.removeprefix('the ')} in the base period, so no growth can be told.",
        f"I basisperioden var {what.da} nul, så ingen vækst kan angives.",
    )
