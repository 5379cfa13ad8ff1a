"""The attribution that is kept, by local day and by whole month: what stands, and writing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from operator import attrgetter
from typing import LiteralString

from psycopg.rows import DictRow

from api.attribution.compute import days_of
from api.attribution.model import Model
from api.copy_text import Field, copy_in
from api.database import Connection, fetch_all
from api.indicators.parts import Attribution, Part

_STANDING: LiteralString = """
SELECT s.day, s.is_month FROM attributed_span AS s
WHERE s.site_id = %(site)s AND s.day >= %(first)s AND s.day < %(end)s AND s.model = %(model)s
  AND NOT (%(heed_due)s AND EXISTS (
      SELECT FROM attribution_due AS d
      WHERE d.site_id = s.site_id AND d.to_day > s.day
        AND d.from_day < CASE WHEN s.is_month THEN s.day + interval '1 month' ELSE s.day + 1 END))
"""
# The roll-up notes when it began with a meter; consumption that came otherwise tells itself.
_FIRST_DAY: LiteralString = """
SELECT (coalesce(
    (SELECT min(r.first_at) FROM rolled_meter AS r JOIN meter AS m ON m.id = r.meter_id WHERE m.site_id = %(site)s),
    (SELECT min(c.quarter) FROM consumption AS c WHERE c.meter_id IN (SELECT id FROM meter WHERE site_id = %(site)s))
) AT TIME ZONE %(zone)s)::date AS day
"""
_TABLES: tuple[LiteralString, ...] = (
    "attributed",
    "metered",
    "line_time",
    "attribution_finding",
    "attributed_span",
)
_CLEAR: LiteralString = "DELETE FROM {} WHERE site_id = %(site)s AND is_month = %(is_month)s AND day = ANY (%(days)s)"
_SPANS: LiteralString = """
INSERT INTO attributed_span (site_id, is_month, day, model)
SELECT %(site)s, %(is_month)s, unnest(%(days)s::date[]), %(model)s
"""
CARBON_COLUMNS: LiteralString = (
    "location_measured, location_estimated, market_measured, market_estimated, location_known, market_known, "
    "location_hourly, market_hourly, market_by_location"
)
_carbon = attrgetter(*CARBON_COLUMNS.split(", "))
_COPY: Mapping[str, LiteralString] = {
    "attributed": "COPY attributed (site_id, is_month, day, meter_id, line_id, run_id, product_id, way_id, measured,"
    f" estimated, otherwise, {CARBON_COLUMNS}, factors) FROM STDIN",
    "metered": "COPY metered (site_id, is_month, day, meter_id, measured, estimated, covered_ms, used_measured,"
    " used_estimated, quarters, usable_days) FROM STDIN",
    "line_time": "COPY line_time (site_id, is_month, day, line_id, run_id, phase, product_id, milliseconds) FROM STDIN",
    "attribution_finding": "COPY attribution_finding (site_id, is_month, day, meter_id, kind, quarters, amount)"
    " FROM STDIN",
}
SUMS: LiteralString = (
    "sum(measured)::int8 AS measured, sum(estimated)::int8 AS estimated, sum(otherwise)::int8 AS otherwise, "
    "sum(location_measured)::int8 AS location_measured, sum(location_estimated)::int8 AS location_estimated, "
    "sum(market_measured)::int8 AS market_measured, sum(market_estimated)::int8 AS market_estimated, "
    "sum(location_known)::int8 AS location_known, sum(market_known)::int8 AS market_known, "
    "sum(location_hourly)::int8 AS location_hourly, sum(market_hourly)::int8 AS market_hourly, "
    "sum(market_by_location)::int8 AS market_by_location"
)
_WAYS: LiteralString = "SELECT id, phase, rule, via, hops FROM attribution_way WHERE site_id = %s"
_PUT_WAY: LiteralString = """
INSERT INTO attribution_way (site_id, phase, rule, via, hops) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
Way = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""How a quantity comes to its place: phase, rule, utilities that it passes, rules by which it comes into each."""
_NOTE_CHANGE: LiteralString = """
INSERT INTO site_revision AS r (site_id, number) VALUES (%s, 1)
ON CONFLICT (site_id) DO UPDATE SET number = r.number + 1
"""
_OF_MONTH: LiteralString = (
    "WHERE site_id = %(site)s AND NOT is_month AND day >= %(day)s AND day < (%(day)s + interval '1 month')::date"
)
_SUM_MONTH: tuple[LiteralString, ...] = (
    f"""INSERT INTO attributed (site_id, is_month, day, meter_id, line_id, product_id, way_id, measured, estimated,
           otherwise, {CARBON_COLUMNS}, factors)
        SELECT %(site)s, true, %(day)s, meter_id, line_id, product_id, way_id, {SUMS}, factors
        FROM attributed {_OF_MONTH} GROUP BY meter_id, line_id, product_id, way_id, factors""",
    f"""INSERT INTO metered SELECT %(site)s, true, %(day)s, meter_id, sum(measured), sum(estimated), sum(covered_ms),
               sum(used_measured), sum(used_estimated), sum(quarters), sum(usable_days)
        FROM metered {_OF_MONTH} GROUP BY meter_id""",
    f"""INSERT INTO line_time (site_id, is_month, day, line_id, phase, product_id, milliseconds)
        SELECT %(site)s, true, %(day)s, line_id, phase, product_id, sum(milliseconds)
        FROM line_time {_OF_MONTH} GROUP BY line_id, phase, product_id""",
    f"""INSERT INTO attribution_finding SELECT %(site)s, true, %(day)s, meter_id, kind, sum(quarters), sum(amount)
        FROM attribution_finding {_OF_MONTH} GROUP BY meter_id, kind""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is computed and still holds: local days, and whole months by their first day."""

    days: frozenset[date]
    months: frozenset[date]


async def standing(connection: Connection, model: Model, first: date, end: date, *, heed_due: bool = True) -> Standing:
    """What stands of the days [first, end). What is due does not, unless whoever asks knows that it is."""
    values = {"site": model.site.id, "first": first, "end": end, "model": model.fingerprint, "heed_due": heed_due}
    rows = await fetch_all(connection, _STANDING, values)
    return Standing(
        days=frozenset(row["day"] for row in rows if not row["is_month"]),
        months=frozenset(row["day"] for row in rows if row["is_month"]),
    )


async def first_day(connection: Connection, model: Model) -> date | None:
    """The local day of the site's first reading; None where there is none."""
    values = {"site": model.site.id, "zone": model.site.time_zone}
    (row,) = await fetch_all(connection, _FIRST_DAY, values)
    day: date | None = row["day"]
    return day


async def clear(connection: Connection, site_id: int, days: Iterable[date], *, is_month: bool) -> None:
    """Take away what is kept of these days, or of the months that begin with them."""
    values = {"site": site_id, "is_month": is_month, "days": list(days)}
    for table in _TABLES:
        # Names of tables are ours.
        await connection.execute(_CLEAR.replace("{}", table), values)


async def put_days(connection: Connection, model: Model, found: Mapping[date, Attribution]) -> None:
    """Keep what was computed of days of which nothing is kept."""
    parts = (part for one in found.values() for part in (*one.parts, *one.production))
    rows = _rows(model, found, await _numbered_ways(connection, model.site.id, {way_of(part) for part in parts}))
    for table, statement in _COPY.items():
        await copy_in(connection, statement, rows[table])
    values = {"site": model.site.id, "is_month": False, "days": list(found), "model": model.fingerprint}
    await connection.execute(_SPANS, values)


async def put_month(connection: Connection, model: Model, month: date) -> None:
    """Keep the sum of a month's days, all of which are kept; of the month nothing is yet."""
    for statement in _SUM_MONTH:
        await connection.execute(statement, {"site": model.site.id, "day": month})
    values = {"site": model.site.id, "is_month": True, "days": [month], "model": model.fingerprint}
    await connection.execute(_SPANS, values)


async def ways(connection: Connection, site_id: int) -> dict[int, Way]:
    """How quantities have come to their places at the site, by number."""
    rows = await fetch_all(connection, _WAYS, [site_id])
    return {row["id"]: (row["phase"], row["rule"], tuple(row["via"]), tuple(row["hops"])) for row in rows}


def way_of(part: Part) -> Way:
    """How it came to its place."""
    return part.slot.phase, part.rule, part.via, part.hops


async def _numbered_ways(connection: Connection, site_id: int, wanted: Set[Way]) -> dict[Way, int]:
    known = {way: number for number, way in (await ways(connection, site_id)).items()}
    if new := sorted(wanted - known.keys()):
        for phase, rule, via, hops in new:
            await connection.execute(_PUT_WAY, [site_id, phase, rule, list(via), list(hops)])
        known = {way: number for number, way in (await ways(connection, site_id)).items()}
    return known


async def note_change(connection: Connection, site_id: int) -> None:
    """In the transaction that changes what is kept: whoever remembers an answer about the site asks anew."""
    await connection.execute(_NOTE_CHANGE, [site_id])


def _rows(
    model: Model, found: Mapping[date, Attribution], way_numbers: Mapping[Way, int]
) -> dict[str, list[Sequence[Field]]]:
    site = model.site.id
    meters, lines, products = ({key: row["number"] for key, row in part.items()} for part in _numbered(model))
    rows: dict[str, list[Sequence[Field]]] = {table: [] for table in _COPY}
    for day, attribution in found.items():
        key = (site, False, day)
        for part in (*attribution.parts, *attribution.production):
            slot, amount = part.slot, part.amount
            rows["attributed"].append(
                (
                    *(*key, meters[part.meter], lines.get(part.line or ""), slot.run or None),
                    *(products.get(slot.product or ""), way_numbers[way_of(part)]),
                    *(amount.measured, amount.estimated, part.otherwise, *_carbon(part.carbon), part.factors),
                )
            )
        for m in days_of(attribution):
            counted, used = (m.counted.measured, m.counted.estimated), (m.used.measured, m.used.estimated)
            rows["metered"].append((*key, meters[m.meter], *counted, m.covered_ms, *used, m.quarters, m.usable_days))
        for hours in attribution.hours:
            slot = hours.slot
            product = products.get(slot.product or "")
            rows["line_time"].append(
                (*key, lines[hours.line], slot.run or None, slot.phase, product, hours.milliseconds)
            )
        for finding in attribution.findings:
            of = (meters[finding.meter], finding.kind, finding.quarters, finding.amount)
            rows["attribution_finding"].append((*key, *of))
    return rows


def _numbered(model: Model) -> tuple[Mapping[str, DictRow], ...]:
    return model.meters, model.lines, model.products
