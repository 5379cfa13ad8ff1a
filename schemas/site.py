"""The site model: organisation, site, lines, products, agents and meters, as `site.yaml` gives it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from schemas.calendar import Holiday, MonthDay, Shift, shift_problems
from schemas.configuration import Problem, SelfChecking
from schemas.durations import StoredSpanMs, at_most
from schemas.parts import Label, Part, Positive
from schemas.resources import PRODUCTION_TYPES, Direction, MeterKind, Resource, find_unit
from schemas.time_zones import ZoneName
from schemas.topics import Key
from schemas.virtual_meters import VirtualMeter, virtual_problems

DEFAULT_MAX_GAP_MS = 30 * 60_000
DEFAULT_DIP_WINDOW_MS = 60 * 60_000

LONGEST_INTERVAL, LONGEST_GAP, LONGEST_DIP = "31d", "366d", "7d"
"""As long as a month's reading, and as a year's: what is longer is a slip of the pen."""


class Organisation(Part):
    pass


class Site(Part):
    """Where it is, and its calendar: days, months and years are those of `time_zone`.

    `fiscal_year_start` is a month and a day; on `holidays` no shift begins.
    """

    time_zone: ZoneName
    fiscal_year_start: MonthDay = "01-01"
    shifts: list[Shift] = Field(default_factory=list)
    holidays: list[Holiday] = Field(default_factory=list)


class Line(Part):
    pass


class Product(Part):
    unit: Annotated[str, Field(pattern="^(pcs|kg)$")] = "pcs"
    family: Label | None = None
    mass_kg: Annotated[float, Field(ge=1e-9, le=1e6, allow_inf_nan=False)] | None = None


class Agent(Part):
    pass


class ShareBy(StrEnum):
    """How a utility that serves several lines is shared out among them."""

    MEASURED = "measured"
    RUN_TIME = "run_time"
    MASS = "mass"
    AREA = "area"
    FIXED = "fixed"


class Share(BaseModel):
    """The rule for one shared meter. `keys` names a key meter a line; `weights` a number a line.

    A key meter that is a part of the shared one (its `parent`) only divides it. Any other key meter also counts for
    itself, as a line's own electricity does when lighting is shared by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: ShareBy
    keys: dict[Key, Key] = Field(default_factory=dict)
    weights: dict[Key, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.by is ShareBy.MEASURED and not self.keys:
            raise ValueError("sharing by measured needs `keys`: one key meter for each line")
        if self.by in {ShareBy.AREA, ShareBy.FIXED} and not sum(self.weights.values()) > 0:
            raise ValueError(f"sharing by {self.by} needs `weights`: one number for each line")
        return self


class Meter(Part):
    """One measured quantity.

    `agent` reads it, `line` is where it is (none: the whole site), `parent` is the meter it is a part of.
    `conversion` is canonical units (kWh, m3, kg) for one of `unit` where the unit alone does not say.

    How its readings are judged [METHODS §1]: `register_width` is where the register begins again at zero, in `unit`
    (100000 for five digits); `rated_maximum` the most that it can count, in `unit` an hour (for a rate: in `unit`);
    `max_gap` the longest silence that is still measured; `dip_window` how long a register may stay below its old value
    and still be believed to come back; `frozen_after` how long it may stand still while its line runs; `cadence` how
    often it is expected to speak; `accuracy_class` in percent; `watch_nights`: more than usual at
    night is told as a leak.

    `direction` of an energy meter: `generation` adds to what the site uses, `export` takes away from it. Behind a
    parent that counts import, either one is fed into or out of that place, and is no part of what the parent counts.
    """

    agent: Key
    resource: Resource
    unit: str
    kind: MeterKind
    carrier: Label | None = None
    line: Key | None = None
    parent: Key | None = None
    conversion: Positive | None = None
    max_gap: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] = DEFAULT_MAX_GAP_MS
    interval: Annotated[StoredSpanMs, at_most(LONGEST_INTERVAL)] | None = None
    register_width: Positive | None = None
    rated_maximum: Positive | None = None
    dip_window: Annotated[StoredSpanMs, at_most(LONGEST_DIP)] = DEFAULT_DIP_WINDOW_MS
    frozen_after: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] | None = None
    cadence: Annotated[StoredSpanMs, at_most(LONGEST_GAP)] | None = None
    accuracy_class: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    direction: Direction = Direction.IMPORT
    watch_nights: bool = True
    share: Share | None = None

    @field_validator("unit")
    @classmethod
    def _unit_allowed(cls, unit: str, info: ValidationInfo) -> str:
        if "resource" in info.data:
            find_unit(info.data["resource"], unit)
        return unit

    @model_validator(mode="after")
    def _unit_fits(self) -> Self:
        unit = find_unit(self.resource, self.unit)
        if unit.is_rate != (self.kind is MeterKind.RATE):
            wanted = "a rate" if unit.is_rate else "a quantity"
            raise ValueError(f"unit {self.unit} is {wanted}; kind {self.kind} does not go with it")
        if unit.factor is None and self.conversion is None:
            raise ValueError(
                f"{self.unit} of {self.resource} needs `conversion`: how many {unit.canonical} one "
                f"{self.unit} is (natural gas: about 11 kWh per m3)"
            )
        if unit.factor is not None and self.conversion is not None:
            raise ValueError(f"{self.unit} of {self.resource} is fixed; remove `conversion`")
        if self.kind is MeterKind.INTERVAL and self.interval is None:
            raise ValueError("kind interval needs `interval`: the span of each value, as in 15min")
        if self.register_width is not None and self.kind is not MeterKind.COUNTER:
            raise ValueError(f"only a counter has a register; remove `register_width` from this {self.kind}")
        if self.direction is not Direction.IMPORT and self.resource is not Resource.ENERGY:
            raise ValueError(
                f"only energy is exported or generated; remove `direction` from this meter of {self.resource}"
            )
        if self.resource is Resource.PRODUCTION and self.carrier not in PRODUCTION_TYPES:
            raise ValueError(
                f"a production meter's carrier is one of {', '.join(PRODUCTION_TYPES)}: "
                "what became of the output that it counts"
            )
        return self

    @property
    def canonical_unit(self) -> str:
        return find_unit(self.resource, self.unit).canonical

    @property
    def canonical_factor(self) -> float:
        """Canonical units for one of `unit`; for a rate, for one of `unit` over an hour."""
        factor = find_unit(self.resource, self.unit).factor
        return factor if factor is not None else self.conversion or 0.0


class SiteModel(SelfChecking):
    """One site of one organisation, whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisation: Organisation
    site: Site
    lines: list[Line] = Field(default_factory=list)
    products: list[Product] = Field(default_factory=list)
    agents: list[Agent] = Field(default_factory=list)
    meters: list[Meter] = Field(default_factory=list)
    virtual_meters: list[VirtualMeter] = Field(default_factory=list)

    def problems(self) -> list[Problem]:
        lines = {line.id for line in self.lines}
        agents = {agent.id for agent in self.agents}
        meters = {meter.id: meter for meter in self.meters}
        virtuals = {virtual.id for virtual in self.virtual_meters}
        found = list(shift_problems(("site", "shifts"), self.site.shifts))
        for group in ("lines", "products", "agents", "meters"):
            found += _doubles(group, (part.id for part in getattr(self, group)))
        for i, meter in enumerate(self.meters):
            found += _unknown(("meters", i, "agent"), meter.agent, agents, "agent")
            found += _unknown(("meters", i, "line"), meter.line, lines, "line")
            if meter.parent in virtuals:
                message = f"{meter.parent} is virtual; name the real meter that {meter.id} is a part of"
                found.append(Problem(location=("meters", i, "parent"), message=message))
            else:
                found += _unknown(("meters", i, "parent"), meter.parent, meters, "meter")
            found += _share_problems(("meters", i, "share"), meter, lines, meters)
            if _is_own_ancestor(meter, meters):
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} is a part of itself through its parents; break the loop",
                    )
                )
            parent = meters.get(meter.parent or "")
            if parent is not None and (parent.resource, parent.canonical_unit) != (
                meter.resource,
                meter.canonical_unit,
            ):
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} measures {meter.resource}, its parent {parent.id} "
                        f"{parent.resource}; a part is of the same resource as the whole",
                    )
                )
            elif parent is not None and parent.direction not in {Direction.IMPORT, meter.direction}:
                found.append(
                    Problem(
                        location=("meters", i, "parent"),
                        message=f"{meter.id} counts {meter.direction}, its parent {parent.id} {parent.direction}, of "
                        f"which it is no part; name the import meter that it lies behind",
                    )
                )
        found += virtual_problems(self.virtual_meters, meters, lines)
        return found


def _doubles(group: str, ids: Iterable[str]) -> list[Problem]:
    ids = list(ids)
    counts = Counter(ids)
    return [
        Problem(location=(group, i, "id"), message=f"{key!r} stands twice; give each its own id")
        for i, key in enumerate(ids)
        if counts[key] > 1 and key in ids[:i]
    ]


def _unknown(location: tuple[int | str, ...], key: str | None, known: Collection[str], what: str) -> list[Problem]:
    if key is None or key in known:
        return []
    listed = ", ".join(sorted(known)) or "none is defined"
    return [Problem(location=location, message=f"there is no {what} {key!r}; known: {listed}")]


def _share_problems(
    location: tuple[int | str, ...], meter: Meter, lines: set[str], meters: dict[str, Meter]
) -> list[Problem]:
    if meter.share is None:
        return []
    found: list[Problem] = []
    if meter.line is not None:
        found.append(
            Problem(
                location=location,
                message=f"{meter.id} is on line {meter.line}; only a meter of the whole site is shared",
            )
        )
    for line, key in meter.share.keys.items():
        found += _unknown((*location, "keys", line), line, lines, "line")
        found += _unknown((*location, "keys", line), key, meters, "meter")
        if key == meter.id:
            message = f"{key} can't be shared by itself; name a part of it"
            found.append(Problem(location=(*location, "keys", line), message=message))
    for line in meter.share.weights:
        found += _unknown((*location, "weights", line), line, lines, "line")
    return found


def _is_own_ancestor(meter: Meter, meters: dict[str, Meter]) -> bool:
    seen: set[str] = set()
    parent = meter.parent
    while parent is not None and parent not in seen:
        if parent == meter.id:
            return True
        seen.add(parent)
        parent = meters[parent].parent if parent in meters else None
    return False
