"""From the database to an attribution: meters, their quarters and the runs of a period, laid out for the maths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg.rows import DictRow
from starlette.concurrency import run_in_threadpool

from api import consumption_store, runs_store, site_store
from api.calendar.clock import Period
from api.consumption_store import Columns
from api.database import Connection
from api.indicators.attribution import Attribution, attribute
from api.indicators.flows import Flow
from api.indicators.intensity import ProductUnit
from api.indicators.lines import Grid, Run
from api.problems import bad_value
from api.site_store import SiteRow
from schemas.quantities import QUARTER_MS
from schemas.resources import Direction, Resource, RunState
from schemas.site import Share

LONGEST_DAYS = 1100
"""Quarters of three years fit into memory for every meter of a large site; more is asked for year by year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """An attribution and the products that it is about."""

    attribution: Attribution
    units: Mapping[str, ProductUnit]


async def attribute_period(connection: Connection, site: SiteRow, period: Period) -> Attributed:
    """Share out what the site used in the period: its quarters that begin in it. Raises a 422 problem."""
    if (period.end - period.start).days > LONGEST_DAYS:
        raise bad_value("to", f"a period of attribution has at most {LONGEST_DAYS} days; ask year by year")
    grid = _grid(period)
    meters = await site_store.meters(connection, site)
    columns = await consumption_store.columns(connection, [meter["number"] for meter in meters], period)
    lines = [line["id"] for line in await site_store.lines(connection, site)]
    products = await site_store.products(connection, site)
    rows = await runs_store.runs(connection, site.id, period)
    rows += await runs_store.next_running(connection, site.id, period.end)

    def work() -> Attribution:
        return attribute(
            grid,
            _flows(grid, meters, columns),
            [_run(row) for row in rows],
            lines=lines,
            mass_kg={p["id"]: p["mass_kg"] for p in products if p["mass_kg"] is not None},
        )

    # Half a second of arithmetic for two years: other requests go on meanwhile.
    return Attributed(
        attribution=await run_in_threadpool(work),
        units={p["id"]: ProductUnit(unit=p["unit"], mass_kg=p["mass_kg"]) for p in products},
    )


def _grid(period: Period) -> Grid:
    first, end = -(-_ms(period.start) // QUARTER_MS), -(-_ms(period.end) // QUARTER_MS)
    if end <= first:
        raise bad_value("to", "the period holds no whole quarter of an hour; make it longer")
    return Grid(first=first, count=end - first)


def _flows(grid: Grid, meters: Sequence[DictRow], columns: Columns) -> list[Flow]:
    order = np.argsort(columns["meter_id"], kind="stable")
    numbers = columns["meter_id"][order]
    flows = []
    for meter in meters:
        low, high = np.searchsorted(numbers, [meter["number"], meter["number"] + 1])
        flows.append(_flow(grid, meter, columns, order[low:high]))
    return flows


def _flow(grid: Grid, meter: Mapping[str, Any], columns: Columns, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Flow:
    where = columns["quarter"][rows] - grid.first
    full = {name: np.zeros(grid.count, np.int64) for name in ("measured", "estimated", "covered_ms")}
    for name, array in full.items():
        array[where] = columns[name][rows]
    present = np.zeros(grid.count, np.bool_)
    present[where] = True
    return Flow(
        meter=meter["id"],
        resource=Resource(meter["resource"]),
        unit=meter["canonical_unit"],
        carrier=meter["carrier"],
        line=meter["line"],
        parent=meter["parent"],
        direction=Direction(meter["direction"]),
        share=None if meter["share"] is None else Share.model_validate(meter["share"]),
        present=present,
        **full,
    )


def _run(row: Mapping[str, Any]) -> Run:
    return Run(
        line=row["line"],
        state=RunState(row["state"]),
        product=row["product"],
        start_ms=_ms(row["start_at"]),
        end_ms=_ms(row["until"]),
    )


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
