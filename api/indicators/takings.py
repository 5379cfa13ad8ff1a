"""Who took what: an attribution's parts gathered by product, run, order, line or the whole site.

product = processing + changeover before it + its share of utilities; the fully loaded figure adds idle by occupied
hours [METHODS §2]. What the runs of a product with co-products took is divided over all of them by good mass or price.
What goes in comes out, to the last billionth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from math import gcd, lcm

from api.indicators.lines import Phase
from api.indicators.outputs import Batch
from api.indicators.parts import LineHours, Part
from api.indicators.products import ProductUnit, ShareBy, scale
from api.indicators.splitting import MAX_WEIGHT_SUM
from api.indicators.tallies import Tallies, Tally, divide, merge, put


class Whose(StrEnum):
    """What figures are told of."""

    PRODUCT = "product"
    FAMILY = "family"
    RUN = "run"
    ORDER = "order"
    LINE = "line"
    SITE = "site"

    @property
    def is_place(self) -> bool:
        """Whether idle and unattributed parts are its own, rather than shared out to it."""
        return self in {Whose.LINE, Whose.SITE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whom a figure is about: what is not said is not told apart."""

    line: str | None = None
    run: str | None = None
    order: str | None = None
    family: str | None = None
    product: str | None = None

    @property
    def sort_key(self) -> tuple[str, ...]:
        return tuple(part or "" for part in (self.family, self.product, self.order, self.line, self.run))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """By meter: what products took, the idle parts, and what is nobody's."""

    marginal: Tallies = field(default_factory=dict)
    idle: Tallies = field(default_factory=dict)
    unattributed: Tallies = field(default_factory=dict)

    def absorb(self, other: Taken) -> None:
        for mine, its in (
            (self.marginal, other.marginal),
            (self.idle, other.idle),
            (self.unattributed, other.unattributed),
        ):
            for meter, tally in its.items():
                put(mine, meter, tally.copy())

    @property
    def loaded(self) -> Tallies:
        """Marginal and idle."""
        return merge((self.marginal, self.idle)) if self.idle else self.marginal

    @property
    def whole(self) -> Tallies:
        return merge((self.marginal, self.idle, self.unattributed))


Takings = dict[Owner, Taken]


def owner_of(whose: Whose, *, line: str | None, product: str | None, run: str | None, order: str | None) -> Owner:
    """Whose a part is, for families still by product."""
    match whose:
        case Whose.PRODUCT | Whose.FAMILY:
            return Owner(product=product)
        case Whose.RUN:
            return Owner(line=line, run=run, order=order, product=product)
        case Whose.ORDER:
            return Owner(order=order, product=product)
        case Whose.LINE:
            return Owner(line=line)
        case _:
            return Owner()


def gather(
    parts: Iterable[Part],
    hours: Sequence[LineHours],
    *,
    whose: Whose,
    found: Sequence[Batch],
    products: Mapping[str, ProductUnit],
    beside: Mapping[str, str | None],
) -> Takings:
    """Everything that each owner took. `found` is the finished output, from which co-products have their weights.

    `beside`: the product that a production meter counts whatever the run is, by meter. Idle of a line that nobody
    occupied stays idle: it is the line's and the site's, and no product's.
    """
    takings: Takings = {}
    idle: dict[str, Tallies] = {}
    for part in parts:
        product, is_idle = part.slot.product, part.slot.phase is Phase.IDLE
        if not whose.is_place and is_idle:
            if part.line is not None:
                idle.setdefault(part.line, {}).setdefault(part.meter, Tally()).take(part)
            continue
        if (product is None and not whose.is_place) or (whose is Whose.LINE and part.line is None):
            continue
        owner = owner_of(whose, line=part.line, product=product, run=part.run, order=part.order)
        taken = takings.setdefault(owner, Taken())
        stage = taken.idle if is_idle else taken.marginal if product is not None else taken.unattributed
        stage.setdefault(part.meter, Tally()).take(part)
    if not whose.is_place:
        _share_idle(takings, idle, hours, whose)
        _share_with_co_products(takings, whose, found=found, products=products, beside=beside)
    return _by_family(takings, products) if whose is Whose.FAMILY else takings


def _share_idle(takings: Takings, idle: Mapping[str, Tallies], hours: Sequence[LineHours], whose: Whose) -> None:
    """Each line's idle divided over those who occupied it, by their time."""
    times: dict[str, dict[Owner, int]] = {}
    for one in hours:
        if one.slot.product is None or one.slot.phase not in {Phase.PROCESSING, Phase.CHANGEOVER}:
            continue
        owner = owner_of(whose, line=one.line, product=one.slot.product, run=one.run, order=one.order)
        of_line = times.setdefault(one.line, {})
        of_line[owner] = of_line.get(owner, 0) + one.milliseconds
    for line, tallies in sorted(idle.items()):
        shares = {owner: ms for owner, ms in times.get(line, {}).items() if ms > 0}
        if not shares:
            continue
        owners = sorted(shares, key=lambda owner: owner.sort_key)
        weights = fitting([shares[owner] for owner in owners])
        for meter, parts in zip(tallies, divide(list(tallies.values()), weights), strict=True):
            for owner, part in zip(owners, parts, strict=True):
                put(takings.setdefault(owner, Taken()).idle, meter, part)


def _share_with_co_products(
    takings: Takings,
    whose: Whose,
    *,
    found: Sequence[Batch],
    products: Mapping[str, ProductUnit],
    beside: Mapping[str, str | None],
) -> None:
    """What each main product took, divided over it and its co-products by what came out of its runs."""
    mains = {key: product.co_products for key, product in products.items() if product.co_products is not None}
    if not mains:
        return
    weights = _output_weights(whose, found, products, beside)
    for owner in [owner for owner in takings if owner.product in mains]:
        co_products = mains[owner.product or ""]
        sharing = [owner, *(replace(owner, product=key) for key in co_products.products)]
        by = [weights.get(one, Fraction(0)) for one in sharing]
        if not any(by[1:]):
            # Nothing came out beside it: it carries all.
            continue
        taken, whole = takings.pop(owner), fitting(by)
        for part in ("marginal", "idle"):
            tallies: Tallies = getattr(taken, part)
            for meter, shares in zip(tallies, divide(list(tallies.values()), whole), strict=True):
                for one, share in zip(sharing, shares, strict=True):
                    put(getattr(takings.setdefault(one, Taken()), part), meter, share)


def _output_weights(
    whose: Whose,
    found: Sequence[Batch],
    products: Mapping[str, ProductUnit],
    beside: Mapping[str, str | None],
) -> dict[Owner, Fraction]:
    """Good mass or price of main products, and of co-products as far as they came out of a main product's runs."""
    by_product: dict[str, ShareBy] = {}
    for key, product in products.items():
        if product.co_products is not None:
            by_product |= dict.fromkeys((key, *product.co_products.products), product.co_products.by)
    weights: dict[Owner, Fraction] = {}
    for batch in found:
        made = batch.product
        if made is None or made not in by_product or batch.kind != "good" or batch.amount.total <= 0:
            continue
        product = products[made]
        if product.co_products is None and beside.get(batch.meter) != made:
            # It came out of a run of its own.
            continue
        owner = owner_of(whose, line=batch.line, product=made, run=batch.run, order=batch.order)
        worth = batch.amount.total * (_worth(batch.unit, product, by_product[made]) or Fraction(0))
        weights[owner] = weights.get(owner, Fraction(0)) + worth
    return weights


def _worth(unit: str, product: ProductUnit, by: ShareBy) -> Fraction | None:
    """The mass or the price of one unit; None where it is not known."""
    if by is ShareBy.MASS:
        return scale(unit, "kg", product)
    units = scale(unit, product.unit, product)
    return None if units is None or product.price_dkk is None else units * Fraction(repr(product.price_dkk))


def fitting(weights: Sequence[Fraction | int]) -> list[int]:
    """The same proportions in whole numbers small enough to divide by; exact where they fit, else to 1 in 10⁹."""
    fractions = [Fraction(weight) for weight in weights]
    common = lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * common) for fraction in fractions]
    shared = gcd(*whole) or 1
    reduced = [number // shared for number in whole]
    if sum(reduced) <= MAX_WEIGHT_SUM:
        return reduced
    total = sum(reduced)
    return [number * 2**30 // total for number in reduced]


def _by_family(takings: Takings, products: Mapping[str, ProductUnit]) -> Takings:
    found: Takings = {}
    for owner, taken in takings.items():
        product = products.get(owner.product or "")
        found.setdefault(Owner(family=product.family if product else None), Taken()).absorb(taken)
    return found
