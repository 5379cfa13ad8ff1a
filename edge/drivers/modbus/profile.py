"""What the registers of a type of Modbus meter mean."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from edge.drivers.modbus.registers import Function, Register, RegisterType, WordOrder
from edge.drivers.profile import Profile, Protocol, load_profile
from edge.drivers.quantity import Quantity, Scale
from schemas.topics import Key


class ModbusPlace(BaseModel):
    """Where a value lies. `address` is the one on the wire (counted from 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[int, Field(ge=0, le=65_535)]
    type: RegisterType
    function: Function | None = None
    word_order: WordOrder | None = None

    @model_validator(mode="after")
    def _lies_within(self) -> Self:
        if self.address + self.type.words > 65_536:
            raise ValueError(f"a {self.type} at address {self.address} would end behind the last register, 65535")
        return self


class ModbusQuantity(Quantity, ModbusPlace):
    """A value in registers."""


class ModbusCheck(ModbusPlace):
    """A value that is no meter and tells whether the wiring is right; only `afkobling edge probe` reads it.

    `plausible` is the range that a sound installation stays in. A check in W or kW is the power of one phase, and
    compared with that of the others.
    """

    unit: Annotated[str, Field(min_length=1, max_length=20)]
    scale: Scale = Decimal(1)
    plausible: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if self.plausible is not None and not self.plausible[0] < self.plausible[1]:
            raise ValueError("a plausible range goes from the lower to the higher value")
        return self


class ModbusProfile(Profile):
    """A type of meter: its quantities, and what holds for all of them.

    `all_ones_is_absent`: a value of nothing but ones means that the meter has none. `gap`: registers in between that
    may be read along in one request; most meters refuse addresses that they don't have, so none by default.
    """

    protocol: Literal[Protocol.MODBUS]
    function: Function
    word_order: WordOrder = WordOrder.HIGH_FIRST
    all_ones_is_absent: bool = False
    gap: Annotated[int, Field(ge=0, le=100)] = 0
    max_registers: Annotated[int, Field(ge=4, le=125)] = 60
    quantities: Annotated[dict[Key, ModbusQuantity], Field(min_length=1)]
    checks: Annotated[dict[Key, ModbusCheck], Field(default_factory=dict)]

    @field_validator("checks")
    @classmethod
    def _names_apart(cls, checks: dict[Key, ModbusCheck], info: ValidationInfo) -> dict[Key, ModbusCheck]:
        if doubled := sorted(checks.keys() & info.data.get("quantities", {}).keys()):
            raise ValueError(f"{', '.join(doubled)}: stands among the quantities too; give the check another name")
        return checks


def load_modbus_profile(name: str, *, folder: Path) -> ModbusProfile:
    """As `edge.drivers.profile.load_profile`."""
    return load_profile(name, folder=folder, model=ModbusProfile, protocol=Protocol.MODBUS)


def register_of(profile: ModbusProfile, quantity: str, *, key: str) -> Register:
    """Where to read a quantity, or a check of that name, for the meter `key`. Raises KeyError."""
    found = profile.quantities.get(quantity) or profile.checks[quantity]
    return Register(
        key=key,
        function=found.function or profile.function,
        address=found.address,
        type=found.type,
        word_order=found.word_order or profile.word_order,
        scale=found.scale,
        all_ones_is_absent=profile.all_ones_is_absent,
    )
