"""What is kept of an attribution, summed over days and months as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum, auto
from typing import Any, LiteralString, TypeVar

from psycopg.rows import TupleRow, tuple_row

from api.attribution import store
from api.attribution.model import Model
from api.attribution.naming import Names
from api.attribution.store import SUMS, Way
from api.database import Connection, fetch_all
from api.indicators.flows import Finding
from api.indicators.lines import Phase
from api.indicators.parts import Attribution, LineHours, Metered, Part
from schemas.resources import Resource


class Grain(Enum):
    """How finely an attribution is told: by run, by line and product, or by meter and rule of the site as a whole.

    Of the whole site nothing is said of where parts went, and hours and findings are left out.
    """

    RUN = auto()
    PLACE = auto()
    SITE = auto()


_WHERE: LiteralString = """
JOIN unnest(%(days)s::date[], %(is_month)s::bool[], %(bucket)s::int[]) AS asked (day, is_month, bucket)
     USING (day, is_month) WHERE site_id = %(site)s
"""
# Factors differ from month to month, and would keep parts of one place apart: they are listed instead.
_SUMMED: LiteralString = f"{SUMS}, string_agg(array_to_string(factors, ','), ',') AS factors"
_PARTS: Mapping[Grain, LiteralString] = {
    Grain.RUN: f"""
SELECT bucket, meter_id, line_id, run_id, product_id, way_id, {_SUMMED}
FROM attributed {_WHERE} GROUP BY 1, 2, 3, 4, 5, 6
""",
    Grain.PLACE: f"""
SELECT bucket, meter_id, line_id, NULL::int8, product_id, way_id, {_SUMMED}
FROM attributed {_WHERE} GROUP BY 1, 2, 3, 5, 6
""",
    # Of what came out it is told all the same where: on that it depends which line finishes a product.
    Grain.SITE: f"""
SELECT bucket, meter_id, CASE WHEN is_made THEN line_id END, NULL::int8, CASE WHEN is_made THEN product_id END,
       CASE WHEN is_made THEN way_id ELSE (%(ways)s::int[])[way_id] END, {_SUMMED}
FROM attributed CROSS JOIN LATERAL (SELECT meter_id = ANY (%(made)s) AS is_made) AS made {_WHERE}
GROUP BY 1, 2, 3, 5, 6
""",
}
_METERED: LiteralString = f"""
SELECT bucket, meter_id, sum(measured)::int8, sum(estimated)::int8, sum(used_measured)::int8,
       sum(used_estimated)::int8, sum(covered_ms)::int8, sum(quarters)::int, sum(usable_days)::int
FROM metered {_WHERE} GROUP BY 1, 2
"""
_HOURS: Mapping[Grain, LiteralString] = {
    Grain.RUN: f"""
SELECT bucket, line_id, run_id, phase, product_id, sum(milliseconds)::int8
FROM line_time {_WHERE} GROUP BY 1, 2, 3, 4, 5
""",
    Grain.PLACE: f"""
SELECT bucket, line_id, NULL::int8, phase, product_id, sum(milliseconds)::int8
FROM line_time {_WHERE} GROUP BY 1, 2, 4, 5
""",
}
_FINDINGS: LiteralString = f"""
SELECT bucket, meter_id, kind, sum(quarters)::int, sum(amount)::int8 FROM attribution_finding {_WHERE} GROUP BY 1, 2, 3
"""
_RUNS: LiteralString = 'SELECT id, key AS run, order_number AS "order" FROM run WHERE id = ANY (%s)'
_SCOPES: LiteralString = "SELECT id, scope FROM factor WHERE id = ANY (%s)"
_FACTORS = -1
"""The last column of parts."""
Named = TypeVar("Named", Part, LineHours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of the days and months of one bucket."""

    parts: list[Part]
    production: list[Part]
    metered: list[Metered]
    hours: list[LineHours]
    findings: list[Finding]


async def read(
    connection: Connection, model: Model, spans: Sequence[tuple[date, bool, int]], buckets: int, *, grain: Grain
) -> list[Kept]:
    """Sums by bucket (0 up to `buckets`) of spans: (first day, is a month, bucket). Months know no runs."""
    found = [Kept(parts=[], production=[], metered=[], hours=[], findings=[]) for _ in range(buckets)]
    if not spans:
        return found
    days, is_month, bucket = (list(column) for column in zip(*spans, strict=True))
    made = [row["number"] for row in model.meters.values() if row["resource"] == Resource.PRODUCTION]
    ways = await store.ways(connection, model.site.id)
    joined, joined_ways = _joined(ways)
    values = {"site": model.site.id, "days": days, "is_month": is_month, "bucket": bucket, "made": made, "ways": joined}
    rows = await _rows(connection, _PARTS[grain], values)
    names = await _names(connection, model, ways | joined_ways, {row[_FACTORS] for row in rows})
    for bucket_number, *row in rows:
        part, kept = names.part(row), found[bucket_number]
        (kept.production if part.resource is Resource.PRODUCTION else kept.parts).append(part)
    for bucket_number, *row in await _rows(connection, _METERED, values):
        found[bucket_number].metered.append(names.metered(row))
    if grain in _HOURS:
        for bucket_number, *row in await _rows(connection, _HOURS[grain], values):
            found[bucket_number].hours.append(names.hours(row))
        for bucket_number, *row in await _rows(connection, _FINDINGS, values):
            found[bucket_number].findings.append(names.finding(row))
    return found


async def _rows(connection: Connection, statement: LiteralString, values: Mapping[str, Any]) -> list[TupleRow]:
    """Many rows: a dictionary for each would take longer than all else."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def name_runs(connection: Connection, found: Sequence[Attribution]) -> list[Attribution]:
    """The same with the keys and orders of runs where slots have their numbers."""
    numbers = {part.slot.run for one in found for part in (*one.parts, *one.production)}
    numbers |= {hours.slot.run for one in found for hours in one.hours}
    numbers -= {0}
    rows = await fetch_all(connection, _RUNS, [list(numbers)]) if numbers else []
    runs = {row["id"]: (row["run"], row["order"]) for row in rows}
    return [
        replace(
            one,
            parts=tuple(_named(part, runs) for part in one.parts),
            production=tuple(_named(part, runs) for part in one.production),
            hours=tuple(_named(hours, runs) for hours in one.hours),
        )
        for one in found
    ]


def _named(of: Named, runs: Mapping[int, tuple[str, str | None]]) -> Named:
    run, order = runs.get(of.slot.run, (None, None))
    return of if run is None else replace(of, run=run, order=order)


def _joined(ways: Mapping[int, Way]) -> tuple[list[int], dict[int, Way]]:
    """For ways that are told apart by phases and places only one number below zero: by the way's, and what it is."""
    numbers: dict[Way, int] = {}
    joined = [0] * max(ways, default=0)
    for number, (_, rule, _, hops) in ways.items():
        joined[number - 1] = numbers.setdefault((Phase.UNATTRIBUTED, rule, (), hops), -len(numbers) - 1)
    return joined, {number: way for way, number in numbers.items()}


async def _names(connection: Connection, model: Model, ways: Mapping[int, Way], listed: set[str]) -> Names:
    factors = {text: tuple(sorted({int(number) for number in text.split(",") if number})) for text in listed}
    ids = {number for numbers in factors.values() for number in numbers}
    rows = await fetch_all(connection, _SCOPES, [list(ids)]) if ids else []
    return Names(model, ways=ways, factors=factors, scopes={row["id"]: row["scope"] for row in rows})
