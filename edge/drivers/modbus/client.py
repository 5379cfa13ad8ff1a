"""One device on a bus: asks for its registers, and gets in step again after trouble."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edge.drivers.modbus.bus import (
    Answer,
    Bus,
    DeviceAwayError,
    LineDownError,
    NonsenseError,
    Refusal,
    Request,
    UnansweredError,
)
from edge.drivers.modbus.registers import Function

REFUSALS = {
    1: "it does not know the function; check the profile",
    2: "it has no such register; check the profile against the meter's type",
    3: "it finds the request too long or wrong; check the profile",
    4: "it reports a failure of its own",
    5: "it needs longer for that",
    6: "it is busy",
    10: "the gateway has no path to it; check the gateway's set-up",
    11: "the gateway gets no answer from it; check device_id, wiring and power",
}
GATEWAY_REFUSALS = frozenset({10, 11})
"""A gateway's, in place of a device that it does not reach in time."""
PASSING_REFUSALS = GATEWAY_REFUSALS | {5, 6}
"""Those that say nothing of the registers: the same question may be answered a while later."""

_SILENCES = 3
"""So many, and the device is one that says nothing, or hangs up, when it is asked for half a value."""


def refusal_text(refusal: Refusal) -> str:
    """A refusal in words."""
    return REFUSALS.get(refusal.code, f"exception {refusal.code}")


class ModbusDevice:
    """Reads registers of one device.

    RTU answers do not say which question they answer, so one that comes too late could be taken for the next one's, by
    us or by a gateway on our behalf. After trouble the device is therefore first asked for a number of registers that
    is never asked for otherwise: only an answer to that, and then one to the real question, shows that it is in step.
    `counts` are those asked otherwise, by this one; several may read one device.
    """

    def __init__(self, bus: Bus, *, device_id: int, timeout_s: float, counts: Collection[int]) -> None:
        self._bus = bus
        self._device_id = device_id
        self._timeout_s = timeout_s
        self._standing = bus.standing(device_id)
        self._standing.counts.update(counts)

    async def read(self, function: Function, *, address: int, count: int) -> Answer:
        """The registers, or the refusal. Raises DeviceAwayError."""
        request = Request(device_id=self._device_id, function=function, address=address, count=count)
        async with self._standing.turn:
            return await (self._ask_again(request) if self._standing.doubtful else self._ask(request))

    async def _ask_again(self, request: Request) -> Answer:
        """The first question after trouble."""
        if self._standing.silences < _SILENCES:
            in_step = await self._ask_whether_in_step(request)
        else:
            # Nothing came in all that time. Were something still to come, the first answer would be it.
            self._standing.silences = 0
            in_step = await self._ask_pointedly(request)
        if _is_from_gateway(in_step):
            return in_step
        answer = await self._ask_pointedly(request)
        # Refusals all look the same: where both were refused, nothing is shown yet.
        if not _is_from_gateway(answer):
            self._standing.doubtful = isinstance(in_step, Refusal) and isinstance(answer, Refusal)
        return answer

    async def _ask_whether_in_step(self, request: Request) -> Answer:
        step = next(count for count in range(1, 127) if count not in self._standing.counts)
        try:
            answer = await self._ask(replace(request, count=step))
        except DeviceAwayError as error:
            self._standing.silences = self._standing.silences + 1 if _is_silence(error) else 0
            raise
        self._standing.silences = 0
        return answer

    async def _ask_pointedly(self, request: Request) -> Answer:
        """As `_ask`, when silence must be about this question."""
        try:
            return await self._ask(request)
        except DeviceAwayError as error:
            if not _is_silence(error):
                raise
            raise UnansweredError(f"{error} (asked for {request})") from error

    async def _ask(self, request: Request) -> Answer:
        """Leaves the device doubtful unless it answered itself; also where nobody waited for that."""
        answered = False
        try:
            answer = await self._bus.ask(request, timeout_s=self._timeout_s)
            answered = not _is_from_gateway(answer)
        finally:
            if not answered:
                self._standing.doubtful = True
        return answer


def _is_silence(error: DeviceAwayError) -> bool:
    return not isinstance(error, NonsenseError | LineDownError)


def _is_from_gateway(answer: Answer) -> bool:
    return isinstance(answer, Refusal) and answer.code in GATEWAY_REFUSALS
