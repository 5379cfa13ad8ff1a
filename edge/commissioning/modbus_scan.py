"""Which Modbus devices answer on a line, on which terms, and what they seem to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.commissioning.modbus_mistakes import other_profiles
from edge.commissioning.modbus_reading import ProfileReader
from edge.drivers import now_ms
from edge.drivers.modbus.bus import Bus, DeviceAwayError, LineDownError, NonsenseError, Refusal, Request, join
from edge.drivers.modbus.client import GATEWAY_REFUSALS, refusal_text
from edge.drivers.modbus.line import Line, SerialLine
from edge.drivers.modbus.profile import ModbusProfile, load_modbus_profile
from edge.drivers.modbus.registers import Function
from edge.drivers.profile import Protocol, shipped_profiles
from edge.drivers.reach import Parity

USUAL_TERMS: Sequence[tuple[int, Parity]] = (
    (9600, Parity.NONE),
    (19200, Parity.EVEN),
    (19200, Parity.NONE),
    (9600, Parity.EVEN),
    (38400, Parity.NONE),
    (115200, Parity.NONE),
    (4800, Parity.NONE),
    (2400, Parity.NONE),
)
"""What meters come with, the most usual first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A profile through which a device makes sense, and a value that shows it."""

    profile: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """A device that answered. `answer`: `values`, or the words of its refusal."""

    device_id: int
    answer: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one walk over the ids brought. `strange`: ids where something came that was no answer."""

    line: Line
    found: Sequence[FoundDevice]
    strange: Sequence[int]
    asked: int

    @property
    def is_indifferent(self) -> bool:
        """Whether a device answers under every id, and so doesn't mind."""
        return self.asked > 5 and len(self.found) == self.asked


Progress = Callable[[Line, int, FoundDevice | None], None]
"""Told after each id."""


async def scan_modbus(
    lines: Sequence[Line], ids: Sequence[int], *, timeout_s: float, progress: Progress = lambda line, id_, found: None
) -> list[Scan]:
    """Each line (the same port on other terms) until one has a device.

    Raises LineDownError when none can be opened; one that can't be on some terms is left out.
    """
    scans: list[Scan] = []
    down: LineDownError | None = None
    for line in lines:
        try:
            scans.append(await _scan(line, ids, timeout_s, progress))
        except LineDownError as error:
            down = error
            continue
        if scans[-1].found:
            break
    if down is not None and not scans:
        raise down
    return scans


def usual_lines(port: str) -> list[SerialLine]:
    """A serial port on each of the usual terms."""
    return [SerialLine(port=port, baud=baud, parity=parity, stop_bits=1) for baud, parity in USUAL_TERMS]


async def _scan(line: Line, ids: Sequence[int], timeout_s: float, progress: Progress) -> Scan:
    found: list[FoundDevice] = []
    strange: list[int] = []
    bus = join(line)
    try:
        for device_id in ids:
            device = None
            try:
                device = await _ask_patiently(bus, device_id, timeout_s, again=0 if device_id == ids[0] else 10)
            except LineDownError:
                raise
            except NonsenseError:
                strange.append(device_id)
            except DeviceAwayError:
                pass
            if device is not None:
                found.append(device)
            progress(line, device_id, device)
        scan = Scan(line=line, found=found, strange=strange, asked=len(ids))
        judged = found[:1] if scan.is_indifferent else found
        profiles = [load_modbus_profile(name, folder=Path()) for name in shipped_profiles(Protocol.MODBUS)]
        return replace(
            scan,
            found=[await _with_candidates(bus, device, profiles, timeout_s) for device in judged]
            + found[len(judged) :],
        )
    finally:
        bus.leave()


async def _ask_patiently(bus: Bus, device_id: int, timeout_s: float, *, again: int) -> FoundDevice | None:
    """As `_ask`. After an id that did not answer we connect anew, for which some gateways need a moment."""
    for _ in range(again):
        try:
            return await _ask(bus, device_id, timeout_s)
        except LineDownError:
            await asyncio.sleep(0.5)
    return await _ask(bus, device_id, timeout_s)


async def _ask(bus: Bus, device_id: int, timeout_s: float) -> FoundDevice | None:
    """The device, by any answer of its own. Raises DeviceAwayError."""
    request = Request(device_id=device_id, function=Function.HOLDING, address=0, count=1)
    answer = await bus.ask(request, timeout_s=timeout_s)
    if isinstance(answer, Refusal):
        if answer.code in GATEWAY_REFUSALS:
            return None
        return FoundDevice(device_id=device_id, answer=refusal_text(answer), candidates=())
    return FoundDevice(device_id=device_id, answer="values", candidates=())


async def _with_candidates(
    bus: Bus, device: FoundDevice, profiles: Sequence[ModbusProfile], timeout_s: float
) -> FoundDevice:
    reader = ProfileReader(bus, device_id=device.device_id, timeout_s=max(timeout_s, 1.0), now_ms=now_ms)
    fitting = await other_profiles(reader, profiles)
    return replace(device, candidates=[Candidate(profile=name, evidence=text) for name, text in fitting])
