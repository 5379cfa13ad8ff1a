"""Consumption shared out to products, quarter by quarter, by the rules of METHODS §2 (docs: DESIGN §8).

What goes in comes out as products + idle + unattributed, to the last billionth: the whole of each root meter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from api.indicators.lines import NOWHERE, Grid, LineTime, Phase, Run, Slot, lay_out
from api.indicators.sharing import Rule, share_out
from api.indicators.splitting import Ints
from schemas.quantities import QUARTER_MS
from schemas.resources import Resource
from schemas.site import Share

__all__ = ["Amount", "Attribution", "Finding", "FindingKind", "Flow", "Ledger", "Part", "Rule", "attribute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One meter and its consumption over the grid, in billionths of `unit`.

    `measured`, `estimated` and `covered_ms` have one number a quarter; `present` tells in which quarters there is a
    row at all: a missing one is not zero.
    """

    meter: str
    resource: Resource
    unit: str
    carrier: str | None = None
    line: str | None = None
    parent: str | None = None
    share: Share | None = None
    measured: Ints
    estimated: Ints
    covered_ms: Ints
    present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one rule gave of one meter to one slot of one line (None: of no line)."""

    meter: str
    resource: Resource
    unit: str
    carrier: str | None
    line: str | None
    slot: Slot
    rule: Rule
    amount: Amount


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
class Ledger:
    """What of one resource went in, and the share of the time that measured readings stand behind."""

    resource: Resource
    unit: str
    consumed: Amount
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """All parts of all meters. `occupied_ms` is running and changeover time by line and product."""

    grid: Grid
    parts: tuple[Part, ...]
    production: tuple[Part, ...]
    ledgers: tuple[Ledger, ...]
    occupied_ms: Mapping[tuple[str, str], int]
    findings: tuple[Finding, ...]


def attribute(
    grid: Grid,
    flows: Sequence[Flow],
    runs: Sequence[Run],
    *,
    lines: Sequence[str],
    mass_kg: Mapping[str, float],
) -> Attribution:
    """Share out every flow.

    A meter's amount is its own consumption less that of its parts (children) which are shared out themselves; a key
    meter of its parent's `share` is not. On a line a quarter is divided by time over the line's runs. Of the whole
    site it is divided by `share` over the lines first, and goes unattributed without one. `mass_kg` by product is
    for sharing by mass.
    """
    lined = {line: lay_out(grid, [run for run in runs if run.line == line]) for line in lines}
    tree = _Tree(flows)
    used: list[Part] = []
    made: list[Part] = []
    findings: list[Finding] = []
    whole = {flow.meter: tree.whole(flow) for flow in flows}
    for flow in flows:
        if tree.is_key(flow):
            continue
        amount = _rest(flow, [whole[part.meter] for part in tree.parts(flow)], findings)
        if flow.resource is Resource.PRODUCTION:
            made += _make(flow, amount, lined)
        else:
            used += _use(flow, amount, lined, tree, mass_kg=mass_kg, findings=findings)
    return Attribution(
        grid=grid,
        parts=tuple(used),
        production=tuple(made),
        ledgers=tuple(_ledgers(grid, flows, tree, whole)),
        occupied_ms=_occupied(lined),
        findings=tuple(findings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A flow as it counts in its parent: its own rows, and the sum of its parts where it has none."""

    measured: Ints
    estimated: Ints
    present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class _Tree:
    """Which meter is a part of which, for meters that are shared out."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = {flow.meter: flow for flow in flows}
        self._children: dict[str, list[Flow]] = {}
        for flow in flows:
            if flow.parent in self.flows:
                self._children.setdefault(flow.parent, []).append(flow)

    def is_key(self, flow: Flow) -> bool:
        """Whether it only tells how its parent is shared out."""
        parent = self.flows.get(flow.parent or "")
        return parent is not None and parent.share is not None and flow.meter in parent.share.keys.values()

    def parts(self, flow: Flow) -> list[Flow]:
        """The nearest meters below that are shared out themselves. Scrap is no part of what was good."""
        found: list[Flow] = []
        for child in self._children.get(flow.meter, ()):
            if self.is_key(child):
                found += self.parts(child)
            elif flow.resource is not Resource.PRODUCTION or child.carrier == flow.carrier:
                found.append(child)
        return found

    def whole(self, flow: Flow) -> _Whole:
        parts = [self.whole(part) for part in self.parts(flow)]
        measured, estimated, present = flow.measured.copy(), flow.estimated.copy(), flow.present.copy()
        for part in parts:
            measured += np.where(flow.present, 0, part.measured)
            estimated += np.where(flow.present, 0, part.estimated)
            present |= part.present
        return _Whole(measured=measured, estimated=estimated, present=present)

    def roots(self) -> list[Flow]:
        """Meters that are no part of another one of the same kind."""
        below = {part.meter for flow in self.flows.values() for part in self.parts(flow)}
        return [flow for flow in self.flows.values() if flow.meter not in below and not self.is_key(flow)]


def _rest(flow: Flow, parts: Sequence[_Whole], findings: list[Finding]) -> tuple[Ints, Ints]:
    """What is left of a flow for itself, (measured, estimated) by quarter.

    The rest rests on every estimate in it: up to the estimated quantities of the flow and its parts, it is estimated.
    Where a part is silent, its consumption hides in the rest, which is then estimated whole.
    """
    if not parts:
        return flow.measured, flow.estimated
    total = flow.measured + flow.estimated
    doubt = np.abs(flow.estimated)
    silent = np.zeros(len(total), np.bool_)
    for part in parts:
        total = total - part.measured - part.estimated
        doubt = doubt + np.abs(part.estimated)
        silent |= ~part.present
    total = np.where(flow.present, total, 0)
    doubt = np.where(silent, np.abs(total), np.minimum(doubt, np.abs(total)))
    estimated = np.sign(total) * doubt
    orphaned = ~flow.present & np.any([part.present for part in parts], axis=0)
    for kind, where in (
        (FindingKind.NEGATIVE_REST, total < 0),
        (FindingKind.SILENT_PART, silent & flow.present),
        (FindingKind.SILENT_WHOLE, orphaned),
    ):
        if where.any():
            findings.append(_finding(kind, flow, where, total))
    return total - estimated, estimated


def _use(
    flow: Flow,
    amount: tuple[Ints, Ints],
    lined: Mapping[str, LineTime],
    tree: _Tree,
    *,
    mass_kg: Mapping[str, float],
    findings: list[Finding],
) -> list[Part]:
    if flow.line is not None and flow.line in lined:
        return _over_runs(flow, flow.line, Rule.LINE_METER, lined[flow.line], amount)
    if flow.share is None:
        return [_part(flow, None, NOWHERE, Rule.NO_SHARE, _sum(amount))]
    production = [f for f in tree.flows.values() if f.resource is Resource.PRODUCTION and f.carrier == "good"]
    shares, incomplete = share_out(
        flow.share,
        amount,
        lined=lined,
        keys={
            key: (f.measured + f.estimated, f.present)
            for key in flow.share.keys.values()
            if (f := tree.flows.get(key)) is not None
        },
        good=[(f.line, f.unit, f.measured + f.estimated) for f in production if f.line is not None],
        mass_kg=mass_kg,
    )
    if incomplete.any():
        findings.append(_finding(FindingKind.KEY_MISSING, flow, incomplete, amount[0] + amount[1]))
    found: list[Part] = []
    for share in shares:
        if share.line is None:
            found.append(_part(flow, None, NOWHERE, share.rule, _sum(share.amount)))
        else:
            found += _over_runs(flow, share.line, share.rule, lined[share.line], share.amount)
    return found


def _over_runs(flow: Flow, line: str, rule: Rule, time: LineTime, amount: tuple[Ints, Ints]) -> list[Part]:
    measured, estimated = time.divide(amount[0]), time.divide(amount[1])
    return [
        _part(flow, line, slot, rule, Amount(int(measured[i]), int(estimated[i])))
        for i, slot in enumerate(time.slots)
        if measured[i] or estimated[i]
    ]


def _make(flow: Flow, amount: tuple[Ints, Ints], lined: Mapping[str, LineTime]) -> list[Part]:
    """Good and scrap pieces by product, over the running time of their quarter."""
    if flow.line is not None and flow.line in lined:
        return _over_runs(flow, flow.line, Rule.LINE_METER, lined[flow.line].while_running(), amount)
    return [_part(flow, None, NOWHERE, Rule.NO_SHARE, _sum(amount))]


def _ledgers(grid: Grid, flows: Sequence[Flow], tree: _Tree, whole: Mapping[str, _Whole]) -> list[Ledger]:
    found = []
    for resource in Resource:
        roots = [flow for flow in tree.roots() if flow.resource is resource]
        if resource is Resource.PRODUCTION or not roots:
            continue
        consumed = sum(
            (Amount(int(w.measured.sum()), int(w.estimated.sum())) for w in (whole[f.meter] for f in roots)), Amount()
        )
        of_resource = [f for f in flows if f.resource is resource]
        covered = sum(int(f.covered_ms.sum()) for f in of_resource)
        coverage = covered / (grid.count * QUARTER_MS * len(of_resource))
        found.append(Ledger(resource=resource, unit=roots[0].unit, consumed=consumed, coverage=coverage))
    return found


def _occupied(lined: Mapping[str, LineTime]) -> dict[tuple[str, str], int]:
    occupied: dict[tuple[str, str], int] = {}
    for line, time in lined.items():
        for slot, milliseconds in zip(time.slots, time.milliseconds(), strict=True):
            if slot.product is not None and slot.phase in {Phase.PROCESSING, Phase.CHANGEOVER}:
                key = (line, slot.product)
                occupied[key] = occupied.get(key, 0) + int(milliseconds)
    return occupied


def _finding(
    kind: FindingKind, flow: Flow, where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], total: Ints
) -> Finding:
    return Finding(
        kind=kind, meter=flow.meter, quarters=int(where.sum()), amount=int(total[where].sum()), unit=flow.unit
    )


def _part(flow: Flow, line: str | None, slot: Slot, rule: Rule, amount: Amount) -> Part:
    return Part(
        meter=flow.meter,
        resource=flow.resource,
        unit=flow.unit,
        carrier=flow.carrier,
        line=line,
        slot=slot,
        rule=rule,
        amount=amount,
    )


def _sum(amount: tuple[Ints, Ints]) -> Amount:
    return Amount(int(amount[0].sum()), int(amount[1].sum()))
