"""Says how a file of measurements is to be read: data in `schemas/mappings/*.yaml`, or a file of one's own.

The instant of a reading on the wire is when the meter said it. For an interval meter that is the END of its interval: a
value at `at` covers [at − interval, at). A mapping with labels at the start of intervals has the interval added.
"""

from __future__ import annotations

from collections.abc import Mapping as Cells
from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.cells import ISO, Encoding
from schemas.configuration import parse_configuration, problems_in
from schemas.durations import SpanMs
from schemas.errors import PermanentError
from schemas.resources import PRODUCTION_TYPES, MeterKind, Resource, find_unit
from schemas.time_zones import ZoneName
from schemas.topics import Key

DELIMITERS = ",;\t"
"""What is likely to stand between the columns of a CSV file."""


class MappingError(PermanentError):
    """A file of measurements cannot be read with the mapping at hand."""


class Label(StrEnum):
    """What the time of a row says of an interval's value. For registers and rates it is always the instant."""

    INSTANT = "instant"
    INTERVAL_START = "interval_start"
    INTERVAL_END = "interval_end"


class Midnight(StrEnum):
    """Which midnight `0:00` of a date is: the one it begins with, or the one it ends with (24:00)."""

    START_OF_DAY = "start_of_day"
    END_OF_DAY = "end_of_day"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TimeColumn(_Part):
    """`format` as in strptime, `iso`, `unix_s` or `unix_ms`. Several columns are put together with a space, as of a
    date and a time of day. `zone` is where the clock hung; none: each time must have its offset."""

    column: str | Annotated[list[str], Field(min_length=1, max_length=5)]
    format: str = ISO
    zone: ZoneName | None = None
    label: Label = Label.INSTANT
    midnight: Midnight = Midnight.START_OF_DAY

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return [self.column] if isinstance(self.column, str) else self.column


class MappedMeter(_Part):
    """What a meter of the file is. `interval` is the span of each value of an interval meter, in milliseconds."""

    meter: Key
    resource: Resource
    unit: str
    kind: MeterKind
    carrier: str | None = None
    interval: SpanMs | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if find_unit(self.resource, self.unit).is_rate != (self.kind is MeterKind.RATE):
            raise ValueError(f"unit {self.unit} does not go with kind {self.kind}")
        if (self.kind is MeterKind.INTERVAL) != (self.interval is not None):
            raise ValueError("kind interval needs `interval`, the span of each value, and no other kind has one")
        if self.resource is Resource.PRODUCTION and self.carrier not in PRODUCTION_TYPES:
            raise ValueError(f"a production meter's carrier is one of {', '.join(PRODUCTION_TYPES)}")
        return self


class WideMeter(MappedMeter):
    """A meter that has a column of its own."""

    column: str


class LongMeter(MappedMeter):
    """A meter of a file with one value a row. `tag` is what the file calls it; left out: its key."""

    tag: str | None = None

    @property
    def called(self) -> str:
        """What stands in the file's meter column."""
        return self.meter if self.tag is None else self.tag


class LongColumns(_Part):
    """A file with one value a row: which column names the meter, and which say what it is.

    `meters` lists the meters that are wanted and says what they are; rows of others are left out. Without it all are
    wanted, and `resource` and `kind` must be told for each, on one of its rows at least.
    """

    meter: str = "meter"
    value: str = "value"
    unit: str = "unit"
    resource: str = "resource"
    kind: str = "kind"
    carrier: str = "carrier"
    interval: str = "interval"
    meters: list[LongMeter] = Field(default_factory=list)

    def describe(self, cells: Cells[str, str | None]) -> MappedMeter:
        """What a row says of its meter, by the names of its columns. Raises MappingError where it does not suffice."""
        key = cells.get(self.meter) or ""
        if self.meters:
            raise MappingError(f"meter {key!r}: the mapping does not list it")
        told: dict[str, str | None] = {"meter": key, "unit": cells.get(self.unit) or ""}
        for name in ("resource", "kind", "carrier", "interval"):
            told[name] = cells.get(getattr(self, name)) or None
        try:
            return MappedMeter.model_validate(told)
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, p.location)) or 'meter'}: {p.message}" for p in problems_in(error))
            raise MappingError(f"meter {key!r}: {found}") from error


class Mapping(_Part):
    """How to read one kind of file. `match` are the columns by which it is recognised.

    Of a CSV file: `encoding`, `delimiter` (none: the likeliest of the header's line) and `header_line`, the line
    that the header stands in. `thousands` separates groups of three digits.
    """

    name: Key
    description: str
    source: str | None = None
    licence: str | None = None
    match: Annotated[list[str], Field(min_length=1)]
    encoding: Encoding = "utf-8"
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]$')] | None = None
    header_line: Annotated[int, Field(ge=1, le=1000)] = 1
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    thousands: Annotated[str, Field(pattern=r"^[., ']$")] | None = None
    time: TimeColumn
    meters: list[WideMeter] = Field(default_factory=list)
    long: LongColumns | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.meters) == (self.long is not None):
            raise ValueError("give either `meters` (a column each) or `long` (one value a row)")
        if self.thousands == self.decimal:
            raise ValueError("`thousands` and `decimal` are the same sign; give the one that is before the last digits")
        self._check_meters()
        listed = self.long.meters if self.long else self.meters
        # Where none is listed the file may name any.
        intervals = not listed or any(m.kind is MeterKind.INTERVAL for m in listed)
        if intervals and self.time.label is Label.INSTANT:
            raise ValueError("time.label must say whether intervals are labelled interval_start or interval_end")
        return self

    def _check_meters(self) -> None:
        listed = [m.meter for m in (self.long.meters if self.long else self.meters)]
        tags = [m.called for m in self.long.meters] if self.long else []
        for names, what in ((listed, "meter"), (tags, "tag")):
            doubled = sorted({name for name in names if names.count(name) > 1})
            if doubled:
                raise ValueError(f"{what} {', '.join(doubled)} stands twice; keep one of them")

    def needed_columns(self, *, meters_are_known: bool = False) -> list[str]:
        """The columns that a file must have to be read with this mapping.

        `meters_are_known`: a file with one value a row need not say what its meters are.
        """
        if self.long is None:
            return [*self.time.columns, *(m.column for m in self.meters)]
        needed = [*self.time.columns, self.long.meter, self.long.value]
        if not (self.long.meters or meters_are_known):
            needed += [self.long.unit, self.long.resource, self.long.kind]
        return needed


def shipped_mappings() -> list[Mapping]:
    """Those that come with Afkobling."""
    return [
        parse_configuration(entry.read_text(encoding="utf-8"), name=entry.name, model=Mapping)
        for entry in sorted(files("schemas.mappings").iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".yaml")
    ]


def load_mapping(name: str, *, folder: Path) -> Mapping:
    """A shipped mapping by name, or one's own by the path of its .yaml file from `folder`.

    Raises MappingError, and ConfigurationError that names file and line.
    """
    shipped = {mapping.name: mapping for mapping in shipped_mappings()}
    if name in shipped:
        return shipped[name]
    if not name.endswith((".yaml", ".yml")):
        raise MappingError(
            f"there is no mapping {name!r}; known: {', '.join(shipped)}, or give the path of your own .yaml file"
        )
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MappingError(f"the mapping {path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"the mapping {path} is not UTF-8 text: {error}; save it as UTF-8") from error
    return parse_configuration(text, name=str(path), model=Mapping)


def recognise(header: Sequence[str], mappings: Sequence[Mapping]) -> Mapping | None:
    """The mapping whose `match` columns are all in the header, of several the one with the most; None if there is none.

    Raises MappingError when two match equally well.
    """
    present = set(header)
    fitting = sorted((m for m in mappings if present.issuperset(m.match)), key=lambda m: -len(m.match))
    if len(fitting) > 1 and len(fitting[0].match) == len(fitting[1].match):
        raise MappingError(
            f"the file fits the mappings {fitting[0].name} and {fitting[1].name} equally well; say which with `mapping`"
        )
    return fitting[0] if fitting else None


def unrecognised(
    name: str, header: Sequence[str], mappings: Sequence[Mapping], *, option: str = "mapping: FILE.yaml"
) -> str:
    """The words for a file that no mapping fits: what it has, what is known, and a mapping to begin with."""
    known = "\n".join(f"  {m.name}: {', '.join(m.match)}" for m in mappings)
    return (
        f"{name} is of an unknown kind. Its columns are:\n  {', '.join(header)}\n"
        f"Known mappings, and the columns that each looks for:\n{known}\n"
        f"Write a mapping in a .yaml file, name it with `{option}`, and begin with this:\n\n"
        f"{template(header)}"
    )


def template(header: Sequence[str]) -> str:
    """The text of a mapping to edit, with the file's own columns in it."""
    time, *others = [*header] or ["time"]
    example: dict[str, Any] = {
        "name": "my-file",
        "description": "where the file comes from",
        "match": [*header] or ["time"],
        "time": {"column": time, "format": "%Y-%m-%d %H:%M", "zone": "Europe/Copenhagen", "label": "interval_end"},
        "meters": [
            {
                "meter": "main-electricity",
                "column": others[0] if others else "value",
                "resource": "energy",
                "carrier": "electricity",
                "unit": "kWh",
                "kind": "interval",
                "interval": "15min",
            }
        ],
    }
    return yaml.safe_dump(example, sort_keys=False, allow_unicode=True)
