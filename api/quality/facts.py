"""What is known of a site's data in a period, laid out for the judgement. Quantities are billionths, spans ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from schemas.events import EventKind
from schemas.resources import MeterKind, Resource, RunState


class CadenceFrom(StrEnum):
    """Where an expected cadence comes from."""

    SET = "set"
    INTERVAL = "interval"
    LEARNT = "learnt"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFacts:
    """One meter in the period.

    `covered_ms`, `measured`, `estimated` (sums of amounts without sign) and `usable_days` are of the period, `began` is
    the first quarter in it that anything is known of. `seen_ms` is the usual distance of its newest readings, of which
    there were enough to tell, `gap_ms` that of its newest gaps. `last_at`: None where it is longer ago than was looked.
    """

    meter: str
    name: str
    agent: str
    resource: Resource
    kind: MeterKind
    unit: str
    max_gap_ms: int
    line: str | None = None
    parent: str | None = None
    interval_ms: int | None = None
    cadence_ms: int | None = None
    covered_ms: int = 0
    measured: int = 0
    estimated: int = 0
    usable_days: int = 0
    began: datetime | None = None
    seen_ms: float | None = None
    gap_ms: float | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEvent:
    """A meter event that nobody has decided about, and the sentence that tells it; `key` names it."""

    key: str
    meter: str
    kind: EventKind
    at: datetime
    until: datetime
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMeter:
    """A meter that an agent offers and the site model has not. `readings` of it wait in quarantine since `first_at`."""

    meter: str
    readings: int = 0
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What is known of an agent of the site model.

    `heard_at` is when it last spoke of itself, or fell silent by its last will. `clock_ahead_ms`: its clock against
    ours then, negative when behind. `unknown` meters it offers, and the model has not. `dropped` readings it gave up.
    """

    agent: str
    is_offline: bool = False
    heard_at: datetime | None = None
    clock_ahead_ms: int | None = None
    dropped: int = 0
    unknown: Sequence[UnknownMeter] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """An agent's epoch of which messages are missing. `last_at`: when the last of its messages was stored."""

    agent: str
    epoch: str
    missing: int
    first_seq: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineFacts:
    """What of one agent (None: of none that could be told) stands in quarantine for one reason."""

    agent: str | None
    reason: str
    messages: int
    readings: int
    first_at: datetime
    last_at: datetime
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NightLoad:
    """A meter's base load in the night of a local day: `base` per hour, the mean of its lowest quarters.

    `mean` is what the meter counts in an hour of that day, all told.
    """

    night: date
    start: datetime
    end: datetime
    base: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeRest:
    """A span in which a meter's parts counted `excess` more than the meter itself, in the canonical `unit`."""

    meter: str
    parts: Sequence[str]
    start: datetime
    end: datetime
    excess: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run that touches the period. `end` None: it has none, and counts up to `until`, where another one begins."""

    line: str
    run: str
    state: RunState
    start: datetime
    end: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedGap:
    """`quarters` of an hour, from `start` to `end`, in which a line worked although no run covers that time.

    `is_made`: something was made in them; else the line took clearly more than when it is idle.
    """

    line: str
    start: datetime
    end: datetime
    quarters: int
    is_made: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """All that the findings of a period are made from.

    `known_to` is up to where consumption has been computed, and [first_day, end_day) are the whole local days up to
    there.
    """

    start: datetime
    end: datetime
    known_to: datetime
    zone: ZoneInfo
    first_day: date
    end_day: date
    meters: Sequence[MeterFacts]
    agents: Sequence[AgentFacts] = ()
    events: Sequence[OpenEvent] = ()
    ledger: Sequence[LedgerFacts] = ()
    quarantine: Sequence[QuarantineFacts] = ()
    rests: Sequence[NegativeRest] = ()
    runs: Sequence[RunFacts] = ()
    worked_gaps: Sequence[WorkedGap] = ()
    nights: Mapping[str, Sequence[NightLoad]] = field(default_factory=dict)

    @property
    def days(self) -> int:
        return max((self.end_day - self.first_day).days, 0)

    def touches(self, start: datetime, end: datetime | None = None) -> bool:
        """Whether what began at `start`, and ended at `end` or goes on, touches the period."""
        return start < self.end and (end is None or end >= self.start)
