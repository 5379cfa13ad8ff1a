"""`afkobling edge probe`: live values of one device, whether they can be true, and else what to try."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from deploy.commands.modbus_line import add_line, lines_of, seconds_of

if TYPE_CHECKING:
    from edge.commissioning.modbus_probe import ModbusTarget
    from edge.commissioning.observed import Findings, Judged
    from edge.configuration import Configured, EdgeConfiguration

_APART_S = 5.0
_LONGEST_S = 30.0


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    probe = words.add_parser(
        "probe",
        help="live values of a device, and whether they can be true",
        description="Read a device twice, some seconds apart, and say of each value whether it can be true, and else "
        "what to try. Either drivers of a configuration, or a Modbus device by profile and address. Publishes and "
        "changes nothing. A serial port serves one program: stop the agent first. Exit status 1 when a value is "
        "missing or implausible.",
    )
    probe.add_argument("driver", nargs="?", metavar="DRIVER", help="a driver's name in the configuration (all)")
    probe.add_argument("--config", metavar="FILE", help="the agent's configuration (default: edge.yaml here)")
    probe.add_argument("--profile", metavar="NAME", help="a shipped profile, or the path of your own .yaml file")
    add_line(probe, required=False)
    probe.add_argument("--device-id", type=int, default=None, metavar="N", help="id of the device on its line (1)")
    probe.add_argument(
        "--timeout", type=seconds_of, default=3.0, metavar="SPAN", help="with --profile: wait for each answer (3s)"
    )
    probe.add_argument(
        "--seconds", type=float, default=None, metavar="N", help="how long to look (5; other drivers up to 30)"
    )
    probe.add_argument("--json", action="store_true", help="print as JSON")
    probe.set_defaults(run=_probe)


def _probe(arguments: argparse.Namespace) -> int:
    import json

    from edge.errors import EdgePermanentError

    if arguments.seconds is not None and not 0 < arguments.seconds <= 3600:
        raise EdgePermanentError(f"--seconds is more than 0 and at most 3600, not {arguments.seconds:g}")
    if arguments.config is None and arguments.profile is None:
        arguments.config = "edge.yaml"
    if arguments.config is not None and arguments.profile is not None:
        raise EdgePermanentError(
            "give either --config edge.yaml (and a driver's name), or --profile NAME with --host or --serial"
        )
    shown = _by_configuration(arguments) if arguments.config is not None else _by_profile(arguments)
    if arguments.json:
        ok = all(device["ok"] for device in shown)
        print(json.dumps({"ok": ok, "devices": shown}, indent=2, ensure_ascii=False))
    return 0 if all(device["ok"] for device in shown) else 1


def _by_profile(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from pathlib import Path

    from edge.commissioning.modbus_probe import ModbusTarget
    from edge.drivers.modbus.line import Framing
    from edge.drivers.modbus.profile import load_modbus_profile
    from edge.errors import EdgePermanentError

    if arguments.host is None and arguments.serial is None:
        raise EdgePermanentError("say where the device is: --host ADDRESS, or --serial /dev/ttyUSB0")
    if arguments.driver is not None:
        raise EdgePermanentError(f"{arguments.driver!r} is a driver of a configuration; give it with --config")
    (line,) = lines_of(arguments, try_usual=False)
    device_id = 1 if arguments.device_id is None else arguments.device_id
    lowest, highest = (1, 247) if line.framing is Framing.RTU else (0, 255)
    if not lowest <= device_id <= highest:
        raise EdgePermanentError(f"{device_id} is no device id; it is from {lowest} to {highest}")
    target = ModbusTarget(
        line=line,
        device_id=device_id,
        profile=load_modbus_profile(arguments.profile, folder=Path()),
        timeout_s=arguments.timeout,
    )
    return [_probe_modbus(target, name=None, arguments=arguments)]


def _by_configuration(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from pathlib import Path

    from deploy.commands.settings import environment_with_stack
    from edge.configuration import load_configuration
    from edge.errors import EdgePermanentError

    if given := [
        f"--{name.replace('_', '-')}"
        for name in ("host", "serial", "port", "framing", "baud", "parity", "stop_bits", "device_id")
        if getattr(arguments, name) is not None
    ]:
        raise EdgePermanentError(f"{', '.join(given)} goes with --profile; with --config that stands in the file")
    configuration = load_configuration(Path(arguments.config), environment_with_stack())
    names = [one.settings.name for one in configuration.drivers]
    if arguments.driver is not None and arguments.driver not in names:
        raise EdgePermanentError(f"{arguments.config} has no driver {arguments.driver!r}; known: {', '.join(names)}")
    wanted = [one for one in configuration.drivers if arguments.driver in {None, one.settings.name}]
    return [_probe_configured(one, configuration, arguments) for one in wanted]


def _probe_configured(
    configured: Configured, configuration: EdgeConfiguration, arguments: argparse.Namespace
) -> dict[str, Any]:
    import asyncio

    from edge.commissioning.driver_probe import probe_driver
    from edge.commissioning.observed import Findings
    from schemas.errors import AfkoblingError

    settings, device = configured.settings, f"driver {configured.settings.driver}"
    try:
        if settings.driver == "modbus":
            target = _target_of(configured, configuration)
            return _probe_modbus(target, name=settings.name, arguments=arguments)
        seconds = arguments.seconds or _LONGEST_S
        found = asyncio.run(probe_driver(configured, configuration, seconds=seconds))
    except AfkoblingError as error:
        # What is wrong with one driver's set-up keeps nobody from looking at the others.
        found = Findings(values=(), advice=[str(error)])
    return _show(found, name=settings.name, device=device, arguments=arguments)


def _target_of(configured: Configured, configuration: EdgeConfiguration) -> ModbusTarget:
    """Raises EdgePermanentError for a profile or quantity that is not there, as the driver does."""
    from edge.commissioning.modbus_probe import ModbusTarget
    from edge.drivers import DriverContext
    from edge.drivers.modbus.profile import load_modbus_profile

    settings: Any = configured.settings
    context = DriverContext(agent=configuration.address.agent, folder=configuration.folder, trial=True)
    configured.kind.create(settings, context)
    return ModbusTarget(
        line=settings.line,
        device_id=settings.device_id,
        profile=load_modbus_profile(settings.profile, folder=configuration.folder),
        timeout_s=settings.timeout / 1000,
        meters={quantity: meter for meter, quantity in settings.meters.items()},
    )


def _probe_modbus(target: ModbusTarget, *, name: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    import asyncio

    from edge.commissioning.modbus_probe import probe_modbus

    found = asyncio.run(probe_modbus(target, apart_s=arguments.seconds or _APART_S))
    return _show(found, name=name, device=f"{target}, {target.profile.name}", arguments=arguments)


def _show(found: Findings, *, name: str | None, device: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """For a person, at once; returns what `--json` tells."""
    if not arguments.json:
        print(f"{name} ({device})" if name else device)
        for line in _lines(found):
            print(f"  {line}")
        if found.advice:
            print("  what to try:" if not found.ok else "  note:")
        for advice in found.advice:
            print(f"  - {advice}")
    return {
        "driver": name,
        "device": device,
        "ok": found.ok,
        "values": [
            {
                "name": judged.observed.name,
                "meter": judged.observed.meter,
                "unit": judged.observed.unit,
                "values": [{"at": at_ms, "value": value} for at_ms, value in judged.observed.values],
                "verdict": judged.remark.verdict.value,
                "remark": judged.remark.text,
            }
            for judged in found.values
        ],
        "advice": list(found.advice),
    }


def _lines(found: Findings) -> list[str]:
    """A line for each value; one for all where none came, for the same reason."""
    reasons = {judged.observed.missing for judged in found.values}
    if len(found.values) > 1 and len(reasons) == 1 and None not in reasons:
        return [f"no value at all: {reason}" for reason in reasons]
    return [_line(judged) for judged in found.values]


def _line(judged: Judged) -> str:
    one, remark = judged.observed, judged.remark
    name = one.name if one.meter in {None, one.name} else f"{one.name} → {one.meter}"
    said = f"{_number(one.last)} {one.unit}" if one.values else "–"
    if len(one.values) > 1 and one.rise:
        said += f" ({one.rise:+,.4g} in {one.seconds:.0f} s)"
    return f"{name:<28} {said:<36} {remark.verdict}{': ' if remark.text else ''}{remark.text}"


def _number(value: float) -> str:
    """To a thousandth, which no wiring needs more of; what is smaller or huge, by its digits."""
    if value and not 0.001 <= abs(value) < 1e12:
        return f"{value:.4g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")
