"""Where the values of a Modbus meter lie, and the pure decoding of them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


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
    def is_float(self) -> bool:
        return self in {RegisterType.FLOAT32, RegisterType.FLOAT64}

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
    """Which register of a value comes first. `swapped`: within each register the low byte does, against the standard.

    Register lists also call them, in this order, ABCD, CDAB, BADC and DCBA.
    """

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"
    HIGH_FIRST_SWAPPED = "high_first_swapped"
    LOW_FIRST_SWAPPED = "low_first_swapped"

    def arrange(self, words: Sequence[int]) -> list[int]:
        """From the order of the wire to high word and high byte first, and back."""
        low_first = self in {WordOrder.LOW_FIRST, WordOrder.LOW_FIRST_SWAPPED}
        arranged = list(reversed(words)) if low_first else list(words)
        if self in {WordOrder.HIGH_FIRST_SWAPPED, WordOrder.LOW_FIRST_SWAPPED}:
            return [(word & 0xFF) << 8 | word >> 8 for word in arranged]
        return arranged


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
    ordered = words if register.word_order is WordOrder.HIGH_FIRST else register.word_order.arrange(words)
    (raw,) = struct.unpack(register.type.layout, struct.pack(f">{len(ordered)}H", *ordered))
    if isinstance(raw, float):
        value = raw * float(register.scale)
        return value if math.isfinite(value) else None
    return float(raw * register.scale)


def encode(register: Register, raw: float) -> list[int]:
    """The words that hold `raw` (before scaling): what a meter does, for tests and simulated devices."""
    data = struct.pack(register.type.layout, raw)
    return register.word_order.arrange(struct.unpack(f">{len(data) // 2}H", data))
