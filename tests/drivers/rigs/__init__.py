"""A rig a driver: its settings, and the device that it reads. `RIGS` is the list that the suite runs over."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from edge.drivers.contract import Rig

RIGS: dict[str, str] = {
    "csv": "csv_watch:CsvWholeRig",
    "csv that grows": "csv_watch:CsvGrowingRig",
    "bridge": "bridge:BridgeRig",
    "http_json": "http_json:HttpJsonRig",
    "mbus tcp": "mbus:MbusTcpRig",
    "mbus serial": "mbus:MbusSerialRig",
    "manual": "manual:ManualRig",
    "modbus tcp": "modbus:ModbusTcpRig",
    "modbus rtu": "modbus:ModbusRtuRig",
    "modbus rtu over tcp": "modbus:ModbusRtuOverTcpRig",
    "opcua subscription": "opcua:OpcUaRig",
    "opcua polling": "opcua:OpcUaPollingRig",
    "pulses": "pulses:PulsesRig",
    "replay": "replay:ReplayRig",
    "simulated": "simulated:SimulatedRig",
    "sparkplug": "sparkplug:SparkplugRig",
}
"""Under the driver's name (and the transport's, where it has several): the module here, and its class."""


class RigMissingError(Exception):
    """A library that the driver or its device needs is not installed; the message names it."""


def load_rig(name: str) -> Callable[[Path], Rig]:
    """What makes the rig in a folder. Raises RigMissingError."""
    module, _, cls = RIGS[name].partition(":")
    try:
        made: Callable[[Path], Rig] = getattr(import_module(f"{__name__}.{module}"), cls)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"tests", "edge", "schemas"}:
            raise
        raise RigMissingError(f"needs {error.name}, which is not installed") from error
    return made
