"""Wire messages of version 1, as JSON. The Arrow form of `Readings` is in `schemas.arrow`.

Instants are Unix milliseconds UTC, taken where the meter was read. `epoch` is new when an outbox is created;
`seq` counts 1, 2, 3 … without gaps within it, over readings and runs alike: with them the ledger proves
completeness.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, model_validator

from schemas.parts import Positive
from schemas.resources import MeterKind, Quality, Resource, RunState
from schemas.topics import Key

VERSION = 1
JSON_TYPE = "application/json"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
MAX_READINGS = 50_000
"""Readings in one message, at most."""
MAX_PAYLOAD_BYTES = 1_000_000
"""Largest message that the collector decodes; what is larger goes to quarantine whole."""

Instant = Annotated[int, Field(description="Unix milliseconds, UTC")]
FIRST_INSTANT = 946_684_800_000
"""2000-01-01: a clock that says less was never set."""
LAST_INSTANT = 7_258_118_400_000
"""2200-01-01: what says more is no instant but a mistake of units."""
LikelyInstant = Annotated[
    int, Field(ge=FIRST_INSTANT, le=LAST_INSTANT, description="Unix milliseconds, UTC, 2000–2200")
]
EPOCH_PATTERN = r"^[0-9A-Za-z_-]{1,40}$"
MAX_SEQ = 2**62
Epoch = Annotated[str, StringConstraints(pattern=EPOCH_PATTERN)]
# Control characters stand in no name, and the database could not hold a NUL.
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Symbol = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[^\x00-\x1f\x7f]+$")]
Line = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Span = Annotated[int, Field(ge=1, le=MAX_SEQ)]


class Message(BaseModel):
    """Unknown fields are ignored, so that a newer agent can talk to an older collector within version 1."""

    # A value that is no number is kept in quarantine as it came, so it must survive being written again.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", ser_json_inf_nan="constants")

    v: Literal[1] = 1


class Sequenced(Message):
    """A message that the outbox keeps until the collector has said that it is stored."""

    epoch: Epoch
    seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    sent_at: Instant


class Readings(Sequenced):
    """A table of readings with a dictionary of meters. `meter[i]` points into `meters` and `units`."""

    # Plain strings: bounds on each would cost as much as all else, and what is too long is simply no known meter.
    # A column that is wrong throughout is told by its first error, not by one for each row.
    meters: Annotated[list[str], FailFast()]
    units: Annotated[list[str], FailFast()]
    meter: Annotated[list[int], FailFast()]
    at: Annotated[list[Instant], FailFast()]
    value: Annotated[list[float], FailFast()]
    quality: list[int] | None = None

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        rows = len(self.meter)
        if len(self.units) != len(self.meters):
            raise ValueError(f"{len(self.meters)} meters but {len(self.units)} units")
        if not rows == len(self.at) == len(self.value) or rows > MAX_READINGS:
            raise ValueError(
                f"columns meter, at, value have {rows}, {len(self.at)}, {len(self.value)} rows; "
                f"they must be equally long, at most {MAX_READINGS}"
            )
        if self.quality is not None and len(self.quality) != rows:
            raise ValueError(f"column quality has {len(self.quality)} rows, the others {rows}")
        if rows and not 0 <= min(self.meter) <= max(self.meter) < len(self.meters):
            raise ValueError(f"column meter points outside the {len(self.meters)} meters")
        return self


class SingleReading(Message):
    """One plain reading, for small third-party devices. Only the broker's own guarantee stands behind it."""

    meter: Name
    at: Instant
    value: float
    unit: Symbol
    quality: int = Quality.GOOD


class RunSpan(BaseModel):
    """A span in which a line was in one state; `product` is what it made, or what a changeover leads to."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    run: Name
    line: Key
    state: Annotated[RunState, Field(strict=False)]
    start: LikelyInstant
    end: LikelyInstant | None = None
    product: Key | None = None
    order: Name | None = None
    cancelled: Annotated[
        bool,
        Field(description="the run never was: what was said of it is taken back"),
    ] = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"run {self.run!r} ends at or before its start")
        if self.product is None and self.state in {RunState.RUNNING, RunState.CHANGEOVER}:
            raise ValueError(f"run {self.run!r} is {self.state} but names no product")
        return self


class Runs(Sequenced):
    """Runs that began, ended or were corrected. A later message about the same run replaces the earlier one."""

    sent_at: LikelyInstant
    runs: Annotated[list[RunSpan], Field(max_length=10_000), FailFast()]


class OfferedMeter(BaseModel):
    """What an agent says of a meter that it reads.

    What it knows of the meter's type is the default of the settings of the same name in the site model
    (`schemas.site.Meter` tells what each means). Spans are in milliseconds.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    meter: Key
    resource: Annotated[Resource, Field(strict=False)]
    unit: Symbol
    kind: Annotated[MeterKind, Field(strict=False)]
    carrier: Name | None = None
    driver: Name | None = None
    cadence_ms: Count | None = None
    interval_ms: Span | None = None
    register_width: Positive | None = None
    rated_maximum: Positive | None = None
    dip_window_ms: Span | None = None
    frozen_after_ms: Span | None = None
    accuracy_class: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None


class Meters(Message):
    """Retained: the meters that the agent offers."""

    at: LikelyInstant
    meters: Annotated[list[OfferedMeter], Field(max_length=10_000), FailFast()]


class OutboxState(BaseModel):
    """How full the outbox is and what became of what went through it, since its epoch began."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    epoch: Epoch
    last_seq: Count = 0
    stored_seq: Annotated[
        Count, Field(description="up to here the collector has confirmed; the agent keeps none of it")
    ] = 0
    readings: Annotated[Count, Field(description="readings taken from drivers in this epoch")] = 0
    waiting: Annotated[Count, Field(description="messages not yet confirmed")] = 0
    dropped_readings: Annotated[Count, Field(description="given up because the outbox was full")] = 0


class ConfigurationStanding(StrEnum):
    """What became of the configuration that was sent last."""

    LOCAL = "local"
    ON_TRIAL = "on_trial"
    APPLIED = "applied"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class ConfigurationState(BaseModel):
    """Which configuration an agent runs, and what it did with the one that was sent last."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    running: Annotated[
        Count, Field(description="version that is read with now; 0: the file that stood there at first")
    ] = 0
    latest: Annotated[Count, Field(description="version that was sent last, as far as the agent knows; 0: none")] = 0
    standing: Annotated[ConfigurationStanding, Field(strict=False)] = ConfigurationStanding.LOCAL
    reason: Annotated[str | None, Field(max_length=2_000, description="why it was refused or rolled back")] = None


class Health(BaseModel):
    """How an agent is, by itself. What it does not know is absent."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    problems: Annotated[
        list[Line], Field(max_length=50, description="what keeps it from its work, in plain words")
    ] = []
    silent_meters: Annotated[
        list[Key], Field(max_length=1_000, description="meters that gave nothing for three times their cadence")
    ] = []
    started_at: LikelyInstant | None = None
    certificate_until: Annotated[Instant | None, Field(description="when its certificate expires")] = None
    clock_ahead_ms: Annotated[int | None, Field(description="its clock beside the collector's, about")] = None
    disk_free_bytes: Count | None = None


class Status(Message):
    """Retained, with a last will: whether the agent is connected, and how it is."""

    state: Literal["online", "offline"]
    at: LikelyInstant
    version: Name | None = None
    outbox: OutboxState | None = None
    configuration: ConfigurationState | None = None
    health: Health | None = None


class Stored(Message):
    """From the collector, retained: everything of this epoch up to `seq` is committed."""

    epoch: Epoch
    seq: Annotated[int, Field(ge=0)]
    at: Annotated[Instant | None, Field(description="the collector's clock, when it said so")] = None


class Configuration(Message):
    """To the agent, retained: what it is to run with, the whole of its edge.yaml.

    `signature` (base64, ECDSA with SHA-256) is of `schemas.signed.configuration_bytes`, by the authority of the agent's
    organisation. Versions only rise.
    """

    version: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    sent_at: LikelyInstant
    body: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    signature: Annotated[str, StringConstraints(max_length=1_000)]


MESSAGES: dict[str, type[BaseModel]] = {
    "readings": Readings,
    "reading": SingleReading,
    "runs": Runs,
    "meters": Meters,
    "status": Status,
    "stored": Stored,
    "configuration": Configuration,
}
"""Every message by the name of its JSON Schema file."""
