"""What consumption is told of: meters, and virtual meters as signed sums of them.

A virtual meter may name others among its terms; here each is expanded to the real meters behind it, whose coefficients
are exact decimals: quantities are rounded once, to whole billionths, for each real meter and quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

from schemas.resources import CANONICAL_UNITS, Direction, Resource

READY = "energy-use"
"""The virtual meter that a site with exports or generation of its own has without setting it up."""
_EXACT = Context(prec=200)

Row = Mapping[str, Any]
"""A meter or a virtual meter as `site_store` gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A real meter by the number that its rows carry, and what it is multiplied with."""

    number: int
    meter: str
    coefficient: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A meter, or a virtual one, whose figures are a signed sum of real meters' figures."""

    id: str
    resource: str
    unit: str
    terms: tuple[Term, ...]
    is_virtual: bool = False


def series_of(meter: Row) -> Series:
    """A real meter alone."""
    term = Term(number=meter["number"], meter=meter["id"], coefficient=Decimal(1))
    return Series(id=meter["id"], resource=meter["resource"], unit=meter["canonical_unit"], terms=(term,))


def expand(virtual: Row, *, meters: Mapping[str, Row], virtuals: Mapping[str, Row]) -> Series:
    """A virtual meter by the real meters behind its terms. The model was checked: it has no loops.

    A real meter that is named on several ways counts with the sum of its coefficients. Where they cancel each other
    out it stays, with zero: what its quarters don't know, the virtual meter does not know either.
    """
    with localcontext(_EXACT):
        coefficients = _coefficients(virtual, virtuals, {})
    return Series(
        id=virtual["id"],
        resource=virtual["resource"],
        unit=virtual["canonical_unit"],
        terms=tuple(
            Term(number=meters[key]["number"], meter=key, coefficient=by) for key, by in sorted(coefficients.items())
        ),
        is_virtual=True,
    )


def _coefficients(
    virtual: Row, virtuals: Mapping[str, Row], known: dict[str, dict[str, Decimal]]
) -> dict[str, Decimal]:
    """Real meters and their coefficients. `known` keeps each virtual meter's, so that none is expanded twice."""
    if virtual["id"] not in known:
        found: dict[str, Decimal] = {}
        for key, number in virtual["terms"].items():
            by = Decimal(repr(number))
            inner = _coefficients(virtuals[key], virtuals, known) if key in virtuals else {key: Decimal(1)}
            for meter, its in inner.items():
                found[meter] = found.get(meter, Decimal(0)) + by * its
        known[virtual["id"]] = found
    return known[virtual["id"]]


def counted(meters: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """The meters that make up what a site uses, each with its sign: import + generation − export.

    Imports that are no part of another meter; generation wherever it is fed in; exports that leave the site. An export
    behind a sub-meter only flows to the part of the site before it. A part of a counted meter is not counted again.
    """
    by_key = {meter["id"]: meter for meter in meters}
    for meter in meters:
        parent = by_key.get(meter["parent"] or "")
        match Direction(meter["direction"]):
            case Direction.IMPORT:
                if parent is None:
                    yield meter, 1
            case Direction.GENERATION:
                if parent is None or parent["direction"] == Direction.IMPORT:
                    yield meter, 1
            case Direction.EXPORT:
                if parent is None or (parent["direction"] == Direction.IMPORT and parent["parent"] is None):
                    yield meter, -1


def ready(meters: Sequence[Row]) -> dict[str, Any] | None:
    """`energy-use` = import + generation − export, as a virtual meter. None where nothing is generated or exported."""
    of_energy = [meter for meter in meters if meter["resource"] == Resource.ENERGY]
    if all(meter["direction"] == Direction.IMPORT for meter in of_energy):
        return None
    return {
        "id": READY,
        "name": "Energy use: import + generation − export",
        "resource": Resource.ENERGY,
        "canonical_unit": CANONICAL_UNITS[Resource.ENERGY],
        "line": None,
        "parent": None,
        "terms": {meter["id"]: float(sign) for meter, sign in counted(of_energy)},
        "ready": True,
    }
