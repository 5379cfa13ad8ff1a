"""Balances: a meter against the sum of its parts, and the rest between them.

whole = the meter, with what is generated behind it and without what is exported from there. parts = its nearest
sub-meters, each without what is exported behind it. rest = whole − parts: what is used there without a sub-meter.
Less than nothing can't be used: a negative rest beyond what the meters' accuracy explains is a finding.

All of it is told of those quarters only in which every meter involved is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import hypot
from typing import Any

from api.series import Row, expand
from schemas.resources import Direction, Resource

DEFAULT_CLASS = 2.0
"""Percent that a meter without an accuracy class is taken to be off at most: the widest class of billing meters [O]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """How one real meter counts in a balance: in the whole and in the parts. `accuracy_class` in percent."""

    number: int
    meter: str
    in_whole: Decimal
    in_parts: Decimal
    accuracy_class: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A meter, or a virtual one, that has parts."""

    parent: str
    resource: str
    unit: str
    parts: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def without_class(self) -> list[str]:
        """Meters whose accuracy is not known, and taken as DEFAULT_CLASS."""
        return [member.meter for member in self.members if member.accuracy_class is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one meter counted, in billionths: times its two coefficients, and as it stands."""

    in_whole: int
    in_parts: int
    total: int
    estimated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Whole, parts and rest in billionths. Accuracy classes explain a `tolerance` of the rest, estimates a `doubt`."""

    whole: int
    parts: int
    tolerance: int
    doubt: int

    @property
    def rest(self) -> int:
        return self.whole - self.parts

    @property
    def is_finding(self) -> bool:
        """Whether the rest is below zero, and neither inaccuracy nor estimates explain it."""
        return self.rest < -(self.tolerance + self.doubt)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceFinding:
    """The days of a period on which a place's parts counted more than the whole. Sums over them, in billionths."""

    parent: str
    resource: str
    unit: str
    parts: tuple[str, ...]
    days: int
    first: date
    last: date
    balance: Balance


def balance(place: Place, counted: Mapping[int, Counted]) -> Balance:
    """The balance of one place over one bucket, by the numbers of its meters.

    The tolerance is the root of the sum of squares of (accuracy class × quantity), each meter as far as it moves the
    rest; a meter that stands on both sides does not.
    """
    errors, doubt = [], Decimal(0)
    for member in place.members:
        weight = member.in_whole - member.in_parts
        its = counted[member.number]
        percent = DEFAULT_CLASS if member.accuracy_class is None else member.accuracy_class
        errors.append(float(weight) * its.total * percent / 100)
        doubt += abs(weight * its.estimated)
    return Balance(
        whole=sum(its.in_whole for its in counted.values()),
        parts=sum(its.in_parts for its in counted.values()),
        tolerance=round(hypot(*errors)),
        doubt=round(doubt),
    )


def add_up(balances: Sequence[Balance]) -> Balance:
    """The balance of several buckets together. A meter's inaccuracy is the same in all of them, so tolerances add."""
    return Balance(
        whole=sum(one.whole for one in balances),
        parts=sum(one.parts for one in balances),
        tolerance=sum(one.tolerance for one in balances),
        doubt=sum(one.doubt for one in balances),
    )


def places(meters: Sequence[Row], virtuals: Sequence[Row]) -> list[Place]:
    """Every meter and virtual meter with parts, by key.

    A key meter of its parent's `share` only divides it; its own parts stand in for it, as in attribution. Scrap is no
    part of what was good.
    """
    return list(_Model(meters, virtuals).places())


class _Model:
    def __init__(self, meters: Sequence[Row], virtuals: Sequence[Row]) -> None:
        self._meters = {row["id"]: row for row in meters}
        self._virtuals = {row["id"]: row for row in virtuals}
        self._children: dict[str, list[Row]] = {}
        for row in (*meters, *virtuals):
            if row["parent"] is not None:
                self._children.setdefault(row["parent"], []).append(row)

    def places(self) -> Iterator[Place]:
        for parent in sorted(self._children.keys() & (self._meters.keys() | self._virtuals.keys())):
            row = self._meters.get(parent) or self._virtuals[parent]
            parts = self._parts(row)
            if parts:
                yield self._place(row, parts)

    def _place(self, row: Row, parts: Sequence[Row]) -> Place:
        whole, inside = self._flow(row, with_generation=True), dict[str, Decimal]()
        for part in parts:
            for key, coefficient in self._flow(part, with_generation=False).items():
                inside[key] = inside.get(key, Decimal(0)) + coefficient
        return Place(
            parent=row["id"],
            resource=row["resource"],
            unit=row["canonical_unit"],
            parts=tuple(sorted(part["id"] for part in parts)),
            members=tuple(
                Member(
                    number=self._meters[key]["number"],
                    meter=key,
                    in_whole=whole.get(key, Decimal(0)),
                    in_parts=inside.get(key, Decimal(0)),
                    accuracy_class=self._meters[key]["accuracy_class"],
                )
                for key in sorted(whole.keys() | inside.keys())
            ),
        )

    def _flow(self, row: Row, *, with_generation: bool) -> dict[str, Decimal]:
        """The real meters that tell what flows to a place, and what is generated in it if wished."""
        if row["id"] in self._virtuals:
            series = expand(row, meters=self._meters, virtuals=self._virtuals)
            return {term.meter: term.coefficient for term in series.terms}
        found = {row["id"]: Decimal(1)}
        for feed in self._feeds(row):
            if feed["direction"] == Direction.EXPORT:
                found[feed["id"]] = Decimal(-1)
            elif with_generation:
                found[feed["id"]] = Decimal(1)
        return found

    def _parts(self, row: Row) -> list[Row]:
        found: list[Row] = []
        for child in self._children.get(row["id"], ()):
            if child["id"] in self._virtuals:
                found.append(child)
            elif _is_key(child, row):
                found += self._parts(child)
            elif child["direction"] == row["direction"] and (
                row["resource"] != Resource.PRODUCTION or child["carrier"] == row["carrier"]
            ):
                found.append(child)
        return found

    def _feeds(self, row: Row) -> list[Row]:
        found: list[Row] = []
        if row["direction"] != Direction.IMPORT:
            return found
        for child in self._children.get(row["id"], ()):
            if child["id"] in self._virtuals:
                continue
            if _is_key(child, row):
                found += self._feeds(child)
            elif child["direction"] != Direction.IMPORT:
                found.append(child)
        return found


def _is_key(child: Row, parent: Row) -> bool:
    share: Mapping[str, Any] | None = parent.get("share")
    return (
        share is not None
        and child["id"] in (share.get("keys") or {}).values()
        and child["direction"] == parent["direction"]
    )
