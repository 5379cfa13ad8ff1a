"""`afkobling edge scan mbus`: who is on an M-Bus segment, and which profiles fit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploy.commands.modbus_line import seconds_of

if TYPE_CHECKING:
    from edge.commissioning.mbus_scan import Asked, FoundMbusMeter
    from edge.drivers.mbus.line import Place, Speed
    from edge.drivers.mbus.secondary import SecondaryAddress

_BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)


def add(protocols: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the protocol's options."""
    mbus = protocols.add_parser(
        "mbus",
        help="M-Bus meters by their addresses",
        description="Ask all primary addresses of an M-Bus segment, then search by secondary address, and say who "
        "answers and which shipped profiles fit. Stop an agent that uses the line first. Exit status 1 when nobody "
        "answers.",
    )
    where = mbus.add_mutually_exclusive_group(required=True)
    where.add_argument("--host", metavar="HOST", help="a gateway that passes bytes on as they are; with --port")
    where.add_argument("--serial", metavar="DEVICE", help="serial port of a level converter, as in /dev/ttyUSB0")
    mbus.add_argument("--port", type=int, default=None, metavar="PORT", help="TCP port, as the gateway's set-up says")
    mbus.add_argument("--baud", type=int, choices=_BAUDS, default=None, help="speed of the serial line (2400)")
    mbus.add_argument("--parity", choices=("even", "none", "odd"), default=None, help="of the serial line (even)")
    mbus.add_argument(
        "--timeout", type=seconds_of, default=0.5, metavar="SPAN", help="wait for each address (500ms; 300 baud: 2s)"
    )
    mbus.add_argument("--by", choices=("both", "primary", "secondary"), default="both", help="what to ask (both)")
    mbus.add_argument("--within", metavar="ADDRESS", help="only secondary addresses like this one, as in 1234FFFF-KAM")
    mbus.add_argument("--json", action="store_true", help="print as JSON")
    mbus.set_defaults(run=_scan)


def _scan(arguments: argparse.Namespace) -> int:
    import asyncio
    import json

    from edge.drivers.mbus.secondary import SecondaryAddress
    from edge.errors import EdgePermanentError

    place, speed = _place(arguments)
    try:
        within = None if arguments.within is None else SecondaryAddress.parse(arguments.within)
    except ValueError as error:
        raise EdgePermanentError(str(error)) from error
    found = asyncio.run(_find(arguments, place, speed, within))
    if arguments.json:
        lines = [{"line": str(place), "found": [_told(meter) for meter in found]}]
        print(json.dumps({"ok": bool(found), "lines": lines}, indent=2, ensure_ascii=False))
    else:
        _show(place, found)
    return 0 if found else 1


def _place(arguments: argparse.Namespace) -> tuple[Place, Speed]:
    """Raises EdgePermanentError for options that do not go together."""
    from edge.drivers.mbus.line import Place, Speed
    from edge.drivers.reach import Parity
    from edge.errors import EdgePermanentError

    if arguments.serial is not None:
        if arguments.port is not None:
            raise EdgePermanentError("--port goes with --host; a serial port has none")
        return Place(host=arguments.serial), Speed(
            baud=arguments.baud or 2400, parity=Parity(arguments.parity or "even")
        )
    if arguments.baud is not None or arguments.parity is not None:
        raise EdgePermanentError("--baud and --parity go with --serial; a gateway has them in its own set-up")
    if arguments.port is None or not 1 <= arguments.port <= 65_535:
        raise EdgePermanentError("give the gateway's port with --port, 1 to 65535; its set-up tells it")
    return Place(host=arguments.host, port=arguments.port), Speed()


async def _find(
    arguments: argparse.Namespace, place: Place, speed: Speed, within: SecondaryAddress | None
) -> list[FoundMbusMeter]:
    """Each meter once. Raises LineDownError."""
    from edge.commissioning.mbus_scan import scan_primary, scan_secondary
    from edge.drivers.mbus.bus import join

    bus = join(place)
    found: list[FoundMbusMeter] = []
    try:
        if arguments.by != "secondary":
            async for asked in scan_primary(bus, speed=speed, timeout_s=arguments.timeout):
                _note(place, asked, found)
        if arguments.by != "primary":
            async for asked in scan_secondary(bus, speed=speed, timeout_s=arguments.timeout, within=within):
                _note(place, asked, found)
    finally:
        bus.leave()
    return found


def _note(place: Place, asked: Asked, found: list[FoundMbusMeter]) -> None:
    """Keep who was found and is not known yet, and tell how far it is."""
    import sys

    one = asked.found
    if one is not None and (one.identity is None or one.identity not in {meter.identity for meter in found}):
        found.append(one)
        print(f"{place}: {one.address} answers", file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"\r{f'{place}: {asked.address}':<78}", end="\r", file=sys.stderr, flush=True)


def _told(meter: FoundMbusMeter) -> dict[str, Any]:
    identity = meter.identity
    return {
        "address": meter.address if isinstance(meter.address, int) else None,
        "secondary": None if identity is None else str(identity),
        "medium": None if identity is None else identity.medium_name,
        "profiles": list(meter.profiles),
        "remarks": list(meter.remarks),
    }


def _show(place: Place, found: Sequence[FoundMbusMeter]) -> None:
    """For a person: what was found, or what to try."""
    print(place)
    for meter in found:
        named = [f"address {meter.address}"] if isinstance(meter.address, int) or meter.identity is None else []
        named += [] if meter.identity is None else [f"secondary {meter.identity}", meter.identity.medium_name]
        print(f"  {', '.join(named)}")
        print(f"    {' or '.join(meter.profiles) or 'no shipped profile fits; see docs/mbus.md for one of your own'}")
        for remark in meter.remarks:
            print(f"    {remark}")
    if not found:
        print("nobody answers")
        print("- are the two wires connected (either way round), and is the converter switched on?")
        print("- other speeds: --baud 300, --baud 9600 (behind a gateway: in its set-up), parity even")
        print("- a slow gateway or meter: try --timeout 2s")
