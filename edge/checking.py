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
from schemas.configuration import ConfigurationError, Problem, with_lines
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
    try:
        meters, problems = offered_by(configuration, path.read_text(encoding="utf-8"), name=str(path))
    except OSError as error:
        return Check(problems=(f"{path} cannot be read: {error.strerror}; is it still there?",))
    return Check(
        problems=tuple(problems),
        agent=str(configuration.address),
        broker=str(configuration.broker),
        outbox=str(configuration.outbox.path),
        meters=tuple(meters),
    )


def offered_by(configuration: EdgeConfiguration, text: str, *, name: str) -> tuple[list[OfferedMeter], list[str]]:
    """The meters of all drivers, each made without its device; or a line for every one that cannot be made.

    `text` is that of the file called `name`.
    """
    sources: list[Source] = []
    problems: list[Problem] = []
    counters = Counters()
    for i, configured in enumerate(configuration.drivers):
        try:
            source = make_source(configured, configuration, counters)
            source.driver.offers()
        except (EdgeError, ConfigurationError, MappingError) as error:
            problems.append(Problem(location=("drivers", i), message=str(error)))
        else:
            sources.append(source)
    if problems:
        return [], with_lines(text, name=name, problems=problems)
    try:
        return all_offers(sources), []
    except EdgeError as error:
        return [], [f"{name}:1: drivers: {error}"]
