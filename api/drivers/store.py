"""Driver values: the economic side, by whole local days of an organisation, a site or a part of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all
from api.indicators.drivers import Driver, DriverSpan
from api.periods import Days
from api.problems import ProblemError, bad_value

_PAGE: LiteralString = """
SELECT * FROM (
    SELECT v.driver, line.key AS line, v.family, product.key AS product, v.from_date, v.to_date, v.value, v.unit,
           v.price_year, v.source, v.recorded_at,
           ARRAY[v.driver, v.from_date::text, v.to_date::text, coalesce(line.key, ''), coalesce(v.family, ''),
                 coalesce(product.key, '')] COLLATE "C" AS place
    FROM driver_value AS v LEFT JOIN line ON line.id = v.line_id LEFT JOIN product ON product.id = v.product_id
    WHERE v.organisation_id = %(organisation)s AND v.site_id IS NOT DISTINCT FROM %(site)s
      AND (%(driver)s::text IS NULL OR v.driver = %(driver)s)
) AS found
WHERE %(after)s::text[] IS NULL OR place > %(after)s::text[]
ORDER BY place LIMIT %(limit)s
"""
_WITHIN: LiteralString = """
SELECT line.key AS line, v.family, product.key AS product, v.driver, v.from_date, v.to_date, v.value, v.unit,
       v.price_year
FROM driver_value AS v LEFT JOIN line ON line.id = v.line_id LEFT JOIN product ON product.id = v.product_id
WHERE v.organisation_id = %(organisation)s AND v.site_id IS NOT DISTINCT FROM %(site)s
  AND v.from_date >= %(first)s AND v.to_date <= %(end)s
ORDER BY v.from_date, v.to_date
"""
# Held while values are checked and written, so that two writers can't put overlapping spans beside each other.
_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('driver_value'), %(organisation)s)"
_UPSERT: LiteralString = """
INSERT INTO driver_value (organisation_id, site_id, line_id, family, product_id, driver, from_date, to_date, value,
                          unit, price_year, source)
VALUES (%(organisation)s, %(site)s, (SELECT id FROM line WHERE site_id = %(site)s AND key = %(line)s), %(family)s,
        (SELECT id FROM product WHERE site_id = %(site)s AND key = %(product)s), %(driver)s, %(from_date)s,
        %(to_date)s, %(value)s, %(unit)s, %(price_year)s, %(source)s)
ON CONFLICT ON CONSTRAINT driver_value_of_a_span DO UPDATE
SET value = excluded.value, unit = excluded.unit, price_year = excluded.price_year, source = excluded.source,
    recorded_at = now()
"""
_REMOVE: LiteralString = """
DELETE FROM driver_value AS v
WHERE v.organisation_id = %(organisation)s AND v.site_id IS NOT DISTINCT FROM %(site)s AND v.driver = %(driver)s
  AND v.line_id IS NOT DISTINCT FROM (SELECT id FROM line WHERE site_id = %(site)s AND key = %(line)s)
  AND v.family IS NOT DISTINCT FROM %(family)s
  AND v.product_id IS NOT DISTINCT FROM (SELECT id FROM product WHERE site_id = %(site)s AND key = %(product)s)
  AND v.from_date >= %(first)s AND v.to_date <= %(end)s
RETURNING v.id
"""
_OVERLAPS: LiteralString = """
SELECT a.driver, coalesce(line.key, a.family, product.key) AS of_part, a.from_date, a.to_date,
       b.from_date AS other_from, b.to_date AS other_to
FROM driver_value AS a JOIN driver_value AS b
  ON b.organisation_id = a.organisation_id AND b.site_id IS NOT DISTINCT FROM a.site_id AND b.driver = a.driver
     AND b.line_id IS NOT DISTINCT FROM a.line_id AND b.family IS NOT DISTINCT FROM a.family
     AND b.product_id IS NOT DISTINCT FROM a.product_id
     AND b.id > a.id AND b.from_date < a.to_date AND a.from_date < b.to_date
LEFT JOIN line ON line.id = a.line_id LEFT JOIN product ON product.id = a.product_id
WHERE a.organisation_id = %(organisation)s AND a.site_id IS NOT DISTINCT FROM %(site)s
ORDER BY a.driver, 2 NULLS FIRST, a.from_date, a.to_date LIMIT 20
"""
_PARTS: LiteralString = """
SELECT 'line' AS kind, key FROM line WHERE site_id = %(site)s
UNION ALL SELECT 'product', key FROM product WHERE site_id = %(site)s
UNION ALL SELECT 'family', family FROM product WHERE site_id = %(site)s AND family IS NOT NULL
"""
PARTS = ("line", "family", "product")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """An organisation, one of its sites, or one part of that site: a line, a product family or a product."""

    organisation_id: int
    site_id: int | None = None
    line: str | None = None
    family: str | None = None
    product: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """As the statements name them."""
        return {
            "organisation": self.organisation_id,
            "site": self.site_id,
            "line": self.line,
            "family": self.family,
            "product": self.product,
        }


async def page(
    connection: Connection,
    whose: Whose,
    *,
    driver: Driver | None,
    after: Sequence[str] | None,
    limit: int,
) -> list[DictRow]:
    """Driver values of an organisation's own or of a site with its parts, by driver and span, beginning after a key."""
    values = {**whose.values, "driver": driver, "after": list(after) if after else None, "limit": limit}
    return await fetch_all(connection, _PAGE, values)


async def within(
    connection: Connection, organisation_id: int, site_id: int | None, days: Days
) -> dict[tuple[Whose, Driver], list[DriverSpan]]:
    """The values of a site with its parts, or of an organisation, whose spans lie inside the days; by time."""
    own = {"organisation": organisation_id, "site": site_id}
    found: dict[tuple[Whose, Driver], list[DriverSpan]] = {}
    for row in await fetch_all(connection, _WITHIN, {**own, "first": days.first, "end": days.end}):
        parts = {part: row[part] for part in PARTS}
        whose = Whose(organisation_id=organisation_id, site_id=site_id, **parts)
        found.setdefault((whose, Driver(row["driver"])), []).append(
            DriverSpan(
                first=row["from_date"],
                end=row["to_date"],
                value=row["value"],
                unit=row["unit"],
                price_year=row["price_year"],
            )
        )
    return found


async def save(connection: Connection, whose: Whose, values: Sequence[Mapping[str, Any]]) -> None:
    """Write values, all or none; a value of the same driver, part and span is replaced.

    Raises a 409 problem when spans of one driver would overlap: their sum would count days twice. Raises a 422 problem
    for a line, family or product that the site has not.
    """
    own = {"organisation": whose.organisation_id, "site": whose.site_id}
    async with connection.transaction():
        await connection.execute(_LOCK, own)
        await _check_parts(connection, whose, values)
        for value in values:
            await connection.execute(_UPSERT, {**dict.fromkeys(PARTS), **value, **own})
        overlaps = await fetch_all(connection, _OVERLAPS, own)
        if overlaps:
            errors = [
                {
                    "place": " ".join(filter(None, (row["driver"], row["of_part"])))
                    + f" {row['from_date']} to {row['to_date']}",
                    "message": f"overlaps the one from {row['other_from']} to {row['other_to']}",
                }
                for row in overlaps
            ]
            listed = "; ".join(f"{error['place']} {error['message']}" for error in errors[:3])
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "overlapping-driver-values",
                "values of one driver must not overlap, as days would count twice; nothing was stored. Remove the ones "
                f"that are wrong first: {listed}",
                errors=errors,
            )


async def remove(connection: Connection, whose: Whose, driver: Driver, days: Days) -> int:
    """Take out the values whose spans lie inside the days; how many there were."""
    values = {**whose.values, "driver": driver, "first": days.first, "end": days.end}
    return len(await fetch_all(connection, _REMOVE, values))


async def _check_parts(connection: Connection, whose: Whose, values: Sequence[Mapping[str, Any]]) -> None:
    named = [(i, part, value[part]) for i, value in enumerate(values) for part in PARTS if value.get(part) is not None]
    if not named:
        return
    there = {(row["kind"], row["key"]) for row in await fetch_all(connection, _PARTS, {"site": whose.site_id})}
    for i, part, key in named:
        if (part, key) not in there:
            known = ", ".join(sorted(name for kind, name in there if kind == part)) or "none"
            raise bad_value(f"items.{i}.{part}", f"the site has no {part} {key!r}; known: {known}")
