"""All findings of a site in a period. What is fine is not among them."""

from __future__ import annotations

from datetime import datetime, timedelta

from api.quality.agents import find_of_agents
from api.quality.cadence import cadence_of
from api.quality.events import find_events
from api.quality.facts import MeterFacts, NegativeRest, SiteFacts
from api.quality.finding import Finding
from api.quality.nights import Leak, find_leaks
from api.quality.runs import find_of_runs
from api.quality.silence import find_silent
from api.quality.words import duration, listed, plural, span
from schemas.findings import FindingKind

LEAST_USABLE = 0.9
"""Share of days that must be usable for a month or a base period [METHODS §1]."""


def find(facts: SiteFacts, *, now: datetime) -> list[Finding]:
    """Every finding that touches the period, by when it began."""
    silent = find_silent(facts, now=now)
    silent_meters = {meter for group in silent for meter in group.meters}
    found = [
        *(group.finding for group in silent),
        *find_of_agents(facts, now=now),
        *find_events(facts.events, zone=facts.zone),
        *(_leak(leak, facts) for leak in find_leaks(facts.meters, facts.nights, start=facts.start, end=facts.end)),
        *(_rest(rest, facts) for rest in facts.rests),
        *find_of_runs(facts, now=now),
    ]
    for meter in facts.meters:
        if meter.meter not in silent_meters:
            found += _of_cadence(meter, facts)
            found += _of_coverage(meter, facts)
    return sorted(found, key=_order)


def _order(finding: Finding) -> tuple[datetime, str, str, str, str]:
    return finding.start, finding.kind, finding.meter or "", finding.agent or "", finding.line or ""


def _of_coverage(meter: MeterFacts, facts: SiteFacts) -> list[Finding]:
    """A period that can't be used, counted from when the meter was first heard in it."""
    if meter.began is None:
        return []
    # The day on which it began is rarely a whole one.
    after_first = meter.began.astimezone(facts.zone).date() + timedelta(days=1)
    wanted = facts.days if meter.began <= facts.start else (facts.end_day - after_first).days
    if wanted <= 0 or meter.usable_days >= LEAST_USABLE * wanted:
        return []
    when = span(meter.began, facts.known_to, facts.zone)
    seen = f"{meter.meter}: {meter.usable_days} of {plural(wanted, 'day')} can be used, {when}."
    return [
        Finding(
            kind=FindingKind.COVERAGE,
            meter=meter.meter,
            start=meter.began,
            end=facts.known_to,
            seen=seen,
            todo="Choose another base period, or enter readings of the dial where somebody wrote them down.",
        )
    ]


def _of_cadence(meter: MeterFacts, facts: SiteFacts) -> list[Finding]:
    """Of its newest readings, whatever the period: so only where these are in it."""
    cadence = cadence_of(meter)
    if cadence.is_kept is not False or meter.seen_ms is None or cadence.expected_ms is None or meter.last_at is None:
        return []
    if not facts.touches(meter.last_at):
        return []
    often, planned = (duration(timedelta(milliseconds=ms)) for ms in (meter.seen_ms, cadence.expected_ms))
    return [
        Finding(
            kind=FindingKind.CADENCE,
            meter=meter.meter,
            start=meter.last_at,
            end=None,
            seen=f"{meter.meter} speaks every {often}, but is expected to every {planned}.",
            todo=f"Look at how agent {meter.agent} is set up and how busy it is, or set `cadence` to what is wanted.",
        )
    ]


def _leak(leak: Leak, facts: SiteFacts) -> Finding:
    meter = next(meter for meter in facts.meters if meter.meter == leak.meter)
    unit = "kWh" if meter.resource == "energy" else "m3"
    return Finding(
        kind=FindingKind.LEAK,
        meter=leak.meter,
        start=leak.start,
        end=None if leak.goes_on else leak.end,
        seen=f"{leak.meter} took {leak.base:.3g} {unit} an hour at night, where {leak.norm:.3g} is the most that is "
        f"usual: {plural(leak.nights, 'night')}, {span(leak.start, leak.end, facts.zone)}.",
        todo="Listen at night for what runs: a valve, a compressor, a pump. If it has to run, acknowledge the alert, "
        "or take the meter out with `watch_nights: false`.",
        count=leak.nights,
    )


def _rest(rest: NegativeRest, facts: SiteFacts) -> Finding:
    return Finding(
        kind=FindingKind.NEGATIVE_REST,
        meter=rest.meter,
        start=rest.start,
        end=rest.end,
        seen=f"The parts of {rest.meter} ({listed(list(rest.parts))}) counted {rest.excess:.4g} {rest.unit} more than "
        f"{rest.meter} itself, {span(rest.start, rest.end, facts.zone)}.",
        todo="Compare the meters' dials, conversions (current transformers, pulses per unit) and parents in the model.",
    )
