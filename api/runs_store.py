"""What lines made when."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow

from api.calendar.clock import Period
from api.database import Connection, fetch_all

# A run without an end goes on until the next one of its line begins, or until now.
_RUNS: LiteralString = """
SELECT * FROM (
    SELECT r.id, line.key AS line, r.key AS run, r.state, product.key AS product, r.order_number AS "order",
           r.start_at, r.end_at, coalesce(r.end_at, next.start_at, greatest(now(), r.start_at)) AS until
    FROM run AS r JOIN line ON line.id = r.line_id LEFT JOIN product ON product.id = r.product_id
    LEFT JOIN LATERAL (
        SELECT min(n.start_at) AS start_at FROM run AS n
        WHERE r.end_at IS NULL AND n.line_id = r.line_id AND n.start_at > r.start_at
    ) AS next ON true
    WHERE line.site_id = %(site)s AND r.start_at < %(end)s AND (r.end_at > %(start)s OR r.end_at IS NULL)
      AND (%(line)s::text IS NULL OR line.key = %(line)s)
      AND (%(after_at)s::timestamptz IS NULL OR (r.start_at, r.id) > (%(after_at)s, %(after_id)s))
) AS runs
WHERE until > %(start)s ORDER BY start_at, id LIMIT %(limit)s
"""
# The run to which a changeover at the very end leads.
_NEXT_RUNNING: LiteralString = """
SELECT r.id, line.key AS line, r.key AS run, r.state, product.key AS product, r.order_number AS "order", r.start_at,
       r.start_at AS until
FROM line CROSS JOIN LATERAL (
    SELECT * FROM run WHERE line_id = line.id AND state = 'running' AND start_at >= %(end)s ORDER BY start_at LIMIT 1
) AS r LEFT JOIN product ON product.id = r.product_id
WHERE line.site_id = %(site)s
"""


async def runs(
    connection: Connection,
    site_id: int,
    period: Period,
    *,
    line: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int | None = None,
) -> list[DictRow]:
    """Runs that touch the period, by start; `until` is the end, or up to where a run without one counts."""
    after_at, after_id = after or (None, None)
    values = {
        "site": site_id,
        "start": period.start,
        "end": period.end,
        "line": line,
        "after_at": after_at,
        "after_id": after_id,
        "limit": limit,
    }
    return await fetch_all(connection, _RUNS, values)


async def next_running(connection: Connection, site_id: int, end: datetime) -> list[DictRow]:
    """The first run of each line that makes something from `end` on."""
    return await fetch_all(connection, _NEXT_RUNNING, {"site": site_id, "end": end})
