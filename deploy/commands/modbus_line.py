"""Where a Modbus device is, as options of a command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.drivers.modbus.line import Line

BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


def add_line(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--host` and `--serial` with what goes along."""
    where = parser.add_mutually_exclusive_group(required=required)
    where.add_argument("--host", metavar="HOST", help="name or address of the device or gateway")
    where.add_argument("--serial", metavar="DEVICE", help="serial port of an RS-485 adapter, as in /dev/ttyUSB0")
    parser.add_argument("--port", type=int, default=None, metavar="PORT", help="TCP port (502)")
    parser.add_argument(
        "--framing", choices=("tcp", "rtu"), default=None, help="rtu: a gateway that passes on RTU as it is (tcp)"
    )
    parser.add_argument("--baud", type=int, choices=BAUDS, default=None, help="speed of the serial line")
    parser.add_argument("--parity", choices=("none", "even", "odd"), default=None, help="parity of the serial line")
    parser.add_argument("--stop-bits", type=int, choices=(1, 2), default=None, help="stop bits of the serial line")


def lines_of(arguments: argparse.Namespace, *, try_usual: bool) -> Sequence[Line]:
    """The line that the options name; with `try_usual`, a serial port on all usual terms where none are given.

    Raises EdgePermanentError for options that do not go together.
    """
    from edge.commissioning.modbus_scan import usual_lines
    from edge.drivers.modbus.line import Framing, SerialLine, TcpLine
    from edge.drivers.reach import Parity
    from edge.errors import EdgePermanentError

    terms = {name: getattr(arguments, name) for name in ("baud", "parity", "stop_bits")}
    if arguments.serial is None:
        if given := [f"--{name.replace('_', '-')}" for name, value in terms.items() if value is not None]:
            raise EdgePermanentError(f"{', '.join(given)} goes with --serial; a network device has none")
        port = 502 if arguments.port is None else arguments.port
        if not 1 <= port <= 65_535:
            raise EdgePermanentError(f"{port} is no TCP port; it is from 1 to 65535, and 502 for most")
        return [TcpLine(host=arguments.host, port=port, framing=Framing(arguments.framing or "tcp"))]
    if arguments.port is not None or arguments.framing is not None:
        raise EdgePermanentError("--port and --framing go with --host; a serial port always speaks RTU")
    if try_usual and all(value is None for value in terms.values()):
        return usual_lines(arguments.serial)
    return [
        SerialLine(
            port=arguments.serial,
            baud=arguments.baud or 9600,
            parity=Parity(arguments.parity or "none"),
            stop_bits=arguments.stop_bits or 1,
        )
    ]


def options_of(line: Line) -> str:
    """What to type for this line; the opposite of `lines_of`."""
    from edge.drivers.modbus.line import Framing, SerialLine

    if isinstance(line, SerialLine):
        stop_bits = "" if line.stop_bits == 1 else f" --stop-bits {line.stop_bits}"
        return f"--serial {line.port} --baud {line.baud} --parity {line.parity}{stop_bits}"
    port = "" if line.port == 502 else f" --port {line.port}"
    framing = "" if line.framing is Framing.TCP else f" --framing {line.framing}"
    return f"--host {line.host}{port}{framing}"


def seconds_of(text: str) -> float:
    """A span such as `500ms` or `3s` in seconds, for argparse."""
    from schemas.durations import parse_span_ms

    try:
        milliseconds = parse_span_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if milliseconds < 1:
        raise argparse.ArgumentTypeError("a span is longer than nothing")
    return milliseconds / 1000
