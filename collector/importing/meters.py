"""Which meters of a site a file's columns and names are, and whether the two say the same of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import yaml
from psycopg.rows import class_row

from schemas.durations import span_text
from schemas.mapping import Label, MappedMeter
from schemas.resources import MeterKind
from schemas.topics import AgentAddress

_METERS: LiteralString = """
    SELECT meter.key, agent.key AS agent, meter.resource, meter.kind, meter.unit, meter.interval_ms
    FROM meter
    JOIN agent ON agent.id = meter.agent_id
    JOIN site ON site.id = meter.site_id
    JOIN organisation ON organisation.id = site.organisation_id
    WHERE (organisation.key, site.key) = (%s, %s)
"""
_AGENTS: LiteralString = """
    SELECT agent.key FROM agent
    JOIN site ON site.id = agent.site_id
    JOIN organisation ON organisation.id = site.organisation_id
    WHERE (organisation.key, site.key) = (%s, %s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMeter:
    """A meter as the site model has it."""

    key: str
    agent: str
    resource: str
    kind: str
    unit: str
    interval_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMeters:
    """All meters and agents of a site, by key."""

    organisation: str
    site: str
    meters: Mapping[str, SiteMeter]
    agents: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMeter:
    """A meter as a file names it, with its key. `told`: what mapping or file say of it; None: nothing.

    `units` are those that its rows name, none where the file has no such column.
    """

    name: str
    key: str
    told: MappedMeter | None
    units: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMeter:
    """A meter of the file that the site has. `interval_ms`: what is added to a label that begins an interval.

    `ends_interval`: its label is the end of an interval, which may be a moment at which the clock was changed.
    """

    name: str
    key: str
    address: AgentAddress
    unit: str
    interval_ms: int
    ends_interval: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What became of the names. `unknown` are not in the site model; `problems` say what else keeps from importing."""

    meters: tuple[FoundMeter, ...]
    unknown: tuple[NamedMeter, ...]
    problems: tuple[str, ...]


def read_site_meters(connection: psycopg.Connection, *, organisation: str, site: str) -> SiteMeters:
    """The site's meters and agents as they are now."""
    with connection.cursor(row_factory=class_row(SiteMeter)) as cursor:
        meters = cursor.execute(_METERS, [organisation, site]).fetchall()
    agents = connection.execute(_AGENTS, [organisation, site]).fetchall()
    return SiteMeters(
        organisation=organisation,
        site=site,
        meters={meter.key: meter for meter in meters},
        agents=frozenset(key for (key,) in agents),
    )


def match_meters(named: Iterable[NamedMeter], site: SiteMeters, *, agent: str | None, label: Label) -> Matched:
    """Find each meter at the site: under that agent, or under whichever has it."""
    found: list[FoundMeter] = []
    unknown: list[NamedMeter] = []
    problems: list[str] = []
    if agent is not None and agent not in site.agents:
        known = ", ".join(sorted(site.agents)) or "none"
        problems.append(f"site {site.site} has no agent {agent!r}; it has: {known}")
    for meter in named:
        own = site.meters.get(meter.key)
        if own is None:
            unknown.append(meter)
            continue
        problems += _differences(meter, own, agent)
        is_interval = own.kind == MeterKind.INTERVAL
        found.append(
            FoundMeter(
                name=meter.name,
                key=meter.key,
                address=AgentAddress(organisation=site.organisation, site=site.site, agent=own.agent),
                unit=meter.told.unit if meter.told else own.unit,
                interval_ms=(own.interval_ms or 0) if is_interval and label is Label.INTERVAL_START else 0,
                ends_interval=is_interval and label is Label.INTERVAL_END,
            )
        )
    return Matched(meters=tuple(found), unknown=tuple(unknown), problems=tuple(problems))


def _differences(meter: NamedMeter, own: SiteMeter, agent: str | None) -> list[str]:
    differ: list[str] = []
    if agent is not None and own.agent != agent:
        differ.append(f"belongs to agent {own.agent}, not to {agent}; leave --agent out, or correct it")
    told = meter.told
    if told is not None:
        if told.resource != own.resource:
            differ.append(f"is {told.resource} in the file and {own.resource} in the site model")
        if told.kind != own.kind:
            differ.append(f"is of kind {told.kind} in the file and {own.kind} in the site model")
        elif told.interval is not None and told.interval != own.interval_ms:
            theirs = span_text(own.interval_ms) if own.interval_ms else "none"
            differ.append(f"has an interval of {span_text(told.interval)} in the file and {theirs} in the site model")
    units = meter.units - {""} or ({told.unit} if told else set())
    if units and own.unit not in units:
        listed = ", ".join(sorted(units))
        differ.append(f"is in {listed} in the file and in {own.unit} in the site model; make them agree")
    return [f"meter {meter.key} {difference}" for difference in differ]


def site_model_lines(unknown: Sequence[NamedMeter], site: SiteMeters, *, agent: str | None, beside: set[str]) -> str:
    """A piece of site.yaml that adds these meters. `beside` are the agents of the file's other meters."""
    likely = beside or site.agents
    of_agent = agent or (next(iter(likely)) if len(likely) == 1 else "WHICH-AGENT")
    return yaml.safe_dump([_as_written(meter, of_agent) for meter in unknown], sort_keys=False, allow_unicode=True)


def _as_written(meter: NamedMeter, agent: str) -> dict[str, object]:
    told = meter.told
    if told is None:
        unit = next(iter(sorted(meter.units - {""})), "kWh")
        return {"id": meter.key, "agent": agent, "resource": "energy", "unit": unit, "kind": "counter"}
    written: dict[str, object] = {"id": told.meter, "agent": agent, "resource": str(told.resource)}
    if told.carrier:
        written["carrier"] = told.carrier
    written |= {"unit": told.unit, "kind": str(told.kind)}
    if told.interval:
        written["interval"] = span_text(told.interval)
    return written
