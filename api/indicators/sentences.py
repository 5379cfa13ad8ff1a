"""A judgement as a manager would read it, in English and Danish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from api.indicators.decoupling import ElasticityState, Judgement, Reason, State, Verdict
from schemas.resources import Resource


@dataclass(frozen=True, slots=True)
class Text:
    """The same in both languages."""

    en: str
    da: str

    def __add__(self, other: Text) -> Text:
        return Text(self.en + other.en, self.da + other.da)


PRESSURES = {
    Resource.ENERGY: Text("energy use", "energiforbruget"),
    Resource.WATER: Text("water use", "vandforbruget"),
    Resource.MATERIAL: Text("material use", "materialeforbruget"),
    Resource.WASTE: Text("waste", "affaldsmængden"),
}
DRIVERS = {
    "revenue": Text("revenue", "omsætningen"),
    "value_added": Text("value added", "værditilvæksten"),
    "production_volume": Text("production", "produktionen"),
}
_STATES = {
    State.ABSOLUTE: Text("absolute decoupling", "absolut afkobling"),
    State.RELATIVE: Text("relative decoupling", "relativ afkobling"),
    State.NONE: Text("no decoupling", "ingen afkobling"),
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


def tell(judgement: Judgement, *, resource: Resource, driver: str, doubts: Sequence[Text]) -> Text:
    """The sentence for a judgement. `doubts` are what keeps a leaning verdict from being firm."""
    comparison = judgement.comparison
    p, d = comparison.pressure_growth, comparison.driver_growth
    pressure, economy = PRESSURES[resource], DRIVERS[driver]
    if p is None or d is None or comparison.state is State.NOT_ASSESSABLE:
        return _not_assessable(judgement, pressure=pressure, economy=economy)
    name = _STATES[comparison.state]
    first = _sentence(pressure + Text(" ", " ") + _change(p))
    grew = _percent(d)
    match comparison.state:
        case State.ABSOLUTE:
            middle = Text(f" while {economy.en} grew {grew.en}", f", mens {economy.da} steg {grew.da}")
        case State.RELATIVE:
            middle = Text(f", less than {economy.en} grew ({grew.en})", f", mindre end {economy.da} steg ({grew.da})")
        case _:
            middle = Text(
                f", no less than {economy.en} grew ({grew.en})", f", ikke mindre end {economy.da} steg ({grew.da})"
            )
    told = first + middle + Text(f": {name.en}.", f": {name.da}.")
    if judgement.verdict is Verdict.FIRM:
        return told + Text(" The data make this firm.", " Data gør det sikkert.")
    return told + Text(
        f" This is leaning, not firm: {'; '.join(doubt.en for doubt in doubts)}.",
        f" Det peger den vej, men er ikke sikkert: {'; '.join(doubt.da for doubt in doubts)}.",
    )


def cannot_tell(resource: Resource, reason: Text) -> Text:
    """The sentence where the data do not allow any comparison."""
    pressure = PRESSURES[resource]
    return Text(
        f"Whether {pressure.en} is decoupled can't be told: {reason.en}.",
        f"Om {pressure.da} er afkoblet, kan ikke siges: {reason.da}.",
    )


def doubt_of_states(states: Sequence[State], share: float | None) -> Text:
    """What an estimated part does to a verdict, and what would settle it."""
    names = [_STATES[state] for state in states]
    size = _percent(Fraction(share or 0))
    return Text(
        f"{size.en} of the quantity is estimated, which leaves room for {' or '.join(name.en for name in names)};"
        " measured values for the gaps would settle it",
        f"{size.da} af mængden er anslået, hvilket giver plads til {' eller '.join(name.da for name in names)};"
        " målte værdier for hullerne ville afgøre det",
    )


def doubt_of_days(usable: float, *, is_base: bool, meter: str) -> Text:
    """What missing days do to a verdict."""
    size = _percent(Fraction(usable))
    when = Text("base period", "basisperioden") if is_base else Text("period", "perioden")
    return Text(
        f"only {size.en} of the {when.en}'s days are measured well enough by {meter} (90 % are needed)",
        f"kun {size.da} af dagene i {when.da} er målt godt nok af {meter} (90 % kræves)",
    )


def doubt_of_lengths(base: int, period: int) -> Text:
    """What unequal periods do to a verdict."""
    return Text(
        f"the base period has {base} days and the period {period}; equal lengths would settle it",
        f"basisperioden har {base} dage og perioden {period}; lige lange perioder ville afgøre det",
    )


def _not_assessable(judgement: Judgement, *, pressure: Text, economy: Text) -> Text:
    comparison = judgement.comparison
    match comparison.reason:
        case Reason.NO_BASE_PRESSURE:
            return Text(
                f"There was no {pressure.en} in the base period, so no growth can be told.",
                f"Der var intet at måle for {pressure.da} i basisperioden, så ingen vækst kan angives.",
            )
        case Reason.NO_BASE_DRIVER:
            return Text(
                f"There was no {economy.en} in the base period, so no growth can be told.",
                f"I basisperioden var {economy.da} nul, så ingen vækst kan angives.",
            )
    p, d = comparison.pressure_growth or Fraction(0), comparison.driver_growth or Fraction(0)
    moved = _sentence(economy + Text(" ", " ") + _change(d))
    told = moved + Text(
        f", so decoupling can't be assessed; {pressure.en} {_change(p).en}",
        f", så afkobling kan ikke vurderes; {pressure.da} {_change(p).da}",
    )
    if comparison.elasticity_state is None:
        return told + Text(".", ".")
    state = comparison.elasticity_state
    return told + Text(f" ({state}).", f" ({_ELASTICITY_DA[state]}).")


def _change(growth: Fraction) -> Text:
    size = _percent(abs(growth))
    if growth == 0:
        return Text("stayed the same", "var uændret")
    return Text(f"grew {size.en}", f"steg {size.da}") if growth > 0 else Text(f"fell {size.en}", f"faldt {size.da}")


def _percent(value: Fraction) -> Text:
    number = f"{float(abs(value)) * 100:.1f}"
    if number == "0.0" and value:
        return Text("by less than 0.1 %", "under 0,1 %")
    return Text(f"{number} %", f"{number.replace('.', ',')} %")


def _sentence(text: Text) -> Text:
    return Text(text.en[:1].upper() + text.en[1:], text.da[:1].upper() + text.da[1:])
