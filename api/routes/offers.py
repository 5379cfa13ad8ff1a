"""Meters that agents offer, and their adoption: set up in one step, with all that waited in quarantine."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field, ValidationError
from starlette.responses import Response

from api import offer_store, site_store
from api.adoption import Adopted, Wish, adopt, adopted_meter, setting_faults
from api.cursor import Page
from api.database import Connection, Database
from api.exact_json import Answer, Instant, reply
from api.offers import offered_settings, parse_offers
from api.routes.replays import ReplayAnswer, WaitS, follow
from api.routes.site import whole_model
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.resources import MeterKind, Resource
from schemas.site import Meter

router = APIRouter(prefix="/v1", tags=["offered meters"], route_class=TableRoute)

Settings = Annotated[
    dict[str, Any] | None,
    Body(description="any settings of a meter, as in the site model; what is left out is as the agent offers it"),
]
OfferState = Literal["new", "known", "elsewhere"]


class WaitingReadings(Answer):
    """What waits in quarantine for a meter. Instants and value are null where the agent's clock or device failed."""

    readings: int
    entries: int
    first_at: Instant | None
    last_at: Instant | None
    last_value: float | None
    unit: str
    reasons: list[str]


class OfferAnswer(Answer):
    """A meter that an agent offers, or that only readings in quarantine tell of (`offered_at` is null then).

    `state`: new, known (set up with this agent), or elsewhere (another agent's meter has this key). `to_add` says what
    adopting it needs besides the offer.
    """

    agent: str
    agent_is_known: bool
    meter: str
    state: OfferState
    offered_at: Instant | None
    resource: Resource | None
    unit: str | None
    kind: MeterKind | None
    carrier: str | None
    driver: str | None
    settings: Annotated[dict[str, Any], Field(description="all that the offer says, under the site model's names")]
    waiting: WaitingReadings | None
    to_add: list[str]


class AdoptionAnswer(Answer):
    """The meters as they are set up now, and the replay of what waited for them."""

    meters: list[Meter]
    is_new_agent: bool
    replay: ReplayAnswer


@router.get("/sites/{site}/offered-meters", response_model=Page[OfferAnswer])
async def offered_meters(
    site: OwnSite,
    connection: Database,
    agent: Annotated[str | None, Query(max_length=100)] = None,
    state: Annotated[OfferState | None, Query(description="only these; left out, all")] = None,
) -> Response:
    """What agents offer, agents that nobody set up included, and what waits for it in quarantine."""
    found = await offers_of(connection, site)
    chosen = [item for item in found if agent in {None, item.agent} and state in {None, item.state}]
    return reply(Page(items=chosen, next=None))


@router.post("/sites/{site}/offered-meters/{agent}/{meter}/adopt", response_model=AdoptionAnswer)
async def adopt_meter(
    agent: str, meter: str, site: OwnSite, connection: Database, settings: Settings = None, wait_s: WaitS = 2.0
) -> Response:
    """Set the meter up and replay its readings. 202 while the replay is not done yet: follow it at /v1/quarantine."""
    return await _answer(connection, site, agent, [Wish(meter=meter, settings=settings or {})], wait_s)


@router.post("/sites/{site}/offered-meters/{agent}/adopt", response_model=AdoptionAnswer)
async def adopt_several(
    agent: str,
    site: OwnSite,
    connection: Database,
    meters: Annotated[
        dict[str, dict[str, Any]], Body(embed=True, min_length=1, max_length=10_000, description="settings by meter")
    ],
    wait_s: WaitS = 2.0,
) -> Response:
    """Set several meters of an agent up, all or none. Their readings are gone through once."""
    wishes = [Wish(meter=meter, settings=settings) for meter, settings in meters.items()]
    return await _answer(connection, site, agent, wishes, wait_s)


async def adopt_at(connection: Connection, site: SiteRow, agent: str, wishes: list[Wish]) -> Adopted:
    """Adopt in a transaction of its own, so that the replay can begin. Raises as `api.adoption.adopt`."""
    async with connection.transaction():
        await offer_store.lock_site(connection, site)
        current = await whole_model(site, connection)
        return await adopt(connection, site, current, agent=agent, wishes=wishes)


async def offers_of(connection: Connection, site: SiteRow) -> list[OfferAnswer]:
    """Each meter that is offered or that readings wait for, by agent and key."""
    reports = await offer_store.reports(connection, site.organisation, site.key)
    offers = parse_offers((row["agent"], row["offered_meters"]) for row in reports)
    offered_at = {row["agent"]: row["offered_at"] for row in reports}
    waiting = {(row["agent"], row["meter"]): row for row in await offer_store.waiting(connection, site)}
    agents = {row["id"] for row in await site_store.agents(connection, site)}
    known = {row["id"]: row["agent"] for row in await site_store.meters(connection, site)}
    items = []
    for agent, meter in sorted(offers.keys() | waiting.keys()):
        offer, row = offers.get((agent, meter)), waiting.get((agent, meter))
        settings = offered_settings(offer) if offer else {"unit": row["unit"]} if row and row["unit"] else {}
        state: OfferState = "new" if meter not in known else "known" if known[meter] == agent else "elsewhere"
        items.append(
            OfferAnswer(
                agent=agent,
                agent_is_known=agent in agents,
                meter=meter,
                state=state,
                offered_at=offered_at[agent] if offer else None,
                resource=offer.resource if offer else None,
                unit=settings.get("unit"),
                kind=offer.kind if offer else None,
                carrier=offer.carrier if offer else None,
                driver=offer.driver if offer else None,
                settings=settings,
                waiting=WaitingReadings(**{name: row[name] for name in WaitingReadings.model_fields}) if row else None,
                to_add=_to_add(agent, meter, settings) if state == "new" else [],
            )
        )
    return items


def _to_add(agent: str, meter: str, settings: dict[str, Any]) -> list[str]:
    try:
        adopted_meter(agent, Wish(meter=meter, settings={}), settings)
    except ValidationError as error:
        faults = setting_faults(meter, error)
        return [
            f"{fault['place'].removeprefix(meter).lstrip('.')}: {fault['message']}".lstrip(": ") for fault in faults
        ]
    return []


async def _answer(connection: Connection, site: SiteRow, agent: str, wishes: list[Wish], wait_s: float) -> Response:
    adopted = await adopt_at(connection, site, agent, wishes)
    replay = await follow(connection, site.organisation, adopted.replay, wait_s=wait_s)
    status = HTTPStatus.OK if replay.state == "done" else HTTPStatus.ACCEPTED
    return reply(AdoptionAnswer(meters=adopted.meters, is_new_agent=adopted.is_new_agent, replay=replay), status=status)
