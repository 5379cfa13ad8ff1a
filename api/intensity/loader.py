"""From the database to intensities: attributions of buckets of time, and what the site model says beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from api import consumption_store
from api.attribution.loader import Attributed, attribute_buckets
from api.attribution.model import Model, load_model
from api.calendar.buckets import Bucket, By, Calendar, buckets, edges
from api.calendar.clock import Period
from api.database import Connection
from api.indicators.figures import MeterFacts
from api.indicators.intensity import Facts
from api.indicators.parts import Attribution
from api.indicators.regression import Regression, regress
from api.problems import bad_value
from api.series import Row, counted, series_of
from api.site_store import SiteRow
from schemas.quantities import SCALE
from schemas.resources import Direction, Resource
from schemas.sharing import ShareBy

LONGEST_DAYS = 1100
"""Days of one regression."""
MOST_BUCKETS = 400
"""Of one series."""
LEAST_COVERAGE = 0.5
"""Days that are measured less than this are left out of a regression [METHODS §1: a usable day]."""


class Every(StrEnum):
    """The length of a bucket of a series; quarters are those of the calendar year."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    FISCAL_YEAR = "fiscal_year"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOut:
    """The attribution of one stretch of time."""

    period: Period
    attribution: Attribution
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRegression:
    """E = a + b·Q of one line, or of the site (None), by the day. `problem` says why there is none."""

    line: str | None
    resource: Resource
    unit: str
    good_unit: str | None
    meters: tuple[str, ...]
    regression: Regression
    left_out: int
    problem: str | None = None


async def share_out(
    connection: Connection, site: SiteRow, period: Period, *, every: Every | None = None, by_run: bool = False
) -> list[SharedOut]:
    """The attributions of the period's buckets, in order; of the whole period where `every` is not said.

    Raises a 422 problem.
    """
    cuts = [period.start, period.end] if every is None else cut(period, every, site.calendar)
    found = await attribute_buckets(connection, site, cuts, by_run=by_run)
    return [
        SharedOut(
            period=Period(start=start, end=end, zone=period.zone),
            attribution=attributed.attribution,
            facts=facts_of(attributed),
        )
        for (start, end), attributed in zip(pairwise(cuts), found, strict=True)
    ]


def cut(period: Period, every: Every, calendar: Calendar) -> list[datetime]:
    """The edges of the buckets that the period touches, cut to it. Raises a 422 problem for too many."""
    found: list[Bucket] = list(buckets(period, By.MONTH if every is Every.QUARTER else By(every.value), calendar))
    cuts = edges(found, period)
    if every is Every.QUARTER:
        inner = [edge for bucket, edge in zip(found[1:], cuts[1:], strict=False) if bucket.day.month % 3 == 1]
        cuts = [cuts[0], *inner, cuts[-1]]
    if len(cuts) - 1 > MOST_BUCKETS:
        raise bad_value("bucket", f"the period has more than {MOST_BUCKETS} of them; take longer buckets")
    return cuts


def facts_of(attributed: Attributed) -> Facts:
    """What figures rest on besides quantities, with the coverage of each meter in this attribution."""
    length_ms = attributed.attribution.grid.length_ms
    coverage = {metered.meter: metered.covered_ms / length_ms for metered in attributed.attribution.metered}
    dividing = _dividing(attributed.meters)
    return Facts(
        products=attributed.units,
        meters={
            key: MeterFacts(
                resource=Resource(row["resource"]),
                part_of=_part_of(row, attributed.meters, dividing),
                carrier=row["carrier"],
                accuracy_class=row["accuracy_class"],
                coverage=coverage.get(key, 0.0),
                product=row["product"],
                origin=row["origin"],
                recycled_content=row["recycled_content"],
                waste_code=row["waste_code"],
                treatment=row["treatment"],
            )
            for key, row in attributed.meters.items()
        },
        onward=attributed.onward,
    )


def _dividing(meters: Mapping[str, Row]) -> set[str]:
    """The key meters that are a part of what they divide: their own parts are parts of it."""
    found = set()
    for meter in meters.values():
        shares: Any = meter["share"]
        for share in shares if isinstance(shares, list) else [shares] if shares else []:
            if share["by"] == ShareBy.MEASURED:
                found |= {key for key in share["keys"].values() if meters.get(key, {}).get("parent") == meter["id"]}
    return found


def _part_of(row: Row, meters: Mapping[str, Row], dividing: set[str]) -> str | None:
    if row["id"] in dividing or row["direction"] != Direction.IMPORT:
        return None
    parent: str | None = row["parent"]
    while parent in dividing:
        parent = meters[parent]["parent"]
    return parent


async def regressions(
    connection: Connection, site: SiteRow, period: Period, resources: Sequence[Resource]
) -> list[PlaceRegression]:
    """Of each line and of the site, by the local day: what their own meters counted, over their good output."""
    if (period.end - period.start).days > LONGEST_DAYS:
        raise bad_value("to", f"a regression has at most {LONGEST_DAYS} days; ask for less")
    model = await load_model(connection, site)
    days = edges(list(buckets(period, By.DAY, site.calendar)), period)
    wanted = [m for m in model.meters.values() if m["resource"] in {*resources, Resource.PRODUCTION}]
    sums = await consumption_store.sums_by_bucket(connection, [series_of(meter) for meter in wanted], days)
    found = []
    for line in (*model.lines, None):
        made = _good(wanted, line, model)
        for resource in resources:
            of = [m for m in wanted if m["resource"] == resource and (line is None or m["line"] == line)]
            if of:
                found.append(_regression(line, resource, list(counted(of)), made, sums, days))
    return found


def _good(meters: Sequence[Row], line: str | None, model: Model) -> list[tuple[Row, int]]:
    """The meters that count what a line made; of the site, what the last lines of its chains made."""
    return list(
        counted(
            [
                meter
                for meter in meters
                if meter["resource"] == Resource.PRODUCTION
                and meter["carrier"] == "good"
                and (
                    meter["line"] == line
                    if line is not None
                    else meter["line"] is None or model.lines[meter["line"]]["next"] is None
                )
            ]
        )
    )


def _regression(
    line: str | None,
    resource: Resource,
    used: Sequence[tuple[Row, int]],
    made: Sequence[tuple[Row, int]],
    sums: Mapping[tuple[int, str], Mapping[str, Any]],
    days: Sequence[datetime],
) -> PlaceRegression:
    units = {meter["canonical_unit"] for meter, _ in made}
    place = "the site" if line is None else f"line {line}"
    problem = None
    if not made:
        problem = f"no meter counts what {place} makes; give it a production meter of good output"
    elif len(units) > 1:
        problem = f"what {place} makes is counted in pcs and in kg, which don't add up"
    points: list[tuple[float, float]] = []
    left_out = 0
    if problem is None:
        for i, (start, end) in enumerate(pairwise(days)):
            length_ms = (end - start).total_seconds() * 1000
            rows = [(sums.get((i, meter["id"])), sign) for meter, sign in (*made, *used)]
            if any(row is None or row["covered_ms"] < length_ms * LEAST_COVERAGE for row, _ in rows):
                left_out += 1
                continue
            amounts = [sign * int(row["measured"] + row["estimated"]) / SCALE for row, sign in rows if row is not None]
            points.append((sum(amounts[: len(made)]), sum(amounts[len(made) :])))
    return PlaceRegression(
        line=line,
        resource=resource,
        unit=used[0][0]["canonical_unit"],
        good_unit=units.pop() if len(units) == 1 else None,
        meters=tuple(meter["id"] for meter, _ in used),
        regression=regress(points),
        left_out=left_out,
        problem=problem,
    )
