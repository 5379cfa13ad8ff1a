"""The statements that write a site model, for `site_model`."""

from __future__ import annotations

from typing import LiteralString

# A name that the file leaves out stays what it was, and is the key at first. What stays as it is is not written: the
# collectors read the model again whenever something was.
ORGANISATION: LiteralString = """
INSERT INTO organisation AS o (key, name) VALUES (%(key)s, coalesce(%(name)s, %(key)s))
ON CONFLICT (key) DO UPDATE SET name = coalesce(%(name)s, o.name)
WHERE o.name IS DISTINCT FROM coalesce(%(name)s, o.name)
"""
ORGANISATION_ID: LiteralString = "SELECT id FROM organisation WHERE key = %(key)s"
SITE: LiteralString = """
INSERT INTO site AS s (organisation_id, key, name, time_zone, fiscal_year_start, shifts, holidays, grid_area)
VALUES (%(organisation)s, %(key)s, coalesce(%(name)s, %(key)s), %(time_zone)s, %(fiscal_year_start)s, %(shifts)s,
        %(holidays)s, %(grid_area)s)
ON CONFLICT (organisation_id, key) DO UPDATE
SET name = coalesce(%(name)s, s.name), time_zone = excluded.time_zone,
    fiscal_year_start = excluded.fiscal_year_start, shifts = excluded.shifts, holidays = excluded.holidays,
    grid_area = excluded.grid_area
WHERE (s.name, s.time_zone, s.fiscal_year_start, s.shifts, s.holidays, s.grid_area)
      IS DISTINCT FROM (coalesce(%(name)s, s.name), excluded.time_zone, excluded.fiscal_year_start, excluded.shifts,
                        excluded.holidays, excluded.grid_area)
"""
SITE_ID: LiteralString = "SELECT id FROM site WHERE organisation_id = %(organisation)s AND key = %(key)s"
LINES: LiteralString = """
INSERT INTO line AS l (site_id, key, name, next)
SELECT %(site)s, id, coalesce(name, id), next FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text, next text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, next = excluded.next
WHERE (l.name, l.next) IS DISTINCT FROM (excluded.name, excluded.next)
"""
UTILITIES: LiteralString = """
INSERT INTO utility AS u (site_id, key, name, share)
SELECT %(site)s, id, coalesce(name, id), share
FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text, share jsonb)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, share = excluded.share
WHERE (u.name, u.share) IS DISTINCT FROM (excluded.name, excluded.share)
"""
PRODUCTS: LiteralString = """
INSERT INTO product AS r (site_id, key, name, unit, family, mass_kg, price_dkk, co_products)
SELECT %(site)s, id, coalesce(name, id), unit, family, mass_kg, price_dkk, nullif(co_products, 'null')
FROM jsonb_to_recordset(%(parts)s) AS p (
    id text, name text, unit text, family text, mass_kg float8, price_dkk float8, co_products jsonb)
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, unit = excluded.unit, family = excluded.family, mass_kg = excluded.mass_kg,
    price_dkk = excluded.price_dkk, co_products = excluded.co_products
WHERE (r.name, r.unit, r.family, r.mass_kg, r.price_dkk, r.co_products)
      IS DISTINCT FROM (excluded.name, excluded.unit, excluded.family, excluded.mass_kg, excluded.price_dkk,
                        excluded.co_products)
"""
AGENTS: LiteralString = """
INSERT INTO agent AS a (site_id, key, name)
SELECT %(site)s, id, coalesce(name, id) FROM jsonb_to_recordset(%(parts)s) AS p (id text, name text)
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name WHERE a.name <> excluded.name
"""
METERS: LiteralString = """
INSERT INTO meter AS m (site_id, key, name, agent_id, line_id, resource, carrier, kind, unit, canonical_unit,
                   to_canonical, conversion, max_gap_ms, interval_ms, register_width, rated_maximum,
                   dip_window_ms, frozen_after_ms, cadence_ms, accuracy_class, share, direction,
                   watch_nights, utility_id, product_id, origin, recycled_content, waste_code, treatment)
SELECT %(site)s, p.id, coalesce(p.name, p.id), agent.id, line.id, p.resource, p.carrier, p.kind, p.unit,
       p.canonical_unit, p.to_canonical, p.conversion, p.max_gap, p.interval, p.register_width, p.rated_maximum,
       p.dip_window, p.frozen_after, p.cadence, p.accuracy_class, nullif(p.share, 'null'),
       p.direction, p.watch_nights, utility.id, product.id, p.origin, p.recycled_content, p.waste_code, p.treatment
FROM jsonb_to_recordset(%(parts)s) AS p (
    id text, name text, agent text, line text, resource text, carrier text, kind text, unit text,
    canonical_unit text, to_canonical float8, conversion float8, max_gap bigint, interval bigint,
    register_width float8, rated_maximum float8, dip_window bigint, frozen_after bigint, cadence bigint,
    accuracy_class float8, share jsonb, direction text, watch_nights bool, utility text, product text, origin text,
    recycled_content float8, waste_code text, treatment text)
JOIN agent ON agent.site_id = %(site)s AND agent.key = p.agent
LEFT JOIN line ON line.site_id = %(site)s AND line.key = p.line
LEFT JOIN utility ON utility.site_id = %(site)s AND utility.key = p.utility
LEFT JOIN product ON product.site_id = %(site)s AND product.key = p.product
ON CONFLICT (site_id, key) DO UPDATE
SET name = excluded.name, agent_id = excluded.agent_id, line_id = excluded.line_id, resource = excluded.resource,
    carrier = excluded.carrier, kind = excluded.kind, unit = excluded.unit, canonical_unit = excluded.canonical_unit,
    to_canonical = excluded.to_canonical, conversion = excluded.conversion,
    max_gap_ms = excluded.max_gap_ms, interval_ms = excluded.interval_ms, register_width = excluded.register_width,
    rated_maximum = excluded.rated_maximum, dip_window_ms = excluded.dip_window_ms,
    frozen_after_ms = excluded.frozen_after_ms, cadence_ms = excluded.cadence_ms,
    accuracy_class = excluded.accuracy_class, share = excluded.share, direction = excluded.direction,
    watch_nights = excluded.watch_nights, utility_id = excluded.utility_id, product_id = excluded.product_id,
    origin = excluded.origin, recycled_content = excluded.recycled_content, waste_code = excluded.waste_code,
    treatment = excluded.treatment
WHERE (m.name, m.agent_id, m.line_id, m.resource, m.carrier, m.kind, m.unit, m.canonical_unit, m.to_canonical,
       m.conversion, m.max_gap_ms, m.interval_ms, m.register_width, m.rated_maximum, m.dip_window_ms,
       m.frozen_after_ms, m.cadence_ms, m.accuracy_class, m.share, m.direction,
       m.watch_nights, m.utility_id, m.product_id, m.origin, m.recycled_content, m.waste_code, m.treatment)
      IS DISTINCT FROM
      (excluded.name, excluded.agent_id, excluded.line_id, excluded.resource, excluded.carrier, excluded.kind,
       excluded.unit, excluded.canonical_unit, excluded.to_canonical, excluded.conversion, excluded.max_gap_ms,
       excluded.interval_ms, excluded.register_width, excluded.rated_maximum, excluded.dip_window_ms,
       excluded.frozen_after_ms, excluded.cadence_ms, excluded.accuracy_class, excluded.share, excluded.direction,
       excluded.watch_nights, excluded.utility_id, excluded.product_id, excluded.origin, excluded.recycled_content,
       excluded.waste_code, excluded.treatment)
"""
PARENTS: LiteralString = """
UPDATE meter SET parent_id = parent.id
FROM jsonb_to_recordset(%(parts)s) AS p (id text, parent text)
LEFT JOIN meter AS parent ON parent.site_id = %(site)s AND parent.key = p.parent
WHERE meter.site_id = %(site)s AND meter.key = p.id AND meter.parent_id IS DISTINCT FROM parent.id
"""
VIRTUAL_METERS: LiteralString = """
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
NAMED_TWICE: LiteralString = """
SELECT 'meter', key FROM meter WHERE site_id = %(site)s AND key = ANY (%(virtual_meters)s)
UNION ALL SELECT 'virtual meter', key FROM virtual_meter WHERE site_id = %(site)s AND key = ANY (%(meters)s)
ORDER BY 1, 2
"""
LEFT_OVER: LiteralString = """
SELECT 'line', key FROM line WHERE site_id = %(site)s AND key <> ALL (%(lines)s)
UNION ALL SELECT 'utility', key FROM utility WHERE site_id = %(site)s AND key <> ALL (%(utilities)s)
UNION ALL SELECT 'product', key FROM product WHERE site_id = %(site)s AND key <> ALL (%(products)s)
UNION ALL SELECT 'agent', key FROM agent WHERE site_id = %(site)s AND key <> ALL (%(agents)s)
UNION ALL SELECT 'meter', key FROM meter WHERE site_id = %(site)s AND key <> ALL (%(meters)s)
UNION ALL SELECT 'virtual meter', key FROM virtual_meter WHERE site_id = %(site)s AND key <> ALL (%(virtual_meters)s)
ORDER BY 1, 2
"""
# Readings are stored in the meter's own unit and mean something else once it changes. A scan of all readings for one
# meter would take for ever, so this looks where every reading leaves a trace once it is rolled up, and among the
# readings that are not yet: a late one, from before, stands in `pending`.
CHANGED_IN_USE: LiteralString = """
SELECT m.key, m.resource, m.kind, m.unit, m.conversion, m.interval_ms
FROM meter AS m JOIN jsonb_to_recordset(%(parts)s) AS p (
    id text, resource text, kind text, unit text, conversion float8, interval bigint) ON p.id = m.key
WHERE m.site_id = %(site)s
  AND ((m.resource, m.kind, m.unit, m.conversion) IS DISTINCT FROM (p.resource, p.kind, p.unit, p.conversion)
       OR (m.kind = 'interval' AND m.interval_ms IS DISTINCT FROM p.interval))
  AND (EXISTS (SELECT FROM rolled_meter AS r WHERE r.meter_id = m.id)
       OR EXISTS (SELECT FROM consumption AS c WHERE c.meter_id = m.id)
       OR EXISTS (SELECT FROM pending AS d WHERE d.meter_id = m.id)
       OR EXISTS (SELECT FROM meter_exchange AS x WHERE x.meter_id = m.id)
       OR EXISTS (SELECT FROM manual_reading AS h WHERE h.meter_id = m.id)
       OR EXISTS (SELECT FROM reading AS r WHERE r.meter_id = m.id
                  AND r.at >= coalesce((SELECT computed_to FROM rollup_progress), '-infinity'))
       -- an archived reading was rolled up before; where that is forgotten, any of the site's may be this meter's
       OR EXISTS (SELECT FROM archive_file AS f WHERE f.site_id = m.site_id AND f.restored_at IS NULL
                  AND (SELECT computed_to FROM rollup_progress) IS NULL))
ORDER BY m.key
"""
CHANGED_RULES: LiteralString = """
SELECT m.id
FROM meter AS m JOIN jsonb_to_recordset(%(parts)s) AS p (
    id text, max_gap bigint, register_width float8, rated_maximum float8, dip_window bigint, frozen_after bigint)
    ON p.id = m.key
WHERE m.site_id = %(site)s
  AND (m.max_gap_ms, m.register_width, m.rated_maximum, m.dip_window_ms, m.frozen_after_ms)
      IS DISTINCT FROM (p.max_gap, p.register_width, p.rated_maximum, p.dip_window, p.frozen_after)
"""
MODEL_VERSION: LiteralString = "SELECT version::int FROM model_version"
# Days tell by which model they were shared out: it is enough that somebody looks.
LOOK_AT_ATTRIBUTION: LiteralString = """
INSERT INTO attribution_due (site_id) SELECT %(site)s FROM model_version WHERE version <> %(before)s
"""
TAKE_TURN: LiteralString = "SELECT pg_advisory_xact_lock(%(turn)s)"
# All that a meter's consumption was computed from, a week at a time.
COMPUTE_AGAIN: LiteralString = """
INSERT INTO pending (meter_id, from_at, to_at)
SELECT m.meter_id, week, least(week + interval '168 hours', p.closed_to)
FROM rolled_meter AS m CROSS JOIN rollup_progress AS p
CROSS JOIN LATERAL generate_series(m.first_at, p.closed_to, interval '168 hours') AS week
WHERE m.meter_id = ANY (%(meters)s)
"""
PRODUCT_UNIT_IN_USE: LiteralString = """
SELECT product.key, product.unit
FROM product JOIN jsonb_to_recordset(%(parts)s) AS p (id text, unit text) ON p.id = product.key
WHERE product.site_id = %(site)s AND product.unit <> p.unit
  AND EXISTS (SELECT FROM run WHERE run.product_id = product.id)
ORDER BY product.key
"""
