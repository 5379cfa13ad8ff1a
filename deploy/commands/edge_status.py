"""`afkobling edge status`: how the agent on this machine is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.configuration import EdgeConfiguration
    from edge.local_status import LocalStatus

_MOST_NAMED = 40


def add(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    status = words.add_parser(
        "status",
        help="how the agent here is: outbox, last readings, broker, clock, certificate, configuration",
        description="Asks the running agent; where none runs, says so and reads the outbox. Exit status 1 when "
        "something is wrong, with what to do.",
    )
    status.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )
    status.add_argument("--json", action="store_true", help="print as JSON")
    status.add_argument("--all", action="store_true", help=f"list every meter, not {_MOST_NAMED} at most")
    status.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    import json

    from deploy.commands.settings import environment_with_stack
    from deploy.status_page import shown
    from edge.configuration import load_configuration
    from edge.status_socket import ask

    config = Path(arguments.config)
    configuration = load_configuration(config, environment_with_stack())
    status = _with_clock(shown(ask(configuration.outbox.path) or _without_agent(configuration, config)))
    if arguments.json:
        print(json.dumps(status.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        _tell(status, most=None if arguments.all else _MOST_NAMED)
    return 1 if status.problems else 0


def _with_clock(status: LocalStatus) -> LocalStatus:
    """As a hardened service the agent may not ask the kernel who keeps the clock; this command may."""
    from edge.clock import is_synchronised

    if status.clock.synchronised is not None:
        return status
    clock = status.clock.model_copy(update={"synchronised": is_synchronised()})
    return status.model_copy(update={"clock": clock})


def _tell(status: LocalStatus, *, most: int | None) -> None:
    from deploy.status_lines import status_lines
    from deploy.status_words import number, span
    from edge.local_status import MeterState

    print(f"{status.agent}: {'runs' if status.running else 'no agent runs here'}")
    for label, text in status_lines(status):
        print(f"  {label.lower():14} {text}")
    # What is wrong comes first, should the list be cut.
    meters = sorted(status.meters, key=lambda meter: (meter.state is not MeterState.SILENT, meter.meter))
    width = max((len(meter.meter) for meter in meters[:most]), default=0)
    if meters:
        print(f"meters ({len(meters)})")
    for meter in meters[:most]:
        value = "–" if meter.value is None else f"{number(meter.value)} {meter.unit or ''}"
        age = "" if meter.at is None else f"{span(status.at - meter.at)} ago"
        print(f"  {meter.meter:{width}}  {value:>20}  {age:>10}  {meter.state}")
    if most is not None and len(meters) > most:
        print(f"  … and {len(meters) - most} more; --all lists them")
    for problem in status.problems:
        print(f"problem: {problem}")


def _without_agent(configuration: EdgeConfiguration, config: Path) -> LocalStatus:
    from edge.care.files import CareFiles
    from edge.certificate import read_validity
    from edge.drivers import now_ms
    from edge.errors import EdgeError
    from edge.local_status import BrokerStatus, LocalStatus, OutboxStatus
    from edge.outbox_depth import read_depth

    at_ms = now_ms()
    problems = [f"no agent runs: start it with `afkobling edge run --config {config}`, or its service"]
    depth = None
    try:
        depth = read_depth(configuration.outbox.path)
    except EdgeError as error:
        problems.append(str(error))
    validity = read_validity(configuration.tls.certificate)
    expiring = None if validity is None else validity.problem(at_ms)
    outbox = OutboxStatus(limit_bytes=configuration.outbox.max_size)
    if depth is not None:
        outbox = OutboxStatus(
            messages=depth.messages,
            readings=depth.readings,
            bytes=depth.size_bytes,
            limit_bytes=configuration.outbox.max_size,
            oldest_at=depth.oldest_ms,
            dropped_readings=depth.dropped_readings,
        )
    return LocalStatus(
        running=False,
        at=at_ms,
        agent=str(configuration.address),
        broker=BrokerStatus(address=str(configuration.broker), connected=False),
        outbox=outbox,
        certificate_until=None if validity is None else validity.until_ms,
        configuration=CareFiles(config).state().told(),
        problems=problems + ([expiring] if expiring else []),
    )
