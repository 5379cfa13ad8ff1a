"""Driver values: the economic side, by whole local days of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from typing import Any, LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all
from api.periods import Days
from api.problems import ProblemError
from api.site_store import SiteRow

_PAGE: LiteralString = """
SELECT driver, from_date, to_date, value, unit, price_year, source, recorded_at, id FROM driver_value
WHERE site_id = %(site)s AND (%(driver)s::text IS NULL OR driver = %(driver)s)
  AND (%(after)s::text IS NULL OR (driver, from_date::text, to_date::text) > (%(after)s, %(after_from)s, %(after_to)s))
ORDER BY driver, from_date::text, to_date::text LIMIT %(limit)s
"""
_WITHIN: LiteralString = """
SELECT from_date, to_date, value, unit, price_year FROM driver_value
WHERE site_id = %(site)s AND driver = %(driver)s AND from_date >= %(first)s AND to_date <= %(end)s
ORDER BY from_date, to_date
"""
# Held while values are checked and written, so that two writers can't put overlapping spans beside each other.
_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('driver_value'), %(site)s)"
_UPSERT: LiteralString = """
INSERT INTO driver_value (organisation_id, site_id, driver, from_date, to_date, value, unit, price_year, source)
VALUES (%(organisation)s, %(site)s, %(driver)s, %(from_date)s, %(to_date)s, %(value)s, %(unit)s, %(price_year)s,
        %(source)s)
ON CONFLICT (site_id, driver, from_date, to_date) DO UPDATE
SET value = excluded.value, unit = excluded.unit, price_year = excluded.price_year, source = excluded.source,
    recorded_at = now()
"""
_OVERLAPS: LiteralString = """
SELECT a.driver, a.from_date, a.to_date, b.from_date AS other_from, b.to_date AS other_to
FROM driver_value AS a JOIN driver_value AS b
  ON b.site_id = a.site_id AND b.driver = a.driver AND b.id > a.id
     AND b.from_date < a.to_date AND a.from_date < b.to_date
WHERE a.site_id = %(site)s ORDER BY 1, 2, 3 LIMIT 20
"""


class Driver(StrEnum):
    """What the economic side is told in."""

    REVENUE = "revenue"
    VALUE_ADDED = "value_added"
    PRODUCTION_VOLUME = "production_volume"

    @property
    def is_money(self) -> bool:
        return self is not Driver.PRODUCTION_VOLUME


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSpan:
    """A driver value of the days [first, end)."""

    first: date
    end: date
    value: Decimal
    unit: str
    price_year: int | None


async def page(
    connection: Connection,
    site: SiteRow,
    *,
    driver: Driver | None,
    after: Sequence[str] | None,
    limit: int,
) -> list[DictRow]:
    """Driver values by driver and span, beginning after a key."""
    after_driver, after_from, after_to = after or (None, None, None)
    values = {
        "site": site.id,
        "driver": driver,
        "after": after_driver,
        "after_from": after_from,
        "after_to": after_to,
        "limit": limit,
    }
    return await fetch_all(connection, _PAGE, values)


async def within(connection: Connection, site: SiteRow, driver: Driver, days: Days) -> list[DriverSpan]:
    """The values whose spans lie inside the period, by time."""
    rows = await fetch_all(
        connection, _WITHIN, {"site": site.id, "driver": driver, "first": days.first, "end": days.end}
    )
    return [
        DriverSpan(
            first=row["from_date"],
            end=row["to_date"],
            value=row["value"],
            unit=row["unit"],
            price_year=row["price_year"],
        )
        for row in rows
    ]


async def save(connection: Connection, site: SiteRow, values: Sequence[Mapping[str, Any]]) -> None:
    """Write values, all or none; a value of the same driver and span is replaced.

    Raises a 409 problem when spans of one driver would overlap: their sum would count days twice.
    """
    own = {"organisation": site.organisation_id, "site": site.id}
    async with connection.transaction():
        await connection.execute(_LOCK, own)
        for value in values:
            await connection.execute(_UPSERT, {**value, **own})
        overlaps = await fetch_all(connection, _OVERLAPS, own)
        if overlaps:
            errors = [
                {
                    "place": f"{row['driver']} {row['from_date']} to {row['to_date']}",
                    "message": f"overlaps the one from {row['other_from']} to {row['other_to']}",
                }
                for row in overlaps
            ]
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "overlapping-driver-values",
                "values of one driver must not overlap, as days would count twice; nothing was stored",
                errors=errors,
            )
