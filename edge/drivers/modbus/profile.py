"""What the registers of a type of Modbus meter mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.drivers.modbus.registers import Function, Register, RegisterType, WordOrder
from edge.drivers.profile import Profile, Protocol, load_profile
from edge.drivers.quantity import Quantity
from schemas.topics import Key


class ModbusQuantity(Quantity):
    """A value in registers. `address` is the one on the wire (counted from 0)."""

    address: Annotated[int, Field(ge=0, le=65_535)]
    type: RegisterType
    function: Function | None = None
    word_order: WordOrder | None = None


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


def load_modbus_profile(name: str, *, folder: Path) -> ModbusProfile:
    """As `edge.drivers.profile.load_profile`."""
    return load_profile(name, folder=folder, model=ModbusProfile, protocol=Protocol.MODBUS)


def register_of(profile: ModbusProfile, quantity: str, *, key: str) -> Register:
    """Where to read `quantity` for the meter `key`. Raises KeyError."""
    found = profile.quantities[quantity]
    return Register(
        key=key,
        function=found.function or profile.function,
        address=found.address,
        type=found.type,
        word_order=found.word_order or profile.word_order,
        scale=found.scale,
        all_ones_is_absent=profile.all_ones_is_absent,
    )
