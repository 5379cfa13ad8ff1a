"""The site model as the database holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, LiteralString
from zoneinfo import ZoneInfo

from fastapi import Depends
from psycopg.rows import DictRow

from api.auth import SignedIn
from api.calendar.buckets import Calendar
from api.database import Connection, Database, fetch_all, fetch_one
from api.problems import not_found
from api.series import Series, expand, ready, series_of
from schemas.calendar import Shift
from schemas.topics import KEY_PATTERN

_KEY = re.compile(KEY_PATTERN)

_ORGANISATION: LiteralString = "SELECT key AS id, name FROM organisation WHERE id = %s"
_SITES: LiteralString = """
SELECT key AS id, name, time_zone, fiscal_year_start, shifts, holidays, grid_area
FROM site WHERE organisation_id = %(organisation)s AND key > %(after)s
ORDER BY key LIMIT %(limit)s
"""
_SITE: LiteralString = """
SELECT id, key, name, time_zone, fiscal_year_start, shifts, holidays, grid_area
FROM site WHERE organisation_id = %(organisation)s AND key = %(site)s
"""
_LINES: LiteralString = """
SELECT key AS id, name, next, id AS number FROM line
WHERE site_id = %(site)s AND (%(key)s::text IS NULL OR key = %(key)s)
ORDER BY key
"""
_UTILITIES: LiteralString = "SELECT key AS id, name, share FROM utility WHERE site_id = %s ORDER BY key"
_PRODUCTS: LiteralString = """
SELECT key AS id, name, unit, family, mass_kg, price_dkk, co_products, id AS number FROM product
WHERE site_id = %(site)s AND (%(key)s::text IS NULL OR key = %(key)s) ORDER BY key
"""
_AGENTS: LiteralString = """
SELECT key AS id, name FROM agent WHERE site_id = %(site)s AND (%(key)s::text IS NULL OR key = %(key)s)
ORDER BY key
"""
_VIRTUAL_METERS: LiteralString = """
SELECT v.key AS id, v.name, v.resource, v.canonical_unit, line.key AS line, v.parent, v.terms, false AS ready
FROM virtual_meter AS v LEFT JOIN line ON line.id = v.line_id WHERE v.site_id = %(site)s ORDER BY v.key
"""
_METERS: LiteralString = """
SELECT m.key AS id, m.name, agent.key AS agent, m.resource, m.unit, m.kind, m.carrier, line.key AS line,
       parent.key AS parent, m.conversion, m.max_gap_ms AS max_gap, m.interval_ms AS interval,
       m.register_width, m.rated_maximum, m.dip_window_ms AS dip_window, m.frozen_after_ms AS frozen_after,
       m.cadence_ms AS cadence, m.accuracy_class, m.share, m.direction, m.watch_nights, m.canonical_unit,
       m.to_canonical, m.id AS number, utility.key AS utility, product.key AS product, m.origin, m.recycled_content,
       m.waste_code, m.treatment
FROM meter AS m JOIN agent ON agent.id = m.agent_id
LEFT JOIN line ON line.id = m.line_id LEFT JOIN meter AS parent ON parent.id = m.parent_id
LEFT JOIN utility ON utility.id = m.utility_id LEFT JOIN product ON product.id = m.product_id
WHERE m.site_id = %(site)s AND (%(key)s::text IS NULL OR m.key = %(key)s) ORDER BY m.key
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One site of the caller's organisation."""

    id: int
    key: str
    name: str
    time_zone: str
    organisation_id: int
    organisation: str
    fiscal_year_start: str = "01-01"
    shifts: Sequence[Mapping[str, Any]] = ()
    holidays: Sequence[date] = ()
    grid_area: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def calendar(self) -> Calendar:
        month, day = self.fiscal_year_start.split("-")
        return Calendar(
            fiscal_year_start=(int(month), int(day)),
            shifts=tuple(Shift.model_validate(shift) for shift in self.shifts),
            holidays=frozenset(self.holidays),
        )


async def organisation(connection: Connection, organisation_id: int) -> DictRow:
    """Key and name of an organisation that has a token, so it is there."""
    row = await fetch_one(connection, _ORGANISATION, [organisation_id])
    if row is None:
        raise not_found("the organisation is gone")
    return row


async def sites(connection: Connection, *, organisation_id: int, after: str, limit: int) -> list[DictRow]:
    """Sites by key, beginning after one."""
    return await fetch_all(connection, _SITES, {"organisation": organisation_id, "after": after, "limit": limit})


async def find_site(connection: Connection, site: str, *, organisation_id: int, organisation: str) -> SiteRow:
    """The organisation's site with this key. Raises a 404 problem."""
    # A key that breaks the pattern can't be stored; asking would only bring the database to refuse it.
    row = (
        await fetch_one(connection, _SITE, {"organisation": organisation_id, "site": site})
        if _KEY.fullmatch(site)
        else None
    )
    if row is None:
        raise not_found("there is no such site in your organisation; GET /v1/sites lists them")
    return SiteRow(**row, organisation_id=organisation_id, organisation=organisation)


async def _site(site: str, caller: SignedIn, connection: Database) -> SiteRow:
    return await find_site(connection, site, organisation_id=caller.organisation_id, organisation=caller.organisation)


OwnSite = Annotated[SiteRow, Depends(_site)]
"""A route's parameter of this kind is the site in its address, which the caller may see; otherwise it answers 404."""


def place_of(site: SiteRow) -> dict[str, Any]:
    """The site itself, as the site model tells it."""
    return {
        "id": site.key,
        "name": site.name,
        "time_zone": site.time_zone,
        "fiscal_year_start": site.fiscal_year_start,
        "shifts": site.shifts,
        "holidays": site.holidays,
        "grid_area": site.grid_area,
    }


async def lines(connection: Connection, site: SiteRow, key: str | None = None) -> list[DictRow]:
    """Lines of the site by key, or the one with this key."""
    return await fetch_all(connection, _LINES, {"site": site.id, "key": key})


async def utilities(connection: Connection, site: SiteRow) -> list[DictRow]:
    """Utilities of the site by key, each with its rules."""
    return await fetch_all(connection, _UTILITIES, [site.id])


async def products(connection: Connection, site: SiteRow, key: str | None = None) -> list[DictRow]:
    """Products of the site by key, or the one with this key."""
    return await fetch_all(connection, _PRODUCTS, {"site": site.id, "key": key})


async def agents(connection: Connection, site: SiteRow, key: str | None = None) -> list[DictRow]:
    """Agents of the site by key, or the one with this key."""
    return await fetch_all(connection, _AGENTS, {"site": site.id, "key": key})


async def meters(connection: Connection, site: SiteRow, key: str | None = None) -> list[DictRow]:
    """Meters of the site by key, or the one with this key; `number` is the id that readings carry."""
    return await fetch_all(connection, _METERS, {"site": site.id, "key": key})


async def meters_named(connection: Connection, site: SiteRow, keys: list[str] | None) -> list[DictRow]:
    """The site's meters, or those with these keys. Raises a 404 problem for a key that no meter has."""
    found = await meters(connection, site)
    if not keys:
        return found
    by_key = {meter["id"]: meter for meter in found}
    for key in keys:
        if key not in by_key:
            raise not_found(f"there is no such meter at {site.key}; GET /v1/sites/{site.key}/meters lists them")
    return [by_key[key] for key in sorted(set(keys))]


async def virtual_meters(connection: Connection, site: SiteRow) -> list[dict[str, Any]]:
    """Virtual meters of the site by key, `ready` ones as well: those that it has without setting them up."""
    found = await fetch_all(connection, _VIRTUAL_METERS, {"site": site.id})
    meters_there = await meters(connection, site)
    own = ready(meters_there)
    taken = {row["id"] for row in (*found, *meters_there)}
    return sorted([*found, *([own] if own and own["id"] not in taken else [])], key=lambda row: str(row["id"]))


async def series_named(connection: Connection, site: SiteRow, keys: list[str] | None) -> list[Series]:
    """The site's meters, or the meters and virtual meters with these keys. Raises a 404 problem for another key."""
    by_key = {meter["id"]: meter for meter in await meters(connection, site)}
    if not keys:
        return [series_of(meter) for meter in by_key.values()]
    virtuals: dict[str, dict[str, Any]] = {}
    if not by_key.keys() >= set(keys):
        virtuals = {row["id"]: row for row in await virtual_meters(connection, site)}
    for key in keys:
        if key not in by_key and key not in virtuals:
            raise not_found(
                f"there is no such meter at {site.key}; GET /v1/sites/{site.key}/meters and "
                f"/v1/sites/{site.key}/virtual-meters list them"
            )
    return [
        series_of(by_key[key]) if key in by_key else expand(virtuals[key], meters=by_key, virtuals=virtuals)
        for key in sorted(set(keys))
    ]


def only(rows: list[DictRow], what: str) -> dict[str, Any]:
    """The single row. Raises a 404 problem when there is none."""
    if not rows:
        raise not_found(f"there is no such {what} at this site")
    return rows[0]
