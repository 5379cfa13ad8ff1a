"""Virtual meters: signed sums of meters, such as import + generation − export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Protocol, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.configuration import Location, Problem
from schemas.parts import Part
from schemas.resources import Resource, find_unit
from schemas.topics import Key

DEEPEST = 20
"""Virtual meters may stand in each other, up to this depth."""
SMALLEST_COEFFICIENT, LARGEST_COEFFICIENT = 1e-9, 1e6


def _coefficient(value: float) -> float:
    if not SMALLEST_COEFFICIENT <= abs(value) <= LARGEST_COEFFICIENT:
        raise ValueError(
            f"a coefficient is +1, −1 or another number from {SMALLEST_COEFFICIENT:g} to {LARGEST_COEFFICIENT:g} in "
            "size; leave out a meter that does not count"
        )
    return value


Coefficient = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_coefficient)]


class VirtualMeter(Part):
    """The sum of its terms, each a meter or another virtual meter, multiplied with its coefficient.

    `unit` is the canonical one (kWh, m3, kg, pcs), which all of them share. It stands beside the meters, for
    consumption and balances; what products are charged with comes from the meters themselves. `parent` is the meter,
    or virtual meter, that it is a part of.
    """

    resource: Resource
    unit: str
    line: Key | None = None
    parent: Key | None = None
    terms: Annotated[dict[Key, Coefficient], Field(min_length=1)]

    @model_validator(mode="after")
    def _canonical(self) -> Self:
        unit = find_unit(self.resource, self.unit)
        if unit.canonical != self.unit:
            raise ValueError(
                f"a virtual meter of {self.resource} is told in {unit.canonical}; write `unit: {unit.canonical}`"
            )
        return self

    @property
    def canonical_unit(self) -> str:
        return self.unit


class Summand(Protocol):
    """What may be a term."""

    @property
    def id(self) -> str: ...
    @property
    def resource(self) -> Resource: ...
    @property
    def canonical_unit(self) -> str: ...
    @property
    def parent(self) -> str | None: ...


def virtual_problems(
    virtual_meters: Sequence[VirtualMeter], meters: Mapping[str, Summand], lines: Set[str]
) -> Iterator[Problem]:
    """Everything in which virtual meters contradict each other or the meters."""
    virtuals = {virtual.id: virtual for virtual in virtual_meters}
    known: dict[str, Summand] = {**meters, **virtuals}
    found: list[Problem] = []
    seen: set[str] = set()
    for i, virtual in enumerate(virtual_meters):
        here: Location = ("virtual_meters", i)
        if virtual.id in meters:
            found.append(
                Problem(location=(*here, "id"), message=f"{virtual.id!r} is a meter already; choose another id")
            )
        if virtual.id in seen:
            found.append(Problem(location=(*here, "id"), message=f"{virtual.id!r} stands twice; give each its own id"))
        seen.add(virtual.id)
        if virtual.line is not None and virtual.line not in lines:
            found.append(
                Problem(location=(*here, "line"), message=f"there is no line {virtual.line!r}; add or correct it")
            )
        for key in virtual.terms:
            found += _unfit((*here, "terms", key), virtual, key, known)
        if virtual.parent is not None:
            found += _unfit((*here, "parent"), virtual, virtual.parent, known)
    found += _loops(virtual_meters, virtuals)
    # Only a model whose references hold can be gone through to the end.
    return iter(found or _counted_twice(virtual_meters, virtuals, meters))


def _unfit(location: Location, virtual: VirtualMeter, key: str, known: Mapping[str, Summand]) -> Iterator[Problem]:
    """That a term or a parent is not there, or is something else than the virtual meter."""
    other = known.get(key)
    if other is None:
        yield Problem(location=location, message=f"there is no meter and no virtual meter {key!r}; add or correct it")
    elif (other.resource, other.canonical_unit) != (virtual.resource, virtual.unit):
        yield Problem(
            location=location,
            message=f"{virtual.id} is {virtual.resource} in {virtual.unit}, {key} {other.resource} in "
            f"{other.canonical_unit}; only the same can be added up",
        )


def _loops(virtual_meters: Sequence[VirtualMeter], virtuals: Mapping[str, VirtualMeter]) -> Iterator[Problem]:
    """Virtual meters that are terms, or parts, of themselves, and those that stand too deep in each other."""
    places = {virtual.id: i for i, virtual in enumerate(virtual_meters)}
    parents = {v.id: {v.parent or ""} & virtuals.keys() for v in virtual_meters}
    terms = {v.id: v.terms.keys() & virtuals.keys() for v in virtual_meters}
    for graph, what, name in ((parents, "a part", "parent"), (terms, "a term", "terms")):
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            loop = list(reversed(error.args[1]))
            yield Problem(
                location=("virtual_meters", places[loop[0]], name),
                message=f"{loop[0]} is {what} of itself ({' → '.join(loop)}); break the loop",
            )
            return
    depth: dict[str, int] = {}
    for key in order:
        depth[key] = 1 + max((depth[inner] for inner in terms[key]), default=0)
        if depth[key] == DEEPEST + 1:
            yield Problem(
                location=("virtual_meters", places[key], "terms"),
                message=f"virtual meters may stand in each other {DEEPEST} deep; name the meters themselves",
            )


def _counted_twice(
    virtual_meters: Sequence[VirtualMeter], virtuals: Mapping[str, VirtualMeter], meters: Mapping[str, Summand]
) -> Iterator[Problem]:
    """Virtual meters that count in their parent what another part of it counts already."""
    parts: dict[str, dict[str, float]] = {}
    for i, virtual in enumerate(virtual_meters):
        if virtual.parent is None:
            continue
        sums = parts.setdefault(virtual.parent, {})
        for key, coefficient in _leaves(virtual, virtuals, {}).items():
            if key not in sums:
                sums[key] = 1.0 if _is_below(key, virtual.parent, meters) else 0.0
            sums[key] += coefficient
            if coefficient > 0 and sums[key] > 1 + 1e-9:
                yield Problem(
                    location=("virtual_meters", i, "parent"),
                    message=f"{key} would count twice in {virtual.parent}: by {virtual.id}, and as a part of its own "
                    f"or by another virtual meter; remove one `parent`",
                )


def _leaves(
    virtual: VirtualMeter, virtuals: Mapping[str, VirtualMeter], known: dict[str, dict[str, float]]
) -> dict[str, float]:
    """The real meters behind a virtual one, and their coefficients."""
    if virtual.id not in known:
        found: dict[str, float] = {}
        for key, coefficient in virtual.terms.items():
            inner = _leaves(virtuals[key], virtuals, known) if key in virtuals else {key: 1.0}
            for meter, its in inner.items():
                found[meter] = found.get(meter, 0.0) + coefficient * its
        known[virtual.id] = found
    return known[virtual.id]


def _is_below(key: str, ancestor: str, meters: Mapping[str, Summand]) -> bool:
    seen = {key}
    parent = meters[key].parent
    while parent is not None and parent in meters and parent not in seen:
        if parent == ancestor:
            return True
        seen.add(parent)
        parent = meters[parent].parent
    return False
