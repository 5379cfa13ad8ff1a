"""What a person does about an event: confirm it, overrule it, give it back to the rules, or set readings aside."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Literal, LiteralString

from psycopg.rows import DictRow
from pydantic import ConfigDict, Field

from api import event_store, site_store
from api.archived import beside, over
from api.database import Connection, fetch_one
from api.event_store import Event
from api.pending import lock_meters, note_pending
from api.periods import parse_instant
from api.problems import ProblemError, bad_value
from api.said import InstantText, Said, from_unix_ms, no_such, unix_ms
from api.site_store import SiteRow
from schemas.archive_reader import join
from schemas.events import DECISIONS, OVERRULED_BY, Decision, EventKey, EventKind, EventState
from schemas.topics import Key

_DECIDE: LiteralString = """
INSERT INTO event_decision (meter_id, kind, at, until, state, decision, author, reason)
VALUES (%(meter)s, %(kind)s, %(at)s, %(until)s, %(state)s, %(decision)s, %(author)s, %(reason)s)
"""
_READ_WITHIN: LiteralString = """
SELECT min(at) AS first, max(at) AS last FROM (
    SELECT at FROM reading WHERE meter_id = %(meter)s AND at >= %(start)s AND at <= %(end)s
    UNION ALL
    SELECT at FROM current_manual_reading WHERE meter_id = %(meter)s AND at >= %(start)s AND at <= %(end)s
) AS r
"""


class Act(StrEnum):
    """What can be done about an event."""

    CONFIRM = "confirm"
    OVERRULE = "overrule"
    REOPEN = "reopen"


_STATES = {
    Act.CONFIRM: EventState.CONFIRMED,
    Act.OVERRULE: EventState.OVERRULED,
    Act.REOPEN: EventState.PROPOSED,
}
_LONGEST = timedelta(days=31)
"""Readings set aside in one go; more looks like a slip of the pen."""


class Ruling(Said):
    """Who decides, why, and what; without `decision` what the act itself says."""

    decision: Decision | None = None


class Finding(Said):
    """Readings that a person sets aside although the rules saw nothing: those from `from` to `to`, both counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    meter: Key
    kind: Literal[EventKind.SPIKE] = EventKind.SPIKE
    start: Annotated[InstantText, Field(alias="from")]
    end: Annotated[InstantText, Field(alias="to")]


def ruled(event: Event, act: Act, decision: Decision | None) -> tuple[EventState, Decision | None]:
    """The state and the decision that an act brings about. Raises a 409 or 422 problem that says what to do instead."""
    if act is Act.REOPEN:
        if decision is not None:
            raise bad_value("decision", "reopening gives the event back to the rules; leave it out, or overrule")
        if event.state is EventState.PROPOSED:
            raise _conflict(f"{event.key}: nobody has decided about it, so there is nothing to take back")
        return EventState.PROPOSED, None
    if event.decision is None:
        raise _conflict(f"{event.key}: neither the rules nor anybody finds anything there now; set readings aside anew")
    allowed = DECISIONS[event.kind]
    if decision is not None and decision not in allowed:
        raise bad_value("decision", f"about {event.kind} one of these can be decided: {', '.join(allowed)}")
    choose = _confirmed if act is Act.CONFIRM else _overruled
    chosen = choose(event, event.decision, decision)
    if chosen is Decision.ROLLOVER and event.register_width is None:
        raise _conflict(
            f"meter {event.meter} has no register_width, so nobody knows where it begins again; "
            "add it to the site model (100000 for five digits), then decide"
        )
    return _STATES[act], chosen


async def find_event(connection: Connection, site: SiteRow, text: str) -> Event:
    """The event that is called `meter:kind:milliseconds`. Raises a 422 problem for another text, 404 for no event."""
    try:
        key = EventKey.parse(text)
    except ValueError as error:
        raise bad_value("event", "write meter:kind:milliseconds, as the list of events shows it") from error
    at = from_unix_ms(key.at_ms)
    meters = await site_store.meters(connection, site, key.meter)
    found = await event_store.event(connection, meters[0]["number"], key.kind, at) if meters and at else None
    if found is None:
        raise no_such("event", text)
    return found


async def decide(connection: Connection, site: SiteRow, text: str, act: Act, ruling: Ruling) -> Event:
    """Write down what was decided, and have the roll-up compute the event's neighbourhood again.

    Saying the same again changes nothing. Returns the event as it is then. Raises a 404, 409 or 422 problem.
    """
    async with connection.transaction():
        event = await find_event(connection, site, text)
        await lock_meters(connection, [event.meter_id])
        event = await find_event(connection, site, text)
        if _is_said_already(event, act, ruling):
            return event
        state, decision = ruled(event, act, ruling.decision)
        if ruling.decision is None and await _is_unsettled(connection, event):
            raise _conflict(
                f"{event.key}: it was reopened, and the roll-up has yet to say what the rules make of it; try again "
                "when it has run (`afkobling rollup once`), or name the decision"
            )
        values = {"meter": event.meter_id, "kind": event.kind, "at": event.at, "until": event.until}
        await _append(connection, values, state=state, decision=decision, said=ruling)
        await note_pending(connection, [(event.meter_id, event.begins, event.ends)])
        return await find_event(connection, site, text)


async def set_aside(connection: Connection, site: SiteRow, finding: Finding) -> Event:
    """Set readings aside as a spike that the rules did not see; setting the same aside again changes nothing.

    Returns the event. Raises a 404 problem for an unknown meter, 409 when it has no readings there, 422 for a span that
    is none.
    """
    start = parse_instant("from", finding.start, site.zone)
    end = parse_instant("to", finding.end, site.zone)
    if not timedelta(0) <= end - start <= _LONGEST:
        raise bad_value("to", f"must not lie before `from`, nor more than {_LONGEST.days} days after it")
    async with connection.transaction():
        number = site_store.only(await site_store.meters(connection, site, finding.meter), "meter")["number"]
        await lock_meters(connection, [number])
        # The event is called after its first reading, as those are that the rules find.
        span = await _read_within(connection, number, start, end)
        if span is None or span["first"] is None:
            raise _conflict(f"meter {finding.meter} has no reading in that span, so there is nothing to set aside")
        values = {"meter": number, "kind": finding.kind, "at": span["first"], "until": span["last"]}
        known = await event_store.event(connection, number, finding.kind, span["first"])
        if known is None or not _is_set_aside_already(known, span["last"], finding):
            await _append(connection, values, state=EventState.CONFIRMED, decision=Decision.SET_ASIDE, said=finding)
            ends = max(span["last"], known.ends) if known else span["last"]
            await note_pending(connection, [(number, span["first"], ends)])
        return await find_event(
            connection, site, str(EventKey(meter=finding.meter, kind=finding.kind, at_ms=unix_ms(span["first"])))
        )


async def _read_within(connection: Connection, number: int, start: datetime, end: datetime) -> DictRow | None:
    values = {"meter": number, "start": start, "end": end}
    spans = [(number, start, end + timedelta(microseconds=1))]
    async with beside(connection) as archive:
        archived = join([await archive.firsts(spans), await archive.lasts(spans)])
        return await fetch_one(connection, *over(_READ_WITHIN, values, archived))


def _confirmed(event: Event, current: Decision, decision: Decision | None) -> Decision:
    if event.state is EventState.OVERRULED:
        raise _conflict(
            f"{event.key} is overruled: {current} is what is done; reopen it first, then confirm what the rules say"
        )
    if current is not Decision.UNDECIDED:
        if decision not in {None, current}:
            raise _conflict(f"{event.key}: {current} is what is done; to have {decision} instead, overrule it")
        return current
    if decision is None:
        allowed = ", ".join(DECISIONS[event.kind])
        raise bad_value("decision", f"the rules could not tell yet; say which it is, one of: {allowed}")
    return decision


def _overruled(event: Event, current: Decision, decision: Decision | None) -> Decision:
    if event.kind is EventKind.EXCHANGE:
        raise _conflict(f"{event.key} is a record of an exchange; withdraw the record, or record it with other values")
    if decision is None:
        decision = OVERRULED_BY.get((event.kind, current))
        if decision is None:
            others = ", ".join(other for other in DECISIONS[event.kind] if other is not current)
            raise bad_value("decision", f"{current} is what is done; say what instead, one of: {others}")
    if decision is current:
        raise _conflict(f"{event.key}: {decision} is what is done already; confirm it, or name another decision")
    return decision


def _is_said_already(event: Event, act: Act, ruling: Ruling) -> bool:
    """A request that was sent again, because its answer was lost, is no new version."""
    return (
        event.decided_at is not None
        and event.state is _STATES[act]
        and (ruling.decision is None or (ruling.decision is event.decision and act is not Act.REOPEN))
        and (event.author, event.reason) == (ruling.author, ruling.reason)
    )


def _is_set_aside_already(event: Event, until: datetime, said: Said) -> bool:
    return (event.state, event.decision, event.until, event.author, event.reason) == (
        EventState.CONFIRMED,
        Decision.SET_ASIDE,
        until,
        said.author,
        said.reason,
    )


async def _is_unsettled(connection: Connection, event: Event) -> bool:
    """Whether the decision in effect is still one that was taken back, as the roll-up has not come by since."""
    was_reopened = event.state is EventState.PROPOSED and event.decided_at is not None
    return was_reopened and await event_store.is_pending(connection, event)


async def _append(
    connection: Connection,
    values: dict[str, Any],
    *,
    state: EventState,
    decision: Decision | None,
    said: Said,
) -> None:
    spoken = {"state": state, "decision": decision, "author": said.author, "reason": said.reason}
    await connection.execute(_DECIDE, {**values, **spoken})


def _conflict(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.CONFLICT, "event-refused", detail)
