"""What keeps a verdict from being firm, and what would settle it, in English and Danish."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from api.indicators.comparison import State
from api.indicators.decoupling import LEAST_USABLE_DAYS
from api.indicators.sentences import DRIVERS, STATES
from api.indicators.wording import Text, share_of, telling_apart


def doubt_of_states(states: Sequence[State], share: Fraction | float) -> Text:
    """What an estimated part does to a verdict, and what would settle it."""
    size, room = share_of(Fraction(share)), _named(states)
    return Text(
        f"{size.en} of the quantity is estimated, which leaves room for {room.en};"
        " measured values for the gaps would settle it",
        f"{size.da} af mængden er anslået, hvilket giver plads til {room.da};"
        " målte værdier for hullerne ville afgøre det",
    )


def doubt_of_accuracy(states: Sequence[State], by: Fraction, *, without_class: Sequence[str]) -> Text:
    """What the meters' accuracy does to a verdict. `by` is the growth that it may add or take."""
    size, room = share_of(by), _named(states)
    told = Text(
        f"the accuracy of the meters moves the growth by up to {size.en}, which leaves room for {room.en}; ",
        f"målernes nøjagtighed flytter væksten med op til {size.da}, hvilket giver plads til {room.da}; ",
    )
    if not without_class:
        return told + Text("meters of a better class would settle it", "målere af en bedre klasse ville afgøre det")
    listed = _listed(without_class)
    return told + Text(
        f"state the accuracy class of {listed}, which counts as 2 % without one",
        f"angiv nøjagtighedsklassen for {listed}, som regnes for 2 % uden en",
    )


def doubt_of_sharing(states: Sequence[State]) -> Text:
    """What another rule of sharing does to a verdict, and what would settle it."""
    room = _named(states)
    return Text(
        f"another admissible rule of sharing leaves room for {room.en}; meters of its own would settle it",
        f"en anden tilladt fordelingsregel giver plads til {room.da}; egne målere ville afgøre det",
    )


def doubt_of_driver(states: Sequence[State], share: Fraction | float) -> Text:
    """What estimated production does to a verdict, and what would settle it."""
    size, room = share_of(Fraction(share)), _named(states)
    return Text(
        f"{size.en} of the production is estimated, which leaves room for {room.en};"
        " measured values for the gaps would settle it",
        f"{size.da} af produktionen er anslået, hvilket giver plads til {room.da};"
        " målte værdier for hullerne ville afgøre det",
    )


def doubt_of_factors(known: Fraction, *, is_base: bool) -> Text:
    """What missing CO2 factors do to a verdict. `known` is less than 1."""
    size = share_of(known)
    when = Text("base period", "basisperioden") if is_base else Text("period", "perioden")
    return Text(
        f"a CO2 factor is known for {size.en} of the {when.en}'s energy; factors for the rest would settle it",
        f"der findes en CO2-faktor for {size.da} af energien i {when.da}; faktorer for resten ville afgøre det",
    )


def doubt_of_sites(sites: Sequence[str]) -> Text:
    """What sites without data do to the verdict of an organisation."""
    listed = _listed(sites)
    return Text(
        f"nothing is known of it at {listed}, so the sum is without; data from there would settle it",
        f"intet er kendt om det på {listed}, så summen er uden; data derfra ville afgøre det",
    )


def doubt_of_days(usable: float, *, is_base: bool, meter: str) -> Text:
    """What missing days do to a verdict. `usable` is less than LEAST_USABLE_DAYS."""
    share, needed = Fraction(usable), Fraction(str(LEAST_USABLE_DAYS))
    when = Text("base period", "basisperioden") if is_base else Text("period", "perioden")
    if share <= 0:
        size = Text("none", "ingen")
    elif (size := share_of(share, telling_apart(share, needed))).en[0].isdigit():
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


_NO_ASSESSMENT = Text("no assessment at all", "slet ingen vurdering")
_EQUAL_LENGTHS = Text("; equal lengths would settle it", "; lige lange perioder ville afgøre det")


def _named(states: Sequence[State]) -> Text:
    names = [_NO_ASSESSMENT if state is State.NOT_ASSESSABLE else STATES[state] for state in states]
    return Text(_or([name.en for name in names], "or"), _or([name.da for name in names], "eller"))


def _or(names: Sequence[str], word: str) -> str:
    *before, last = names
    return f"{', '.join(before)} {word} {last}" if before else last


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
