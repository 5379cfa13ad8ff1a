"""Drivers by name. Their libraries are imported when a configuration names them, so that the agent starts fast.

Third parties add theirs as an entry point in the group `afkobling.drivers`: its name is the driver's name, its object a
`DriverKind`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from edge.errors import UnknownDriverError
from edge.readings import Taken
from schemas.topics import Key
from schemas.wire import OfferedMeter

ENTRY_POINTS = "afkobling.drivers"


class Driver(Protocol):
    """Reads meters.

    A device that is away, slow or confused is the driver's to wait for: it counts a failure, tries again with a growing
    wait, and neither raises nor ends. A value that could not be read is absent from what it yields, never zero.
    """

    def offers(self) -> Sequence[OfferedMeter]:
        """The meters it reads. May be asked before `start`. Raises EdgePermanentError when that cannot be told."""
        ...

    async def start(self) -> None:
        """Make ready; also after a `stop`. A device that is away is no reason to fail."""
        ...

    def readings(self) -> AsyncIterator[Taken]:
        """What it takes, as it takes it. It paces itself; a finite source ends. Ends soon after `stop`."""
        ...

    async def stop(self) -> None:
        """Let go of the device. Safe before `start`, and twice."""
        ...


class DriverSettings(BaseModel):
    """What every driver's settings have. A driver adds its own by deriving from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Key
    driver: str

    def shared(self) -> Mapping[str, str]:
        """What it uses that others can use only on the same terms, as a serial line at one speed: name → terms."""
        return {}


def now_ms() -> int:
    """The clock: Unix milliseconds UTC."""
    return time.time_ns() // 1_000_000


def _count_nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverContext:
    """What the agent gives each of its drivers. `folder` is where relative paths of the settings begin.

    `trial`: it is only a look (`afkobling edge probe`), perhaps beside the agent, and leaves nothing behind: no session
    at a broker, no file moved or written, and `kept` is never called.
    """

    agent: str
    folder: Path
    now_ms: Callable[[], int] = now_ms
    count_failure: Callable[[], None] = _count_nothing
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverKind:
    """A driver that can be had: the model of its settings, and how to make one."""

    settings: type[DriverSettings]
    create: Callable[[Any, DriverContext], Driver]


def _bridge() -> DriverKind:
    from edge.drivers.bridge.driver import BridgeDriver, BridgeSettings

    return DriverKind(settings=BridgeSettings, create=BridgeDriver)


def _csv() -> DriverKind:
    from edge.drivers.csv_watch.driver import CsvDriver
    from edge.drivers.csv_watch.settings import CsvSettings

    return DriverKind(settings=CsvSettings, create=CsvDriver)


def _manual() -> DriverKind:
    from edge.drivers.manual.driver import ManualDriver
    from edge.drivers.manual.settings import ManualSettings

    return DriverKind(settings=ManualSettings, create=ManualDriver)


def _mbus() -> DriverKind:
    from edge.drivers.mbus.driver import MbusDriver, MbusSettings

    return DriverKind(settings=MbusSettings, create=MbusDriver)


def _http_json() -> DriverKind:
    from edge.drivers.http_json.driver import HttpJsonDriver, HttpJsonSettings

    return DriverKind(settings=HttpJsonSettings, create=HttpJsonDriver)


def _modbus() -> DriverKind:
    from edge.drivers.modbus.driver import ModbusDriver, ModbusSettings

    return DriverKind(settings=ModbusSettings, create=ModbusDriver)


def _opcua() -> DriverKind:
    from edge.drivers.opcua.driver import OpcUaDriver
    from edge.drivers.opcua.settings import OpcUaSettings

    return DriverKind(settings=OpcUaSettings, create=OpcUaDriver)


def _pulses() -> DriverKind:
    from edge.drivers.pulses.driver import PulsesDriver
    from edge.drivers.pulses.settings import PulsesSettings

    return DriverKind(settings=PulsesSettings, create=PulsesDriver)


def _replay() -> DriverKind:
    from edge.drivers.replay import ReplayDriver, ReplaySettings

    return DriverKind(settings=ReplaySettings, create=ReplayDriver)


def _simulated() -> DriverKind:
    from edge.drivers.simulated import SimulatedDriver, SimulatedSettings

    return DriverKind(settings=SimulatedSettings, create=SimulatedDriver)


def _sparkplug() -> DriverKind:
    from edge.drivers.sparkplug.driver import SparkplugDriver
    from edge.drivers.sparkplug.settings import SparkplugSettings

    return DriverKind(settings=SparkplugSettings, create=SparkplugDriver)


_DRIVERS: dict[str, Callable[[], DriverKind]] = {
    "bridge": _bridge,
    "csv": _csv,
    "manual": _manual,
    "mbus": _mbus,
    "http_json": _http_json,
    "modbus": _modbus,
    "opcua": _opcua,
    "pulses": _pulses,
    "replay": _replay,
    "simulated": _simulated,
    "sparkplug": _sparkplug,
}


def find_driver(name: str) -> DriverKind:
    """The driver of that name. Raises UnknownDriverError that lists the known ones."""
    if name in _DRIVERS:
        return _DRIVERS[name]()
    foreign = foreign_drivers()
    if name not in foreign:
        known = ", ".join(sorted({*_DRIVERS, *foreign}))
        raise UnknownDriverError(f"there is no driver {name!r}; known: {known}")
    try:
        kind = foreign[name].load()
    except Exception as error:  # others' code may fail in any way, and the agent says which it was
        reason = f"{type(error).__name__}: {error}"
        raise UnknownDriverError(
            f"the driver {name!r} of {foreign[name].value} cannot be loaded: {reason}; update or remove the package "
            "that brought it, or tell its authors"
        ) from error
    if not isinstance(kind, DriverKind):
        raise UnknownDriverError(f"the driver {name!r} of {foreign[name].value} is not a DriverKind; tell its authors")
    return kind


def built_in() -> Sequence[str]:
    """The drivers that come with Afkobling; some need a library that is installed only where it is wanted."""
    return sorted(_DRIVERS)


def foreign_drivers() -> dict[str, EntryPoint]:
    """Those that other packages have brought, not loaded. One that is called like one of ours is never used."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
