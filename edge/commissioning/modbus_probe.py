"""One Modbus device, read twice through a profile: its values, whether they can be true, and else what to try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.commissioning.modbus_mistakes import is_doubtful, other_orders, other_places, other_profiles
from edge.commissioning.modbus_reading import ProfileReader, Snapshot, observe, registers_of
from edge.commissioning.observed import Findings
from edge.commissioning.plausibility import judge
from edge.drivers import now_ms
from edge.drivers.modbus.bus import Bus, DeviceAwayError, LineDownError, NonsenseError, Refusal, join
from edge.drivers.modbus.client import refusal_text
from edge.drivers.modbus.line import Framing, Line, SerialLine
from edge.drivers.modbus.profile import ModbusProfile, load_modbus_profile
from edge.drivers.modbus.registers import Register
from edge.drivers.profile import Protocol, shipped_profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusTarget:
    """A device, and the profile through which it is read.

    `meters`: quantity to the configuration's meter key; of other quantities nothing is asked then.
    """

    line: Line
    device_id: int
    profile: ModbusProfile
    timeout_s: float = 3.0
    meters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.line}/{self.device_id}"

    def registers(self) -> list[Register]:
        """What is read: the meters, or all quantities, and the checks."""
        skipped = self.profile.quantities.keys() - self.meters.keys() if self.meters else set()
        return [register for register in registers_of(self.profile) if register.key not in skipped]


async def probe_modbus(target: ModbusTarget, *, apart_s: float, now_ms: Callable[[], int] = now_ms) -> Findings:
    """Read it, wait, read it again; where that makes no sense, look for what would. What a device does is no error."""
    bus = join(target.line)
    try:
        return await _probe(bus, target, apart_s, now_ms)
    finally:
        bus.leave()


async def _probe(bus: Bus, target: ModbusTarget, apart_s: float, now_ms: Callable[[], int]) -> Findings:
    profile = target.profile
    reader = ProfileReader(bus, device_id=target.device_id, timeout_s=target.timeout_s, now_ms=now_ms)
    registers = target.registers()
    snapshots: list[Snapshot] = []
    advice: list[str] = []
    try:
        snapshots.append(await reader.read(registers, profile))
        if (gateway := snapshots[0].gateway_says()) is None:
            seen = observe(profile, registers, snapshots)
            if is_doubtful(seen):
                advice = await _what_would_make_sense(reader, target, snapshots[0])
            else:
                await asyncio.sleep(apart_s)
                snapshots.append(await reader.read(registers, profile))
        else:
            advice = _about_gateway(gateway, target)
    except DeviceAwayError as error:
        advice = _about_silence(error, target)
    values = judge(observe(profile, registers, snapshots, meters=target.meters)) if snapshots else []
    return Findings(values=values, advice=advice)


async def _what_would_make_sense(reader: ProfileReader, target: ModbusTarget, snapshot: Snapshot) -> list[str]:
    profile, registers = target.profile, target.registers()
    advice = other_orders(profile, registers, snapshot) or await other_places(reader, profile, registers)
    if not advice:
        shipped = [load_modbus_profile(name, folder=Path()) for name in shipped_profiles(Protocol.MODBUS)]
        found = await other_profiles(reader, [one for one in shipped if one.name != profile.name])
        advice = [f"the profile: through {name} everything is plausible ({evidence})" for name, evidence in found]
    return advice or [
        f"whether this is a {profile.description}: compare its type with the profile's, and the profile's addresses, "
        "types and word order with the maker's register list",
        "whether the device id is that of this meter: `afkobling edge scan modbus` lists who answers",
    ]


def _about_gateway(refusal: Refusal, target: ModbusTarget) -> list[str]:
    return [
        f"the gateway answers and does not reach device {target.device_id}: {refusal_text(refusal)}",
        "`afkobling edge scan modbus` with the gateway's address lists the ids that answer",
    ]


def _about_silence(error: DeviceAwayError, target: ModbusTarget) -> list[str]:
    if isinstance(error, LineDownError):
        return [str(error)]
    advice = [str(error)]
    scan = "`afkobling edge scan modbus` lists the ids that answer"
    if isinstance(target.line, SerialLine):
        return [
            *advice,
            f"is its id {target.device_id}, and has it {target.line.terms}? {scan}, and finds the speed by itself",
            "are A and B (D+ and D−) the right way round? Makers name them differently: exchange them once",
            "is there a terminating resistor (120 Ω) at both ends of the line, and a common ground?",
        ]
    other = Framing.TCP if target.line.framing is Framing.RTU else Framing.RTU
    if isinstance(error, NonsenseError):
        said = f"set `framing: {other}` (`--framing {other}`)"
        return [*advice, f"{said}: some gateways pass on RTU as it is, others speak Modbus TCP"]
    return [
        *advice,
        f"is {target.device_id} its id (the unit id behind a gateway)? {scan}",
        f"is there a gateway that speaks the other framing? Set `framing: {other}` (`--framing {other}`)",
        "does the device serve only one connection, and has another program that one?",
    ]
