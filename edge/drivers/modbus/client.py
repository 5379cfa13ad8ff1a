"""One device on a bus: asks for its registers, and gets in step again after trouble."""

from __future__ import annotations

from collections.abc import Collection

from edge.drivers.modbus.bus import Answer, Bus, DeviceAwayError, Refusal, Request
from edge.drivers.modbus.line import Framing
from edge.drivers.modbus.registers import Function

REFUSALS = {
    1: "it does not know the function; check the profile",
    2: "it has no such register; check the profile against the meter's type",
    3: "it finds the request too long or wrong; check the profile",
    4: "it reports a failure of its own",
    6: "it is busy",
    10: "the gateway has no path to it; check the gateway's set-up",
    11: "the gateway gets no answer from it; check device_id, wiring and power",
}


def refusal_text(refusal: Refusal) -> str:
    """A refusal in words."""
    return REFUSALS.get(refusal.code, f"exception {refusal.code}")


class ModbusDevice:
    """Reads registers of one device.

    RTU answers do not say which question they answer, so one that comes too late could be taken for the next one's.
    After trouble the device is therefore first asked for a number of registers that is never asked for otherwise: only
    an answer to that, and then one to the real question, shows that it is in step. `counts` are those asked otherwise.
    """

    def __init__(self, bus: Bus, *, device_id: int, timeout_s: float, counts: Collection[int]) -> None:
        self._bus = bus
        self._device_id = device_id
        self._timeout_s = timeout_s
        self._step = next(count for count in range(1, 127) if count not in counts)
        self._doubtful = False

    async def read(self, function: Function, *, address: int, count: int) -> Answer:
        """The registers, or the refusal. Raises DeviceAwayError."""
        request = Request(device_id=self._device_id, function=function, address=address, count=count)
        try:
            if not self._doubtful:
                return await self._ask(request)
            in_step = await self._ask(
                Request(device_id=self._device_id, function=function, address=address, count=self._step)
            )
            answer = await self._ask(request)
            # Refusals all look the same: where both were refused, nothing is shown yet.
            self._doubtful = isinstance(in_step, Refusal) and isinstance(answer, Refusal)
        except DeviceAwayError:
            self._doubtful = self._bus.line.framing is Framing.RTU
            raise
        return answer

    async def _ask(self, request: Request) -> Answer:
        return await self._bus.ask(request, timeout_s=self._timeout_s)
