"""What people put down beside the readings: exchanges of meters, and readings of their own.

Both are facts in versions: one of a meter and an instant, of which the newest counts, and which are never changed. What
is said again unchanged is no new version. Whatever is written leaves a note for the roll-up in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from api.archived import Archive, beside, unix_us
from api.database import Connection, fetch_all
from api.pending import lock_meters, note_pending
from api.said import CLOCKS_DIFFER


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """The statements for one kind of fact. `tells_said`: its page tells what the meter itself said for the instant."""

    insert: LiteralString
    page: LiteralString
    tells_said: bool


EXCHANGES = FactTable(
    tells_said=False,
    # Beside the version that counts now, nothing is written that says the same.
    insert="""
INSERT INTO meter_exchange (meter_id, at, last_old, first_new, author, reason)
SELECT n.meter_id, n.at, n.last_old, n.first_new, n.author, n.reason
FROM jsonb_to_recordset(%(facts)s) AS n (
    meter_id int, at timestamptz, last_old float8, first_new float8, author text, reason text)
LEFT JOIN LATERAL (
    SELECT id, last_old, first_new, author, reason FROM meter_exchange
    WHERE meter_id = n.meter_id AND at = n.at ORDER BY id DESC LIMIT 1
) AS o ON true
WHERE o.id IS NULL OR (o.last_old, o.first_new, o.author, o.reason)
      IS DISTINCT FROM (n.last_old, n.first_new, n.author, n.reason)
RETURNING meter_id, at, at <= now() + %(tolerance)s AS is_past
""",
    page="""
SELECT m.key AS meter, m.unit, v.meter_id, v.at, v.last_old, v.first_new, v.author, v.reason, v.recorded_at
FROM (
    SELECT DISTINCT at, meter_id FROM meter_exchange
    WHERE meter_id = ANY (%(meters)s) AND at >= %(start)s AND at < %(end)s AND (at, meter_id) < (%(at)s, %(meter)s)
    ORDER BY at DESC, meter_id DESC LIMIT %(limit)s
) AS k JOIN meter_exchange AS v USING (at, meter_id) JOIN meter AS m ON m.id = v.meter_id
ORDER BY v.at DESC, v.meter_id DESC, v.id
""",
)
MANUAL_READINGS = FactTable(
    tells_said=True,
    insert="""
INSERT INTO manual_reading (meter_id, at, value, author, reason)
SELECT n.meter_id, n.at, n.value, n.author, n.reason
FROM jsonb_to_recordset(%(facts)s) AS n (meter_id int, at timestamptz, value float8, author text, reason text)
LEFT JOIN LATERAL (
    SELECT id, value, author, reason FROM manual_reading
    WHERE meter_id = n.meter_id AND at = n.at ORDER BY id DESC LIMIT 1
) AS o ON true
WHERE o.id IS NULL OR (o.value, o.author, o.reason) IS DISTINCT FROM (n.value, n.author, n.reason)
RETURNING meter_id, at, at <= now() + %(tolerance)s AS is_past
""",
    page="""
SELECT m.key AS meter, m.unit, v.meter_id, v.at, v.value, v.author, v.reason, v.recorded_at, r.value AS said_value,
       r.quality AS said_quality
FROM (
    SELECT DISTINCT at, meter_id FROM manual_reading
    WHERE meter_id = ANY (%(meters)s) AND at >= %(start)s AND at < %(end)s AND (at, meter_id) < (%(at)s, %(meter)s)
    ORDER BY at DESC, meter_id DESC LIMIT %(limit)s
) AS k JOIN manual_reading AS v USING (at, meter_id) JOIN meter AS m ON m.id = v.meter_id
LEFT JOIN reading AS r USING (at, meter_id)
ORDER BY v.at DESC, v.meter_id DESC, v.id
""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFacts:
    """Which facts are asked for: of these meters (by their numbers) and a period (None: of all time).

    They begin after a key (at, meter's number).
    """

    meters: Sequence[int]
    start: datetime | None
    end: datetime | None
    after: tuple[datetime, int] | None
    limit: int


async def save(connection: Connection, table: FactTable, facts: Sequence[dict[str, Any]]) -> set[tuple[int, datetime]]:
    """Append a version of each fact (columns by name, `at` an instant), all or none. What is known already is left.

    No meter and instant may stand in `facts` twice. Returns (meter's number, at) of what was written.
    """
    plain = [{**fact, "at": fact["at"].isoformat()} for fact in facts]
    async with connection.transaction():
        # Two who say something of one meter at once do so one after the other.
        await lock_meters(connection, (fact["meter_id"] for fact in facts))
        rows = await fetch_all(connection, table.insert, {"facts": Jsonb(plain), "tolerance": CLOCKS_DIFFER})
        # What lies ahead is met by the roll-up when it gets there.
        await note_pending(connection, [(row["meter_id"], row["at"], row["at"]) for row in rows if row["is_past"]])
    return {(row["meter_id"], row["at"]) for row in rows}


async def page(connection: Connection, table: FactTable, asked: AskedFacts) -> list[list[DictRow]]:
    """Facts as asked for, newest first, one more than `limit` where there are more: of each all versions in order."""
    after_at, after_meter = asked.after or ("infinity", 0)
    values = {
        "meters": list(asked.meters),
        "start": asked.start or "-infinity",
        "end": asked.end or "infinity",
        "at": after_at,
        "meter": after_meter,
        "limit": asked.limit + 1,
    }
    async with beside(connection) as archive:
        rows = await fetch_all(connection, table.page, values)
        if table.tells_said:
            await _add_archived(archive, rows)
    return list(_by_fact(rows))


async def _add_archived(archive: Archive, rows: Sequence[DictRow]) -> None:
    """What meters said for these instants, where it is archived."""
    unsaid = {(row["meter_id"], row["at"]) for row in rows if row["said_value"] is None}
    said = await archive.at(sorted(unsaid))
    found = {
        (meter, at): {"said_value": value, "said_quality": quality}
        for meter, at, value, quality in zip(
            *(getattr(said, name).tolist() for name in ("meter_id", "at", "value", "quality")), strict=True
        )
    }
    for row in rows:
        row.update(found.get((row["meter_id"], unix_us(row["at"])), {}))


async def versions(connection: Connection, table: FactTable, meter_id: int, at: datetime) -> list[DictRow]:
    """All versions of one fact, oldest first; none where there is no such fact."""
    asked = AskedFacts(meters=[meter_id], start=at, end=at + timedelta(milliseconds=1), after=None, limit=1)
    found = await page(connection, table, asked)
    return found[0] if found else []


def _by_fact(rows: Sequence[DictRow]) -> Iterator[list[DictRow]]:
    for _, versions in groupby(rows, lambda row: (row["at"], row["meter_id"])):
        yield list(versions)
