"""What edge.yaml says of meters that give pulses."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from edge.drivers import DriverSettings
from edge.drivers.pulses.registers import Start, Wanted
from edge.drivers.quantity import Quantity
from schemas.durations import SpanMs, at_most
from schemas.resources import MeterKind
from schemas.topics import Key

Length = Annotated[SpanMs, at_most("10s")]


class Active(StrEnum):
    """The level of the line during a pulse. An S0 output pulls it low."""

    LOW = "low"
    HIGH = "high"


class Bias(StrEnum):
    """The resistor of the input, where the chip has one to switch on."""

    PULL_UP = "pull_up"
    PULL_DOWN = "pull_down"
    NONE = "none"


class PulseMeter(Quantity):
    """A line, and what one pulse stands for: either `scale` (`unit` a pulse) or `pulses_per_unit`.

    `start_value` is what the meter's dial shows, in `unit`. It sets the register once, and again when it or
    `start_date` is another.
    """

    kind: MeterKind = MeterKind.COUNTER
    line: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
    pulses_per_unit: Annotated[Decimal, Field(gt=0)] | None = None
    active: Active = Active.LOW
    bias: Bias = Bias.PULL_UP
    shortest_pulse: Length = 10
    shortest_gap: Length = 10
    start_value: Annotated[Decimal, Field(ge=0)] | None = None
    start_date: date | None = None

    @field_validator("pulses_per_unit", "start_value", mode="before")
    @classmethod
    def _as_a_person_wrote_it(cls, value: object) -> object:
        return str(value) if isinstance(value, float) else value

    @model_validator(mode="after")
    def _counts_pulses(self) -> Self:
        if self.kind is not MeterKind.COUNTER:
            raise ValueError("pulses make a counter; remove `kind`, or set it to counter")
        if (self.pulses_per_unit is None) == ("scale" not in self.model_fields_set):
            raise ValueError(
                "say what a pulse stands for: `pulses_per_unit` (as 1000 for 1000 pulses a kWh) or `scale` (as 10 for "
                "10 l a pulse), one of the two"
            )
        if self.start_date is not None and self.start_value is None:
            raise ValueError("a `start_date` needs the `start_value` of that day")
        return self

    def wanted(self) -> Wanted:
        per_pulse = Fraction(self.scale) if self.pulses_per_unit is None else 1 / Fraction(self.pulses_per_unit)
        start = None
        if self.start_value is not None:
            day = "" if self.start_date is None else self.start_date.isoformat()
            start = Start(value=Fraction(self.start_value), day=day)
        return Wanted(unit=self.unit, per_pulse=per_pulse, start=start)


class PulsesSettings(DriverSettings):
    """`chip`: the GPIO device. `every`: how often registers are read, which is also how often they may be written to
    `file` (from the configuration's folder; left out, it is named after the driver).
    """

    driver: Literal["pulses"]
    chip: Annotated[str, Field(min_length=1)] = "/dev/gpiochip0"
    every: SpanMs = 60_000
    file: Path | None = None
    longest_wait: Annotated[SpanMs, Field(description="between attempts to open a chip that is away")] = 60_000
    meters: Annotated[dict[Key, PulseMeter], Field(min_length=1)]

    def shared(self) -> Mapping[str, str]:
        """Its file is its own: who else wrote it would take its registers away."""
        return {f"the file {os.path.normpath(self.kept_in)}": f"the registers of {self.name} in it"}

    @property
    def kept_in(self) -> Path:
        return self.file or Path(f"{self.name}-registers.json")

    @model_validator(mode="after")
    def _one_meter_a_line(self) -> Self:
        lines = [meter.line for meter in self.meters.values()]
        doubled = {line for line in lines if lines.count(line) > 1}
        if doubled:
            raise ValueError(
                f"line {', '.join(map(str, sorted(doubled, key=str)))} stands twice; a line is one meter's"
            )
        return self
