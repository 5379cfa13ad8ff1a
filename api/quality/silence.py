"""Silent meters, told by the agent where it is the agent's silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.quality.cadence import LOOKED, is_silent, silent_after
from api.quality.facts import AgentFacts, MeterFacts, SiteFacts
from api.quality.finding import Finding
from api.quality.words import duration, listed, moment, plural
from schemas.findings import FindingKind

OFFLINE_AFTER = timedelta(minutes=15)
"""An agent may be away for as long: a restart is no finding [O]."""
_TOGETHER = timedelta(minutes=15)
"""Meters that fall silent within this span fell silent together [O]."""
_MANY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A finding, and the silent meters that it stands for."""

    finding: Finding
    meters: tuple[str, ...]


def find_silent(facts: SiteFacts, *, now: datetime) -> list[Silence]:
    """What is silent now and has been since before the period's end.

    An agent that is offline, or whose meters fell silent together (three, or all of several), is one finding; the rest
    is told meter by meter.
    """
    agents = {agent.agent: agent for agent in facts.agents}
    by_agent: dict[str, list[MeterFacts]] = {key: [] for key in agents}
    for meter in facts.meters:
        by_agent.setdefault(meter.agent, []).append(meter)
    found: list[Silence] = []
    for key, meters in by_agent.items():
        found += _of_agent(agents.get(key, AgentFacts(agent=key)), meters, facts, now=now)
    return [silence for silence in found if facts.touches(silence.finding.start)]


def _of_agent(agent: AgentFacts, meters: Sequence[MeterFacts], facts: SiteFacts, *, now: datetime) -> list[Silence]:
    silent = [meter for meter in meters if is_silent(meter, now)]
    found = []
    if agent.is_offline and agent.heard_at is not None and now - agent.heard_at > OFFLINE_AFTER:
        since = agent.heard_at
        its = [m for m in silent if m.last_at is not None and m.last_at >= since - silent_after(m)]
        found.append(_offline(agent, since, its, facts))
        silent = [meter for meter in silent if meter not in its]
    for together in _clusters(silent):
        if len(together) >= _MANY or (len(together) == len(meters) > 1):
            found.append(_agent_silent(agent, together, facts, now=now))
        else:
            found += [_meter_silent(meter, facts, now=now) for meter in together]
    return found


def _clusters(silent: Sequence[MeterFacts]) -> list[list[MeterFacts]]:
    """Meters that fell silent together; those that were never heard are together."""
    clusters: list[list[MeterFacts]] = []
    never = [meter for meter in silent if meter.last_at is None]
    if never:
        clusters.append(never)
    last: datetime | None = None
    for at, meter in sorted(
        ((meter.last_at, meter) for meter in silent if meter.last_at is not None), key=lambda pair: pair[0]
    ):
        if last is not None and at - last <= _TOGETHER:
            clusters[-1].append(meter)
        else:
            clusters.append([meter])
        last = at
    return clusters


def _offline(agent: AgentFacts, since: datetime, meters: Sequence[MeterFacts], facts: SiteFacts) -> Silence:
    names = [meter.meter for meter in meters]
    silent = f"; silent with it: {listed(names)}" if names else ""
    finding = Finding(
        kind=FindingKind.AGENT_OFFLINE,
        agent=agent.agent,
        start=since,
        end=None,
        seen=f"Agent {agent.agent} has been offline since {moment(since, facts.zone)}{silent}.",
        todo="Look whether its computer has power and network, then at its log (`journalctl -u afkobling-edge`).",
        count=max(1, len(names)),
    )
    return Silence(finding=finding, meters=tuple(names))


def _agent_silent(agent: AgentFacts, meters: Sequence[MeterFacts], facts: SiteFacts, *, now: datetime) -> Silence:
    names = [meter.meter for meter in meters]
    heard = [meter.last_at for meter in meters if meter.last_at is not None]
    since = f"since {moment(max(heard), facts.zone)}" if heard else "in the last 30 days"
    finding = Finding(
        kind=FindingKind.AGENT_SILENT,
        agent=agent.agent,
        start=max(heard, default=now - LOOKED),
        end=None,
        seen=f"{plural(len(names), 'meter')} of agent {agent.agent} said nothing {since}: {listed(names)}.",
        todo="Look at the agent: does it run, does it reach the meters, what does its log say?",
        count=len(names),
    )
    return Silence(finding=finding, meters=tuple(names))


def _meter_silent(meter: MeterFacts, facts: SiteFacts, *, now: datetime) -> Silence:
    allowed = duration(silent_after(meter))
    if meter.last_at is None:
        seen = f"{meter.meter} has said nothing in the last 30 days."
    else:
        since = f"{moment(meter.last_at, facts.zone)} ({duration(now - meter.last_at)})"
        seen = f"{meter.meter} has said nothing since {since}, where {allowed} is the most that is usual."
    finding = Finding(
        kind=FindingKind.SILENT,
        meter=meter.meter,
        start=now - LOOKED if meter.last_at is None else meter.last_at,
        end=None,
        seen=seen,
        todo=f"Look at the meter, its cable and agent {meter.agent}. If it speaks that seldom, set its `cadence`.",
    )
    return Silence(finding=finding, meters=(meter.meter,))
