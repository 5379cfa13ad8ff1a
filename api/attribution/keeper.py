"""Keeps the attribution of sites up to date, by local day: whatever changes is computed again, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import LiteralString

from api import quality_store
from api.attribution import store
from api.attribution.compute import compute
from api.attribution.model import Model, load_model
from api.calendar.buckets import By, bucket_day, next_bucket_day
from api.calendar.clock import local_day, midnight
from api.database import Connection, fetch_all
from api.site_store import SiteRow, find_site

_DUE_SITES: LiteralString = """
SELECT s.key AS site, s.organisation_id, o.key AS organisation
FROM site AS s JOIN organisation AS o ON o.id = s.organisation_id
WHERE s.id IN (SELECT site_id FROM attribution_due) ORDER BY s.id
"""
_TAKE_TURN: LiteralString = "SELECT pg_try_advisory_xact_lock(hashtext('attribution'), %s) AS taken"
_TAKE_DUE: LiteralString = """
DELETE FROM attribution_due WHERE site_id = %s
RETURNING from_day IS NOT NULL AS is_dated, greatest(from_day, '0002-01-01') AS from_day,
          least(to_day, '9998-12-31') AS to_day
"""
_KEPT: LiteralString = """
SELECT day, is_month FROM attributed_span WHERE site_id = %(site)s AND (model <> %(model)s OR EXISTS (
    SELECT FROM unnest(%(from)s::date[], %(to)s::date[]) AS due (from_day, to_day)
    WHERE due.to_day > day
      AND due.from_day < CASE WHEN is_month THEN (day + interval '1 month')::date ELSE day + 1 END))
"""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one turn did: days and months that were computed."""

    days: int
    months: int


async def due_sites(connection: Connection) -> list[SiteRow]:
    """Sites of which something has changed."""
    return [await find_site(connection, **row) for row in await fetch_all(connection, _DUE_SITES)]


async def keep_due(connection: Connection) -> Kept:
    """Bring every site up to date of which something has changed."""
    kept = [await keep_site(connection, site) for site in await due_sites(connection)]
    return Kept(days=sum(one.days for one in kept), months=sum(one.months for one in kept))


async def keep_site(connection: Connection, site: SiteRow) -> Kept:
    """Compute what is missing of a site, and what has changed, a month to a transaction; nothing while another does."""
    days, months = 0, 0
    async with connection.transaction():
        if not await _has_turn(connection, site):
            return Kept(days=0, months=0)
        await _forget_due(connection, site)
    while True:
        async with connection.transaction():
            if not await _has_turn(connection, site):
                break
            done = await _keep_a_month(connection, site)
        if done is None:
            break
        days, months = days + done.days, months + done.months
    return Kept(days=days, months=months)


async def _has_turn(connection: Connection, site: SiteRow) -> bool:
    (row,) = await fetch_all(connection, _TAKE_TURN, [site.id])
    return bool(row["taken"])


async def _forget_due(connection: Connection, site: SiteRow) -> None:
    """From marks to gaps: days that are due are kept no longer. What is marked from here on stays marked."""
    due = [row for row in await fetch_all(connection, _TAKE_DUE, [site.id]) if row["is_dated"]]
    model = await load_model(connection, site)
    values = {
        "site": site.id,
        "model": model.fingerprint,
        "from": [row["from_day"] for row in due],
        "to": [row["to_day"] for row in due],
    }
    rows = await fetch_all(connection, _KEPT, values)
    for is_month in (False, True):
        stale = [row["day"] for row in rows if row["is_month"] is is_month]
        await store.clear(connection, site.id, stale, is_month=is_month)
    if due or rows:
        await store.note_change(connection, site.id)


async def _keep_a_month(connection: Connection, site: SiteRow) -> Kept | None:
    """Compute the missing days of the first month that lacks some, and its sum if it is over; None: nothing lacks."""
    model = await load_model(connection, site)
    first = await store.first_day(connection, model)
    if first is None:
        return None
    now, _ = await quality_store.clock(connection)
    # Today goes on, and so does a run without an end: it is computed when it is asked for, and kept when it is over.
    today = local_day(now, site.zone)
    # What was marked since the turn began is for the next one.
    standing = await store.standing(connection, model, first, today, heed_due=False)
    month = bucket_day(first, By.MONTH)
    while month < today:
        end = next_bucket_day(month, By.MONTH)
        days = [day for day in _days(max(month, first), min(end, today)) if day not in standing.days]
        is_whole = end <= today and month >= first
        if days or (is_whole and month not in standing.months):
            await _keep_days(connection, model, days)
            if is_whole:
                await store.clear(connection, site.id, [month], is_month=True)
                await store.put_month(connection, model, month)
            await store.note_change(connection, site.id)
            return Kept(days=len(days), months=int(is_whole))
        month = end
    return None


async def _keep_days(connection: Connection, model: Model, days: Sequence[date]) -> None:
    # A model from before may have left something of them.
    await store.clear(connection, model.site.id, days, is_month=False)
    for _, group in groupby(enumerate(days), key=lambda numbered: numbered[1].toordinal() - numbered[0]):
        stretch = [day for _, day in group]
        edges = [midnight(day, model.site.zone) for day in (*stretch, stretch[-1] + _DAY)]
        found = await compute(connection, model, edges, by_run=True)
        kept = {day: one for day, one in zip(stretch, found, strict=True) if one is not None}
        await store.put_days(connection, model, kept)


def _days(first: date, end: date) -> Iterator[date]:
    day = first
    while day < end:
        yield day
        day += _DAY
