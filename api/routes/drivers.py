"""Driver values: the economic side of a site or an organisation, and the price indices that deflate it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor
from api.database import Database
from api.drivers import store as driver_store
from api.drivers.answers import (
    DriverValueAnswer,
    DriverValues,
    PriceIndexAnswer,
    PriceIndexValues,
    Removed,
    Saved,
    driver_page,
    price_index_page,
    save_driver_values,
    save_price_indices,
)
from api.drivers.store import PARTS, Whose
from api.exact_json import reply
from api.indicators.drivers import Driver
from api.periods import parse_days
from api.problems import bad_value
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.topics import KEY_PATTERN

router = APIRouter(prefix="/v1", tags=["driver values"], route_class=TableRoute)

_CURSOR = (str,) * 6
Key = Annotated[str | None, Query(max_length=200)]
Day = Annotated[str, Query(max_length=40)]


@router.get("/sites/{site}/driver-values", response_model=Page[DriverValueAnswer])
async def driver_values(
    site: OwnSite,
    connection: Database,
    driver: Driver | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """What is known, by driver and span: of the site, and of its lines, product families and products."""
    after = decode_cursor(cursor, *_CURSOR) if cursor else None
    return reply(await driver_page(connection, whose_of(site), driver=driver, after=after, limit=limit))


@router.put("/sites/{site}/driver-values", response_model=Saved)
async def put_driver_values(site: OwnSite, body: DriverValues, connection: Database) -> Response:
    """Add or replace values, all or none. Spans of one driver of one place must not overlap."""
    return reply(await save_driver_values(connection, whose_of(site), body.items))


@router.delete("/sites/{site}/driver-values", response_model=Removed)
async def delete_driver_values(
    *,
    site: OwnSite,
    connection: Database,
    driver: Driver,
    start: Annotated[Day, Query(alias="from", max_length=40)],
    end: Annotated[Day, Query(alias="to", max_length=40)],
    line: Key = None,
    family: Key = None,
    product: Key = None,
) -> Response:
    """Take out the values of a driver whose spans lie inside these days: of the site, or of the one part named."""
    whose = whose_of(site, line=line, family=family, product=product)
    removed = await driver_store.remove(connection, whose, driver, parse_days("", start, end))
    return reply(Removed(removed=removed))


@router.get("/organisation/driver-values", response_model=Page[DriverValueAnswer])
async def organisation_values(
    caller: SignedIn,
    connection: Database,
    driver: Driver | None = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """What was given for the organisation as a whole, beside what its sites have."""
    after = decode_cursor(cursor, *_CURSOR) if cursor else None
    whose = Whose(organisation_id=caller.organisation_id)
    return reply(await driver_page(connection, whose, driver=driver, after=after, limit=limit))


@router.put("/organisation/driver-values", response_model=Saved)
async def put_organisation_values(caller: SignedIn, body: DriverValues, connection: Database) -> Response:
    """Add or replace values of the organisation as a whole, all or none."""
    for i, item in enumerate(body.items):
        for part in PARTS:
            if getattr(item, part) is not None:
                raise bad_value(f"items.{i}.{part}", "is a part of a site; give it at /v1/sites/{site}/driver-values")
    return reply(await save_driver_values(connection, Whose(organisation_id=caller.organisation_id), body.items))


@router.delete("/organisation/driver-values", response_model=Removed)
async def delete_organisation_values(
    *,
    caller: SignedIn,
    connection: Database,
    driver: Driver,
    start: Annotated[Day, Query(alias="from", max_length=40)],
    end: Annotated[Day, Query(alias="to", max_length=40)],
) -> Response:
    """Take out the organisation's own values of a driver whose spans lie inside these days."""
    whose = Whose(organisation_id=caller.organisation_id)
    return reply(Removed(removed=await driver_store.remove(connection, whose, driver, parse_days("", start, end))))


@router.get("/price-indices", response_model=Page[PriceIndexAnswer])
async def price_indices(
    caller: SignedIn,
    connection: Database,
    key: Annotated[str | None, Query(pattern=KEY_PATTERN)] = None,
    limit: Limit = 1000,
    cursor: CursorText = None,
) -> Response:
    """The organisation's price indices, by key and year."""
    found = decode_cursor(cursor, str, int) if cursor else None
    after = (found[0], found[1]) if found else None
    return reply(await price_index_page(connection, caller.organisation_id, key=key, after=after, limit=limit))


@router.put("/price-indices", response_model=Saved)
async def put_price_indices(caller: SignedIn, body: PriceIndexValues, connection: Database) -> Response:
    """Add or replace values of price indices, all or none."""
    return reply(await save_price_indices(connection, caller.organisation_id, body.items))


def whose_of(site: SiteRow, *, line: str | None = None, family: str | None = None, product: str | None = None) -> Whose:
    """A site, or one part of it. Raises a 422 problem for several."""
    if sum(part is not None for part in (line, family, product)) > 1:
        raise bad_value("line", "give one of line, family and product at most")
    return Whose(organisation_id=site.organisation_id, site_id=site.id, line=line, family=family, product=product)
