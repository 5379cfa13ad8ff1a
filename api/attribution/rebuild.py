"""Compute a site's days anew from quarters, and tell whether what was kept is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from api.attribution.keeper import keep_site
from api.database import Connection, fetch_all
from api.site_store import SiteRow

_TABLES: tuple[LiteralString, ...] = ("attributed", "metered", "line_time", "attribution_finding")
_KEEP: LiteralString = "CREATE TEMPORARY TABLE before_{} ON COMMIT DROP AS SELECT * FROM {} WHERE site_id = %s"
_DROP: LiteralString = "DELETE FROM attributed_span WHERE site_id = %s"
_COUNT: LiteralString = "SELECT count(*)::int AS rows FROM {} WHERE site_id = %s"
# Rows that stand in one of both only, how often soever they stand there.
_DIFFERENT: LiteralString = """
SELECT count(*)::int AS rows FROM (
    (SELECT * FROM before_{} EXCEPT ALL SELECT * FROM {} WHERE site_id = %(site)s)
    UNION ALL
    (SELECT * FROM {} WHERE site_id = %(site)s EXCEPT ALL SELECT * FROM before_{})
) AS different
"""
_DAYS: LiteralString = "SELECT count(*)::int AS rows FROM attributed_span WHERE site_id = %s AND NOT is_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """Days and rows that were computed anew, and how many rows differ from what was kept."""

    days: int
    rows: int
    different: int

    @property
    def is_identical(self) -> bool:
        """Whether everything was as it should be."""
        return self.different == 0


async def rebuild(connection: Connection, site: SiteRow) -> Rebuilt:
    """What is due is computed first. What comes out differently is put in place."""
    await keep_site(connection, site)
    async with connection.transaction():
        for table in _TABLES:
            await connection.execute(_KEEP.replace("{}", table), [site.id])
        await connection.execute(_DROP, [site.id])
        await keep_site(connection, site)
        rows = different = 0
        for table in _TABLES:
            rows += await _only(connection, _COUNT.replace("{}", table), [site.id])
            different += await _only(connection, _DIFFERENT.replace("{}", table), {"site": site.id})
        days = await _only(connection, _DAYS, [site.id])
    return Rebuilt(days=days, rows=rows, different=different)


async def _only(connection: Connection, statement: LiteralString, values: list[int] | dict[str, int]) -> int:
    (row,) = await fetch_all(connection, statement, values)
    return int(row["rows"])
