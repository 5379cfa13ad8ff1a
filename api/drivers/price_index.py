"""Price indices of an organisation: how high prices were, by year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all
from api.indicators.drivers import PriceIndex

_PAGE: LiteralString = """
SELECT key, year, value, source, recorded_at FROM price_index
WHERE organisation_id = %(organisation)s AND (%(key)s::text IS NULL OR key = %(key)s)
  AND (%(after_key)s::text IS NULL OR (key COLLATE "C", year) > (%(after_key)s, %(after_year)s))
ORDER BY key COLLATE "C", year LIMIT %(limit)s
"""
_ALL: LiteralString = "SELECT key, year, value FROM price_index WHERE organisation_id = %s ORDER BY key, year"
_UPSERT: LiteralString = """
INSERT INTO price_index (organisation_id, key, year, value, source)
VALUES (%(organisation)s, %(key)s, %(year)s, %(value)s, %(source)s)
ON CONFLICT (organisation_id, key, year) DO UPDATE
SET value = excluded.value, source = excluded.source, recorded_at = now()
"""


async def page(
    connection: Connection, organisation_id: int, *, key: str | None, after: tuple[str, int] | None, limit: int
) -> list[DictRow]:
    """What is known, by key and year, beginning after one."""
    after_key, after_year = after or (None, None)
    values = {
        "organisation": organisation_id,
        "key": key,
        "after_key": after_key,
        "after_year": after_year,
        "limit": limit,
    }
    return await fetch_all(connection, _PAGE, values)


async def indices(connection: Connection, organisation_id: int) -> dict[str, PriceIndex]:
    """All of the organisation's indices, by key."""
    found: dict[str, dict[int, Decimal]] = {}
    for row in await fetch_all(connection, _ALL, [organisation_id]):
        found.setdefault(row["key"], {})[row["year"]] = row["value"]
    return {key: PriceIndex(key=key, values=values) for key, values in found.items()}


async def save(connection: Connection, organisation_id: int, values: Sequence[Mapping[str, Any]]) -> None:
    """Write values, all or none; one of the same key and year is replaced."""
    async with connection.transaction():
        for value in values:
            await connection.execute(_UPSERT, {**value, "organisation": organisation_id})
