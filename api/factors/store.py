"""CO2e factors as the database holds them: those that hold somewhere, lists, versions and sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, LiteralString

import numpy as np
from psycopg.rows import DictRow

from api.binary_rows import copy_rows, row_type, unix_ms
from api.calendar.clock import Period, midnight
from api.database import Connection, fetch_all
from api.indicators.carbon import HOUR_MS, Factor, Series
from api.problems import ProblemError, not_found
from api.site_store import SiteRow
from schemas.carriers import FactorBasis, Scope

_HOLDING: LiteralString = """
SELECT id, key, version, carrier, scope, basis, area, unit, value, from_date, to_date FROM current_factor
WHERE organisation_id = %(organisation)s AND (area IS NULL OR area = %(area)s)
  AND from_date <= %(last)s AND (to_date IS NULL OR to_date >= %(first)s)
ORDER BY id
"""
_HOURS: LiteralString = """
COPY (
    SELECT factor_id, hour, kg_per_unit FROM factor_hour
    WHERE factor_id = ANY (%s) AND hour >= %s AND hour < %s ORDER BY factor_id, hour
) TO STDOUT (FORMAT binary)
"""
_HOUR_ROW = row_type(factor_id="i4", hour="i8", kg_per_unit="f8")
_ALL_HOURS: LiteralString = """
SELECT hour, kg_per_unit FROM factor_hour WHERE factor_id = %s ORDER BY hour
"""
_PAGE: LiteralString = """
SELECT f.*, (SELECT count(*) FROM factor_hour WHERE factor_id = f.id) AS hours
FROM (
    SELECT DISTINCT ON (key) * FROM factor WHERE organisation_id = %(organisation)s AND key > %(after)s
    ORDER BY key, version DESC
) AS f
WHERE %(carrier)s::text IS NULL OR carrier = %(carrier)s
ORDER BY key LIMIT %(limit)s
"""
_VERSIONS: LiteralString = """
SELECT f.*, (SELECT count(*) FROM factor_hour WHERE factor_id = f.id) AS hours
FROM factor AS f WHERE organisation_id = %(organisation)s AND key = %(key)s ORDER BY version
"""
_SOURCES: LiteralString = """
SELECT id, key, version, is_withdrawn, carrier, scope, basis, area, unit, value, gas, from_date, to_date, source,
       licence, remark
FROM factor WHERE id = ANY (%s) ORDER BY id
"""


async def load(connection: Connection, site: SiteRow, period: Period) -> list[Factor]:
    """All factors that hold at the site in some of the period, of each key the newest version; hours of the period."""
    first, last = (edge.astimezone(UTC).date() for edge in (period.start, period.end))
    day = timedelta(days=1)
    rows = await fetch_all(
        connection,
        _HOLDING,
        {
            "organisation": site.organisation_id,
            "area": site.grid_area,
            "first": first - day,
            "last": last + day,
        },
    )
    series = [row["id"] for row in rows if row["value"] is None]
    # A quarter that begins after the full hour belongs to that hour still.
    start = datetime.fromtimestamp(int(period.start.timestamp()) // 3600 * 3600, UTC)
    hours = await copy_rows(connection, _HOURS, [series, start, period.end], _HOUR_ROW) if series else None
    return [_factor(row, site, hours) for row in rows]


def _factor(row: DictRow, site: SiteRow, hours: np.ndarray[Any, np.dtype[np.void]] | None) -> Factor:
    factor = Factor(
        id=row["id"],
        key=row["key"],
        version=row["version"],
        carrier=row["carrier"],
        scope=Scope(row["scope"]),
        basis=None if row["basis"] is None else FactorBasis(row["basis"]),
        area=row["area"],
        unit=row["unit"],
        valid_from=_ms(midnight(row["from_date"], site.zone)),
        valid_to=None if row["to_date"] is None else _ms(midnight(row["to_date"], site.zone)),
        value=None if row["value"] is None else Fraction(row["value"]),
    )
    if row["value"] is not None or hours is None:
        return factor
    own = hours[slice(*np.searchsorted(hours["factor_id"], [row["id"], row["id"] + 1]))]
    return replace(
        factor,
        hourly=Series(hour=unix_ms(own["hour"]) // HOUR_MS, kg_per_unit=own["kg_per_unit"].astype(np.float64)),
    )


async def page(
    connection: Connection, organisation_id: int, *, carrier: str | None, after: str, limit: int
) -> list[DictRow]:
    """The newest version of each key, by key, beginning after one; also of those that are withdrawn."""
    values = {"organisation": organisation_id, "carrier": carrier, "after": after, "limit": limit}
    return await fetch_all(connection, _PAGE, values)


async def versions(connection: Connection, organisation_id: int, key: str) -> list[DictRow]:
    """All versions of one factor, oldest first. Raises a 404 problem."""
    rows = await fetch_all(connection, _VERSIONS, {"organisation": organisation_id, "key": key})
    if not rows:
        raise no_factor(key)
    return rows


async def hours(connection: Connection, factor_id: int) -> list[DictRow]:
    """The hours of one version of a series, by time."""
    return await fetch_all(connection, _ALL_HOURS, [factor_id])


async def sources(connection: Connection, ids: Sequence[int]) -> list[DictRow]:
    """Key, version and source of the factors that a figure used, by their ids; also of those that count no more."""
    return await fetch_all(connection, _SOURCES, [list(ids)])


def no_factor(key: str) -> ProblemError:
    """The 404 problem for a factor that is not there."""
    return not_found(f"there is no factor {key}; GET /v1/factors lists those that there are")


def unix_hour(at: datetime) -> int:
    """The number of an hour: its Unix milliseconds / 3,600,000."""
    return _ms(at) // HOUR_MS


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
