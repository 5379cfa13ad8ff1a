"""Where Modbus devices are reached, and on what terms several drivers share that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge.drivers.reach import Parity

BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


class Framing(StrEnum):
    """How requests are wrapped: with a transaction id and a length (TCP), or with a checksum (RTU)."""

    TCP = "tcp"
    RTU = "rtu"


def _usual(baud: int) -> int:
    if baud not in BAUDS:
        raise ValueError(f"{baud} baud is no usual speed; one of {', '.join(map(str, BAUDS))}")
    return baud


class SerialSettings(BaseModel):
    """A serial port with the terms that all devices on its line share; the defaults are what most meters come with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: Annotated[str, Field(pattern=r"^/", description="the device file, as in /dev/ttyUSB0")]
    baud: Annotated[int, AfterValidator(_usual)] = 9600
    parity: Parity = Parity.NONE
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpLine:
    """A device or gateway on the network."""

    host: str
    port: int
    framing: Framing

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def terms(self) -> str:
        """What all that use it agree on."""
        return f"Modbus {self.framing.upper()}"

    @property
    def pause_s(self) -> float:
        """Silence before a request: a gateway sees to that itself."""
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLine:
    """An RS-485 line at a serial port."""

    port: str
    baud: int
    parity: Parity
    stop_bits: int

    def __str__(self) -> str:
        return self.port

    @property
    def framing(self) -> Framing:
        return Framing.RTU

    @property
    def terms(self) -> str:
        """What all that use it agree on."""
        return f"Modbus RTU, {self.baud} baud, parity {self.parity}, stop bits {self.stop_bits}"

    @property
    def pause_s(self) -> float:
        """Silence before a request, by which devices tell that one begins: 3.5 characters, and 1.75 ms at least.

        (Modbus over serial line, specification V1.02, 2.5.1.1.)
        """
        return max(3.5 * 11 / self.baud, 0.00175)


Line = TcpLine | SerialLine
