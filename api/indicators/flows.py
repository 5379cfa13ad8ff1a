"""What meters counted, quarter by quarter, and what is left of a meter when its parts are taken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from api.indicators.carbon import Matched
from api.indicators.splitting import Bools, Ints
from schemas.resources import Direction, Resource
from schemas.sharing import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """A share that holds from the quarter `since` (its number) on, until the next one of its kind does."""

    since: int
    share: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One meter and its consumption over the grid, in billionths of `unit`.

    `measured`, `estimated` and `covered_ms` have one number a quarter; `present` tells in which quarters there is a
    row at all: a missing one is not zero. `rules` share it out in the order of time; `share` is one for all time.
    `location` and `market` are the factors of what it counts, None where nothing is emitted for it.
    """

    meter: str
    resource: Resource
    unit: str
    carrier: str | None = None
    line: str | None = None
    utility: str | None = None
    parent: str | None = None
    product: str | None = None
    direction: Direction = Direction.IMPORT
    share: Share | None = None
    rules: tuple[Ruled, ...] = ()
    location: Matched | None = None
    market: Matched | None = None
    measured: Ints
    estimated: Ints
    covered_ms: Ints
    present: Bools

    @property
    def sign(self) -> int:
        """What is exported is not used."""
        return -1 if self.direction is Direction.EXPORT else 1

    @property
    def shares(self) -> tuple[Ruled, ...]:
        """Its rules, or its only one."""
        return self.rules or (() if self.share is None else (Ruled(since=0, share=self.share),))


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity in billionths, measured and estimated apart."""

    measured: int = 0
    estimated: int = 0

    @property
    def total(self) -> int:
        return self.measured + self.estimated

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.measured + other.measured, self.estimated + other.estimated)


class FindingKind(StrEnum):
    NEGATIVE_REST = "negative_rest"
    SILENT_PART = "silent_part"
    SILENT_WHOLE = "silent_whole"
    KEY_MISSING = "key_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in the data or the model that a person should look at. `amount` in billionths of `unit`."""

    kind: FindingKind
    meter: str
    quarters: int
    amount: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A finding in the making: the quarters that it is about, and an amount for each of them."""

    kind: FindingKind
    flow: Flow
    where: Bools
    amount: Ints

    def within(self, quarters: slice) -> Finding | None:
        """What of it lies in these quarters of the grid; None: nothing does."""
        where = self.where[quarters]
        if not where.any():
            return None
        return Finding(
            kind=self.kind,
            meter=self.flow.meter,
            quarters=int(where.sum()),
            amount=int(self.amount[quarters][where].sum()),
            unit=self.flow.unit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A flow as it counts in its parent: its own rows, and the sum of its parts where it has none.

    An import counts net: less what is exported behind it. Where it has no row, it is its parts less what is generated
    behind it.
    """

    measured: Ints
    estimated: Ints
    present: Bools


class Tree:
    """Which meter is a part of which, for meters that are shared out.

    Exports and generation behind an import are no parts of it: they are taken off it and added to it (`feeds`).
    """

    def __init__(self, flows: Sequence[Flow], utilities: Mapping[str, Sequence[Ruled]] | None = None) -> None:
        self._utilities = utilities or {}
        self.flows = {flow.meter: flow for flow in flows}
        self._children: dict[str, list[Flow]] = {}
        for flow in flows:
            if flow.parent in self.flows:
                self._children.setdefault(flow.parent, []).append(flow)

    def is_key(self, flow: Flow) -> bool:
        """Whether it only tells how its parent is shared out."""
        parent = self.flows.get(flow.parent or "")
        if parent is None or flow.direction is not parent.direction:
            return False
        return any(flow.meter in ruled.share.keys.values() for ruled in self.rules(parent))

    def rules(self, flow: Flow) -> Sequence[Ruled]:
        """What shares a flow out that is on no line: its utility's rules, or its own."""
        return self._utilities.get(flow.utility, ()) if flow.utility is not None else flow.shares

    def parts(self, flow: Flow) -> list[Flow]:
        """The nearest meters below that are shared out themselves. Scrap is no part of what was good."""
        found: list[Flow] = []
        for child in self._children.get(flow.meter, ()):
            if self.is_key(child):
                found += self.parts(child)
            elif child.direction is flow.direction and (
                flow.resource is not Resource.PRODUCTION or child.carrier == flow.carrier
            ):
                found.append(child)
        return found

    def feeds(self, flow: Flow) -> list[Flow]:
        """What is exported or generated right behind an import."""
        found: list[Flow] = []
        if flow.direction is not Direction.IMPORT:
            return found
        for child in self._children.get(flow.meter, ()):
            if self.is_key(child):
                found += self.feeds(child)
            elif child.direction is not flow.direction:
                found.append(child)
        return found

    def whole(self, flow: Flow) -> Whole:
        parts = [self.whole(part) for part in self.parts(flow)]
        measured, estimated, present = flow.measured.copy(), flow.estimated.copy(), flow.present.copy()
        for part in parts:
            measured += np.where(flow.present, 0, part.measured)
            estimated += np.where(flow.present, 0, part.estimated)
            present |= part.present
        for feed in self.feeds(flow):
            whole = self.whole(feed)
            where = flow.present if feed.direction is Direction.EXPORT else present & ~flow.present
            measured -= np.where(where, whole.measured, 0)
            estimated -= np.where(where, whole.estimated, 0)
        return Whole(measured=measured, estimated=estimated, present=present)

    def fed(self) -> set[str]:
        """Feeds and their own parts: they are shared out with the place that they lie behind."""
        found: set[str] = set()
        waiting = [feed for flow in self.flows.values() for feed in self.feeds(flow)]
        while waiting:
            flow = waiting.pop()
            found.add(flow.meter)
            waiting += self.parts(flow)
        return found

    def used(self, root: Flow, whole: Mapping[str, Whole]) -> tuple[Ints, Ints]:
        """What of a root is used, (measured, estimated) by quarter: its whole, and what is generated behind it where
        anything is known of that place.
        """
        measured, estimated = root.sign * whole[root.meter].measured, root.sign * whole[root.meter].estimated
        if root.direction is Direction.EXPORT:
            return measured, estimated
        waiting = [root]
        while waiting:
            flow = waiting.pop()
            known = whole[flow.meter].present
            for feed in self.feeds(flow):
                if feed.direction is Direction.GENERATION:
                    measured = measured + np.where(known, whole[feed.meter].measured, 0)
                    estimated = estimated + np.where(known, whole[feed.meter].estimated, 0)
            waiting += self.parts(flow)
        return measured, estimated

    def below(self, root: Flow) -> list[Flow]:
        """A root and all that is shared out as a part of it, the root first."""
        found = [root]
        for flow in found:
            found += self.parts(flow)
        return found

    def roots(self) -> list[Flow]:
        """Meters that are no part of another one of the same kind."""
        below = {part.meter for flow in self.flows.values() for part in (*self.parts(flow), *self.feeds(flow))}
        return [flow for flow in self.flows.values() if flow.meter not in below and not self.is_key(flow)]


def rest(
    flow: Flow, parts: Sequence[Whole], marks: list[Mark], feeds: Sequence[tuple[int, Whole]] = ()
) -> tuple[Ints, Ints]:
    """What is left of a flow for itself, (measured, estimated) by quarter: with its feeds, each by its sign.

    The rest rests on every estimate in it: up to the estimated quantities of the flow and its parts, it is estimated.
    Where a part is silent, its consumption hides in the rest, which is then estimated whole.
    """
    if not parts and not feeds:
        return flow.measured, flow.estimated
    total = flow.measured + flow.estimated
    doubt = np.abs(flow.estimated)
    silent = np.zeros(len(total), np.bool_)
    for part in parts:
        total = total - part.measured - part.estimated
        doubt = doubt + np.abs(part.estimated)
        silent |= ~part.present
    for sign, feed in feeds:
        total = total + sign * (feed.measured + feed.estimated)
        doubt = doubt + np.abs(feed.estimated)
        silent |= ~feed.present
    total = np.where(flow.present, total, 0)
    doubt = np.where(silent, np.abs(total), np.minimum(doubt, np.abs(total)))
    estimated = np.sign(total) * doubt
    orphaned = ~flow.present & np.any([part.present for part in (*parts, *(feed for _, feed in feeds))], axis=0)
    for kind, where in (
        (FindingKind.NEGATIVE_REST, total < 0),
        (FindingKind.SILENT_PART, silent & flow.present),
        (FindingKind.SILENT_WHOLE, orphaned),
    ):
        if where.any():
            marks.append(Mark(kind=kind, flow=flow, where=where, amount=total))
    return total - estimated, estimated
