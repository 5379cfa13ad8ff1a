"""CO2e of flows, quarter by quarter, so that all parts of a root meter carry what the root emits, to the last digit.

What is bought is multiplied with its factor. Behind a meter with generation of its own, everybody takes the same
mixture: what was bought there, spread over all that was used. What is generated or exported emits nothing here: a fuel
that is burnt to generate is counted where the fuel is, and exports lower nobody's Scope 2 (GHG Protocol).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from api.indicators.carbon import Matched
from api.indicators.flows import Flow, Tree
from api.indicators.splitting import Floats, Ints
from schemas.resources import Direction

Columns = dict[str, Ints]


def emitted(tree: Tree, rests: Mapping[str, tuple[Ints, Ints]]) -> dict[str, Columns]:
    """The columns of Carbon of each flow that is shared out, by meter; `rests` are their own (measured, estimated).

    Flows of which nothing is known to be emitted are left out.
    """
    found: dict[str, Columns] = {}
    for root in tree.roots():
        if root.location is None or root.market is None:
            continue
        members = [flow for flow in tree.below(root) if flow.meter in rests]
        columns: dict[str, Columns] = {flow.meter: {} for flow in members}
        for basis, matched in (("location", root.location), ("market", root.market)):
            _add(columns, root, members, rests, basis=basis, matched=matched, has_feeds=bool(_feeds(tree, root)))
        for flow in members:
            total = rests[flow.meter][0] + rests[flow.meter][1]
            columns[flow.meter]["market_by_location"] = np.where(root.market.by_location, total, 0)
        found |= columns
    return found


def _feeds(tree: Tree, root: Flow) -> list[Flow]:
    return [feed for flow in tree.below(root) for feed in tree.feeds(flow)]


def _add(
    columns: Mapping[str, Columns],
    root: Flow,
    members: list[Flow],
    rests: Mapping[str, tuple[Ints, Ints]],
    *,
    basis: str,
    matched: Matched,
    has_feeds: bool,
) -> None:
    known = ~np.isnan(matched.kg_per_unit)
    factor = np.nan_to_num(matched.kg_per_unit)
    if root.direction is not Direction.IMPORT:
        known, factor = np.ones_like(known), np.zeros_like(factor)
    used = sum((rests[flow.meter][0] + rests[flow.meter][1] for flow in members), np.zeros(len(factor), np.int64))
    # Where the root itself is silent, all that is used is taken as bought.
    bought = np.where(root.present, root.measured + root.estimated, used) if has_feeds else used
    whole = _kg(bought, factor)
    per_unit = np.where(used != 0, whole / np.where(used != 0, used, 1), 0.0) if has_feeds else factor
    rest = whole.copy()
    for flow in members:
        measured, estimated = (_kg(amount, per_unit) for amount in rests[flow.meter])
        rest -= measured + estimated
        of = columns[flow.meter]
        of[f"{basis}_measured"], of[f"{basis}_estimated"] = measured, estimated
        total = rests[flow.meter][0] + rests[flow.meter][1]
        of[f"{basis}_known"] = np.where(known, total, 0)
        of[f"{basis}_hourly"] = np.where(matched.hourly, total, 0)
    # What rounding leaves, and what was bought while nothing was used, is the root's own.
    columns[root.meter][f"{basis}_measured"] = columns[root.meter][f"{basis}_measured"] + rest


def _kg(amount: Ints, factor: Floats) -> Ints:
    kg: Ints = np.rint(amount * factor).astype(np.int64)
    return kg
