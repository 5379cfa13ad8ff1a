"""Data quality: how complete and how punctual each meter is, and everything that somebody should look at."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.calendar.clock import Period
from api.database import Database
from api.exact_json import Answer, Instant, Ratio, ratio, reply
from api.periods import parse_period
from api.problems import bad_value
from api.quality.cadence import cadence_of, is_silent, silent_after
from api.quality.facts import AgentFacts, CadenceFrom, MeterFacts
from api.quality.findings import LEAST_USABLE
from api.quality_loader import SiteQuality, load_quality
from api.site_store import OwnSite, SiteRow
from api.tables.formats import TableRoute
from schemas.events import EventKind
from schemas.findings import FindingKind
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["data quality"], route_class=TableRoute)


class MeterQuality(Answer):
    """One meter in the period. Spans are in milliseconds; `open_events` counts what nobody has decided about."""

    meter: str
    name: str
    agent: str
    resource: Resource
    coverage: Annotated[Ratio, Field(description="share of the period that measured readings stand behind, 0 to 1")]
    days: Annotated[int, Field(description="whole local days of the period")]
    usable_days: Annotated[int, Field(description="days of which measured readings cover more than half")]
    usable: Annotated[bool | None, Field(description="whether 90 % of the days are usable; null without a whole day")]
    estimated_share: Annotated[Ratio | None, Field(description="share of the amount that is estimated, 0 to 1")]
    cadence: Annotated[float | None, Field(description="how often it is expected to speak")]
    cadence_from: Annotated[CadenceFrom | None, Field(description="set, its interval, or learnt from what it does")]
    cadence_seen: Annotated[float | None, Field(description="the usual distance of its newest readings")]
    cadence_kept: Annotated[bool | None, Field(description="null where it is learnt, or too little was seen to tell")]
    last_reading_at: Annotated[Instant | None, Field(description="null where it is more than 30 days ago")]
    silent: bool
    silent_after: Annotated[float, Field(description="how long it may say nothing")]
    open_events: dict[EventKind, int]


class AgentQuality(Answer):
    """One agent as it last spoke of itself. `clock_ahead`: its clock against ours in milliseconds, negative: behind."""

    agent: str
    offline: bool
    heard_at: Instant | None
    clock_ahead: int | None
    readings_dropped: int
    unknown_meters: list[str]
    missing_messages: int


class QuarantineCount(Answer):
    """What came into quarantine in the period for one reason, and waits there."""

    agent: str | None
    reason: str
    messages: int
    readings: int
    first_at: Instant
    last_at: Instant


class FindingAnswer(Answer):
    """Something that stands out: what was seen, why it matters, what to do. `to` is null while it goes on."""

    kind: FindingKind
    meter: str | None
    agent: str | None
    line: str | None
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant | None, Field(alias="to")]
    seen: str
    why: str
    todo: str
    event: Annotated[str | None, Field(description="the meter event behind it, to be confirmed or overruled")]
    count: Annotated[int, Field(description="how many events, nights, meters, messages or readings it stands for")]


class QualityAnswer(Answer):
    """A site's data in a period. `findings` holds nothing that is fine, so an empty list is good news."""

    organisation: str
    site: str
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    now: Instant
    findings: list[FindingAnswer]
    meters: list[MeterQuality]
    agents: list[AgentQuality]
    quarantine: list[QuarantineCount]


@router.get("/quality", response_model=QualityAnswer)
async def quality(
    site: OwnSite,
    connection: Database,
    start: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40)] = None,
) -> Response:
    """What is known of each meter's and agent's data, and what stands out; by default of the last 30 days up to now."""
    return reply(answer(site, await load_quality(connection, site, asked_period(site, start, end))))


def asked_period(site: SiteRow, start: str | None, end: str | None) -> Period | None:
    """The period between both ends, None where neither is given. Raises a 422 problem."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        missing = "from" if start is None else "to"
        raise bad_value(missing, "give `from` and `to`, or neither for the last 30 days")
    return parse_period(start, end, site.zone)


def answer(site: SiteRow, found: SiteQuality) -> QualityAnswer:
    """The answer for programs and for the command line alike."""
    facts = found.facts
    events = Counter((event.meter, event.kind) for event in facts.events)
    missing = Counter({entry.agent: 0 for entry in facts.ledger})
    for entry in facts.ledger:
        missing[entry.agent] += entry.missing
    return QualityAnswer(
        organisation=site.organisation,
        site=site.key,
        start=facts.start,
        end=facts.end,
        now=found.now,
        findings=[FindingAnswer.model_validate(finding, from_attributes=True) for finding in found.findings],
        meters=[_meter(meter, found, events) for meter in facts.meters],
        agents=[_agent(agent, missing[agent.agent]) for agent in facts.agents],
        quarantine=[QuarantineCount.model_validate(entry, from_attributes=True) for entry in facts.quarantine],
    )


def _meter(meter: MeterFacts, found: SiteQuality, events: Counter[tuple[str, EventKind]]) -> MeterQuality:
    facts, cadence = found.facts, cadence_of(meter)
    length_ms = max((facts.known_to - facts.start) // timedelta(milliseconds=1), 1)
    amount = meter.measured + meter.estimated
    return MeterQuality(
        meter=meter.meter,
        name=meter.name,
        agent=meter.agent,
        resource=meter.resource,
        coverage=ratio(min(meter.covered_ms / length_ms, 1.0)) or ratio(0.0),
        days=facts.days,
        usable_days=meter.usable_days,
        usable=meter.usable_days >= LEAST_USABLE * facts.days if facts.days else None,
        estimated_share=ratio(meter.estimated / amount) if amount else None,
        cadence=cadence.expected_ms,
        cadence_from=cadence.source,
        cadence_seen=meter.seen_ms,
        cadence_kept=cadence.is_kept,
        last_reading_at=meter.last_at,
        silent=is_silent(meter, found.now),
        silent_after=silent_after(meter) / timedelta(milliseconds=1),
        open_events={kind: count for kind in EventKind if (count := events[meter.meter, kind])},
    )


def _agent(agent: AgentFacts, missing: int) -> AgentQuality:
    return AgentQuality(
        agent=agent.agent,
        offline=agent.is_offline,
        heard_at=agent.heard_at,
        clock_ahead=agent.clock_ahead_ms,
        readings_dropped=agent.dropped,
        unknown_meters=[unknown.meter for unknown in agent.unknown],
        missing_messages=missing,
    )
