"""The site model: who, where and what."""

from __future__ import annotations

from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import offer_store, readings_store, site_store
from api.auth import SignedIn
from api.cursor import CursorText, Limit, Page, decode_cursor, page_of
from api.database import Database
from api.exact_json import Answer, Instant, reply
from api.offers import parse_offers, with_offered_settings
from api.problems import ProblemError
from api.site_model import apply_checked_site_model, check_site_model
from api.site_store import OwnSite
from api.tables.formats import TableRoute
from schemas.calendar import Shift
from schemas.circularity import Origin
from schemas.resources import Direction, MeterKind, Resource
from schemas.sharing import Share
from schemas.site import Agent, CoProducts, Line, Meter, Product, SiteModel
from schemas.virtual_meters import VirtualMeter

router = APIRouter(prefix="/v1", tags=["site model"], route_class=TableRoute)


class Named(Answer):
    id: str
    name: str


class SiteAnswer(Named):
    """A site and its calendar."""

    time_zone: str
    fiscal_year_start: Annotated[str, Field(description="month and day, as in 07-01")]
    shifts: list[Shift]
    holidays: Annotated[list[date], Field(description="days on which no shift begins")]
    grid_area: Annotated[str | None, Field(description="the area of the grid whose factors hold here, as in DK1")]


class LineAnswer(Named):
    next: Annotated[str | None, Field(description="the line to which its output goes on")]


class UtilityAnswer(Named):
    share: Share | list[Share]


class ProductAnswer(Named):
    unit: str
    family: str | None
    mass_kg: float | None
    price_dkk: float | None
    co_products: CoProducts | None


class MeterAnswer(Named):
    """A meter; spans in milliseconds. `to_canonical`: canonical units for one of `unit` (a rate's: an hour)."""

    agent: str
    resource: Resource
    unit: str
    kind: MeterKind
    carrier: str | None
    line: str | None
    parent: str | None
    conversion: float | None
    max_gap: int
    interval: int | None
    register_width: float | None
    rated_maximum: float | None
    dip_window: int
    frozen_after: int | None
    cadence: int | None
    accuracy_class: float | None
    share: Share | list[Share] | None
    direction: Direction
    watch_nights: bool
    utility: str | None
    product: Annotated[str | None, Field(description="what a production meter counts, whatever the run")]
    origin: Origin | None
    recycled_content: float | None
    waste_code: str | None
    treatment: str | None
    canonical_unit: str
    to_canonical: float


class VirtualMeterAnswer(Named):
    """A signed sum of meters and virtual meters. A `ready` one is there without being set up."""

    resource: Resource
    canonical_unit: str
    line: str | None
    parent: str | None
    terms: Annotated[dict[str, float], Field(description="what each term is multiplied with")]
    ready: bool


class LatestReading(Answer):
    """A meter's last reading, in its own unit. All but `meter` and `unit` are null when it is silent for 30 days."""

    meter: str
    name: str
    resource: Resource
    unit: str
    at: Instant | None
    value: float | None
    quality: str | None
    age_s: Annotated[float | None, Field(description="seconds since then, by the server's clock")]


class ModelAnswer(Answer):
    """The model as it is now, and the parts that it has from before but the request did not name."""

    model: SiteModel
    left_over: list[str]


@router.get("/organisation", response_model=Named)
async def organisation(caller: SignedIn, connection: Database) -> Response:
    """The organisation behind the token."""
    return reply(Named(**await site_store.organisation(connection, caller.organisation_id)))


@router.get("/sites", response_model=Page[SiteAnswer])
async def sites(caller: SignedIn, connection: Database, limit: Limit = 1000, cursor: CursorText = None) -> Response:
    """The organisation's sites."""
    (after,) = decode_cursor(cursor, str) if cursor else ("",)
    rows = await site_store.sites(connection, organisation_id=caller.organisation_id, after=after, limit=limit + 1)
    return reply(page_of([SiteAnswer(**row) for row in rows], limit, lambda site: (site.id,)))


@router.get("/sites/{site}", response_model=SiteAnswer)
async def site(site: OwnSite) -> Response:
    """One site."""
    return reply(SiteAnswer(**site_store.place_of(site)))


@router.get("/sites/{site}/lines", response_model=Page[LineAnswer])
async def lines(site: OwnSite, connection: Database) -> Response:
    """The site's lines."""
    return reply(_whole([LineAnswer(**row) for row in await site_store.lines(connection, site)]))


@router.get("/sites/{site}/lines/{line}", response_model=LineAnswer)
async def line(line: str, site: OwnSite, connection: Database) -> Response:
    """One line."""
    return reply(LineAnswer(**site_store.only(await site_store.lines(connection, site, line), "line")))


@router.get("/sites/{site}/utilities", response_model=Page[UtilityAnswer])
async def utilities(site: OwnSite, connection: Database) -> Response:
    """What several lines are served by, and how it is shared out."""
    return reply(_whole([UtilityAnswer(**row) for row in await site_store.utilities(connection, site)]))


@router.get("/sites/{site}/products", response_model=Page[ProductAnswer])
async def products(site: OwnSite, connection: Database) -> Response:
    """The site's products."""
    return reply(_whole([ProductAnswer(**row) for row in await site_store.products(connection, site)]))


@router.get("/sites/{site}/products/{product}", response_model=ProductAnswer)
async def product(product: str, site: OwnSite, connection: Database) -> Response:
    """One product."""
    return reply(ProductAnswer(**site_store.only(await site_store.products(connection, site, product), "product")))


@router.get("/sites/{site}/agents", response_model=Page[Named])
async def agents(site: OwnSite, connection: Database) -> Response:
    """The site's agents."""
    return reply(_whole([Named(**row) for row in await site_store.agents(connection, site)]))


@router.get("/sites/{site}/agents/{agent}", response_model=Named)
async def agent(agent: str, site: OwnSite, connection: Database) -> Response:
    """One agent."""
    return reply(Named(**site_store.only(await site_store.agents(connection, site, agent), "agent")))


@router.get("/sites/{site}/meters", response_model=Page[MeterAnswer])
async def meters(site: OwnSite, connection: Database) -> Response:
    """The site's meters."""
    return reply(_whole([MeterAnswer(**row) for row in await site_store.meters(connection, site)]))


@router.get("/sites/{site}/meters/latest", response_model=Page[LatestReading])
async def latest(site: OwnSite, connection: Database) -> Response:
    """The last reading of each meter, for a page that shows them live."""
    found = await site_store.meters(connection, site)
    last = await readings_store.latest_readings(connection, [meter["number"] for meter in found])
    return reply(_whole([_latest(meter, last.get(meter["number"])) for meter in found]))


@router.get("/sites/{site}/meters/{meter}", response_model=MeterAnswer)
async def meter(meter: str, site: OwnSite, connection: Database) -> Response:
    """One meter."""
    return reply(MeterAnswer(**site_store.only(await site_store.meters(connection, site, meter), "meter")))


@router.get("/sites/{site}/model", response_model=SiteModel)
async def model(site: OwnSite, connection: Database) -> Response:
    """The whole model, which PUT takes back as it is."""
    return reply(await whole_model(site, connection))


@router.get("/sites/{site}/virtual-meters", response_model=Page[VirtualMeterAnswer])
async def virtual_meters(site: OwnSite, connection: Database) -> Response:
    """The site's virtual meters.

    `energy-use` (import + generation − export) is there where a meter counts exports or generation, unless the model
    has a meter or virtual meter of that id.
    """
    return reply(_whole([VirtualMeterAnswer(**row) for row in await site_store.virtual_meters(connection, site)]))


@router.get("/sites/{site}/virtual-meters/{meter}", response_model=VirtualMeterAnswer)
async def virtual_meter(meter: str, site: OwnSite, connection: Database) -> Response:
    """One virtual meter."""
    rows = [row for row in await site_store.virtual_meters(connection, site) if row["id"] == meter]
    return reply(VirtualMeterAnswer(**site_store.only(rows, "virtual meter")))


@router.put("/sites/{site}/model", response_model=ModelAnswer)
async def put_model(site: str, body: SiteModel, caller: SignedIn, connection: Database) -> Response:
    """Add and change what the model says, all or nothing. Nothing is removed: `left_over` lists what it omits."""
    if body.organisation.id != caller.organisation or body.site.id != site:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "model-refused",
            "organisation.id must be the token's organisation and site.id the site in the address",
        )
    # A large model takes a moment to go through: other requests go on meanwhile.
    await run_in_threadpool(check_site_model, body)
    reports = await offer_store.reports(connection, caller.organisation, site)
    body = with_offered_settings(body, parse_offers((row["agent"], row["offered_meters"]) for row in reports))
    left_over = await apply_checked_site_model(connection, body)
    return reply(ModelAnswer(model=body, left_over=left_over))


async def whole_model(site: site_store.SiteRow, connection: Database) -> SiteModel:
    """The site's model as the database holds it."""
    return SiteModel.model_validate(
        {
            "organisation": await site_store.organisation(connection, site.organisation_id),
            "site": site_store.place_of(site),
            "lines": [_fields(row, Line) for row in await site_store.lines(connection, site)],
            "utilities": await site_store.utilities(connection, site),
            "products": [_fields(row, Product) for row in await site_store.products(connection, site)],
            "agents": [_fields(row, Agent) for row in await site_store.agents(connection, site)],
            "meters": [_fields(row, Meter) for row in await site_store.meters(connection, site)],
            "virtual_meters": [
                _fields({**row, "unit": row["canonical_unit"]}, VirtualMeter)
                for row in await site_store.virtual_meters(connection, site)
                if not row["ready"]
            ],
        }
    )


def _fields(row: dict[str, Any], model: type[Line | Product | Agent | Meter | VirtualMeter]) -> dict[str, Any]:
    return {name: row[name] for name in model.model_fields}


def _latest(meter: dict[str, Any], reading: dict[str, Any] | None) -> LatestReading:
    return LatestReading(
        meter=meter["id"],
        name=meter["name"],
        resource=meter["resource"],
        unit=meter["unit"],
        at=reading["at"] if reading else None,
        value=reading["value"] if reading else None,
        quality=readings_store.quality_name(reading["quality"]) if reading else None,
        age_s=float(reading["age_s"]) if reading else None,
    )


def _whole(items: list[Any]) -> Page[Any]:
    return Page(items=items, next=None)
