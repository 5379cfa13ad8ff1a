"""Events as the API and the command line tell them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field

from api import event_store, site_store
from api.cursor import Page, page_of
from api.database import Connection
from api.event_evidence import readings_around, with_evidence
from api.event_rulings import find_event
from api.event_sentences import tell_event
from api.event_store import Asked, Event
from api.exact_json import Answer, Instant, Number, quantity
from api.readings_store import quality_name
from api.said import no_such
from api.site_store import SiteRow
from schemas.events import DECISIONS, Decision, EventKind, EventState


class EvidenceReading(Answer):
    """A reading, in the meter's unit."""

    at: Instant
    value: float | None


class Evidence(Answer):
    """The readings involved, in the meter's `unit`. Of an exchange `first` is the old register, `last` the new one's.

    `before` and `after` are the neighbours that count. `readings` is null where the rules find nothing (any more).
    """

    unit: str
    before: EvidenceReading | None
    first: EvidenceReading
    last: EvidenceReading
    after: EvidenceReading | None
    readings: int | None


class EventAnswer(Answer):
    """Something found in a meter's readings, or said of them; `to` is the last reading that it is about.

    `decision` is what is done, by the rules (`proposed`) or by whom `author` names; null where it was taken back and
    the rules find nothing. `applied` is the one that the consumption was last computed with; null where the rules find
    nothing (any more).
    """

    id: str
    meter: str
    kind: EventKind
    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    state: EventState
    decision: Decision | None
    applied: Decision | None
    author: str | None
    reason: str | None
    decided_at: Instant | None
    evidence: Evidence
    quantity: Annotated[
        Number | None, Field(description="what counts for it, in `unit`; null: unknown, or not yet told")
    ]
    unit: str
    sentence: str
    sentence_da: str


class DecisionVersion(Answer):
    """One thing that was decided about an event; `decision` is null where it was given back to the rules."""

    state: EventState
    decision: Decision | None
    end: Annotated[Instant, Field(alias="to")]
    author: str
    reason: str
    decided_at: Instant


class RawReading(Answer):
    """What the meter itself said."""

    at: Instant
    value: float
    quality: str


class EventDetail(EventAnswer):
    """An event with everything that was decided about it, oldest first, and the raw readings at either end of it."""

    decisions: list[Decision] = Field(description="what can be decided about it")
    is_recomputing: bool = Field(description="the roll-up has yet to compute this time again")
    history: list[DecisionVersion]
    raw_readings: list[RawReading]


async def event_page(
    connection: Connection,
    site: SiteRow,
    asked: Asked,
    *,
    after: tuple[datetime, int, str] | None,
    limit: int,
) -> Page[EventAnswer]:
    """A page of events, the newest first; a row more than it holds tells that there is a next one."""
    found = await event_store.events(connection, asked, after=after, limit=limit + 1)
    page = page_of(found, limit, lambda event: (event.at, event.meter_id, event.kind.value))
    told = [event_answer(event, site) for event in await with_evidence(connection, page.items)]
    return Page(items=told, next=page.next)


async def told_event(connection: Connection, site: SiteRow, event: Event) -> EventAnswer:
    """One event, with its evidence."""
    (event,) = await with_evidence(connection, [event])
    return event_answer(event, site)


async def event_detail(connection: Connection, site: SiteRow, text: str) -> EventDetail:
    """All about the event that is called `meter:kind:milliseconds`. Raises a 404 or 422 problem."""
    event = await find_event(connection, site, text)
    (event,) = await with_evidence(connection, [event])
    history = await event_store.decisions(connection, event)
    raw = await readings_around(connection, event)
    return EventDetail(
        **dict(event_answer(event, site)),
        decisions=_possible(event),
        is_recomputing=await event_store.is_pending(connection, event),
        history=[DecisionVersion(**{**row, "end": row["until"]}) for row in history],
        raw_readings=[RawReading(**{**row, "quality": quality_name(row["quality"])}) for row in raw],
    )


def event_answer(event: Event, site: SiteRow) -> EventAnswer:
    """The event in words and numbers, by the clocks of the site."""
    sentence = tell_event(event, site.zone)
    # What counted under another decision says nothing of this one.
    counts = event.quantity is not None and event.applied is event.decision
    return EventAnswer(
        id=str(event.key),
        meter=event.meter,
        kind=event.kind,
        start=event.at,
        end=event.until,
        state=event.state,
        decision=event.decision,
        applied=event.applied,
        author=event.author,
        reason=event.reason,
        decided_at=event.decided_at,
        evidence=Evidence(
            unit=event.unit,
            before=_neighbour(event.before_at, event.before_value),
            first=EvidenceReading(at=event.at, value=event.value),
            last=EvidenceReading(at=event.until, value=event.until_value),
            after=_neighbour(event.after_at, event.after_value),
            readings=event.readings,
        ),
        quantity=quantity(event.quantity) if counts and event.quantity is not None else None,
        unit=event.canonical_unit,
        sentence=sentence.en,
        sentence_da=sentence.da,
    )


async def meter_numbers(connection: Connection, site: SiteRow, keys: Sequence[str] | None) -> list[int]:
    """Numbers of the site's meters, or of those with these keys. Raises a 404 problem for a key that no meter has."""
    numbers = {meter["id"]: meter["number"] for meter in await site_store.meters(connection, site)}
    for key in keys or ():
        if key not in numbers:
            raise no_such("meter", key)
    return [number for key, number in numbers.items() if not keys or key in keys]


def _possible(event: Event) -> list[Decision]:
    is_rolling = event.register_width is not None
    return [choice for choice in DECISIONS[event.kind] if is_rolling or choice is not Decision.ROLLOVER]


def _neighbour(at: datetime | None, value: float | None) -> EvidenceReading | None:
    return None if at is None else EvidenceReading(at=at, value=value)
