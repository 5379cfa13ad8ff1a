"""Balances from the database: what the meters of each place counted, in the quarters of which all of them are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from api import site_store
from api.balance import Balance, BalanceFinding, Counted, Place, add_up, balance, places
from api.calendar.buckets import By, Calendar, buckets, edges
from api.calendar.clock import Period
from api.database import Connection, fetch_all
from api.site_store import SiteRow

_COUNTED: LiteralString = """
SELECT place, meter_id, width_bucket(quarter, %(edges)s::timestamptz[]) - 1 AS bucket, sum(covered_ms) AS covered_ms,
       sum(round(measured * in_whole) + round(estimated * in_whole)) AS in_whole,
       sum(round(measured * in_parts) + round(estimated * in_parts)) AS in_parts,
       sum(measured + estimated) AS total, sum(abs(estimated)) AS estimated
FROM (
    SELECT t.place, t.meters, t.in_whole, t.in_parts, meter_id, quarter, measured, estimated,
           min(covered_ms) OVER same AS covered_ms, count(*) OVER same AS known
    FROM consumption JOIN unnest(%(places)s::int[], %(meters)s::int[], %(in_whole)s::numeric[], %(in_parts)s::numeric[],
                                 %(counts)s::int[]) AS t (place, meter_id, in_whole, in_parts, meters) USING (meter_id)
    WHERE meter_id = ANY (%(meters)s) AND quarter >= %(start)s AND quarter < %(end)s
    WINDOW same AS (PARTITION BY t.place, quarter)
) AS q
WHERE known = meters GROUP BY place, meter_id, bucket
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A balance, and how many milliseconds of its bucket measured readings of all of its meters stand behind."""

    balance: Balance
    covered_ms: int


async def site_places(connection: Connection, site: SiteRow) -> list[Place]:
    """Every meter and virtual meter of the site with parts, by key."""
    virtuals = await site_store.virtual_meters(connection, site)
    return places(await site_store.meters(connection, site), virtuals)


async def balances(
    connection: Connection, found: Sequence[Place], bounds: Sequence[datetime]
) -> Mapping[tuple[int, str], Told]:
    """The balance of each place between each bound and the next, by the number of the bucket, from 0, and the parent.

    What is not there is not known: in none of its quarters every meter has a row.
    """
    rows = [(i, place, member) for i, place in enumerate(found) for member in place.members]
    if not rows:
        return {}
    values = {
        "edges": list(bounds),
        "start": bounds[0],
        "end": bounds[-1],
        "places": [i for i, _, _ in rows],
        "meters": [member.number for _, _, member in rows],
        "in_whole": [member.in_whole for _, _, member in rows],
        "in_parts": [member.in_parts for _, _, member in rows],
        "counts": [len(place.members) for _, place, _ in rows],
    }
    counted: dict[tuple[int, int], dict[int, Counted]] = {}
    covered: dict[tuple[int, int], int] = {}
    for row in await fetch_all(connection, _COUNTED, values):
        key = (row["bucket"], row["place"])
        counted.setdefault(key, {})[row["meter_id"]] = Counted(
            in_whole=int(row["in_whole"]),
            in_parts=int(row["in_parts"]),
            total=int(row["total"]),
            estimated=int(row["estimated"]),
        )
        covered[key] = int(row["covered_ms"])
    return {
        (bucket, found[place].parent): Told(balance=balance(found[place], its), covered_ms=covered[bucket, place])
        for (bucket, place), its in counted.items()
    }


async def balance_findings(connection: Connection, site: SiteRow, period: Period) -> list[BalanceFinding]:
    """Places whose parts counted more than the whole, beyond accuracy and estimates, on any local day of the period.

    Day by day, so that a fault of three days does not hide in the rest of a year.
    """
    found = await site_places(connection, site)
    days = list(buckets(period, By.DAY, Calendar()))
    told = await balances(connection, found, edges(days, period))
    findings = []
    for place in found:
        faulty = {
            day.day: one.balance
            for i, day in enumerate(days)
            if (one := told.get((i, place.parent))) is not None and one.balance.is_finding
        }
        if faulty:
            findings.append(
                BalanceFinding(
                    parent=place.parent,
                    resource=place.resource,
                    unit=place.unit,
                    parts=place.parts,
                    days=len(faulty),
                    first=min(faulty),
                    last=max(faulty),
                    balance=add_up(list(faulty.values())),
                )
            )
    return findings
