"""A case: readings as they came, what a person says of them, and what has to come of it.

README.md tells how to write one. Instants are offsets from `start`, as in `25min`, `1d 2h` or `-365d`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.configuration import Problem, SelfChecking, parse_configuration
from schemas.durations import SpanMs, parse_span_ms
from schemas.events import Decision, EventKind, EventState
from schemas.quantities import QUARTER_MS
from schemas.quarantine import Reason
from schemas.resources import Quality, RunState
from schemas.site import Agent, Line, Meter, Organisation, Product, Site, SiteModel
from schemas.time_zones import ZoneName
from schemas.topics import AgentAddress, Key
from schemas.virtual_meters import VirtualMeter

FOLDER = Path(__file__).parent
START = "2025-03-03T08:00:00Z"
"""A Monday on which nothing happens to the clocks."""
AGENT, SITE = "cabinet", "hall"


def parse_offset(text: object) -> int:
    """Milliseconds after the start in `1d 2h`, before it in `-365d`. Raises ValueError."""
    if not isinstance(text, str) or not text.strip("- "):
        raise ValueError(f"{text!r} is not an offset from the start; write it as in 25min, 1d 2h or -365d")
    milliseconds = sum(parse_span_ms(part) for part in text.removeprefix("-").split())
    return -milliseconds if text.startswith("-") else milliseconds


def offset_text(milliseconds: int) -> str:
    """As a person writes it."""
    parts, rest = [], abs(milliseconds)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, length)
        parts += [f"{count}{unit}"] if count else []
    return ("-" if milliseconds < 0 else "") + (" ".join(parts) or "0min")


def _no_instant_twice(table: object) -> object:
    """Keys that are written apart and mean the same would silently become one."""
    if isinstance(table, dict):
        instants = [parse_offset(key) for key in table]
        if len(set(instants)) < len(instants):
            raise ValueError("an instant stands twice; what comes twice stands in two messages")
    return table


def _each_quarter(table: object) -> object:
    """`15min .. 3h` stands for each quarter of an hour from the first to the last."""
    if not isinstance(table, dict):
        return table
    found: dict[str, object] = {}
    for key, amount in table.items():
        first, _, last = str(key).partition("..")
        begin, end = parse_offset(first.strip()), parse_offset(last.strip() or first.strip())
        quarters = [offset_text(at) for at in range(begin, end + 1, QUARTER_MS)]
        if not quarters or found.keys() & set(quarters):
            raise ValueError(f"{key!r} holds no quarter, or one that stands here already")
        found |= dict.fromkeys(quarters, amount)
    return found


def _amount(value: object) -> object:
    return {"measured": value} if isinstance(value, int | float) else value


Offset = Annotated[int, BeforeValidator(parse_offset)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Doubted(Part):
    """A value that its own source does not vouch for."""

    value: float
    quality: Annotated[Quality, BeforeValidator(lambda name: Quality[str(name).upper()])]


class Ramp(Part):
    """Readings from `from` to `to`, both counted: `first`, then `step` more every `every`."""

    start: Annotated[Offset, Field(alias="from")]
    end: Annotated[Offset, Field(alias="to")]
    every: SpanMs
    first: float
    step: float


Table = Annotated[dict[Offset, float | Doubted], BeforeValidator(_no_instant_twice)]
Message = dict[Key, Table | Ramp]
"""Readings by meter, in the order in which they stand there."""


class RunOf(Part):
    """What a line did."""

    line: Key
    state: RunState
    start: Annotated[Offset, Field(alias="from")]
    end: Annotated[Offset, Field(alias="to")]
    product: Key | None = None


class ExchangeOf(Part):
    """An exchange as a technician records it; `withdrawn` takes the record back."""

    meter: Key | None = None
    at: Offset
    last_old: float | None = None
    first_new: float | None = None
    withdrawn: bool = False


class DialOf(Part):
    """What a person read; without a value it is taken back."""

    meter: Key | None = None
    at: Offset
    value: float | None


class RulingOf(Part):
    """What a person says of an event, which is called after its kind and its first reading."""

    meter: Key | None = None
    kind: EventKind
    at: Offset
    decision: Decision | None = None


class AsideOf(Part):
    """Readings that a person sets aside, both ends counted."""

    meter: Key | None = None
    start: Annotated[Offset, Field(alias="from")]
    end: Annotated[Offset, Field(alias="to")]


class EventOf(Part):
    """An event that has to be there; `to` is `at` where it is not given, and no `quantity` means that none is known."""

    meter: Key | None = None
    kind: EventKind
    at: Offset
    end: Annotated[Offset | None, Field(alias="to")] = None
    decision: Decision
    state: EventState = EventState.PROPOSED
    quantity: Decimal | None = None


class Amount(Part):
    """Consumption of a quarter or a day in the canonical unit; `covered` is all of it where it is not given."""

    measured: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    covered: Annotated[int, BeforeValidator(parse_span_ms)] | None = None


Quarters = Annotated[dict[Offset, Annotated[Amount, BeforeValidator(_amount)]], BeforeValidator(_each_quarter)]


class ConsumptionOf(Part):
    """A meter's consumption: all of it, each quarter that anything is known of, and local days (null: unknown)."""

    total: Decimal | None = None
    estimated: Decimal | None = None
    quarters: Quarters | None = None
    days: dict[date, Annotated[Amount | None, BeforeValidator(_amount)]] = Field(default_factory=dict)


class StepOf(Part):
    """What happens, up to which instant the roll-up then works, and what has to be there. All events are listed."""

    what: Annotated[str, Field(min_length=1)]
    until: Offset
    runs: list[RunOf] = Field(default_factory=list)
    publish: list[Message] = Field(default_factory=list)
    exchange: ExchangeOf | None = None
    dial: list[DialOf] = Field(default_factory=list)
    confirm: RulingOf | None = None
    overrule: RulingOf | None = None
    reopen: RulingOf | None = None
    set_aside: AsideOf | None = None
    settings: dict[Key, dict[str, Any]] = Field(default_factory=dict)
    events: list[EventOf] = Field(default_factory=list)
    consumption: dict[Key, ConsumptionOf]
    quarantine: dict[Reason, int] = Field(default_factory=dict)


def _of_the_agent(meter: object) -> object:
    return {"agent": AGENT, **meter} if isinstance(meter, dict) else meter


class Case(SelfChecking):
    """One file. `about` is for people; meters are as in site.yaml, all of one agent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: Annotated[str, Field(min_length=1)]
    start: AwareDatetime = datetime.fromisoformat(START)
    time_zone: ZoneName = "Europe/Copenhagen"
    lines: list[Line] = Field(default_factory=list)
    products: list[Product] = Field(default_factory=list)
    meters: Annotated[list[Annotated[Meter, BeforeValidator(_of_the_agent)]], Field(min_length=1)]
    virtual_meters: list[VirtualMeter] = Field(default_factory=list)
    steps: Annotated[list[StepOf], Field(min_length=1)]

    def problems(self) -> list[Problem]:
        return [*self.site_model("case").problems(), *self._unknown_meters(), *self._odd_quarters()]

    def site_model(self, organisation: str) -> SiteModel:
        """The site that the case is of, of that organisation."""
        return SiteModel(
            organisation=Organisation(id=organisation),
            site=Site(id=SITE, time_zone=self.time_zone),
            lines=self.lines,
            products=self.products,
            agents=[Agent(id=AGENT)],
            meters=self.meters,
            virtual_meters=self.virtual_meters,
        )

    @property
    def start_ms(self) -> int:
        """The start in Unix milliseconds."""
        return round(self.start.timestamp() * 1000)

    def meter(self, key: str | None) -> str:
        """The meter of that key; where none is named, the only one."""
        return key or self.meters[0].id

    def _unknown_meters(self) -> Iterator[Problem]:
        known = {meter.id for meter in self.meters}
        shown = known | {virtual.id for virtual in self.virtual_meters}
        for i, step in enumerate(self.steps):
            named = [step.exchange, *step.dial, step.confirm, step.overrule, step.reopen, step.set_aside, *step.events]
            acted = [part.meter for part in named if part is not None]
            if len(known) > 1 and None in acted:
                yield Problem(location=("steps", i), message="the case has several meters; say which, as `meter`")
            spoken = [*(key for message in step.publish for key in message), *step.settings, *acted]
            for key in {key for key in spoken if key is not None} - known | step.consumption.keys() - shown:
                yield Problem(location=("steps", i), message=f"there is no meter {key!r}; add or correct it")

    def _odd_quarters(self) -> Iterator[Problem]:
        for i, step in enumerate(self.steps):
            for key, expected in step.consumption.items():
                for at in expected.quarters or ():
                    if (self.start_ms + at) % QUARTER_MS:
                        place = ("steps", i, "consumption", key)
                        yield Problem(location=place, message=f"no quarter of an hour begins at {offset_text(at)}")


def address_of(organisation: str) -> AgentAddress:
    """The agent of a case, of that organisation."""
    return AgentAddress(organisation=organisation, site=SITE, agent=AGENT)


def case_names() -> list[str]:
    """All cases, by the names of their files."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_case(name: str) -> Case:
    """The case of that name. Raises ConfigurationError that names file, line and remedy."""
    path = FOLDER / f"{name}.yaml"
    return parse_configuration(path.read_text("utf-8"), name=path.name, model=Case)


def rows_of(readings: Table | Ramp) -> Sequence[tuple[int, float, Quality]]:
    """Offset, value and quality of each reading."""
    if isinstance(readings, Ramp):
        instants = range(readings.start, readings.end + 1, readings.every)
        return [(at, readings.first + i * readings.step, Quality.GOOD) for i, at in enumerate(instants)]
    return [
        (at, said.value, said.quality) if isinstance(said, Doubted) else (at, said, Quality.GOOD)
        for at, said in readings.items()
    ]
