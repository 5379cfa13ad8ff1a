"""All that a profile knows of a Modbus device, read at once: quantities, and the checks that are no meters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge.commissioning.observed import Observed
from edge.commissioning.plausibility import is_possible, speaks_for_itself
from edge.drivers.modbus.bus import Bus, Refusal
from edge.drivers.modbus.client import GATEWAY_REFUSALS, ModbusDevice, refusal_text
from edge.drivers.modbus.profile import ModbusProfile, ModbusQuantity, register_of
from edge.drivers.modbus.registers import Block, Register, RegisterType, decode, plan_blocks


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """What was read at about one instant: by the value's name, the registers and when they came, or the refusal."""

    words: dict[str, tuple[int, Sequence[int]]] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def gateway_says(self) -> Refusal | None:
        """What a gateway says that cannot reach the device."""
        return next((refusal for refusal in self.refused.values() if refusal.code in GATEWAY_REFUSALS), None)


def registers_of(profile: ModbusProfile) -> list[Register]:
    """Every quantity and check of a profile, keyed by its name."""
    return [register_of(profile, name, key=name) for name in (*profile.quantities, *profile.checks)]


class ProfileReader:
    """Reads registers of one device in as few requests as its profile allows."""

    def __init__(self, bus: Bus, *, device_id: int, timeout_s: float, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._device_id = device_id
        self._timeout_s = timeout_s
        self._now_ms = now_ms

    async def read(self, registers: Sequence[Register], profile: ModbusProfile) -> Snapshot:
        """Refused blocks are read once more value by value, so that one bad register hides no other.

        Raises DeviceAwayError.
        """
        blocks = plan_blocks(registers, gap=profile.gap, max_registers=profile.max_registers)
        singles = {register.type.words for register in registers}
        device = ModbusDevice(
            self._bus,
            device_id=self._device_id,
            timeout_s=self._timeout_s,
            counts=singles | {block.count for block in blocks},
        )
        snapshot = Snapshot()
        for block in blocks:
            await self._read_block(device, block, snapshot)
            if (gateway := snapshot.gateway_says()) is not None:
                # It waits for the device each time, in vain.
                return Snapshot(refused=dict.fromkeys((register.key for register in registers), gateway))
        return snapshot

    async def _read_block(self, device: ModbusDevice, block: Block, snapshot: Snapshot) -> None:
        words = await device.read(block.function, address=block.address, count=block.count)
        if isinstance(words, Refusal):
            if len(block.registers) > 1 and words.code not in GATEWAY_REFUSALS:
                for register in block.registers:
                    single = plan_blocks([register], gap=0, max_registers=125)
                    await self._read_block(device, single[0], snapshot)
                return
            snapshot.refused.update({register.key: words for register in block.registers})
            return
        at_ms = self._now_ms()
        for register in block.registers:
            offset = register.address - block.address
            snapshot.words[register.key] = at_ms, words[offset : offset + register.type.words]


def observe(
    profile: ModbusProfile,
    registers: Sequence[Register],
    snapshots: Sequence[Snapshot],
    meters: Mapping[str, str] | None = None,
) -> list[Observed]:
    """What the registers said in each snapshot. `meters`: quantity to the key that the configuration gives it."""
    found = []
    for register in registers:
        said = [snapshot.words[register.key] for snapshot in snapshots if register.key in snapshot.words]
        values = tuple((at_ms, value) for at_ms, words in said if (value := decode(register, words)) is not None)
        refusals = [s.refused[register.key] for s in snapshots if register.key in s.refused]
        found.append(_observed(profile, register, values, refusals, (meters or {}).get(register.key)))
    return found


def _observed(
    profile: ModbusProfile,
    register: Register,
    values: tuple[tuple[int, float], ...],
    refusals: Sequence[Refusal],
    meter: str | None,
) -> Observed:
    missing = f"refused: {refusal_text(refusals[-1])}" if refusals else None
    quantity = profile.quantities.get(register.key)
    step = _step(register, values)
    if isinstance(quantity, ModbusQuantity):
        return Observed(
            name=register.key,
            unit=quantity.unit,
            values=values,
            kind=quantity.kind,
            resource=quantity.resource,
            carrier=quantity.carrier,
            step=step,
            register_width=quantity.register_width,
            rated_maximum=quantity.rated_maximum,
            meter=meter,
            missing=missing,
        )
    check = profile.checks[register.key]
    return Observed(
        name=register.key, unit=check.unit, values=values, plausible=check.plausible, step=step, missing=missing
    )


def _step(register: Register, values: Sequence[tuple[int, float]]) -> float:
    """The smallest change that the value shows: a count, or for a float what its digits allow."""
    if not register.type.is_float or not values:
        return float(register.scale)
    if register.type is RegisterType.FLOAT64:
        return math.ulp(values[-1][1])
    return abs(values[-1][1]) * 2.0**-23


def fits(observed: Sequence[Observed]) -> bool:
    """Whether a profile can be the right one, by what it made of the registers.

    No quantity was refused, all is possible, and something of it could hardly come about by mistake.
    """
    there = [one for one in observed if one.values]
    if any(one.missing and one.kind is not None for one in observed) or not all(is_possible(one) for one in there):
        return False
    if any(one.plausible is not None for one in observed):
        return any(speaks_for_itself(one) for one in there)
    return any(one.last for one in there)
