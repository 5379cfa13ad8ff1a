"""What drove a change, as a manager would read it, in English and Danish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from api.indicators.activity import Effect
from api.indicators.decomposition import Decomposition
from api.indicators.sentences import PRESSURES
from api.indicators.takings import Whose
from api.indicators.wording import Text, change, sentence, share_of, size_of

LEAST_COVERAGE = Fraction(9, 10)
"""Below it the sentence says so [METHODS §1, what a baseline needs]."""
_LEAST_TOLD = Fraction(1, 10)
_MIXES = {
    Whose.PRODUCT: Text("the mix of products", "produktsammensætningen"),
    Whose.FAMILY: Text("the mix of product families", "sammensætningen af produktfamilier"),
    Whose.LINE: Text("the split between lines", "fordelingen mellem linjerne"),
}
_CARRIERS = {
    Whose.PRODUCT: Text("what no product carries", "det, som intet produkt bærer,"),
    Whose.FAMILY: Text("what no product carries", "det, som intet produkt bærer,"),
    Whose.LINE: Text("what no line carries", "det, som ingen linje bærer,"),
}
_INTENSITIES = {
    "quantity": Text("the quantity per unit of activity", "mængden pr. aktivitetsenhed"),
    "energy": Text("energy per unit", "energien pr. enhed"),
    "water": Text("water per unit", "vandet pr. enhed"),
    "material": Text("material per unit", "materialet pr. enhed"),
    "waste": Text("waste per unit", "affaldet pr. enhed"),
    "co2_location": Text("energy per unit", "energien pr. enhed"),
    "co2_market": Text("energy per unit", "energien pr. enhed"),
}


def names_of(indicator: str, by: Whose) -> dict[str, Text]:
    """What each effect is called in a sentence."""
    return {
        Effect.ACTIVITY: Text("how much was made", "den producerede mængde"),
        Effect.MIX: _MIXES[by],
        Effect.INTENSITY: _INTENSITIES[indicator],
        Effect.FACTOR: Text("CO2 per unit of energy", "CO2 pr. energienhed"),
        Effect.UNATTRIBUTED: _CARRIERS[by],
    }


def tell_change(found: Decomposition, what: Text, names: Mapping[str, Text], *, unit: str = "", scale: int = 1) -> Text:
    """The sentence for a decomposition: how `what` changed, and which effects did that, the largest first.

    Effects are told in percent of the base period. Without anything there, no percentage is, and none is told; the
    values are told in `unit` then, of which `scale` of theirs are one.
    """
    if found.before <= 0:
        return _without_base(found, what, unit, scale)
    growth = found.change / found.before
    told = sentence(what + Text(" ", " ") + change(growth))
    shares = {name: effect / found.before for name, effect in found.effects.items() if effect}
    ranked = sorted(shares, key=lambda name: -abs(shares[name]))
    up, down = ([name for name in ranked if (shares[name] > 0) is is_up] for is_up in (True, False))
    groups = [_group(group, shares, names, is_up=is_up) for group, is_up in ((up, True), (down, False)) if group]
    if growth < 0 or (not growth and ranked and shares[ranked[0]] < 0):
        groups.reverse()
    if not groups:
        return told + Text(".", ".")
    listed = Text("; ".join(group.en for group in groups), "; ".join(group.da for group in groups))
    return told + Text(": ", ": ") + listed + Text(".", ".")


def of_indicator(indicator: str) -> Text:
    """What the indicator is called."""
    return PRESSURES[indicator]


def cannot_explain(indicator: str, reason: Text) -> Text:
    """The sentence where the data do not allow a decomposition."""
    pressure = PRESSURES[indicator]
    return Text(
        f"What changed {pressure.en} can't be told: {reason.en}.",
        f"Hvad der ændrede {pressure.da}, kan ikke siges: {reason.da}.",
    )


def tell_gaps(*, base: tuple[Fraction, Fraction], period: tuple[Fraction, Fraction]) -> Text:
    """What is missing of (coverage, the energy's share with a CO2 factor) in each period; nothing where it is enough.

    Each is a sentence with a space before it.
    """
    told = Text("", "")
    for (coverage, known), when in ((base, Text("base period", "basisperioden")), (period, Text("period", "perioden"))):
        if coverage < LEAST_COVERAGE:
            size = share_of(coverage)
            told += Text(
                f" Of the {when.en} {size.en} is measured, so this may change.",
                f" Af {when.da} er {size.da} målt, så dette kan ændre sig.",
            )
        if known < 1:
            size = share_of(known)
            told += Text(
                f" A CO2 factor is known for {size.en} of the {when.en}'s energy.",
                f" Der findes en CO2-faktor for {size.da} af energien i {when.da}.",
            )
    return told


def _group(group: Sequence[str], shares: Mapping[str, Fraction], names: Mapping[str, Text], *, is_up: bool) -> Text:
    """`energy per unit took off 3.0 % and the mix of products 0.4 %`."""
    verb = Text("added", "lagde") if is_up else Text("took off", "trak")
    after = Text("", " til" if is_up else " fra")
    en, da = [], []
    for i, name in enumerate(group):
        size, called = size_of(shares[name]), names.get(name, Text(name, name))
        en.append(f"{called.en} {verb.en} {size.en}" if i == 0 else f"{called.en} {size.en}")
        da.append(f"{called.da} {verb.da} {size.da}{after.da}" if i == 0 else f"{called.da} {size.da}")
    return Text(_and(en, "and"), _and(da, "og"))


def _without_base(found: Decomposition, what: Text, unit: str, scale: int) -> Text:
    end = f" {unit}" if unit else ""
    size = abs(found.after) / scale
    # What is not zero is never told as zero.
    less = Text("less than ", "under ") if 0 < size < _LEAST_TOLD else Text("", "")
    number = f"{float(max(size, _LEAST_TOLD) if size else size):,.1f}"
    sign = "-" if found.after < 0 and not less.en else ""
    en, da = f"{less.en}{sign}{number}", f"{less.da}{sign}{number.translate(str.maketrans(',.', '.,'))}"
    what = sentence(what)
    if not found.before:
        return Text(
            f"{what.en} was nothing in the base period and {en}{end} in the period, so no percentage can be told.",
            f"{what.da} var nul i basisperioden og {da}{end} i perioden, så ingen procent kan angives.",
        )
    return Text(
        f"{what.en} was below zero in the base period, so no percentage can be told.",
        f"{what.da} var under nul i basisperioden, så ingen procent kan angives.",
    )


def _and(parts: Sequence[str], word: str) -> str:
    *before, last = parts
    return f"{', '.join(before)} {word} {last}" if before else last
