"""What the registers of a Modbus meter mean, as data (`edge/profiles/*.yaml`), and the pure decoding of them."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge.errors import EdgePermanentError
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.parts import Positive
from schemas.resources import PRODUCTION_TYPES, MeterKind, Resource, find_unit
from schemas.topics import Key


class Function(StrEnum):
    """Which registers: function code 03 or 04."""

    HOLDING = "holding"
    INPUT = "input"


class RegisterType(StrEnum):
    """How a value lies in registers of 16 bits, each of them high byte first."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def layout(self) -> str:
        """The `struct` format of the value, high byte first."""
        return _FORMATS[self]

    @property
    def words(self) -> int:
        """Registers that a value takes."""
        return struct.calcsize(self.layout) // 2


_FORMATS = {
    RegisterType.U16: ">H",
    RegisterType.I16: ">h",
    RegisterType.U32: ">I",
    RegisterType.I32: ">i",
    RegisterType.U64: ">Q",
    RegisterType.I64: ">q",
    RegisterType.FLOAT32: ">f",
    RegisterType.FLOAT64: ">d",
}


class WordOrder(StrEnum):
    """Which register of a value comes first."""

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"


class Quantity(BaseModel):
    """One value of a meter. `address` is the one on the wire (counted from 0), `scale` is `unit` per count.

    What is certain for every meter of this type: `register_width` is where a counter begins again at zero, in `unit`;
    `rated_maximum` the most that it can count, in `unit` an hour; `accuracy_class` is in percent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[int, Field(ge=0, le=65_535)]
    type: RegisterType
    unit: str
    resource: Resource
    kind: MeterKind
    carrier: str | None = None
    scale: Annotated[Decimal, Field(gt=0)] = Decimal(1)
    function: Function | None = None
    word_order: WordOrder | None = None
    register_width: Positive | None = None
    rated_maximum: Positive | None = None
    accuracy_class: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None

    @field_validator("scale", mode="before")
    @classmethod
    def _as_written(cls, scale: object) -> object:
        # 0.1 means a tenth, not the nearest binary fraction.
        return str(scale) if isinstance(scale, float) else scale

    @model_validator(mode="after")
    def _unit_fits(self) -> Self:
        if find_unit(self.resource, self.unit).is_rate != (self.kind is MeterKind.RATE):
            raise ValueError(f"unit {self.unit} does not go with kind {self.kind}")
        if self.resource is Resource.PRODUCTION and self.carrier not in PRODUCTION_TYPES:
            raise ValueError(f"a production quantity's carrier is one of {', '.join(PRODUCTION_TYPES)}")
        if self.register_width is not None and self.kind is not MeterKind.COUNTER:
            raise ValueError(f"only a counter has a register that begins again; remove `register_width` ({self.kind})")
        return self


class Profile(BaseModel):
    """A type of meter: its quantities, and what holds for all of them.

    `all_ones_is_absent`: a value of nothing but ones means that the meter has none. `gap`: registers in between that
    may be read along in one request; most meters refuse addresses that they don't have, so none by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Key
    description: str
    source: str
    function: Function
    word_order: WordOrder = WordOrder.HIGH_FIRST
    all_ones_is_absent: bool = False
    gap: Annotated[int, Field(ge=0, le=100)] = 0
    max_registers: Annotated[int, Field(ge=4, le=125)] = 60
    quantities: Annotated[dict[Key, Quantity], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A quantity at its place, with what it inherits from the profile. `key` is whose value it is."""

    key: str
    function: Function
    address: int
    type: RegisterType
    word_order: WordOrder
    scale: Decimal
    all_ones_is_absent: bool

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.type.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Registers that one request reads."""

    function: Function
    address: int
    count: int
    registers: tuple[Register, ...]


def register_of(profile: Profile, quantity: str, *, key: str) -> Register:
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


def plan_blocks(registers: Sequence[Register], *, gap: int, max_registers: int) -> list[Block]:
    """As few requests as reach all registers: neighbours no further than `gap` apart go together."""
    groups: list[list[Register]] = []
    for register in sorted(registers, key=lambda r: (r.function, r.address)):
        last = groups[-1] if groups else None
        if (
            last is not None
            and last[0].function is register.function
            and register.address - max(r.end for r in last) <= gap
            and max(register.end, *(r.end for r in last)) - last[0].address <= max_registers
        ):
            last.append(register)
        else:
            groups.append([register])
    return [
        Block(
            function=group[0].function,
            address=group[0].address,
            count=max(r.end for r in group) - group[0].address,
            registers=tuple(group),
        )
        for group in groups
    ]


def decode_block(block: Block, words: Sequence[int]) -> dict[str, float]:
    """Key to value, for each value that is there. Raises ValueError when the answer is not as long as was asked."""
    if len(words) != block.count:
        raise ValueError(f"{len(words)} registers came where {block.count} were asked for")
    values: dict[str, float] = {}
    for register in block.registers:
        offset = register.address - block.address
        value = decode(register, words[offset : offset + register.type.words])
        if value is not None:
            values[register.key] = value
    return values


def decode(register: Register, words: Sequence[int]) -> float | None:
    """The value in the quantity's unit; None where the meter says that it has none."""
    if register.all_ones_is_absent and all(word == 0xFFFF for word in words):
        return None
    ordered = words if register.word_order is WordOrder.HIGH_FIRST else list(reversed(words))
    (raw,) = struct.unpack(register.type.layout, struct.pack(f">{len(ordered)}H", *ordered))
    if isinstance(raw, float):
        return raw * float(register.scale) if math.isfinite(raw) else None
    return float(raw * register.scale)


def encode(register: Register, raw: float) -> list[int]:
    """The words that hold `raw` (before scaling): what a meter does, for tests and simulated devices."""
    data = struct.pack(register.type.layout, raw)
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    return words if register.word_order is WordOrder.HIGH_FIRST else words[::-1]


def shipped_profiles() -> Mapping[str, str]:
    """Name to YAML text of each profile that comes with Afkobling."""
    folder = files("edge.profiles")
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".yaml")
    }


def load_profile(name: str, *, folder: Path) -> Profile:
    """A shipped profile by name, or one's own by the path of its .yaml file from `folder`.

    Raises EdgePermanentError that lists the shipped ones, or that names file, line and remedy.
    """
    shipped = shipped_profiles()
    if name in shipped:
        return parse_configuration(shipped[name], name=f"{name}.yaml", model=Profile)
    if not name.endswith((".yaml", ".yml")):
        raise EdgePermanentError(
            f"there is no profile {name!r}; known: {', '.join(shipped)}, or give the path of your own .yaml file"
        )
    path = folder / name
    try:
        return parse_configuration(path.read_text(encoding="utf-8"), name=str(path), model=Profile)
    except (OSError, UnicodeDecodeError) as error:
        raise EdgePermanentError(f"the profile {path} cannot be read: {error}") from error
    except ConfigurationError as error:
        raise EdgePermanentError(str(error)) from error
