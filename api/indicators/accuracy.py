"""By how much the accuracy of meters may move a growth: METHODS §4.

A meter that is off by some percent is off by the same percent next year: it is the same device, and its class bounds an
error that hardly moves with time. So the error of one device is taken as common to both periods [our own choice], and
cancels out of a growth as far as the meter's share of the total stays what it was. A meter that was exchanged between
the periods is two devices, whose errors have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from math import isqrt

from api.balance import DEFAULT_CLASS, Place

_DIGITS = 10**12


def class_error(
    base: Mapping[str, Fraction],
    period: Mapping[str, Fraction],
    *,
    totals: tuple[Fraction, Fraction],
    classes: Mapping[str, float | None],
    exchanged: Collection[str] = (),
) -> Fraction:
    """How far the growth of a total may be off, up and down, when every meter is as wrong as its class allows.

    `base` and `period` are what each meter gave to the totals P_a, P_b. The root of the sum of squares over meters of
    class · (q_b − r·q_a) / P_a, with r = P_b / P_a: the first-order effect on r of an error common to both periods.
    Of an exchanged meter it is the root of both squares. A meter without a class counts with DEFAULT_CLASS. In units
    of growth, rounded up to twelve digits; 0 where there is no growth.
    """
    if totals[0] <= 0:
        return Fraction(0)
    # Both sides times P_a², in whole numbers wherever they are whole: a fraction takes ten times as long.
    first, last = _whole(totals[0]), _whole(totals[1])
    squares: dict[float, int | Fraction] = {}
    for meter in base.keys() | period.keys():
        percent = classes.get(meter)
        before, after = last * _whole(base.get(meter, 0)), first * _whole(period.get(meter, 0))
        square = before**2 + after**2 if meter in exchanged else (after - before) ** 2
        percent = DEFAULT_CLASS if percent is None else percent
        squares[percent] = squares.get(percent, 0) + square
    total = sum((Fraction(repr(percent)) ** 2 * square for percent, square in squares.items()), Fraction(0))
    return _root(total / (100 * first**2) ** 2)


def _whole(number: int | Fraction) -> int | Fraction:
    return number.numerator if number.denominator == 1 else number


def _root(square: Fraction) -> Fraction:
    scaled = -(-square.numerator * _DIGITS**2 // square.denominator)
    root = isqrt(scaled)
    return Fraction(root if root * root == scaled else root + 1, _DIGITS)


def through_rests(
    given: Mapping[str, Fraction], *, places: Mapping[str, Place], counted: Mapping[str, int]
) -> dict[str, Fraction]:
    """What each real meter's count gives to a total, where that is made of meters and of rests between them.

    `given` is by the meter whose own consumption, less that of its parts, was shared out. A rest is as wrong as the
    meters on both of its sides, however small it is itself. `counted` is what each meter counted, in its own unit.
    """
    found: dict[str, Fraction] = {}
    for meter, amount in given.items():
        place = places.get(meter)
        members = () if place is None else place.members
        counts = {m.meter: Fraction(m.in_whole - m.in_parts) * counted.get(m.meter, 0) for m in members}
        rest = sum(counts.values(), Fraction(0))
        shares = {key: amount * count / rest for key, count in counts.items()} if rest else {meter: amount}
        for key, share in shares.items():
            found[key] = found[key] + share if key in found else share
    return found
