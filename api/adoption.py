"""Adopting a meter that an agent offers: it is set up, and its readings are taken out of quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from api import offer_store
from api.database import Connection
from api.offers import offered_settings, parse_offers
from api.problems import ProblemError, not_found
from api.replay_store import Wanted, request_replay
from api.site_model import apply_checked_site_model, check_site_model
from api.site_store import SiteRow
from schemas.site import Agent, Meter, SiteModel
from schemas.topics import Key

_KEY: TypeAdapter[str] = TypeAdapter(Key)
_IN_THE_ADDRESS = ("id", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A meter to be adopted, and what is said of it; all else comes from the agent's offer."""

    meter: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The meters as they are set up now, whether their agent is new, and the number of the replay."""

    meters: list[Meter]
    is_new_agent: bool
    replay: int


async def adopt(
    connection: Connection, site: SiteRow, current: SiteModel, *, agent: str, wishes: Sequence[Wish]
) -> Adopted:
    """Set up these meters of one agent, all or none, and ask for the replay of what waits for them.

    Belongs into a transaction that locked the site before it read `current`. Raises a 404 problem for what nobody
    offers and no reading waits for, 409 for a meter that is there, 422 that says what to add, and ModelRefusedError
    for what does not fit the rest of the model.
    """
    reports = await offer_store.reports(connection, site.organisation, site.key)
    offers = parse_offers((row["agent"], row["offered_meters"]) for row in reports)
    waiting = {row["meter"]: row for row in await offer_store.waiting(connection, site, agent=agent)}
    _refuse_known(current, agent, wishes)
    meters: list[Meter] = []
    faults: list[dict[str, str]] = []
    for wish in wishes:
        offer, row = offers.get((agent, wish.meter)), waiting.get(wish.meter)
        if offer is None and row is None:
            raise not_found(
                f"agent {agent} offers no meter {wish.meter}, and no reading of it waits; "
                f"GET /v1/sites/{site.key}/offered-meters lists what there is"
            )
        defaults = offered_settings(offer) if offer else {"unit": row["unit"]} if row and row["unit"] else {}
        try:
            meters.append(adopted_meter(agent, wish, defaults))
        except ValidationError as error:
            faults += setting_faults(wish.meter, error)
    if faults:
        detail = "; ".join(f"{fault['place']}: {fault['message']}" for fault in faults[:5])
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-value", detail, errors=faults[:100])
    is_new_agent = agent not in {known.id for known in current.agents}
    agents = [Agent(id=agent)] if is_new_agent else []
    whole = current.model_copy(update={"agents": [*current.agents, *agents], "meters": [*current.meters, *meters]})
    await run_in_threadpool(check_site_model, whole)
    # Only what is new is written.
    empty: dict[str, Any] = {name: [] for name in SiteModel.model_fields if name not in {"organisation", "site"}}
    await apply_checked_site_model(connection, whole.model_copy(update={**empty, "agents": agents, "meters": meters}))
    wanted = Wanted(
        organisation=site.organisation,
        site=site.key,
        agent=agent,
        meters=[meter.id for meter in meters],
        because="the meters were adopted",
    )
    return Adopted(meters=meters, is_new_agent=is_new_agent, replay=await request_replay(connection, wanted))


def adopted_meter(agent: str, wish: Wish, defaults: Mapping[str, Any]) -> Meter:
    """The meter as it would be set up. Raises ValidationError that says what to add or correct."""
    return Meter.model_validate({**defaults, **wish.settings, "id": wish.meter, "agent": agent})


def setting_faults(meter: str, error: ValidationError) -> list[dict[str, str]]:
    """What keeps a meter from being set up, each with its place."""
    return [
        {
            "place": ".".join((meter, *map(str, fault["loc"]))),
            "message": "this is missing, and no agent says it; add it"
            if fault["type"] == "missing"
            else str(fault["msg"]).removeprefix("Value error, "),
        }
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _refuse_known(current: SiteModel, agent: str, wishes: Sequence[Wish]) -> None:
    for key in (agent, *(wish.meter for wish in wishes)):
        try:
            _KEY.validate_python(key)
        except ValidationError:
            raise not_found(f"{key!r} is not a key (lower-case letters, digits, . _ -), so nobody offers it") from None
    known = {meter.id: meter.agent for meter in current.meters}
    for i, wish in enumerate(wishes):
        for name in _IN_THE_ADDRESS:
            if name in wish.settings:
                fault = {"place": f"{wish.meter}.{name}", "message": "the address says it already; remove it"}
                detail = f"{fault['place']}: {fault['message']}"
                raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-value", detail, errors=[fault])
        if wish.meter in (other.meter for other in wishes[:i]):
            raise ProblemError(HTTPStatus.CONFLICT, "known-already", f"meter {wish.meter} is named twice; name it once")
        if wish.meter not in known:
            continue
        if known[wish.meter] == agent:
            detail = (
                f"meter {wish.meter} of agent {agent} is set up already; change it in the site model, and replay what "
                "still waits for it with POST /v1/quarantine/replay or `afkobling quarantine replay`"
            )
        else:
            detail = (
                f"there is a meter {wish.meter} already, read by agent {known[wish.meter]}; if {agent} reads it now, "
                "change `agent` in the site model, else give the meter another key in the agent's configuration"
            )
        raise ProblemError(HTTPStatus.CONFLICT, "known-already", detail)
