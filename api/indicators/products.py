"""What a site says of its products, as far as figures per product rest on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from api.indicators.flows import Amount


class ShareBy(StrEnum):
    """By what co-products share what the runs of their main product took."""

    MASS = "mass"
    PRICE = "price"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoProducts:
    """What comes out of a product's runs beside it."""

    by: ShareBy
    products: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductUnit:
    """What a product is counted in, and its mass where it is known, to make pieces of kilograms and back."""

    unit: str
    mass_kg: float | None = None
    family: str | None = None
    price_dkk: float | None = None
    co_products: CoProducts | None = None


def product_unit(row: Mapping[str, Any]) -> ProductUnit:
    """A product as `site_store` gives it."""
    shared = row["co_products"]
    return ProductUnit(
        unit=row["unit"],
        mass_kg=row["mass_kg"],
        family=row["family"],
        price_dkk=row["price_dkk"],
        co_products=shared and CoProducts(by=ShareBy(shared["by"]), products=tuple(shared["products"])),
    )


def scale(unit: str, wanted: str, product: ProductUnit | None) -> Fraction | None:
    """How many of `wanted` (pcs, kg) one `unit` of a product is; None where its mass is needed and not known."""
    if unit == wanted:
        return Fraction(1)
    if product is None or product.mass_kg is None:
        return None
    mass = Fraction(repr(product.mass_kg))
    return mass if wanted == "kg" else 1 / mass


def times(amount: Amount, by: Fraction) -> Amount:
    """A multiple, rounded to whole billionths, measured and estimated each for itself."""
    return amount if by == 1 else Amount(round(amount.measured * by), round(amount.estimated * by))


def last_lines(made_on: Mapping[str, int], onward: Mapping[str, str | None]) -> set[str]:
    """The lines whose output of one product is finished: nothing of it was counted further down their chain.

    `made_on` is how much of it each line counted, `onward` the line to which a line's output goes on. So an output
    that goes on is counted once, at the last line that saw it, and lines beside each other add up.
    """
    counted = {line for line, quantity in made_on.items() if quantity > 0}
    return {line for line in counted if not counted & _below(line, onward)}


def _below(line: str, onward: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    at = onward.get(line)
    # The model has no loops; one in old data must not hang us.
    while at is not None and at != line and at not in found:
        found.add(at)
        at = onward.get(at)
    return found
