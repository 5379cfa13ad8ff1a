"""What a driver is told of one value that it reads: the part that is the same whatever the device speaks."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.durations import SpanMs
from schemas.parts import Positive
from schemas.resources import PRODUCTION_TYPES, MeterKind, Resource, find_unit
from schemas.wire import OfferedMeter


def _as_written(scale: object) -> object:
    # 0.1 means a tenth, not the nearest binary fraction.
    return str(scale) if isinstance(scale, float) else scale


Scale = Annotated[Decimal, BeforeValidator(_as_written), Field(gt=0)]
"""Units per count, as a decimal number."""


class Quantity(BaseModel):
    """One value of a device. `scale` is `unit` per count of what the device says.

    What is certain for every meter of this type: `register_width` is where a counter begins again at zero, in `unit`;
    `rated_maximum` the most that it can count, in `unit` an hour; `accuracy_class` is in percent. An interval meter
    says how long its intervals are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    resource: Resource
    kind: MeterKind
    carrier: str | None = None
    scale: Scale = Decimal(1)
    interval: SpanMs | None = None
    register_width: Positive | None = None
    rated_maximum: Positive | None = None
    accuracy_class: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _unit_fits(self) -> Self:
        if find_unit(self.resource, self.unit).is_rate != (self.kind is MeterKind.RATE):
            raise ValueError(f"unit {self.unit} does not go with kind {self.kind}")
        if self.resource is Resource.PRODUCTION and self.carrier not in PRODUCTION_TYPES:
            raise ValueError(f"a production quantity's carrier is one of {', '.join(PRODUCTION_TYPES)}")
        if self.register_width is not None and self.kind is not MeterKind.COUNTER:
            raise ValueError(f"only a counter has a register that begins again; remove `register_width` ({self.kind})")
        if (self.interval is not None) != (self.kind is MeterKind.INTERVAL):
            raise ValueError(f"an interval meter has an `interval`, and only such a one ({self.kind})")
        return self

    def scaled(self, raw: float) -> float:
        """What the device said, in `unit`. A count becomes the decimal number that a person would write."""
        # mypy takes an int for a float, and so would not see the difference.
        said: object = raw
        return float(said * self.scale) if isinstance(said, int) else raw * float(self.scale)

    def offer(self, meter: str, *, driver: str, cadence_ms: int | None) -> OfferedMeter:
        """This quantity as the meter of that key. `cadence_ms`: how often it comes, where that is known."""
        return OfferedMeter(
            meter=meter,
            resource=self.resource,
            unit=self.unit,
            kind=self.kind,
            carrier=self.carrier,
            driver=driver,
            cadence_ms=self.interval or cadence_ms,
            interval_ms=self.interval,
            register_width=self.register_width,
            rated_maximum=self.rated_maximum,
            accuracy_class=self.accuracy_class,
        )
