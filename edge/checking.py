"""Looks at a configuration without reading a meter or opening a connection: what is wrong, or what it would read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.agent import all_offers, make_source
from edge.configuration import EdgeConfiguration, load_configuration
from edge.counters import Counters
from edge.errors import EdgeError
from edge.intake import Source
from schemas.configuration import ConfigurationError, Problem, with_line
from schemas.mapping import MappingError
from schemas.wire import OfferedMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`problems` are lines for a person, empty when all is well. The rest is only known then."""

    problems: tuple[str, ...]
    agent: str | None = None
    broker: str | None = None
    outbox: str | None = None
    meters: tuple[OfferedMeter, ...] = ()


def check(path: Path, environment: Mapping[str, str]) -> Check:
    """Validate the file, and make every driver as far as that goes without its device."""
    try:
        configuration = load_configuration(path, environment)
    except ConfigurationError as error:
        return Check(problems=error.lines)
    except EdgeError as error:
        return Check(problems=(str(error),))
    sources, problems = _make_all(configuration, path)
    meters: list[OfferedMeter] = []
    if not problems:
        try:
            meters = all_offers(sources)
        except EdgeError as error:
            problems.append(f"{path}:1: drivers: {error}")
    return Check(
        problems=tuple(problems),
        agent=str(configuration.address),
        broker=str(configuration.broker),
        outbox=str(configuration.outbox.path),
        meters=tuple(meters),
    )


def _make_all(configuration: EdgeConfiguration, path: Path) -> tuple[list[Source], list[str]]:
    """Every driver that can be made and can tell its meters, and a line for every one that cannot."""
    sources: list[Source] = []
    problems: list[str] = []
    counters = Counters()
    for i, configured in enumerate(configuration.drivers):
        try:
            source = make_source(configured, configuration, counters)
            source.driver.offers()
        except (EdgeError, ConfigurationError, MappingError) as error:
            problem = Problem(location=("drivers", i), message=str(error))
            problems.append(with_line(path.read_text(encoding="utf-8"), name=str(path), problem=problem))
        else:
            sources.append(source)
    return sources, problems
