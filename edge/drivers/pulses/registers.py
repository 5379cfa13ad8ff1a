"""Registers that count pulses, and the small file that keeps them through restarts and losses of power."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge.durable_files import write_durably
from edge.errors import EdgePermanentError, EdgeTransientError

_FORMAT = 1


class RegistersUnavailableError(EdgeTransientError):
    """The file cannot be written just now: the disk is full or fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the meter's dial showed when counting began; another one of another day counts anew."""

    value: Fraction
    day: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the settings say of a register: its unit, `per_pulse` in it, and where to begin."""

    unit: str
    per_pulse: Fraction
    start: Start | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """`base` in `unit`, and the pulses since. `start` is the one that was taken last."""

    unit: str
    base: Fraction
    pulses: int
    per_pulse: Fraction
    start: Start | None = None

    @property
    def value(self) -> Fraction:
        return self.base + self.pulses * self.per_pulse


def begin(wanted: Wanted, kept: Register | None, *, meter: str) -> Register:
    """The register as counting goes on. Raises EdgePermanentError when the unit changed without a new start.

    A start that was not taken yet sets it; another `per_pulse` counts for the pulses to come, not for those that were.
    """
    is_new_start = wanted.start is not None and (kept is None or kept.start != wanted.start)
    if kept is None or is_new_start:
        base = wanted.start.value if wanted.start is not None else Fraction(0)
        return Register(unit=wanted.unit, base=base, pulses=0, per_pulse=wanted.per_pulse, start=wanted.start)
    if kept.unit != wanted.unit:
        raise EdgePermanentError(
            f"meter {meter}: its register was kept in {kept.unit} and the settings say {wanted.unit}; "
            "give `start_value` in the new unit, with a new `start_date`"
        )
    if kept.per_pulse != wanted.per_pulse:
        return replace(kept, base=kept.value, pulses=0, per_pulse=wanted.per_pulse)
    return kept


class Registers:
    """Counts in memory, and keeps the counts in the file. One at a time may use the file.

    What was read with `values` may be told to others only after a `save` that came later: then no register ever falls
    below what was told, wherever the power goes away.
    """

    def __init__(self, path: Path, wanted: Mapping[str, Wanted], *, is_trial: bool = False) -> None:
        """Reads the file, where there is one; in a trial it is not written. Raises EdgePermanentError."""
        self._path = path
        self._is_trial = is_trial
        self._others = load_registers(path)
        self._registers = {
            meter: begin(said, self._others.pop(meter, None), meter=meter) for meter, said in wanted.items()
        }
        self._begun = self.snapshot()
        self._saved: Mapping[str, Register] = {}

    def count(self, meter: str, pulses: int) -> None:
        register = self._registers[meter]
        self._registers[meter] = replace(register, pulses=register.pulses + pulses)

    def snapshot(self) -> Mapping[str, Register]:
        """As they are now."""
        return dict(self._registers)

    def save(self, snapshot: Mapping[str, Register]) -> None:
        """Have the snapshot on disk. Writes nothing when that is what is there. Raises RegistersUnavailableError."""
        if self._is_trial or snapshot == self._saved:
            return
        try:
            # Meters that are not in the settings now may come back.
            _write(self._path, {**self._others, **snapshot})
        except OSError as error:
            raise RegistersUnavailableError(
                f"{self._path} cannot be written: {error.strerror or error}; check the disk and the folder's rights"
            ) from error
        self._saved = snapshot

    def unsaved(self) -> int:
        """Pulses that a loss of power would take along."""
        return sum(
            register.pulses - self._saved.get(meter, self._begun[meter]).pulses
            for meter, register in self._registers.items()
        )


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    unit: str
    base: str
    pulses: Annotated[int, Field(ge=0)]
    per_pulse: str
    start: tuple[str, str] | None


class _Header(BaseModel):
    format: int


class _File(_Header):
    model_config = ConfigDict(extra="forbid")

    registers: dict[str, _Entry]


def load_registers(path: Path) -> dict[str, Register]:
    """What the file keeps; nothing where there is none. Raises EdgePermanentError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise EdgePermanentError(f"the registers in {path} cannot be read: {error}") from error
    try:
        if _Header.model_validate_json(text).format > _FORMAT:
            raise EdgePermanentError(
                f"{path} was written by a newer version of Afkobling; install that, or another file"
            )
        return {meter: _register(entry) for meter, entry in _File.model_validate_json(text).registers.items()}
    except (ValueError, ZeroDivisionError) as error:
        raise EdgePermanentError(
            f"the registers in {path} are damaged ({str(error).splitlines()[0]}); move the file aside and give each "
            "meter the `start_value` that its dial shows, with today's `start_date`"
        ) from error


def _register(entry: _Entry) -> Register:
    start = entry.start and Start(value=Fraction(entry.start[0]), day=entry.start[1])
    per_pulse = Fraction(entry.per_pulse)
    return Register(unit=entry.unit, base=Fraction(entry.base), pulses=entry.pulses, per_pulse=per_pulse, start=start)


def _write(path: Path, registers: Mapping[str, Register]) -> None:
    """Whole or not at all, and on disk when this returns."""
    entries = {
        meter: {
            "unit": register.unit,
            "base": str(register.base),
            "pulses": register.pulses,
            "per_pulse": str(register.per_pulse),
            "start": register.start and (str(register.start.value), register.start.day),
        }
        for meter, register in sorted(registers.items())
    }
    write_durably(path, json.dumps({"format": _FORMAT, "registers": entries}, indent=1))
