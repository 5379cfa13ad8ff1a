"""Consumption shared out to products, quarter by quarter, by the rules of METHODS §2 (docs: DESIGN §8).

What goes in comes out as products + idle + unattributed, to the last billionth: the whole of each root meter, with what
is generated behind it and without what is exported. The same holds for what is emitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from api.indicators.emissions import emitted
from api.indicators.flows import Amount, Flow, Mark, Ruled, Tree, Whole, rest
from api.indicators.lines import Grid, LineTime, Phase, Run, Slot, lay_out
from api.indicators.parts import Attribution, LineHours, Metered, Part
from api.indicators.placing import Placing
from api.indicators.sharing import Good, Keys, Load
from api.indicators.splitting import Ints
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What consumption is shared out to: lines, and utilities with their rules. `mass_kg` by product."""

    lines: Sequence[str]
    utilities: Mapping[str, tuple[Ruled, ...]]
    mass_kg: Mapping[str, float]


def attribute(
    grid: Grid,
    flows: Sequence[Flow],
    runs: Sequence[Run],
    *,
    lines: Sequence[str],
    mass_kg: Mapping[str, float],
    utilities: Mapping[str, tuple[Ruled, ...]] | None = None,
) -> Attribution:
    """Share out every flow over the whole grid, as `attribute_spans` does."""
    places = Places(lines=lines, utilities=utilities or {}, mass_kg=mass_kg)
    (only,) = attribute_spans(replace(grid, starts=(0,)), flows, runs, places)
    return only


def attribute_spans(grid: Grid, flows: Sequence[Flow], runs: Sequence[Run], places: Places) -> list[Attribution]:
    """Share out every flow, for each span of the grid.

    A meter's amount is its own consumption less that of its parts (children) which are shared out themselves; a key
    meter of its parent's share is not. Exports and generation behind a meter are shared out with it. On a line a
    quarter is divided by time over the line's runs. Of the whole site it is divided by `share`, or by the rule of its
    utility, over lines and other utilities first, and goes unattributed without one.
    """
    lined = {line: lay_out(grid, [run for run in runs if run.line == line]) for line in places.lines}
    tree = Tree(flows, places.utilities)
    marks: list[Mark] = []
    whole = {flow.meter: tree.whole(flow) for flow in flows}
    rests = _rests(flows, tree, whole, marks)
    carbon = emitted(tree, rests)
    keys = Keys(
        lined=lined,
        meters={flow.meter: (flow.measured + flow.estimated, flow.present) for flow in flows},
        good=[
            Good(line=flow.line, unit=flow.unit, product=flow.product, quantity=np.add(*rests[flow.meter]))
            for flow in flows
            if flow.resource is Resource.PRODUCTION
            and flow.carrier == "good"
            and flow.line is not None
            and flow.meter in rests
        ],
        mass_kg=places.mass_kg,
    )
    parts: list[list[Part]] = [[] for _ in grid.starts]
    made: list[list[Part]] = [[] for _ in grid.starts]
    for root in tree.roots():
        for flow in tree.below(root):
            if flow.meter not in rests:
                continue
            measured, estimated = rests[flow.meter]
            load = Load(columns={"measured": measured, "estimated": estimated, **carbon.get(flow.meter, {})})
            if flow.resource is Resource.PRODUCTION:
                for span, part in _make(grid, flow, load, lined):
                    made[span].append(part)
            else:
                placing = Placing(grid=grid, flow=flow, root=root, keys=keys, utilities=places.utilities, marks=marks)
                for span, part in placing.parts(load, tree.rules(flow)):
                    parts[span].append(part)
    metered = _metered(grid, flows, tree, whole)
    hours = _hours(grid, lined)
    ends = (*grid.starts[1:], grid.count)
    return [
        Attribution(
            grid=Grid(first=grid.first + start, count=end - start),
            parts=tuple(parts[i]),
            production=tuple(made[i]),
            metered=tuple(metered[i]),
            hours=tuple(hours[i]),
            findings=tuple(found for mark in marks if (found := mark.within(slice(start, end))) is not None),
        )
        for i, (start, end) in enumerate(zip(grid.starts, ends, strict=True))
    ]


def _rests(
    flows: Sequence[Flow], tree: Tree, whole: Mapping[str, Whole], marks: list[Mark]
) -> dict[str, tuple[Ints, Ints]]:
    """What each flow that is shared out has for itself, by quarter."""
    fed = tree.fed()
    found = {}
    for flow in flows:
        if tree.is_key(flow) or flow.meter in fed:
            continue
        feeds = [(feed.sign, whole[feed.meter]) for feed in tree.feeds(flow)]
        measured, estimated = rest(flow, [whole[part.meter] for part in tree.parts(flow)], marks, feeds)
        found[flow.meter] = flow.sign * measured, flow.sign * estimated
    return found


def _make(grid: Grid, flow: Flow, load: Load, lined: Mapping[str, LineTime]) -> Iterator[tuple[int, Part]]:
    """Good and scrap pieces by product, over the running time of their quarter. A meter's own product goes first."""
    if flow.line is not None and flow.line in lined:
        lined = {flow.line: lined[flow.line].while_running()}
    keys = Keys(lined=lined, meters={}, good=(), mass_kg={})
    placing = Placing(grid=grid, flow=replace(flow, utility=None), root=flow, keys=keys, utilities={}, marks=[])
    for span, part in placing.parts(load, ()):
        if flow.product is None:
            yield span, part
        else:
            yield span, replace(part, slot=Slot(Phase.PROCESSING, flow.product, part.slot.run))


def _metered(grid: Grid, flows: Sequence[Flow], tree: Tree, whole: Mapping[str, Whole]) -> list[list[Metered]]:
    starts = list(grid.starts)
    used = {
        root.meter: tuple(np.add.reduceat(amounts, starts) for amounts in tree.used(root, whole))
        for root in tree.roots()
        if root.resource is not Resource.PRODUCTION
    }
    nothing = np.zeros(len(starts), np.int64)
    found: list[list[Metered]] = [[] for _ in starts]
    for flow in flows:
        measured, estimated, covered, known = (
            np.add.reduceat(column, starts)
            for column in (flow.measured, flow.estimated, flow.covered_ms, flow.present.astype(np.int64))
        )
        used_measured, used_estimated = used.get(flow.meter, (nothing, nothing))
        for span in range(len(starts)):
            found[span].append(
                Metered(
                    meter=flow.meter,
                    resource=flow.resource,
                    unit=flow.unit,
                    counted=Amount(int(measured[span]), int(estimated[span])),
                    used=Amount(int(used_measured[span]), int(used_estimated[span])),
                    covered_ms=int(covered[span]),
                    quarters=int(known[span]),
                )
            )
    return found


def _hours(grid: Grid, lined: Mapping[str, LineTime]) -> list[list[LineHours]]:
    found: list[list[LineHours]] = [[] for _ in grid.starts]
    for line, time in lined.items():
        sums = time.milliseconds().tolist()
        for span, slot, milliseconds in zip(time.by.span.tolist(), time.by.slot.tolist(), sums, strict=True):
            if milliseconds:
                found[span].append(LineHours(line=line, slot=time.slots[slot], milliseconds=milliseconds))
    return found
