"""Consumption shared out to products, quarter by quarter, by the rules of METHODS §2 (docs: DESIGN §8).

What goes in comes out as products + idle + unattributed, to the last billionth: the whole of each root meter, with what
is generated behind it and without what is exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.indicators.flows import Amount, Finding, FindingKind, Flow, Tree, Whole, find, rest
from api.indicators.lines import NOWHERE, Grid, LineTime, Phase, Run, Slot, lay_out
from api.indicators.sharing import Rule, share_out
from api.indicators.splitting import Ints
from schemas.quantities import QUARTER_MS
from schemas.resources import Resource


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
    meter of its parent's `share` is not. Exports and generation behind a meter are shared out with it. On a line a
    quarter is divided by time over the line's runs. Of the whole site it is divided by `share` over the lines first,
    and goes unattributed without one. `mass_kg` by product is for sharing by mass.
    """
    lined = {line: lay_out(grid, [run for run in runs if run.line == line]) for line in lines}
    tree = Tree(flows)
    used: list[Part] = []
    made: list[Part] = []
    findings: list[Finding] = []
    whole = {flow.meter: tree.whole(flow) for flow in flows}
    fed = tree.fed()
    for flow in flows:
        if tree.is_key(flow) or flow.meter in fed:
            continue
        feeds = [(feed.sign, whole[feed.meter]) for feed in tree.feeds(flow)]
        measured, estimated = rest(flow, [whole[part.meter] for part in tree.parts(flow)], findings, feeds)
        amount = flow.sign * measured, flow.sign * estimated
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


def _use(
    flow: Flow,
    amount: tuple[Ints, Ints],
    lined: Mapping[str, LineTime],
    tree: Tree,
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
        findings.append(find(FindingKind.KEY_MISSING, flow, incomplete, amount[0] + amount[1]))
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


def _ledgers(grid: Grid, flows: Sequence[Flow], tree: Tree, whole: Mapping[str, Whole]) -> list[Ledger]:
    found = []
    for resource in Resource:
        roots = [flow for flow in tree.roots() if flow.resource is resource]
        if resource is Resource.PRODUCTION or not roots:
            continue
        consumed = sum((tree.used(flow, whole) for flow in roots), Amount())
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
