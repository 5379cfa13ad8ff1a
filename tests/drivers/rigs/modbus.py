"""The Modbus driver, and an energy meter on the network, behind a gateway that passes RTU on, or at a serial port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.devices.modbus import ModbusBank, SerialModbusDevices, TcpModbusDevices
from edge.devices.modbus_faults import Late
from edge.drivers.contract import NAME
from edge.drivers.modbus.line import Framing
from edge.drivers.modbus.profile import load_modbus_profile

METERS = {"oven": "energy-import", "oven-export": "energy-export", "oven-power": "power"}
_DEVICE_ID = 7


class _ModbusRig:
    """A Carlo Gavazzi EM340: three values of the same size in three places, so that answers are easily mistaken."""

    def __init__(self, folder: Path, devices: TcpModbusDevices | SerialModbusDevices) -> None:
        self.folder = folder
        self._devices = devices
        self._profile = load_modbus_profile("carlo-gavazzi-em340", folder=folder)
        self._device = devices.bank.add(_DEVICE_ID)
        self._kwh = 1000
        self._times_mad = 0
        self._show()

    def where(self) -> Mapping[str, Any]:
        """Where the driver finds it."""
        raise NotImplementedError

    def settings(self) -> Mapping[str, Any]:
        return {
            "name": NAME,
            "driver": "modbus",
            **self.where(),
            "device_id": _DEVICE_ID,
            "profile": self._profile.name,
            "every": "20ms",
            "timeout": "60ms",
            "longest_wait": "40ms",
            "meters": METERS,
        }

    async def appear(self) -> None:
        self._devices.bank.appear()
        await self._devices.start()

    async def say(self) -> Mapping[str, float]:
        self._kwh += 1
        return self._show()

    async def vanish(self) -> None:
        await self._devices.vanish()

    async def fall_silent(self) -> None:
        self._devices.bank.fall_silent()

    async def go_mad(self) -> None:
        self._times_mad += 1
        if self._times_mad % 2:
            self._devices.bank.go_mad()
        else:
            self._devices.bank.fail(Late())

    async def close(self) -> None:
        await self._devices.stop()

    def _show(self) -> Mapping[str, float]:
        values = {"energy-import": self._kwh + 0.1, "energy-export": self._kwh / 2, "power": -2.5 * self._kwh}
        self._device.show(self._profile, values)
        return {meter: values[quantity] for meter, quantity in METERS.items()}


class ModbusTcpRig(_ModbusRig):
    """On the network."""

    _framing = Framing.TCP

    def __init__(self, folder: Path) -> None:
        self._tcp = TcpModbusDevices(ModbusBank(framing=self._framing))
        super().__init__(folder, self._tcp)

    def where(self) -> Mapping[str, Any]:
        # Before it appeared for the first time it has no port yet.
        return {"host": "127.0.0.1", "port": self._tcp.port or 1, "framing": self._framing.value}


class ModbusRtuOverTcpRig(ModbusTcpRig):
    """Behind a gateway that passes on RTU as it is."""

    _framing = Framing.RTU


class ModbusRtuRig(_ModbusRig):
    """At a serial port."""

    def __init__(self, folder: Path) -> None:
        self._port = folder / "ttyUSB0"
        super().__init__(folder, SerialModbusDevices(ModbusBank(framing=Framing.RTU), port=self._port))

    def where(self) -> Mapping[str, Any]:
        return {"serial": {"port": str(self._port), "baud": 19200}}
