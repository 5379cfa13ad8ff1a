"""Why registers make no sense through a profile: other orders, other addresses, the other function, another meter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge.commissioning.modbus_reading import ProfileReader, Snapshot, fits, observe, registers_of
from edge.commissioning.observed import Observed
from edge.commissioning.plausibility import speaks_for_itself
from edge.drivers.modbus.bus import DeviceAwayError
from edge.drivers.modbus.profile import ModbusProfile
from edge.drivers.modbus.registers import Function, Register, WordOrder


def is_doubtful(observed: Sequence[Observed]) -> bool:
    """Whether the registers themselves are in doubt, and not the wiring of a meter that is read rightly."""
    if any(one.plausible is not None for one in observed):
        return not any(speaks_for_itself(one) for one in observed)
    return not fits(observed)


def other_orders(profile: ModbusProfile, registers: Sequence[Register], snapshot: Snapshot) -> list[str]:
    """What to set where the same registers make sense when put together in exactly one other order."""
    found: list[tuple[WordOrder, list[Observed]]] = []
    for order in WordOrder:
        if all(register.word_order is order for register in registers):
            continue
        seen = observe(profile, [replace(register, word_order=order) for register in registers], [snapshot])
        if fits(seen):
            found.append((order, seen))
    if len(found) != 1:
        return []
    order, seen = found[0]
    return [
        f"the word order: with `word_order: {order}` everything is plausible ({evidence(seen)}); copy the profile to a "
        "file of your own beside edge.yaml, set that there, and name the file as `profile`"
    ]


async def other_places(reader: ProfileReader, profile: ModbusProfile, registers: Sequence[Register]) -> list[str]:
    """The same where it makes sense one register further on or back, or read by the other function."""
    advice = []
    for shift, text in (
        (-1, "the addresses: each is one too high (the register list counts from 1, a profile from 0); subtract 1"),
        (1, "the addresses: each is one too low; add 1"),
    ):
        moved = [replace(register, address=register.address + shift) for register in registers]
        if all(r.address >= 0 and r.end <= 65_536 for r in moved) and (seen := await _sense(reader, profile, moved)):
            advice.append(f"{text} in a profile of your own: then everything is plausible ({evidence(seen)})")
    other = {Function.HOLDING: Function.INPUT, Function.INPUT: Function.HOLDING}
    turned = [replace(register, function=other[register.function]) for register in registers]
    if seen := await _sense(reader, profile, turned):
        advice.append(
            f"the function: with `function: {turned[0].function}` everything is plausible ({evidence(seen)}); set that "
            "in a profile of your own"
        )
    return advice


async def other_profiles(reader: ProfileReader, profiles: Sequence[ModbusProfile]) -> list[tuple[str, str]]:
    """Those through which the device makes sense, with the evidence; the one with the most of it first."""
    found = []
    for profile in profiles:
        seen = await _sense(reader, profile, registers_of(profile))
        if seen:
            found.append((sum(speaks_for_itself(one) for one in seen), profile.name, evidence(seen)))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [(name, text) for _, name, text in found]


def evidence(seen: Sequence[Observed]) -> str:
    """The value that speaks most plainly, as a person would say it."""
    there = [one for one in seen if one.values]
    one = next((one for one in there if speaks_for_itself(one)), None) or max(there, key=lambda one: abs(one.last))
    return f"{one.name} {one.last:,.6g} {one.unit}"


async def _sense(
    reader: ProfileReader, profile: ModbusProfile, registers: Sequence[Register]
) -> Sequence[Observed] | None:
    """What was seen, where it fits; None where it does not, or the device doesn't answer to it."""
    try:
        seen = observe(profile, registers, [await reader.read(registers, profile)])
    except DeviceAwayError:
        return None
    return seen if fits(seen) else None
