"""What the findings about runs are made from: the runs themselves, and work that none of them covers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from psycopg.rows import DictRow

from api import quality_store, runs_store
from api.calendar.clock import Period
from api.database import Connection
from api.quality.facts import RunFacts, WorkedGap
from api.quality.runs import uncovered
from api.quality_store import Stretch
from api.site_store import SiteRow
from schemas.resources import Direction, Resource, RunState

FEWEST_KNOWN = 8
"""Quarters of an hour of each kind from which idle and running levels are told [O]."""
LEAST_RISE = 1.25
"""A line whose running level is less than this many times its idle level can't be told by what it takes [O]."""
_RESTING = frozenset({RunState.IDLE, RunState.DOWN})


async def load_runs(connection: Connection, site: SiteRow, period: Period) -> list[RunFacts]:
    """The site's runs that touch the period, by line and start."""
    found = [
        RunFacts(
            line=row["line"],
            run=row["run"],
            state=RunState(row["state"]),
            start=row["start_at"],
            end=row["end_at"],
            until=row["until"],
        )
        for row in await runs_store.runs(connection, site.id, period)
    ]
    return sorted(found, key=lambda run: (run.line, run.start, run.run))


async def load_worked_gaps(
    connection: Connection, meters: Sequence[DictRow], runs: Sequence[RunFacts], known: Period
) -> list[WorkedGap]:
    """Work of lines in [known.start, known.end) that none of the runs, which are sorted by line, covers.

    Where a line counts production that decides, else whether one of its energy meters took more than half the way from
    its idle to its running level.
    """
    by_line = {line: list(of_line) for line, of_line in groupby(runs, lambda run: run.line)}
    gaps = {
        line: uncovered(by_line.get(line, []), known.start, known.end)
        for line in {meter["line"] for meter in meters if meter["line"]}
    }
    counting = _counting(meters, Resource.PRODUCTION)
    made = [
        Stretch(line=line, meter=meter, start=start, end=end)
        for line, numbers in counting.items()
        for start, end in gaps[line]
        for meter in numbers
    ]
    taking = {
        line: numbers
        for line, numbers in _counting(meters, Resource.ENERGY).items()
        if line not in counting and gaps[line]
    }
    above = await _above(connection, taking, by_line, known)
    taken = [
        Stretch(line=line, meter=meter, start=start, end=end, above=above[meter])
        for line, numbers in taking.items()
        for start, end in gaps[line]
        for meter in numbers
        if meter in above
    ]
    return [
        WorkedGap(
            line=row["line"], start=row["first_at"], end=row["last_at"], quarters=row["quarters"], is_made=is_made
        )
        for stretches, is_made in ((made, True), (taken, False))
        for row in await quality_store.worked(connection, stretches)
    ]


async def _above(
    connection: Connection, taking: dict[str, list[int]], by_line: dict[str, list[RunFacts]], known: Period
) -> dict[int, int]:
    """Above what a meter takes clearly more than idle; without those of which that can't be told."""
    stretches = [
        Stretch(
            line=line,
            meter=meter,
            start=max(run.start, known.start),
            end=min(run.until, known.end),
            is_running=run.state is RunState.RUNNING,
        )
        for line, numbers in taking.items()
        for run in by_line.get(line, [])
        if run.state is RunState.RUNNING or run.state in _RESTING
        for meter in numbers
    ]
    if not stretches:
        return {}
    levels = await quality_store.levels(connection, stretches, fewest=FEWEST_KNOWN)
    found = {}
    for meter in {stretch.meter for stretch in stretches}:
        idle, running = levels.get((meter, False)), levels.get((meter, True))
        if idle is not None and running is not None and running > max(idle, 0) * LEAST_RISE:
            found[meter] = round((idle + running) / 2)
    return found


def _counting(meters: Sequence[DictRow], resource: Resource) -> dict[str, list[int]]:
    """The numbers of the meters of a resource that are on a line, by line."""
    found: dict[str, list[int]] = {}
    for meter in meters:
        if meter["line"] and (meter["resource"], meter["direction"]) == (resource, Direction.IMPORT):
            found.setdefault(meter["line"], []).append(meter["number"])
    return found
