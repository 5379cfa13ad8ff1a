"""The site model between its file form and its tables.

`apply_site_model` writes what a model says and removes nothing: readings may hang on any part.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.json import Jsonb

from api.database import Connection as AsyncConnection
from api.errors import ModelRefusedError
from api.offer_store import OFFERS
from api.offers import parse_offers, with_offered_settings
from schemas.resources import MeterKind
from schemas.site import SiteModel

Connection = psycopg.Connection[TupleRow]

ROLLUP_TURN = 0x41464B_02
"""The roll-up's own advisory lock (collector.rollup): whoever holds it is alone with consumption and `pending`."""

# A name that the file leaves out stays what it was, and is the key at first. What stays as it is is not written: the
# collectors read the model again whenever something was.
_ORGANISATION: LiteralString = """
INSERT INTO organisation AS o (key, name) VALUES (%(key)s, coalesce(%(name)s, %(key)s))
ON CONFLICT (key) DO UPDATE SET name = coalesce(%(name)s, o.name)
WHERE o.name IS DISTINCT FROM coalesce(%(name)s, o.name)
"""
_ORGANISATION_ID: LiteralString = "SELECT id FROM organisation WHERE key = %(key)s"
_SITE: LiteralString = """
INSERT INTO site AS s (organisation_id, key, name, time_zone, fiscal_year_start, shifts, holidays)
VALUES (%(organisation)s, %(key)s, coalesce(%(name)s, %(key)s), %(time_zone)s, %(fiscal_year_start)s, %(shifts)s,
        %(holidays)s)
ON CONFLICT (organisation_id, key) DO UPDATE
SET name = coalesce(%(name)s, s.name), time_zone = excluded.time_zone,
    fiscal_year_start = excluded.fiscal_year_start, shifts = excluded.shifts, holidays = excluded.holidays
WHERE (s.name, s.time_zone, s.fiscal_year_start, s.shifts, s.holidays)
      IS DISTINCT FROM (coalesce(%(name)s, s.name), excluded.time_zone, excluded.fiscal_year_start, excluded.shifts,
                        excluded.holidays)
"""
_SITE_ID: LiteralString = "SELECT id FROM site WHERE organisation_id = %(organisation)s AND key = %(key)s"
_LINES: LiteralString = """
INSERT INTO line AS l (site_id, key, name)
SELECT %(site)s, id, coalesce(name, id) FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name WHERE l.name <> excluded.name
"""
_PRODUCTS: LiteralString = """
INSERT INTO product AS r (site_id, key, name, unit, family, mass_kg)
SELECT %(site)s, id, coalesce(name, id), unit, family, mass_kg
FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text, unit text, family text, mass_kg float8)
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, unit = excluded.unit, family = excluded.family, mass_kg = excluded.mass_kg
WHERE (r.name, r.unit, r.family, r.mass_kg)
      IS DISTINCT FROM (excluded.name, excluded.unit, excluded.family, excluded.mass_kg)
"""
_AGENTS: LiteralString = """
INSERT INTO agent AS a (site_id, key, name)
SELECT %(site)s, id, coalesce(name, id) FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name WHERE a.name <> excluded.name
"""
_METERS: LiteralString = """
INSERT INTO meter AS m (site_id, key, name, agent_id, line_id, resource, carrier, kind, unit, canonical_unit,
                   canonical_factor, conversion, max_gap_ms, interval_ms, register_width, rated_maximum,
                   dip_window_ms, frozen_after_ms, cadence_ms, accuracy_class, share, direction,
                   watch_nights)
SELECT %(site)s, p.id, coalesce(p.name, p.id), agent.id, line.id, p.resource, p.carrier, p.kind, p.unit,
       p.canonical_unit, p.canonical_factor, p.conversion, p.max_gap, p.interval, p.register_width, p.rated_maximum,
       p.dip_window, p.frozen_after, p.cadence, p.accuracy_class, nullif(p.share, 'null'),
       p.direction, p.watch_nights
FROM jsonb_to_recordset(%(parts)s) AS p (
    id text, name text, agent text, line text, resource text, carrier text, kind text, unit text,
    canonical_unit text, canonical_factor float8, conversion float8, max_gap bigint, interval bigint,
    register_width float8, rated_maximum float8, dip_window bigint, frozen_after bigint, cadence bigint,
    accuracy_class float8, share jsonb, direction text, watch_nights bool)
JOIN agent ON agent.site_id = %(site)s AND agent.key = p.agent
LEFT JOIN line ON line.site_id = %(site)s AND line.key = p.line
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, agent_id = excluded.agent_id, line_id = excluded.line_id, resource = excluded.resource,
    carrier = excluded.carrier, kind = excluded.kind, unit = excluded.unit, canonical_unit = excluded.canonical_unit,
    canonical_factor = excluded.canonical_factor, conversion = excluded.conversion,
    max_gap_ms = excluded.max_gap_ms, interval_ms = excluded.interval_ms, register_width = excluded.register_width,
    rated_maximum = excluded.rated_maximum, dip_window_ms = excluded.dip_window_ms,
    frozen_after_ms = excluded.frozen_after_ms, cadence_ms = excluded.cadence_ms,
    accuracy_class = excluded.accuracy_class, share = excluded.share, direction = excluded.direction,
    watch_nights = excluded.watch_nights
WHERE (m.name, m.agent_id, m.line_id, m.resource, m.carrier, m.kind, m.unit, m.canonical_unit, m.canonical_factor,
       m.conversion, m.max_gap_ms, m.interval_ms, m.register_width, m.rated_maximum, m.dip_window_ms,
       m.frozen_after_ms, m.cadence_ms, m.accuracy_class, m.share, m.direction,
       m.watch_nights)
      IS DISTINCT FROM
      (excluded.name, excluded.agent_id, excluded.line_id, excluded.resource, excluded.carrier, excluded.kind,
       excluded.unit, excluded.canonical_unit, excluded.canonical_factor, excluded.conversion, excluded.max_gap_ms,
       excluded.interval_ms, excluded.register_width, excluded.rated_maximum, excluded.dip_window_ms,
       excluded.frozen_after_ms, excluded.cadence_ms, excluded.accuracy_class, excluded.share, excluded.direction,
       excluded.watch_nights)
"""
_PARENTS: LiteralString = """
UPDATE meter SET parent_id = parent.id
FROM jsonb_to_recordset(%(parts)s) AS p (id text, parent text)
LEFT JOIN meter AS parent ON parent.site_id = %(site)s AND parent.key = p.parent
WHERE meter.site_id = %(site)s AND meter.key = p.id AND meter.parent_id IS DISTINCT FROM parent.id
"""
_VIRTUAL_METERS: LiteralString = """
INSERT INTO virtual_meter AS v (site_id, key, name, resource, canonical_unit, line_id, parent, terms)
SELECT %(site)s, p.id, coalesce(p.name, p.id), p.resource, p.unit, line.id, p.parent, p.terms
FROM jsonb_to_recordset(%(parts)s) AS p (
    id text, name text, resource text, unit text, line text, parent text, terms jsonb)
LEFT JOIN line ON line.site_id = %(site)s AND line.key = p.line
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, resource = excluded.resource, canonical_unit = excluded.canonical_unit,
    line_id = excluded.line_id, parent = excluded.parent, terms = excluded.terms
"""
# Meters and virtual meters share one name space, also with those of earlier models, of which nothing is removed.
_NAMED_TWICE: LiteralString = """
SELECT 'meter', key FROM meter WHERE site_id = %(site)s AND key = ANY (%(virtual_meters)s)
UNION ALL SELECT 'virtual meter', key FROM virtual_meter WHERE site_id = %(site)s AND key = ANY (%(meters)s)
ORDER BY 1, 2
"""
_LEFT_OVER: LiteralString = """
SELECT 'line', key FROM line WHERE site_id = %(site)s AND key <> ALL (%(lines)s)
UNION ALL SELECT 'product', key FROM product WHERE site_id = %(site)s AND key <> ALL (%(products)s)
UNION ALL SELECT 'agent', key FROM agent WHERE site_id = %(site)s AND key <> ALL (%(agents)s)
UNION ALL SELECT 'meter', key FROM meter WHERE site_id = %(site)s AND key <> ALL (%(meters)s)
UNION ALL SELECT 'virtual meter', key FROM virtual_meter WHERE site_id = %(site)s AND key <> ALL (%(virtual_meters)s)
ORDER BY 1, 2
"""
# Readings are stored in the meter's own unit and mean something else once it changes. A scan of all readings for one
# meter would take for ever, so this looks where every reading leaves a trace once it is rolled up, and among the
# readings that are not yet: a late one, from before, stands in `pending`.
_CHANGED_IN_USE: LiteralString = """
SELECT m.key, m.resource, m.kind, m.unit, m.conversion, m.interval_ms
FROM meter AS m JOIN jsonb_to_recordset(%(parts)s) AS p (
    id text, resource text, kind text, unit text, conversion float8, interval bigint) ON p.id = m.key
WHERE m.site_id = %(site)s
  AND ((m.resource, m.kind, m.unit, m.conversion) IS DISTINCT FROM (p.resource, p.kind, p.unit, p.conversion)
       OR (m.kind = 'interval' AND m.interval_ms IS DISTINCT FROM p.interval))
  AND (EXISTS (SELECT FROM rolled_meter AS r WHERE r.meter_id = m.id)
       OR EXISTS (SELECT FROM consumption AS c WHERE c.meter_id = m.id)
       OR EXISTS (SELECT FROM pending AS d WHERE d.meter_id = m.id)
       OR EXISTS (SELECT FROM reading AS r WHERE r.meter_id = m.id
                  AND r.at >= coalesce((SELECT computed_to FROM rollup_progress), '-infinity')))
ORDER BY m.key
"""
_CHANGED_RULES: LiteralString = """
SELECT m.id
FROM meter AS m JOIN jsonb_to_recordset(%(parts)s) AS p (
    id text, max_gap bigint, register_width float8, rated_maximum float8, dip_window bigint, frozen_after bigint)
    ON p.id = m.key
WHERE m.site_id = %(site)s
  AND (m.max_gap_ms, m.register_width, m.rated_maximum, m.dip_window_ms, m.frozen_after_ms)
      IS DISTINCT FROM (p.max_gap, p.register_width, p.rated_maximum, p.dip_window, p.frozen_after)
"""
_TAKE_TURN: LiteralString = "SELECT pg_advisory_xact_lock(%(turn)s)"
# All that a meter's consumption was computed from, a week at a time.
_COMPUTE_AGAIN: LiteralString = """
INSERT INTO pending (meter_id, from_at, to_at)
SELECT m.meter_id, week, least(week + interval '168 hours', p.closed_to)
FROM rolled_meter AS m CROSS JOIN rollup_progress AS p
CROSS JOIN LATERAL generate_series(m.first_at, p.closed_to, interval '168 hours') AS week
WHERE m.meter_id = ANY (%(meters)s)
"""
_PRODUCT_UNIT_IN_USE: LiteralString = """
SELECT product.key, product.unit
FROM product JOIN jsonb_to_recordset(%(parts)s) AS p (id text, unit text) ON p.id = product.key
WHERE product.site_id = %(site)s AND product.unit <> p.unit
  AND EXISTS (SELECT FROM run WHERE run.product_id = product.id)
ORDER BY product.key
"""


def apply_site_model(connection: Connection, model: SiteModel) -> list[str]:
    """Write the model in one transaction, by key; applying it again changes nothing.

    Nothing is removed. Returned are the parts that the database has and the model has not, such as
    `meter oven-gas`, for a person to decide upon. The history of a meter whose rules change
    (`max_gap`, `rated_maximum` …) is put down to be rolled up again. What the model leaves out of a meter is as its
    agent offers it.

    Raises ModelRefusedError when the model contradicts itself, or changes what stored readings mean (the unit,
    kind, interval or resource of a meter that has readings, the unit of a product that was made).
    """
    check_site_model(model)
    reports = connection.execute(OFFERS, {"organisation": model.organisation.id, "site": model.site.id}).fetchall()
    steps = _steps(with_offered_settings(model, parse_offers((agent, report) for agent, report, _ in reports)))
    rows: list[TupleRow] | None = None
    with connection.transaction():
        while isinstance(step := _advance(steps, rows), Step):
            cursor = connection.execute(step.statement, step.values)
            rows = cursor.fetchall() if cursor.description else []
    return step


async def apply_checked_site_model(connection: AsyncConnection, model: SiteModel) -> list[str]:
    """The same on one of the API's connections, for a model that `check_site_model` let pass."""
    steps = _steps(model)
    rows: list[TupleRow] | None = None
    async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        while isinstance(step := _advance(steps, rows), Step):
            await cursor.execute(step.statement, step.values)
            rows = await cursor.fetchall() if cursor.description else []
    return step


def check_site_model(model: SiteModel) -> None:
    """Raises ModelRefusedError with everything in which the model contradicts itself."""
    if problems := model.problems():
        raise ModelRefusedError([f"{'.'.join(map(str, p.location))}: {p.message}" for p in problems])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement and its values."""

    statement: LiteralString
    values: Mapping[str, Any]


Steps = Generator[Step, list[TupleRow] | None, list[str]]


def _advance(steps: Steps, rows: list[TupleRow] | None) -> Step | list[str]:
    """The next step, or the result at the end. `rows` are those of the step before."""
    try:
        return steps.send(rows)
    except StopIteration as end:
        result: list[str] = end.value
        return result


def _steps(model: SiteModel) -> Steps:
    """What writes a model, knowing no connection: each step is answered with its rows. Ends with what is left over."""
    organisation: dict[str, Any] = {"key": model.organisation.id, "name": model.organisation.name}
    yield Step(statement=_ORGANISATION, values=organisation)
    owner = _only((yield Step(statement=_ORGANISATION_ID, values=organisation)))
    place = {
        "organisation": owner,
        "key": model.site.id,
        "name": model.site.name,
        "time_zone": model.site.time_zone,
        "fiscal_year_start": model.site.fiscal_year_start,
        "shifts": Jsonb([shift.model_dump(mode="json") for shift in model.site.shifts]),
        "holidays": sorted(set(model.site.holidays)),
    }
    yield Step(statement=_SITE, values=place)
    site = _only((yield Step(statement=_SITE_ID, values=place)))
    meters = {"site": site, "parts": Jsonb(_meters(model))}
    products = {"site": site, "parts": _parts(model, "products")}
    _refuse_changed_meaning(
        meters=(yield Step(statement=_CHANGED_IN_USE, values=meters)) or [],
        products=(yield Step(statement=_PRODUCT_UNIT_IN_USE, values=products)) or [],
    )
    groups = ("lines", "products", "agents", "meters", "virtual_meters")
    keys = {group: [part.id for part in getattr(model, group)] for group in groups}
    _refuse_double_names((yield Step(statement=_NAMED_TWICE, values={"site": site, **keys})) or [])
    changed = [number for (number,) in (yield Step(statement=_CHANGED_RULES, values=meters)) or []]
    if changed:
        # A step of the roll-up that began with the old rule is over then, and the next one begins with the new.
        yield Step(statement=_TAKE_TURN, values={"turn": ROLLUP_TURN})
        yield Step(statement=_COMPUTE_AGAIN, values={"meters": changed})
    yield Step(statement=_LINES, values={"site": site, "parts": _parts(model, "lines")})
    yield Step(statement=_PRODUCTS, values=products)
    yield Step(statement=_AGENTS, values={"site": site, "parts": _parts(model, "agents")})
    yield Step(statement=_METERS, values=meters)
    yield Step(statement=_PARENTS, values=meters)
    yield Step(statement=_VIRTUAL_METERS, values={"site": site, "parts": _parts(model, "virtual_meters")})
    left_over = (yield Step(statement=_LEFT_OVER, values={"site": site, **keys})) or []
    return [f"{what} {key}" for what, key in left_over]


def _refuse_changed_meaning(*, meters: Sequence[TupleRow], products: Sequence[TupleRow]) -> None:
    found = [
        f"meter {key} has readings as {resource}, {kind}"
        + (f" of {interval_ms / 1000:g} s" if kind == MeterKind.INTERVAL else "")
        + f", in {unit}"
        + (f" with conversion {conversion:g}" if conversion is not None else "")
        + ", which would come to mean something else; give the changed meter a new id"
        for key, resource, kind, unit, conversion, interval_ms in meters
    ]
    found += [
        f"product {key} was made and is counted in {unit}; give the product with another unit a new id"
        for key, unit in products
    ]
    if found:
        raise ModelRefusedError(found)


def _refuse_double_names(rows: Sequence[TupleRow]) -> None:
    if rows:
        raise ModelRefusedError(
            [f"{key} is the id of a {what} from before, which is not removed; choose another id" for what, key in rows]
        )


def _only(rows: list[TupleRow] | None) -> int:
    if not rows:
        raise AssertionError("the part was written one statement ago")
    return int(rows[0][0])


def _parts(model: SiteModel, group: str) -> Jsonb:
    return Jsonb([part.model_dump(mode="json") for part in getattr(model, group)])


def _meters(model: SiteModel) -> list[dict[str, object]]:
    return [
        {
            **meter.model_dump(mode="json"),
            "canonical_unit": meter.canonical_unit,
            "canonical_factor": meter.canonical_factor,
        }
        for meter in model.meters
    ]
