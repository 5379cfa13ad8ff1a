"""Which records of a type of M-Bus meter are which quantities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.drivers.mbus.meanings import Measure, in_unit, units_of
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import Function, Record
from edge.drivers.profile import Profile, Protocol, load_profile, shipped_profiles
from edge.drivers.quantity import Quantity
from schemas.topics import Key


class MbusQuantity(Quantity):
    """A value of one record: the `position`-th that is like this. The record itself says in which unit it counts.

    `vife` are the record's extensions other than factors, without their highest bit: [0x3C] is what flows backwards,
    [0x7F, 0x01] what a maker means by 01. `scale` multiplies once more; of a count it says what one is.
    """

    measures: Measure
    function: Function = Function.INSTANTANEOUS
    storage: Annotated[int, Field(ge=0)] = 0
    tariff: Annotated[int, Field(ge=0)] = 0
    subunit: Annotated[int, Field(ge=0)] = 0
    vife: tuple[Annotated[int, Field(ge=0, le=0x7F)], ...] = ()
    position: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _unit_of_measure(self) -> Self:
        if self.measures is Measure.OTHER:
            raise ValueError("`other` can't be a quantity; use one of the other measures")
        units = units_of(self.measures)
        if units and self.unit not in units:
            raise ValueError(f"{self.measures} can't be told in {self.unit}; use one of: {', '.join(units)}")
        return self

    def fits(self, record: Record) -> bool:
        """Whether the record is like this."""
        return (
            record.meaning.measure is self.measures
            and record.function is self.function
            and (record.storage, record.tariff, record.subunit) == (self.storage, self.tariff, self.subunit)
            and record.vife == self.vife
        )


class MeterType(BaseModel):
    """Which meters a profile is for, by what they say of themselves; left out, any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    makers: tuple[Annotated[str, Field(pattern=r"^[A-Z]{3}$")], ...] = ()
    media: tuple[Annotated[int, Field(ge=0, le=0xFF)], ...] = ()

    def covers(self, identity: SecondaryAddress) -> bool:
        return (not self.makers or identity.maker in self.makers) and (not self.media or identity.medium in self.media)


class MbusProfile(Profile):
    """A type of meter. One with a `battery` is read every 15 minutes unless told otherwise, else every minute."""

    protocol: Literal[Protocol.MBUS]
    meter: MeterType = MeterType()
    battery: bool = True
    quantities: Annotated[dict[Key, MbusQuantity], Field(min_length=1)]


def load_mbus_profile(name: str, *, folder: Path) -> MbusProfile:
    """As `edge.drivers.profile.load_profile`."""
    return load_profile(name, folder=folder, model=MbusProfile, protocol=Protocol.MBUS)


def find_record(quantity: MbusQuantity, records: Iterable[Record]) -> Record | None:
    """The record of that quantity; None where the meter does not tell it."""
    like = [record for record in records if quantity.fits(record)]
    return like[quantity.position - 1] if len(like) >= quantity.position else None


def value_in(quantity: MbusQuantity, record: Record) -> float | None:
    """The record's value in the quantity's unit; None where the meter says that it has none."""
    if record.value is None:
        return None
    return in_unit(
        record.value,
        measure=quantity.measures,
        unit=record.meaning.unit,
        wanted=quantity.unit,
        scale=quantity.scale,
    )


def fitting_profiles(identity: SecondaryAddress, records: Sequence[Record], *, folder: Path) -> list[MbusProfile]:
    """The shipped profiles for such a meter of which it tells at least one quantity, those of its maker first."""
    profiles = (load_mbus_profile(name, folder=folder) for name in shipped_profiles(Protocol.MBUS))
    fitting = [
        profile
        for profile in profiles
        if profile.meter.covers(identity)
        and any(find_record(quantity, records) is not None for quantity in profile.quantities.values())
    ]
    return sorted(fitting, key=lambda profile: not profile.meter.makers)
