"""Which drivers can be had here: our own, those of third parties, and what keeps one from working."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from edge.drivers import built_in, find_driver, foreign_drivers
from edge.errors import UnknownDriverError

_ABOUT = {
    "bridge": "devices that publish by MQTT already",
    "csv": "a folder into which other programs put CSV or Parquet files",
    "http_json": "devices that answer HTTP with JSON",
    "manual": "dials that a person reads (afkobling edge enter)",
    "mbus": "M-Bus over TCP or a serial port",
    "modbus": "Modbus TCP, RTU behind a gateway, and RTU at a serial port",
    "opcua": "OPC UA servers",
    "pulses": "S0 pulses at the inputs of this machine",
    "replay": "a file of measurements, handed over as if they were read now",
    "simulated": "a workshop that does not exist",
    "sparkplug": "Sparkplug B nodes and devices, by MQTT",
}
_NEEDS = {
    "opcua": ("asyncua", "opcua"),
    "pulses": ("gpiod", "gpio"),
    "simulated": ("numpy", "server"),
    "sparkplug": ("google.protobuf", "sparkplug"),
}
"""The library that a driver stands on where not every agent has it, and the extra that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDriver:
    """`source`: what it came with. `problem`: why it can't be used here and what to do, None where it can."""

    name: str
    about: str
    source: str
    problem: str | None


def list_drivers() -> list[ListedDriver]:
    """All of them, by name. Loads those of third parties to see whether that goes well."""
    own = [
        ListedDriver(name=name, about=_ABOUT.get(name, ""), source="afkobling", problem=_missing(name))
        for name in built_in()
    ]
    others = [
        ListedDriver(
            name=name,
            about=f"{point.value}",
            source=f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown",
            problem=_failure(name),
        )
        for name, point in foreign_drivers().items()
        if name not in {driver.name for driver in own}
    ]
    return sorted([*own, *others], key=lambda driver: driver.name)


def _missing(name: str) -> str | None:
    library, extra = _NEEDS.get(name, (None, ""))
    if library is None or _is_installed(library):
        return None
    return f"needs {library}; install it with: pip install 'afkobling[{extra}]'"


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def _failure(name: str) -> str | None:
    try:
        find_driver(name)
    except UnknownDriverError as error:
        return str(error)
    return None
