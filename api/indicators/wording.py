"""Growths and shares in words, in English and Danish."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Text:
    """The same in both languages."""

    en: str
    da: str

    def __add__(self, other: Text) -> Text:
        return Text(self.en + other.en, self.da + other.da)


def change(growth: Fraction, digits: int = 1) -> Text:
    """`grew 4.0 %`, `fell by less than 0.1 %`, `stayed the same`."""
    if growth == 0:
        return Text("stayed the same", "var uændret")
    size = size_of(growth, digits)
    # In Danish `faldt under 0,1 %` would be a fall to below that.
    by = Text("by ", "med ") if not size.en[0].isdigit() else Text("", "")
    return (Text("grew ", "steg ") if growth > 0 else Text("fell ", "faldt ")) + by + size


def size_of(value: Fraction, digits: int = 1) -> Text:
    """The size of a growth in percent. What is not zero is never told as zero."""
    if value and not round(abs(value) * 100, digits):
        return Text("less than ", "under ") + _percent(Fraction(1, 100 * 10**digits), digits)
    return _percent(abs(value), digits)


def share_of(value: Fraction, digits: int = 1) -> Text:
    """A part of something in percent. What is not all of it is never told as all."""
    if value < 1 and round(value * 100, digits) >= 100:
        return Text("more than ", "over ") + _percent(1 - Fraction(1, 100 * 10**digits), digits)
    return size_of(value, digits)


def telling_apart(one: Fraction, other: Fraction) -> int:
    """How many decimals of a percentage it takes to see that two numbers differ; one where they don't."""
    digits = 1
    while one != other and round(one * 100, digits) == round(other * 100, digits):
        digits += 1
    return digits


def _percent(value: Fraction, digits: int = 1) -> Text:
    number = f"{Decimal(round(value * 100 * 10**digits)).scaleb(-digits):f}"
    return Text(f"{number} %", f"{number.replace('.', ',')} %")


def sentence(text: Text) -> Text:
    """With a capital at its beginning."""
    return Text(text.en[:1].upper() + text.en[1:], text.da[:1].upper() + text.da[1:])
