"""What edge.yaml says of a folder that is watched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edge.drivers import DriverSettings
from edge.errors import EdgePermanentError
from schemas.configuration import problems_in
from schemas.durations import SpanMs
from schemas.mapping import LongMeter, Mapping


class Written(StrEnum):
    """How the files come about: each is finished at some time, or lines are added to it for ever."""

    WHOLE = "whole"
    GROWING = "growing"


class Done(StrEnum):
    """What becomes of a file when all of it is in the outbox."""

    KEEP = "keep"
    MOVE = "move"
    DELETE = "delete"


class CsvSettings(DriverSettings):
    """`folder` is watched, not what is below it; of its files those whose names fit `pattern`, great or small letters.

    `mapping`: how to read them, by name or .yaml file. `meters` says what the meters are where the mapping doesn't, as
    in a mapping's `long.meters`. A file that is `written: whole` is read when it has stood still for `settle`, one
    that is `growing` at each look, as far as its lines are finished.
    """

    driver: Literal["csv"]
    folder: Path
    pattern: Annotated[str, Field(min_length=1, pattern=r"^[^/]*$")] = "*.csv"
    mapping: str = "plain"
    meters: list[LongMeter] = Field(default_factory=list)
    every: SpanMs = 10_000
    timeout: Annotated[SpanMs, Field(description="for the folder to answer; network shares can go away")] = 30_000
    written: Written = Written.WHOLE
    settle: SpanMs = 5_000
    done: Done = Done.KEEP
    done_folder: Annotated[Path | None, Field(description="where done files go; left out: `done` in the folder")] = None
    refused_folder: Annotated[
        Path | None, Field(description="where files go that can't be read; left out: they stay, and are remembered")
    ] = None
    state: Annotated[Path | None, Field(description="what was read; left out: <name>-files.json")] = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.written is Written.GROWING and self.done is not Done.KEEP:
            raise ValueError("a file that grows is never done; leave `done` out, or set `written: whole`")
        if self.done_folder is not None and self.done is not Done.MOVE:
            raise ValueError("`done_folder` is for `done: move` only; set that, or remove it")
        for place in (self.done_folder, self.refused_folder):
            if place is not None and place == self.folder:
                raise ValueError("files would be moved to where they are; give another folder")
        return self


def with_meters(settings: CsvSettings, mapping: Mapping) -> Mapping:
    """The mapping with its meters, wherever they are told. Raises EdgePermanentError: they are nowhere, or twice."""
    place = f"driver {settings.name}: mapping {mapping.name}"
    if mapping.meters or (mapping.long and mapping.long.meters):
        if settings.meters:
            raise EdgePermanentError(f"{place} says what its meters are; remove `meters`")
        return mapping
    if not settings.meters:
        raise EdgePermanentError(
            f"{place} leaves to the files what their meters are, and an agent must know before; list them, as in "
            "meters: [{meter: oven, resource: energy, carrier: electricity, unit: kWh, kind: counter}]"
        )
    told = mapping.model_dump()
    told["long"]["meters"] = [meter.model_dump(exclude={"interval"}) for meter in settings.meters]
    for given, meter in zip(told["long"]["meters"], settings.meters, strict=True):
        given["interval"] = meter.interval and f"{meter.interval}ms"
    try:
        return Mapping.model_validate(told)
    except ValidationError as error:
        raise EdgePermanentError(
            f"{place} with `meters`: {'; '.join(p.message for p in problems_in(error))}"
        ) from error
