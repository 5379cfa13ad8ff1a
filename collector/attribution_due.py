"""Says which days' attribution rests on consumption that has changed: in the transaction that changes it."""

from __future__ import annotations

from typing import LiteralString

import psycopg

from collector.metering.tables import Ints

# Times are rounded outwards, to the days of each site's clock.
_MARK: LiteralString = """
    INSERT INTO attribution_due (site_id, from_day, to_day)
    SELECT site.id, (to_timestamp(min(w.from_ms) / 1000.0) AT TIME ZONE site.time_zone)::date,
           (to_timestamp(max(w.to_ms) / 1000.0) AT TIME ZONE site.time_zone)::date + 1
    FROM unnest(%s::int4[], %s::int8[], %s::int8[]) AS w (meter_id, from_ms, to_ms)
    JOIN meter ON meter.id = w.meter_id JOIN site ON site.id = meter.site_id
    WHERE w.to_ms > w.from_ms
    GROUP BY site.id
"""
_MARK_DIFFERENT: LiteralString = """
    INSERT INTO attribution_due (site_id, from_day, to_day)
    SELECT site.id, (min(d.quarter) AT TIME ZONE site.time_zone)::date,
           (max(d.quarter) AT TIME ZONE site.time_zone)::date + 1
    FROM different_quarter AS d JOIN meter ON meter.id = d.meter_id JOIN site ON site.id = meter.site_id
    GROUP BY site.id
"""


def mark_due(cursor: psycopg.Cursor, meter: Ints, from_ms: Ints, to_ms: Ints) -> None:
    """Consumption of each meter has changed within its window [from_ms, to_ms)."""
    if len(meter):
        cursor.execute(_MARK, [meter.tolist(), from_ms.tolist(), to_ms.tolist()])


def mark_rebuilt(cursor: psycopg.Cursor) -> None:
    """A rebuild found other consumption: the quarters in its table `different_quarter`."""
    cursor.execute(_MARK_DIFFERENT)
