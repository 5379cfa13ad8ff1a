"""The lines themselves: the kernel's GPIO, through gpiod, or a chip that does not exist (`edge.devices.pulses`)."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from edge.drivers.pulses.counting import Edge
from edge.drivers.pulses.settings import Active, Bias
from edge.errors import EdgePermanentError, EdgeTransientError

if TYPE_CHECKING:
    import gpiod

SIMULATED = "simulated:"
_ROOM = 1024
"""Edges that the kernel keeps for us, the most that it allows: seconds of pulses while the machine is busy."""
_DEBOUNCE = 2
"""The kernel swallows what is shorter than one in so many of the shortest level; the rest is judged here, exactly."""

_NO_DEBOUNCE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, 524}
"""What a kernel says that is too old for it; 524 is its own ENOTSUPP."""


class InputAwayError(EdgeTransientError):
    """The chip or a line of it cannot be had; the message says what to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a line is wired, and the shortest level that means something."""

    active: Active
    bias: Bias
    shortest_ms: int


class PulseInput(Protocol):
    """Lines that are watched. The seam: tests and trials put a chip that does not exist in its place."""

    async def edges(self) -> Sequence[Edge]:
        """Wait for some; in order. Raises InputAwayError when the chip is gone."""
        ...

    def close(self) -> None:
        """Let go of the lines. Safe twice."""
        ...


def open_input(chip: str, lines: Mapping[int | str, Line]) -> PulseInput:
    """Watch the lines. Raises InputAwayError."""
    if chip.startswith(SIMULATED):
        from edge.devices.pulses import find_chip  # noqa: PLC0415 - for trials only

        return find_chip(chip.removeprefix(SIMULATED)).open(lines)
    return _GpioInput(chip, lines)


def check_library(chip: str) -> None:
    """Raises EdgePermanentError when what the chip needs is not installed."""
    if not chip.startswith(SIMULATED) and importlib.util.find_spec("gpiod") is None:
        raise EdgePermanentError("pulse inputs need gpiod; install it with: pip install 'afkobling[gpio]'")


class _GpioInput:
    """Of the event loop in which it was opened. The kernel stamps, numbers and keeps edges until they are read."""

    def __init__(self, chip: str, lines: Mapping[int | str, Line]) -> None:
        import gpiod  # noqa: PLC0415 - only who has such inputs pays for it

        try:
            with gpiod.Chip(chip) as opened:
                self._names = {opened.line_offset_from_id(line): line for line in lines}
                self._request = _request(opened, lines)
        except (OSError, ValueError) as error:
            raise InputAwayError(_explain(chip, error)) from error
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._loop.add_reader(self._request.fd, self._some.set)

    async def edges(self) -> Sequence[Edge]:
        from gpiod import EdgeEvent  # noqa: PLC0415

        while True:
            await self._some.wait()
            self._some.clear()
            try:
                # It would block without any: the loop's word may be about edges that were read already.
                found = self._request.read_edge_events() if self._request.wait_edge_events(timedelta(0)) else []
            except (OSError, ValueError) as error:
                raise InputAwayError(f"the GPIO chip is gone: {error}; check its cable") from error
            if found:
                return [
                    Edge(
                        line=self._names[event.line_offset],
                        at_ns=event.timestamp_ns,
                        is_active=event.event_type is EdgeEvent.Type.RISING_EDGE,
                        number=event.line_seqno,
                    )
                    for event in found
                ]

    def close(self) -> None:
        if self._request:
            self._loop.remove_reader(self._request.fd)
            self._request.release()


def _request(chip: gpiod.Chip, lines: Mapping[int | str, Line]) -> gpiod.LineRequest:
    try:
        return chip.request_lines(_configuration(lines, debounce=True), consumer="afkobling", event_buffer_size=_ROOM)
    except OSError as error:
        if error.errno not in _NO_DEBOUNCE:
            raise
    # Every level is judged here too; the kernel would only have spared us some of them.
    return chip.request_lines(_configuration(lines, debounce=False), consumer="afkobling", event_buffer_size=_ROOM)


def _configuration(
    lines: Mapping[int | str, Line], *, debounce: bool
) -> dict[Iterable[int | str] | int | str, gpiod.LineSettings | None]:
    import gpiod  # noqa: PLC0415
    from gpiod import line as gpio  # noqa: PLC0415

    bias = {Bias.PULL_UP: gpio.Bias.PULL_UP, Bias.PULL_DOWN: gpio.Bias.PULL_DOWN, Bias.NONE: gpio.Bias.DISABLED}
    return {
        name: gpiod.LineSettings(
            direction=gpio.Direction.INPUT,
            edge_detection=gpio.Edge.BOTH,
            bias=bias[line.bias],
            active_low=line.active is Active.LOW,
            debounce_period=timedelta(milliseconds=line.shortest_ms / _DEBOUNCE if debounce else 0),
            event_clock=gpio.Clock.MONOTONIC,
        )
        for name, line in lines.items()
    }


def _explain(chip: str, error: OSError | ValueError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
        return f"there is no GPIO chip {chip} or no such line; `gpiodetect` and `gpioinfo` show what there is"
    if number in {errno.EACCES, errno.EPERM}:
        return f"{chip} is not ours to open; let the agent's user into the group that owns it (often gpio)"
    if number == errno.EBUSY:
        return f"a line of {chip} is in use by something else; `gpioinfo` shows by what"
    return f"{chip} cannot be watched: {error}; check `chip` and `line` with `gpioinfo`"
