"""What stands out about agents: clocks, ledgers, outboxes, meters that nobody set up, and quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta

from api.quality.facts import AgentFacts, LedgerFacts, QuarantineFacts, SiteFacts, UnknownMeter
from api.quality.finding import Finding
from api.quality.words import duration, moment, plural, span
from schemas.findings import FindingKind
from schemas.quarantine import Reason

LARGEST_SKEW_MS = 60_000
"""How far a clock may be off: a minute of a quarter of an hour [O]."""
SETTLED_AFTER = timedelta(minutes=15)
"""How long a ledger may have holes: what is missing is usually on its way [O]."""


def find_of_agents(facts: SiteFacts, *, now: datetime) -> list[Finding]:
    """Findings about agents, but for their silence."""
    found: list[Finding] = []
    for agent in facts.agents:
        found += _skew(agent, facts)
        found += _dropped(agent, facts)
        found += [
            f for f in (_unknown(agent, meter, facts, now=now) for meter in agent.unknown) if facts.touches(f.start)
        ]
    offering = {agent.agent for agent in facts.agents if agent.unknown}
    for entry in facts.quarantine:
        # Told with the meter itself, which is what there is something to do about.
        if entry.reason != Reason.UNKNOWN_METER or entry.agent not in offering:
            found.append(_quarantined(entry, facts))
    found += [_missing(entry, facts) for entry in facts.ledger if now - entry.last_at > SETTLED_AFTER]
    return found


def _skew(agent: AgentFacts, facts: SiteFacts) -> list[Finding]:
    """Ahead is certain. Behind may be a message that waited for us at the broker: of one that is gone, the last one."""
    ahead = agent.clock_ahead_ms
    if agent.heard_at is None or ahead is None or abs(ahead) <= LARGEST_SKEW_MS or (ahead < 0 and agent.is_offline):
        return []
    if not facts.touches(agent.heard_at, agent.heard_at):
        return []
    side = "ahead of" if ahead > 0 else "behind"
    return [
        Finding(
            kind=FindingKind.CLOCK_SKEW,
            agent=agent.agent,
            start=agent.heard_at,
            end=None,
            seen=f"The clock of agent {agent.agent} is {duration(timedelta(milliseconds=ahead))} {side} ours.",
            todo="Have its computer's clock set by the network (NTP): `timedatectl status` shows whether it is.",
        )
    ]


def _dropped(agent: AgentFacts, facts: SiteFacts) -> list[Finding]:
    if not agent.dropped or agent.heard_at is None or not facts.touches(agent.heard_at):
        return []
    return [
        Finding(
            kind=FindingKind.READINGS_DROPPED,
            agent=agent.agent,
            start=agent.heard_at,
            end=None,
            seen=f"Agent {agent.agent} gave up {plural(agent.dropped, 'reading')} because its outbox was full.",
            todo="Give the outbox more room (`outbox.max_size`), and look at what kept it from the broker for so long.",
            count=agent.dropped,
        )
    ]


def _unknown(agent: AgentFacts, unknown: UnknownMeter, facts: SiteFacts, *, now: datetime) -> Finding:
    # It is unknown now, whenever it was offered first.
    start = min(unknown.first_at or agent.heard_at or now, facts.end)
    held = f"; {plural(unknown.readings, 'reading')} of it stand in quarantine" if unknown.readings else ""
    return Finding(
        kind=FindingKind.UNKNOWN_METER,
        meter=unknown.meter,
        agent=agent.agent,
        start=start,
        end=None,
        seen=f"Agent {agent.agent} offers meter {unknown.meter}, which the site model has not{held}.",
        todo=f"Adopt it with `afkobling meters adopt {agent.agent} {unknown.meter}`: what stands in quarantine is then "
        "stored. Or take it out of the agent's configuration.",
        count=max(1, unknown.readings),
    )


def _quarantined(entry: QuarantineFacts, facts: SiteFacts) -> Finding:
    whose = f"of agent {entry.agent} " if entry.agent else ""
    when = span(entry.first_at, entry.last_at, facts.zone)
    readings = f" with {plural(entry.readings, 'reading')}" if entry.readings else ""
    return Finding(
        kind=FindingKind.QUARANTINE,
        agent=entry.agent,
        start=entry.first_at,
        end=entry.last_at,
        seen=f"{plural(entry.messages, 'message')} {whose}in quarantine{readings}: "
        f"{entry.reason}, {when}. The last says: {entry.detail}.",
        todo="Do what it says, then `afkobling quarantine replay`: nothing in it is lost.",
        count=entry.messages,
    )


def _missing(entry: LedgerFacts, facts: SiteFacts) -> Finding:
    return Finding(
        kind=FindingKind.LEDGER_INCOMPLETE,
        agent=entry.agent,
        start=entry.last_at,
        end=None,
        seen=f"{plural(entry.missing, 'message')} of agent {entry.agent} never came (epoch {entry.epoch}, from number "
        f"{entry.first_seq}); the last one that did came at {moment(entry.last_at, facts.zone)}.",
        todo="Start the agent with the same outbox file: it sends what it has not been told is stored.",
        count=entry.missing,
    )
