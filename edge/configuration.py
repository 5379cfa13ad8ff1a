"""The agent's settings, as `edge.yaml` gives them: validated whole before any socket or file is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, IPvAnyAddress, ValidationError

from edge.drivers import DriverKind, DriverSettings, find_driver
from edge.errors import EdgePermanentError, UnknownDriverError
from edge.outbox import WhenFull
from schemas.broker_url import BrokerUrl, parse_broker_url
from schemas.configuration import ConfigurationError, Problem, SelfChecking, parse_configuration, problems_in, with_line
from schemas.durations import SpanMs, at_most
from schemas.topics import AgentAddress, Key
from schemas.wire import MAX_READINGS

BROKER_VARIABLE = "AFKOBLING_BROKER_URL"
"""The environment's say on the broker, for a configuration that leaves it out."""


def _checked_url(text: str) -> str:
    parse_broker_url(text)
    return text


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OutboxSettings(_Section):
    """`path`: the file, beside the configuration. `max_size`: of what waits; the file is up to a fifth larger.

    A gigabyte holds a week of 100 meters that are read each second (docs/performance.md).
    """

    path: Path = Path("outbox.sqlite")
    max_size: Annotated[ByteSize, Field(ge=100_000)] = ByteSize(1_000_000_000)
    when_full: WhenFull = WhenFull.DROP_OLDEST


class BatchSettings(_Section):
    """A message goes to the outbox at so many `readings`, or when its first is of this `age`; never larger than `size`.

    Until then its readings are in memory only: a kill or a loss of power takes them along. A short age keeps together
    what one poll brings and commits it at once; a longer one writes less often, which spares worn flash.
    `size` should stay below the broker's largest packet: 256 kB suits all but the smallest brokers. A message that the
    broker turns out not to take is split.
    """

    readings: Annotated[int, Field(ge=1, le=MAX_READINGS)] = 500
    age: SpanMs = 100
    size: Annotated[ByteSize, Field(ge=2_000, le=900_000)] = ByteSize(256_000)


class TlsSettings(_Section):
    """For mqtts: whom to trust (`authority`; left out: the machine's own list), and who we are."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class EdgeSettings(SelfChecking):
    """The file as it stands. `load_configuration` gives it with paths resolved and the broker filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisation: Key
    site: Key
    agent: Key
    broker: Annotated[str, AfterValidator(_checked_url)] | None = None
    tls: TlsSettings = TlsSettings()
    outbox: OutboxSettings = OutboxSettings()
    batch: BatchSettings = BatchSettings()
    window: Annotated[int, Field(ge=1, le=1_000, description="messages ahead of what is stored, at most")] = 50
    window_size: Annotated[
        ByteSize, Field(ge=1_000, description="what they take, at most; a larger message goes alone")
    ] = ByteSize(1_000_000)
    resend_after: SpanMs = 30_000
    trial: Annotated[
        SpanMs, at_most("1d"), Field(description="how long meters may take to read again with a configuration sent")
    ] = 120_000
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    metrics_address: Annotated[IPvAnyAddress, Field(description="where that is reached; 0.0.0.0: from anywhere")] = (
        IPv4Address("127.0.0.1")
    )
    drivers: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def problems(self) -> list[Problem]:
        found: list[Problem] = []
        names = Counter(str(entry.get("name")) for entry in self.drivers)
        shared: dict[str, tuple[str, str]] = {}
        for i, entry in enumerate(self.drivers):
            try:
                _, settings = _driver(entry)
                found += [Problem(location=("drivers", i), message=message) for message in _conflicts(settings, shared)]
            except UnknownDriverError as error:
                found.append(Problem(location=("drivers", i, "driver"), message=str(error)))
            except ValidationError as error:
                found += [Problem(location=("drivers", i, *p.location), message=p.message) for p in problems_in(error)]
            if names[str(entry.get("name"))] > 1:
                found.append(
                    Problem(location=("drivers", i, "name"), message="stands twice; give each driver its own name")
                )
        if (self.tls.certificate is None) != (self.tls.key is None):
            found.append(Problem(location=("tls",), message="a certificate needs its key, and a key its certificate"))
        return found


class Configured(_Section):
    """A driver's settings, and the kind of driver they are for."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    kind: DriverKind
    settings: DriverSettings


class EdgeConfiguration(_Section):
    """What the agent runs with. Paths are absolute."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    address: AgentAddress
    broker: BrokerUrl
    tls: TlsSettings
    outbox: OutboxSettings
    batch: BatchSettings
    window: int
    window_size: int = 1_000_000
    resend_after: int
    trial: int = 120_000
    metrics_port: int | None
    metrics_address: str = "127.0.0.1"
    drivers: tuple[Configured, ...]
    folder: Path


def load_configuration(path: Path, environment: Mapping[str, str]) -> EdgeConfiguration:
    """Read and validate a file. Raises ConfigurationError with every problem as `file:line: place: remedy`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EdgePermanentError(
            f"{path} cannot be read: {error.strerror}; `afkobling edge init` writes one, or give the file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise EdgePermanentError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
    configuration = resolve(parse_configuration(text, name=str(path), model=EdgeSettings), path, environment)
    missing = [
        Problem(location=("tls", name), message=f"there is no file {file}; check the path")
        for name, file in configuration.tls
        if file is not None and not file.is_file()
    ]
    if missing:
        raise ConfigurationError([with_line(text, name=str(path), problem=problem) for problem in missing])
    return configuration


def resolve(settings: EdgeSettings, path: Path, environment: Mapping[str, str]) -> EdgeConfiguration:
    """Settings of the file at `path` as the agent runs with them. Raises ConfigurationError."""
    folder = path.absolute().parent
    broker = settings.broker or environment.get(BROKER_VARIABLE)
    if not broker:
        raise ConfigurationError(
            [f"{path}:1: broker: this is missing; add it, as in mqtt://192.168.1.5:1883, or set {BROKER_VARIABLE}"]
        )
    try:
        url = parse_broker_url(broker)
    except ValueError as error:
        raise ConfigurationError([f"{BROKER_VARIABLE}: {error}"]) from error
    return EdgeConfiguration(
        address=AgentAddress(organisation=settings.organisation, site=settings.site, agent=settings.agent),
        broker=url,
        tls=TlsSettings(**{name: file and folder / file for name, file in settings.tls}),
        outbox=settings.outbox.model_copy(update={"path": folder / settings.outbox.path}),
        batch=settings.batch,
        window=settings.window,
        window_size=settings.window_size,
        resend_after=settings.resend_after,
        trial=settings.trial,
        metrics_port=settings.metrics_port,
        metrics_address=str(settings.metrics_address),
        drivers=tuple(Configured(kind=kind, settings=own) for kind, own in map(_driver, settings.drivers)),
        folder=folder,
    )


def _driver(entry: dict[str, Any]) -> tuple[DriverKind, DriverSettings]:
    """Raises UnknownDriverError, pydantic.ValidationError."""
    name = entry.get("driver")
    if not isinstance(name, str):
        # Says that `driver` (and whatever else all drivers have) is missing.
        DriverSettings.model_validate({k: v for k, v in entry.items() if k == "name"} | {"driver": name})
        raise UnknownDriverError(f"{name!r} is not the name of a driver")
    kind = find_driver(name)
    return kind, kind.settings.model_validate(entry)


def _conflicts(settings: DriverSettings, shared: dict[str, tuple[str, str]]) -> list[str]:
    """What this driver shares with earlier ones on other terms; `shared` is what has which terms by whom."""
    found = []
    for what, terms in settings.shared().items():
        first, theirs = shared.setdefault(what, (settings.name, terms))
        if terms != theirs:
            found.append(f"it uses {what} with {terms}, but driver {first} with {theirs}; only one can be right")
    return found
