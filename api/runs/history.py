"""What is known of runs and was said of them before, and how what is said now goes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from api.database import Connection, fetch_all, fetch_one
from api.runs.changes import KnownRun, RunKey
from api.said import Said, from_unix_ms, unix_ms
from api.site_store import SiteRow
from schemas.resources import RunState
from schemas.wire import RunSpan

_ROWS_AT_ONCE = 10_000

_KNOWN: LiteralString = """
SELECT s.line, s.run, r.id IS NULL AS is_removed, r.state, product.key AS product, r.order_number, r.start_at, r.end_at,
       coalesce(r.said_at, gone.said_at) AS said_at,
       CASE WHEN r.id IS NULL THEN gone.author ELSE r.author END AS author,
       CASE WHEN r.id IS NULL THEN gone.reason ELSE r.reason END AS reason
FROM (SELECT DISTINCT * FROM unnest(%(lines)s::text[], %(runs)s::text[])) AS s (line, run)
JOIN line ON line.site_id = %(site)s AND line.key = s.line
LEFT JOIN run AS r ON r.line_id = line.id AND r.key = s.run
LEFT JOIN product ON product.id = r.product_id
LEFT JOIN LATERAL (
    SELECT said_at, author, reason FROM run_version AS v
    WHERE v.line_id = line.id AND v.key = s.run AND v.state IS NULL ORDER BY said_at DESC LIMIT 1
) AS gone ON r.id IS NULL
WHERE r.id IS NOT NULL OR gone.said_at IS NOT NULL
"""
# In the order in which the collector writes them. What is said without an instant is said now, and so after all that is
# known, however far ahead the clock of an agent was. A program may end a run that a person told: it stays the person's.
_UPSERT: LiteralString = """
INSERT INTO run (line_id, key, state, product_id, order_number, start_at, end_at, said_at, author, reason)
SELECT line.id, s.run, s.state, product.id, s.order_number, s.start_at, s.end_at,
       coalesce(%(said_at)s::timestamptz, greatest(now(), gone.said_at + interval '1 millisecond')), %(author)s,
       %(reason)s
FROM jsonb_to_recordset(%(runs)s) AS s (
    line text, run text, state text, product text, order_number text, start_at timestamptz, end_at timestamptz)
JOIN line ON line.site_id = %(site)s AND line.key = s.line
LEFT JOIN product ON product.site_id = %(site)s AND product.key = s.product
LEFT JOIN LATERAL (
    SELECT max(said_at) AS said_at FROM run_version AS v
    WHERE v.line_id = line.id AND v.key = s.run AND v.state IS NULL
) AS gone ON true
ORDER BY s.line COLLATE "C", s.run COLLATE "C"
ON CONFLICT (line_id, key) DO UPDATE SET
    state = excluded.state, product_id = excluded.product_id, order_number = excluded.order_number,
    start_at = excluded.start_at, end_at = excluded.end_at, said_at = greatest(excluded.said_at, run.said_at),
    author = coalesce(excluded.author, run.author), reason = coalesce(excluded.reason, run.reason)
WHERE (%(said_at)s::timestamptz IS NULL OR excluded.said_at >= run.said_at)
  AND (excluded.state, excluded.product_id, excluded.order_number, excluded.start_at, excluded.end_at)
      IS DISTINCT FROM (run.state, run.product_id, run.order_number, run.start_at, run.end_at)
"""
_REMOVE: LiteralString = """
SELECT remove_run(r.line_id, r.key, greatest(now(), r.said_at), %(author)s, %(reason)s)
FROM run AS r JOIN line ON line.id = r.line_id
WHERE line.site_id = %(site)s AND line.key = %(line)s AND r.key = %(run)s
"""
_VERSIONS: LiteralString = """
SELECT v.state, product.key AS product, v.order_number AS "order", v.start_at AS start, v.end_at AS end, v.said_at,
       v.author, v.reason, v.replaced_at
FROM (
    SELECT id, line_id, key, state, product_id, order_number, start_at, end_at, said_at, author, reason, replaced_at
    FROM run_version
    UNION ALL
    SELECT NULL, line_id, key, state, product_id, order_number, start_at, end_at, said_at, author, reason, NULL FROM run
) AS v JOIN line ON line.id = v.line_id LEFT JOIN product ON product.id = v.product_id
WHERE line.site_id = %(site)s AND line.key = %(line)s AND v.key = %(run)s
ORDER BY v.id NULLS LAST
"""


async def known_runs(connection: Connection, site: SiteRow, spans: Sequence[RunSpan]) -> Mapping[RunKey, KnownRun]:
    """Of the runs that these spans tell of, those that something was said of before."""
    lines, keys = [span.line for span in spans], [span.run for span in spans]
    rows = await fetch_all(connection, _KNOWN, {"site": site.id, "lines": lines, "runs": keys})
    return {(row["line"], row["run"]): _known(row) for row in rows}


async def save(
    connection: Connection, site: SiteRow, spans: Sequence[RunSpan], *, said: Said | None, said_at: datetime | None
) -> None:
    """Put runs in or correct them, all or none; what was said later than `said_at` (None: now) stays as it is.

    No run may stand in `spans` twice, and their lines and products must be there.
    """
    rows = [
        {
            "line": span.line,
            "run": span.run,
            "state": span.state,
            "product": span.product,
            "order_number": span.order,
            "start_at": _instant(span.start),
            "end_at": _instant(span.end),
        }
        for span in spans
    ]
    values = {
        "site": site.id,
        "said_at": said_at,
        "author": said.author if said else None,
        "reason": said.reason if said else None,
    }
    async with connection.transaction():
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            await connection.execute(_UPSERT, {**values, "runs": Jsonb(rows[first : first + _ROWS_AT_ONCE])})


async def remove(connection: Connection, site: SiteRow, key: RunKey, said: Said) -> bool:
    """Remove a run that never was; False where there is none."""
    line, run = key
    values = {"site": site.id, "line": line, "run": run, "author": said.author, "reason": said.reason}
    return await fetch_one(connection, _REMOVE, values) is not None


async def versions(connection: Connection, site: SiteRow, key: RunKey) -> list[DictRow]:
    """All that was ever said of a run, oldest first, the last of which stands; without a `state`: it was removed."""
    line, run = key
    return await fetch_all(connection, _VERSIONS, {"site": site.id, "line": line, "run": run})


def _known(row: DictRow) -> KnownRun:
    span = None
    if not row["is_removed"]:
        # What stands may be older than the rules for what goes in.
        span = RunSpan.model_construct(
            run=row["run"],
            line=row["line"],
            state=RunState(row["state"]),
            product=row["product"],
            order=row["order_number"],
            start=unix_ms(row["start_at"]),
            end=None if row["end_at"] is None else unix_ms(row["end_at"]),
        )
    return KnownRun(span=span, said_at=row["said_at"], author=row["author"], reason=row["reason"])


def _instant(milliseconds: int | None) -> str | None:
    at = None if milliseconds is None else from_unix_ms(milliseconds)
    return None if at is None else at.isoformat()
