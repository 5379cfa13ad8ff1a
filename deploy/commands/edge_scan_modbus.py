"""`afkobling edge scan modbus`: which Modbus ids answer, on which terms, and what they seem to be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploy.commands.modbus_line import add_line, lines_of, options_of, seconds_of

if TYPE_CHECKING:
    from edge.commissioning.modbus_scan import FoundDevice, Scan
    from edge.drivers.modbus.line import Line


def add(protocols: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the protocol's options."""
    modbus = protocols.add_parser(
        "modbus",
        help="Modbus devices by their ids",
        description="Ask each id on a Modbus line, and say who answers and which shipped profile fits. On a serial "
        "line without --baud and --parity the usual terms are tried until somebody answers. Stop an agent that uses "
        "the line first. Exit status 1 when nobody answers.",
    )
    add_line(modbus, required=True)
    modbus.add_argument("--ids", default="1-247", metavar="IDS", help="which ids, as in 1-32 or 1,5,10-20 (1-247)")
    modbus.add_argument(
        "--timeout", type=seconds_of, default=None, metavar="SPAN", help="wait for each id (300ms; over --host 1s)"
    )
    modbus.add_argument("--json", action="store_true", help="print as JSON")
    modbus.set_defaults(run=_scan)


def _scan(arguments: argparse.Namespace) -> int:
    import asyncio
    import json

    from edge.commissioning.ids import parse_ids
    from edge.commissioning.modbus_scan import scan_modbus

    ids = parse_ids(arguments.ids)
    lines = lines_of(arguments, try_usual=True)
    timeout_s = arguments.timeout or (1.0 if arguments.serial is None else 0.3)
    scans = asyncio.run(scan_modbus(lines, ids, timeout_s=timeout_s, progress=_progress(ids)))
    found = any(scan.found for scan in scans)
    if arguments.json:
        print(json.dumps({"ok": found, "lines": [_told(scan) for scan in scans]}, indent=2, ensure_ascii=False))
    else:
        _show(scans)
    return 0 if found else 1


def _progress(ids: Sequence[int]) -> Callable[[Line, int, FoundDevice | None], None]:
    import sys

    at_terminal = sys.stderr.isatty()

    def tell(line: Line, device_id: int, found: FoundDevice | None) -> None:
        last = device_id == ids[-1]
        if found is not None:
            print(f"{line} ({line.terms}): id {device_id} answers", file=sys.stderr)
        elif at_terminal:
            text = f"{line} ({line.terms}): id {device_id} of {ids[0]} to {ids[-1]}"
            print(f"\r{text:<78}", end="\n" if last else "\r", file=sys.stderr, flush=True)
        elif last:
            print(f"{line} ({line.terms}): asked ids {ids[0]} to {ids[-1]}", file=sys.stderr)

    return tell


def _told(scan: Scan) -> dict[str, Any]:
    return {
        "line": str(scan.line),
        "terms": scan.line.terms,
        "asked": scan.asked,
        "answers_under_every_id": scan.is_indifferent,
        "strange": list(scan.strange),
        "found": [
            {
                "device_id": device.device_id,
                "answer": device.answer,
                "profiles": [{"name": one.profile, "evidence": one.evidence} for one in device.candidates],
            }
            for device in scan.found
        ],
    }


def _show(scans: Sequence[Scan]) -> None:
    """For a person: what was found, or what to try."""
    for scan in scans:
        if not scan.found:
            continue
        print(f"{scan.line} ({scan.line.terms})")
        if scan.is_indifferent:
            print("  answers under every id: one device, which does not mind; use any, as in device_id: 1")
        for device in scan.found[:1] if scan.is_indifferent else scan.found:
            shown = [f"{one.profile} ({one.evidence})" for one in device.candidates]
            what = " or ".join(shown) or "no shipped profile fits; see docs/profiles.md for one of your own"
            print(f"  id {device.device_id:<3}  {what}")
    if found := [(scan, device) for scan in scans for device in scan.found]:
        scan, device = next(((s, d) for s, d in found if d.candidates), found[0])
        profile = device.candidates[0].profile if device.candidates else "NAME"
        print(f"then: afkobling edge probe --profile {profile} {options_of(scan.line)} --device-id {device.device_id}")
        print("and:  afkobling edge init")
        return
    print("nobody answers")
    if strange := [scan for scan in scans if scan.strange]:
        terms = ", ".join(scan.line.terms for scan in strange)
        print(
            f"- something came that is no answer, on {terms}: other speed or parity, two devices with one id, or noise"
        )
    print("- is the device switched on, and Modbus switched on in its menu?")
    if scans and scans[0].line.framing.value == "rtu":
        print("- are A and B (D+ and D−) the right way round? Exchange them once")
        print("- try --timeout 1s: some devices are slow")
    else:
        print("- a gateway that passes on RTU as it is: try --framing rtu")
