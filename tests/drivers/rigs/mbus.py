"""The M-Bus driver and a simulated segment: behind a gateway by primary address, and at a serial port by secondary."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

from edge.devices.mbus import Gateway, Segment, SimulatedMeter, pseudo_serial_port
from edge.devices.mbus_telegrams import BCD_8, encode_record
from edge.drivers.contract import NAME
from edge.drivers.mbus.meanings import Meaning, Measure
from edge.drivers.mbus.secondary import SecondaryAddress
from edge.drivers.mbus.telegram import Record

ENERGY = Meaning(measure=Measure.ENERGY, unit="Wh", exponent=3)
POWER = Meaning(measure=Measure.POWER, unit="W", exponent=2)
HEAT_METER = SecondaryAddress.parse("12345678-KAM-1B-04")
NEIGHBOUR = SecondaryAddress.parse("12340000-KAM-1B-04")


def telegrams(kwh: int, kw: Decimal) -> list[list[bytes]]:
    """Two: the energy in the first, the power in the second."""
    energy, power = Record(meaning=ENERGY, value=Decimal(kwh) * 1000), Record(meaning=POWER, value=kw * 1000)
    return [[encode_record(energy)], [encode_record(power, field=BCD_8)]]


class _Rig:
    """One heat meter that is read, and another one on the same two wires that is not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = 0
        self._meter = SimulatedMeter(identity=HEAT_METER, address=17, telegrams=telegrams(0, Decimal(0)))
        neighbour = SimulatedMeter(identity=NEIGHBOUR, address=18, telegrams=telegrams(999, Decimal(9)))
        self.segment = Segment(meters=[self._meter, neighbour])

    def settings(self) -> Mapping[str, Any]:
        return {
            "name": NAME,
            "driver": "mbus",
            "profile": "kamstrup-multical",
            "every": "20ms",
            "timeout": "80ms",
            "longest_wait": "50ms",
            "meters": {"oven-heat": "heat-energy", "oven-power": "heat-power"},
        }

    async def appear(self) -> None:
        self.segment.silent = self.segment.mad = False

    async def say(self) -> Mapping[str, float]:
        self._said += 1
        kwh, kw = 1000 + self._said, Decimal(self._said) / 10
        self._meter.telegrams = telegrams(kwh, kw)
        return {"oven-heat": float(kwh), "oven-power": float(kw)}

    async def fall_silent(self) -> None:
        self.segment.silent = True

    async def go_mad(self) -> None:
        self.segment.mad = True


class MbusTcpRig(_Rig):
    """By primary address, through a gateway."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._gateway = Gateway(self.segment)

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "host": "127.0.0.1", "port": self._gateway.port or 1, "address": 17}

    async def appear(self) -> None:
        await super().appear()
        await self._gateway.start()

    async def vanish(self) -> None:
        await self._gateway.stop()

    async def close(self) -> None:
        await self._gateway.stop()


class MbusSerialRig(_Rig):
    """By secondary address, through a converter at a serial port that gives back what is sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = folder / "ttyUSB0"
        self._plugged: AsyncExitStack | None = None

    def settings(self) -> Mapping[str, Any]:
        # Pseudo ports know no parity.
        serial = {"port": str(self._port.absolute()), "parity": "none"}
        return {**super().settings(), "serial": serial, "secondary": "12345678-KAM-*-04"}

    async def appear(self) -> None:
        await super().appear()
        if self._plugged is None:
            self._plugged = AsyncExitStack()
            device = await self._plugged.enter_async_context(pseudo_serial_port(self.segment, echoes=True))
            self._port.symlink_to(device)

    async def vanish(self) -> None:
        plugged, self._plugged = self._plugged, None
        if plugged is not None:
            self._port.unlink()
            await plugged.aclose()

    async def close(self) -> None:
        await self.vanish()
