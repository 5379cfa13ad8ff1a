"""What open meter events say to a person."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from api.quality.facts import OpenEvent
from api.quality.finding import Finding
from api.quality.words import span
from schemas.events import EventKind
from schemas.findings import FindingKind

MOST_OF_A_KIND = 20
"""A meter's events of one kind that are told one by one; more than that are told as one finding."""


def find_events(events: Sequence[OpenEvent], *, zone: ZoneInfo) -> list[Finding]:
    """A finding an event, or one for all of a kind and meter where there are very many."""
    groups: dict[tuple[str, EventKind], list[OpenEvent]] = {}
    for event in sorted(events, key=lambda event: event.at):
        groups.setdefault((event.meter, event.kind), []).append(event)
    found = []
    for group in groups.values():
        if len(group) > MOST_OF_A_KIND:
            found.append(_many(group, zone))
        else:
            found += [_one(event) for event in group]
    return found


def _one(event: OpenEvent) -> Finding:
    kind = FindingKind(event.kind)
    return Finding(
        kind=kind,
        meter=event.meter,
        start=event.at,
        end=event.until,
        seen=f"{event.meter}: {event.sentence}",
        todo=f"{_ADVICE[event.kind]} Then confirm or overrule it: `afkobling events confirm {event.key} --reason …`.",
        event=event.key,
    )


def _many(group: Sequence[OpenEvent], zone: ZoneInfo) -> Finding:
    kind, meter = group[0].kind, group[0].meter
    start, end = group[0].at, max(event.until for event in group)
    return Finding(
        kind=FindingKind(kind),
        meter=meter,
        start=start,
        end=end,
        seen=f"{meter}: {len(group)} times {_NAMES[kind]}, {span(start, end, zone)}.",
        todo=f"So many point to a cause: {_ADVICE[kind]} `afkobling events list` shows each of them.",
        count=len(group),
    )


_NAMES: dict[EventKind, str] = {
    EventKind.EXCHANGE: "an exchange",
    EventKind.ROLLOVER: "a rollover",
    EventKind.DIP: "a dip",
    EventKind.RESET: "a reset",
    EventKind.SPIKE: "a spike",
    EventKind.FROZEN: "a register that stood still",
    EventKind.GAP: "a gap",
    EventKind.EXPORT: "a negative rate",
}
_ADVICE: dict[EventKind, str] = {
    EventKind.EXCHANGE: "Compare both registers with the work order.",
    EventKind.ROLLOVER: "Compare the register with the dial.",
    EventKind.DIP: "If it comes again, look at the wiring and at the agent's log.",
    EventKind.RESET: "If the meter was exchanged, record the exchange with both registers: then nothing is missing.",
    EventKind.SPIKE: "If it comes again, look at the wiring; `rated_maximum` tells what the meter can't have counted.",
    EventKind.FROZEN: "Go and look whether the meter turns.",
    EventKind.GAP: "If the meter speaks that seldom, set its `max_gap`; if not, look at cable, power and agent.",
    EventKind.EXPORT: "If the site generates, confirm it; if not, check the direction of the current transformers.",
}
