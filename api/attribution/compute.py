"""From the database to an attribution: quarters, runs and factors of a stretch of time, laid out for the maths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from api import consumption_store, runs_store
from api.attribution.model import Model, ruled
from api.calendar.clock import Period
from api.consumption_store import Columns
from api.database import Connection
from api.factors import store as factor_store
from api.indicators.attribution import attribute_spans
from api.indicators.carbon import Basis, Factor, Matched, match
from api.indicators.flows import Flow
from api.indicators.lines import Grid, Run
from api.indicators.parts import Attribution, Metered
from api.indicators.splitting import Ints
from api.problems import bad_value
from schemas.quantities import QUARTER_MS, to_canonical
from schemas.resources import Direction, Resource, RunState

_LARGEST_SUM = 2**62
"""Billionths that a sum of one day may reach, so that those of a whole and its parts still fit."""
Rows = np.ndarray[Any, np.dtype[np.intp]]


async def compute(
    connection: Connection, model: Model, edges: Sequence[datetime], *, by_run: bool
) -> list[Attribution | None]:
    """Share out what was used between each edge and the next: the quarters that begin there; None where there is none.

    `by_run` tells parts and hours of each run apart.
    """
    marks = [-(-_ms(edge) // QUARTER_MS) for edge in edges]
    if marks[0] == marks[-1]:
        return [None] * (len(edges) - 1)
    # A quarter that begins before the end counts whole, with all that its lines did in it.
    period = Period(start=_begin(marks[0]), end=_begin(marks[-1]), zone=model.site.zone)
    starts = [mark - marks[0] for mark, following in pairwise(marks) if following > mark]
    grid = Grid(first=marks[0], count=marks[-1] - marks[0], starts=tuple(starts))
    columns = await consumption_store.columns(connection, [m["number"] for m in model.meters.values()], period)
    rows = await runs_store.runs(connection, model.site.id, period)
    changing = min((row["start_at"] for row in rows if row["state"] == RunState.CHANGEOVER), default=period.start)
    if changing < period.start:
        # The run that a changeover leads to may have begun, and ended, before the period too.
        rows = await runs_store.runs(connection, model.site.id, replace(period, start=changing))
    rows += await runs_store.next_running(connection, model.site.id, period.end)
    factors = await factor_store.load(connection, model.site, period)

    def work() -> list[Attribution]:
        runs = [_run(row, by_run=by_run) for row in rows]
        return attribute_spans(grid, _flows(grid, model, columns, factors), runs, model.places)

    # Arithmetic of up to a second: other requests go on meanwhile.
    found = iter(await run_in_threadpool(work))
    return [next(found) if following > mark else None for mark, following in pairwise(marks)]


def days_of(day: Attribution) -> Iterator[Metered]:
    """What meters counted on one day, or a piece of it, with whether it is usable [METHODS §1: more than half]."""
    for one in day.metered:
        yield replace(one, usable_days=int(one.covered_ms * 2 > day.grid.length_ms))


def _check_size(grid: Grid, flow: Flow) -> None:
    """Sums are whole 64-bit numbers: what they can't hold is refused, as it would come out as something else."""
    size = np.abs(flow.measured.astype(np.float64)) + np.abs(flow.estimated.astype(np.float64))
    if np.add.reduceat(size, list(grid.starts)).max() > _LARGEST_SUM:
        raise bad_value(
            "period",
            f"meter {flow.meter} counted more than {to_canonical(_LARGEST_SUM):.2g} {flow.unit} in a day, which no sum "
            "here can hold; check its unit, its conversion and its readings",
        )


def _flows(grid: Grid, model: Model, columns: Columns, factors: Sequence[Factor]) -> list[Flow]:
    order = np.argsort(columns["meter_id"], kind="stable")
    numbers = columns["meter_id"][order]
    matched: dict[tuple[str | None, str], tuple[Matched, Matched]] = {}
    flows = []
    for meter in model.meters.values():
        low, high = np.searchsorted(numbers, [meter["number"], meter["number"] + 1])
        flow = _flow(grid, meter, columns, order[low:high], model)
        _check_size(grid, flow)
        of = flow.carrier, flow.unit
        if of not in matched:
            area = model.site.grid_area
            location, market = (
                match(grid, factors, carrier=of[0], area=area, basis=basis, unit=of[1]) for basis in Basis
            )
            matched[of] = location, market
        # All energy is asked for its factor; of water, material and waste only what has one.
        if flow.resource is Resource.ENERGY or (flow.resource is not Resource.PRODUCTION and matched[of][0].ids):
            flow = replace(flow, location=matched[of][0], market=matched[of][1])
        flows.append(flow)
    return flows


def _flow(grid: Grid, meter: Mapping[str, Any], columns: Columns, rows: Rows, model: Model) -> Flow:
    where = columns["quarter"][rows] - grid.first

    def spread(name: str) -> Ints:
        full = np.zeros(grid.count, np.int64)
        full[where] = columns[name][rows]
        return full

    present = np.zeros(grid.count, np.bool_)
    present[where] = True
    return Flow(
        meter=meter["id"],
        resource=Resource(meter["resource"]),
        unit=meter["canonical_unit"],
        carrier=meter["carrier"],
        line=meter["line"],
        utility=meter["utility"],
        parent=meter["parent"],
        product=meter["product"],
        direction=Direction(meter["direction"]),
        rules=ruled(meter["share"], model.site.zone),
        measured=spread("measured"),
        estimated=spread("estimated"),
        covered_ms=spread("covered_ms"),
        present=present,
    )


def _run(row: Mapping[str, Any], *, by_run: bool) -> Run:
    return Run(
        line=row["line"],
        state=RunState(row["state"]),
        product=row["product"],
        start_ms=_ms(row["start_at"]),
        end_ms=_ms(row["until"]),
        number=row["id"] if by_run else 0,
    )


def _begin(quarter: int) -> datetime:
    return datetime.fromtimestamp(quarter * QUARTER_MS // 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
