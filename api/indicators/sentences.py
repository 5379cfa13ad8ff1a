"""A judgement as a manager would read it, in English and Danish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from api.indicators.decoupling import LEAST_USABLE_DAYS, ElasticityState, Judgement, Reason, State, Verdict
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
    digits = _telling_apart(p, d)
    first = _sentence(pressure + Text(" ", " ") + _change(p, digits))
    grew = _size(d, digits)
    match comparison.state:
        case State.RELATIVE if p:
            middle = Text(f", less than {economy.en} grew ({grew.en})", f", mindre end {economy.da} steg ({grew.da})")
        case State.NONE:
            middle = Text(
                f", no less than {economy.en} grew ({grew.en})", f", ikke mindre end {economy.da} steg ({grew.da})"
            )
        case _:
            change = _change(d, digits)
            middle = Text(f" while {economy.en} {change.en}", f", mens {economy.da} {change.da}")
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


def doubt_of_states(states: Sequence[State], share: Fraction | float) -> Text:
    """What an estimated part does to a verdict, and what would settle it."""
    size, room = _share(Fraction(share)), _named(states)
    return Text(
        f"{size.en} of the quantity is estimated, which leaves room for {room.en};"
        " measured values for the gaps would settle it",
        f"{size.da} af mængden er anslået, hvilket giver plads til {room.da};"
        " målte værdier for hullerne ville afgøre det",
    )


def doubt_of_days(usable: float, *, is_base: bool, meter: str) -> Text:
    """What missing days do to a verdict. `usable` is less than LEAST_USABLE_DAYS."""
    share, needed = Fraction(usable), Fraction(str(LEAST_USABLE_DAYS))
    when = Text("base period", "basisperioden") if is_base else Text("period", "perioden")
    if share <= 0:
        size = Text("none", "ingen")
    elif (size := _share(share, _telling_apart(share, needed))).en[0].isdigit():
        size = Text("only ", "kun ") + size
    return Text(
        f"{size.en} of the {when.en}'s days are measured well enough by {meter} (90 % are needed)",
        f"{size.da} af dagene i {when.da} er målt godt nok af {meter} (90 % kræves)",
    )


def doubt_of_lengths(base: int, period: int) -> Text:
    """What unequal periods do to a verdict."""
    return unequal_lengths(base, period) + _EQUAL_LENGTHS


def doubt_of_daily_means(base: int, period: int, states: Sequence[State], *, driver: str) -> Text:
    """What unequal periods do to a verdict that would be another one by the day."""
    if State.NOT_ASSESSABLE in states:
        economy = DRIVERS[driver]
        found = Text(f", and by the day {economy.en} did not grow", f", og pr. dag steg {economy.da} ikke")
    else:
        found = Text(", and by the day it is ", ", og regnet pr. dag er det ") + _named(states)
    return unequal_lengths(base, period) + found + _EQUAL_LENGTHS


def unequal_lengths(base: int, period: int) -> Text:
    """How long both periods are, in days."""
    return Text(
        f"the base period has {base} {'day' if base == 1 else 'days'} and the period {period}",
        f"basisperioden har {base} {'dag' if base == 1 else 'dage'} og perioden {period}",
    )


_EQUAL_LENGTHS = Text("; equal lengths would settle it", "; lige lange perioder ville afgøre det")


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
    moved = _sentence(economy + Text(" ", " ") + _change(d))
    told = moved + Text(
        f", so decoupling can't be assessed; {pressure.en} {_change(p).en}",
        f", så afkobling kan ikke vurderes; {pressure.da} {_change(p).da}",
    )
    if comparison.elasticity_state is None:
        return told + Text(".", ".")
    state = comparison.elasticity_state
    return told + Text(f" ({state}).", f" ({_ELASTICITY_DA[state]}).")


def _no_growth(what: Text, *, is_negative: bool) -> Text:
    if is_negative:
        return _sentence(what) + Text(
            " was below zero in the base period, so no growth can be told.",
            " var under nul i basisperioden, så ingen vækst kan angives.",
        )
    return Text(
        f"There was no {what.en} in the base period, so no growth can be told.",
        f"I basisperioden var {what.da} nul, så ingen vækst kan angives.",
    )


def _named(states: Sequence[State]) -> Text:
    names = [_STATES[state] for state in states]
    return Text(" or ".join(name.en for name in names), " eller ".join(name.da for name in names))


def _change(growth: Fraction, digits: int = 1) -> Text:
    if growth == 0:
        return Text("stayed the same", "var uændret")
    size = _size(growth, digits)
    # In Danish `faldt under 0,1 %` would be a fall to below that.
    by = Text("by ", "med ") if not size.en[0].isdigit() else Text("", "")
    return (Text("grew ", "steg ") if growth > 0 else Text("fell ", "faldt ")) + by + size


def _size(value: Fraction, digits: int = 1) -> Text:
    """The size of a growth in percent. What is not zero is never told as zero."""
    if value and not round(abs(value) * 100, digits):
        return Text("less than ", "under ") + _percent(Fraction(1, 100 * 10**digits), digits)
    return _percent(abs(value), digits)


def _share(value: Fraction, digits: int = 1) -> Text:
    """A part of something in percent. What is not all of it is never told as all."""
    if value < 1 and round(value * 100, digits) >= 100:
        return Text("more than ", "over ") + _percent(1 - Fraction(1, 100 * 10**digits), digits)
    return _size(value, digits)


def _telling_apart(one: Fraction, other: Fraction) -> int:
    """How many decimals of a percentage it takes to see that two numbers differ; one where they don't."""
    digits = 1
    while one != other and round(one * 100, digits) == round(other * 100, digits):
        digits += 1
    return digits


def _percent(value: Fraction, digits: int = 1) -> Text:
    number = f"{Decimal(round(value * 100 * 10**digits)).scaleb(-digits):f}"
    return Text(f"{number} %", f"{number.replace('.', ',')} %")


def _sentence(text: Text) -> Text:
    return Text(text.en[:1].upper() + text.en[1:], text.da[:1].upper() + text.da[1:])
