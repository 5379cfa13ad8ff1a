"""Says how a file of runs is to be read, an ERP's or an MES's: a YAML file that a person writes (docs/runs.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from api.errors import ApiError
from schemas.cells import ISO, Encoding, parse_time
from schemas.configuration import parse_configuration
from schemas.errors import PermanentError
from schemas.resources import RunState
from schemas.time_zones import ZoneName
from schemas.topics import Key
from schemas.wire import Name


class RunFileError(ApiError, PermanentError):
    """A file of runs, or its mapping, can't be read at all; nothing of it was taken."""


class DurationUnit(StrEnum):
    """What a duration is counted in; `clock` is hours:minutes, with seconds or without."""

    MILLISECONDS = "ms"
    SECONDS = "s"
    MINUTES = "min"
    HOURS = "h"
    DAYS = "d"
    CLOCK = "clock"


class UnknownState(StrEnum):
    """What becomes of a row whose state means nothing here."""

    REFUSE = "refuse"
    LEAVE_OUT = "leave_out"


def _quoted(value: object) -> object:
    # Of 0711 YAML makes the number 457, of NO and OFF the word false.
    if isinstance(value, (bool, int, float)):
        raise ValueError(f"YAML reads this as {value!r}, which is no text; put quotes around what stands in the file")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _time_form(form: str) -> str:
    day = datetime(2026, 11, 23, tzinfo=UTC)
    try:
        told = day if form == ISO else parse_time(day.strftime(form), form)
    except ValueError as error:
        raise ValueError(f"{form!r} is no form of a time: {error}; write it like %d-%m-%Y %H:%M, or iso") from error
    if told.date() != day.date():
        raise ValueError(f"{form!r} tells no day; write it like %d-%m-%Y %H:%M, or iso")
    return form


Text = Annotated[str, BeforeValidator(_quoted)]
Column = Annotated[str, BeforeValidator(_quoted), Field(min_length=1)]
Columns = Column | Annotated[list[Column], Field(min_length=1, max_length=5)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DurationColumn(_Part):
    """A column that says how long a run was."""

    column: Column
    unit: DurationUnit


class RunColumns(_Part):
    """The columns of the file that say what a run is. Several columns of a time are put together with a space, as of a
    date and a time of day; several of a run's key with a dash."""

    start: Columns
    end: Columns | None = None
    duration: DurationColumn | None = None
    run: Columns | None = None
    line: Column | None = None
    product: Column | None = None
    order: Column | None = None
    state: Column | None = None

    def named(self) -> list[str]:
        """The names of all of them."""
        duration = self.duration.column if self.duration else None
        several = [self.start, self.end, duration, self.run, self.line, self.product, self.order, self.state]
        return [name for columns in several for name in as_list(columns)]


class RunConstants(_Part):
    """What holds for every row that does not say otherwise."""

    line: Key | None = None
    product: Key | None = None
    order: Name | None = None
    state: RunState | None = None


class RunTimes(_Part):
    """`formats` as in strptime, or `iso`; the first that fits is taken. `zone` (default: the site's) is where the clock
    hung, for times without an offset of their own."""

    formats: Annotated[list[Annotated[str, AfterValidator(_time_form)]], Field(min_length=1)] = [ISO]
    zone: ZoneName | None = None


class RunMapping(_Part):
    """How to read one kind of file.

    `lines`, `products` and `states` translate what stands in the file; what is in none of them is taken as it stands.
    `empty` lists texts that mean nothing, beside the empty one.
    """

    description: str | None = None
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]$')] = ","
    encoding: Encoding = "utf-8"
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    header_line: Annotated[int, Field(ge=1, le=1000)] = 1
    empty: list[Text] = Field(default_factory=list)
    time: RunTimes = Field(default_factory=RunTimes)
    columns: RunColumns
    constants: RunConstants = Field(default_factory=RunConstants)
    lines: dict[Text, Key] = Field(default_factory=dict)
    products: dict[Text, Key] = Field(default_factory=dict)
    states: dict[Text, RunState] = Field(default_factory=dict)
    unknown_state: Annotated[
        RunState | Literal[UnknownState.REFUSE, UnknownState.LEAVE_OUT], Field(union_mode="left_to_right")
    ] = UnknownState.REFUSE

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.columns.end is not None and self.columns.duration is not None:
            raise ValueError("columns: give `end` or `duration`, not both")
        for name in ("line", "state"):
            if getattr(self.columns, name) is None and getattr(self.constants, name) is None:
                raise ValueError(f"nothing says the {name}; name its column, or give it under `constants`")
        return self


def as_list(columns: str | Sequence[str] | None) -> list[str]:
    """The names of one column, of several, or of none."""
    match columns:
        case None:
            return []
        case str():
            return [columns]
        case _:
            return list(columns)


def load_run_mapping(path: Path) -> RunMapping:
    """The mapping in a YAML file. Raises RunFileError, and ConfigurationError that names file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFileError(f"the mapping {path} can't be read: {error}; check the path") from error
    return parse_configuration(text, name=str(path), model=RunMapping)
