"""The site model between its file form and its tables.

`apply_site_model` writes what a model says and removes nothing: readings may hang on any part.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from api.errors import ModelRefusedError
from schemas.site import SiteModel

Connection = psycopg.Connection[TupleRow]

# A name that the file leaves out stays what it was, and is the key at first.
_ORGANISATION: LiteralString = """
INSERT INTO organisation AS o (key, name) VALUES (%(key)s, coalesce(%(name)s, %(key)s))
ON CONFLICT (key) DO UPDATE SET name = coalesce(%(name)s, o.name)
RETURNING id
"""
_SITE: LiteralString = """
INSERT INTO site AS s (organisation_id, key, name, time_zone)
VALUES (%(organisation)s, %(key)s, coalesce(%(name)s, %(key)s), %(time_zone)s)
ON CONFLICT (organisation_id, key) DO UPDATE
SET name = coalesce(%(name)s, s.name), time_zone = excluded.time_zone
RETURNING id
"""
_LINES: LiteralString = """
INSERT INTO line AS l (site_id, key, name)
SELECT %(site)s, id, coalesce(name, id) FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name
"""
_PRODUCTS: LiteralString = """
INSERT INTO product (site_id, key, name, unit, family, mass_kg)
SELECT %(site)s, id, coalesce(name, id), unit, family, mass_kg
FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text, unit text, family text, mass_kg float8)
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, unit = excluded.unit, family = excluded.family, mass_kg = excluded.mass_kg
"""
_AGENTS: LiteralString = """
INSERT INTO agent (site_id, key, name)
SELECT %(site)s, id, coalesce(name, id) FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name
"""
_METERS: LiteralString = """
INSERT INTO meter (site_id, key, name, agent_id, line_id, resource, carrier, kind, unit, canonical_unit,
                   canonical_factor, conversion, max_gap_ms, interval_ms, share)
SELECT %(site)s, p.id, coalesce(p.name, p.id), agent.id, line.id, p.resource, p.carrier, p.kind, p.unit,
       p.canonical_unit, p.canonical_factor, p.conversion, p.max_gap, p.interval, nullif(p.share, 'null')
FROM jsonb_to_recordset(%(parts)s) AS p (
    id text, name text, agent text, line text, resource text, carrier text, kind text, unit text,
    canonical_unit text, canonical_factor float8, conversion float8, max_gap bigint, interval bigint, share jsonb)
JOIN agent ON agent.site_id = %(site)s AND agent.key = p.agent
LEFT JOIN line ON line.site_id = %(site)s AND line.key = p.line
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, agent_id = excluded.agent_id, line_id = excluded.line_id, resource = excluded.resource,
    carrier = excluded.carrier, kind = excluded.kind, unit = excluded.unit, canonical_unit = excluded.canonical_unit,
    canonical_factor = excluded.canonical_factor, conversion = excluded.conversion,
    max_gap_ms = excluded.max_gap_ms, interval_ms = excluded.interval_ms, share = excluded.share
"""
_PARENTS: LiteralString = """
UPDATE meter SET parent_id = parent.id
FROM jsonb_to_recordset(%(parts)s) AS p (id text, parent text)
LEFT JOIN meter AS parent ON parent.site_id = %(site)s AND parent.key = p.parent
WHERE meter.site_id = %(site)s AND meter.key = p.id AND meter.parent_id IS DISTINCT FROM parent.id
"""
_LEFT_OVER: LiteralString = """
SELECT 'line', key FROM line WHERE site_id = %(site)s AND key <> ALL (%(lines)s)
UNION ALL SELECT 'product', key FROM product WHERE site_id = %(site)s AND key <> ALL (%(products)s)
UNION ALL SELECT 'agent', key FROM agent WHERE site_id = %(site)s AND key <> ALL (%(agents)s)
UNION ALL SELECT 'meter', key FROM meter WHERE site_id = %(site)s AND key <> ALL (%(meters)s)
ORDER BY 1, 2
"""
# Readings are stored in the meter's own unit and mean something else once it changes. A scan of all readings for one
# meter would take for ever, so this looks where every reading leaves a trace once it is rolled up, and among
# readings of the last hour, which may not be yet.
_CHANGED_IN_USE: LiteralString = """
SELECT m.key, m.resource, m.kind, m.unit, m.conversion
FROM meter AS m JOIN jsonb_to_recordset(%(parts)s) AS p (
    id text, resource text, kind text, unit text, conversion float8) ON p.id = m.key
WHERE m.site_id = %(site)s
  AND (m.resource, m.kind, m.unit, m.conversion) IS DISTINCT FROM (p.resource, p.kind, p.unit, p.conversion)
  AND (EXISTS (SELECT FROM open_end AS r WHERE r.meter_id = m.id)
       OR EXISTS (SELECT FROM consumption AS c WHERE c.meter_id = m.id)
       OR EXISTS (SELECT FROM pending AS d WHERE d.meter_id = m.id)
       OR EXISTS (SELECT FROM reading AS r WHERE r.meter_id = m.id AND r.at > now() - interval '1 hour'))
ORDER BY m.key
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
    `meter oven-gas`, for a person to decide upon.

    Raises ModelRefusedError when the model contradicts itself, or changes what stored readings mean (the unit,
    kind or resource of a meter that has readings, the unit of a product that was made).
    """
    if problems := model.problems():
        raise ModelRefusedError([f"{'.'.join(map(str, p.location))}: {p.message}" for p in problems])
    with connection.transaction():
        organisation = _id(connection, _ORGANISATION, {"key": model.organisation.id, "name": model.organisation.name})
        site = _id(
            connection,
            _SITE,
            {
                "organisation": organisation,
                "key": model.site.id,
                "name": model.site.name,
                "time_zone": model.site.time_zone,
            },
        )
        meters = {"site": site, "parts": Jsonb(_meters(model))}
        products = {"site": site, "parts": _parts(model, "products")}
        _refuse_changed_meaning(connection, meters=meters, products=products)
        connection.execute(_LINES, {"site": site, "parts": _parts(model, "lines")})
        connection.execute(_PRODUCTS, products)
        connection.execute(_AGENTS, {"site": site, "parts": _parts(model, "agents")})
        connection.execute(_METERS, meters)
        connection.execute(_PARENTS, meters)
        groups = ("lines", "products", "agents", "meters")
        keys = {group: [part.id for part in getattr(model, group)] for group in groups}
        return [f"{what} {key}" for what, key in connection.execute(_LEFT_OVER, {"site": site, **keys})]


def apply_site_model_at(database_url: str, model: SiteModel) -> list[str]:
    """The same on a connection of its own, for callers that are not on one (the API, from a thread)."""
    with psycopg.connect(database_url, autocommit=True, connect_timeout=10, application_name="afkobling") as connection:
        return apply_site_model(connection, model)


def _refuse_changed_meaning(connection: Connection, *, meters: dict[str, Any], products: dict[str, Any]) -> None:
    found = [
        f"meter {key} has readings as {resource}, {kind}, in {unit}"
        + (f" with conversion {conversion:g}" if conversion is not None else "")
        + ", which would come to mean something else; give the changed meter a new id"
        for key, resource, kind, unit, conversion in connection.execute(_CHANGED_IN_USE, meters)
    ]
    found += [
        f"product {key} was made and is counted in {unit}; give the product with another unit a new id"
        for key, unit in connection.execute(_PRODUCT_UNIT_IN_USE, products)
    ]
    if found:
        raise ModelRefusedError(found)


def _id(connection: Connection, statement: LiteralString, values: dict[str, object]) -> int:
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise AssertionError("INSERT … RETURNING gives a row")
    return int(row[0])


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
