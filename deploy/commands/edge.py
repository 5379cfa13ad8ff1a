"""`afkobling edge`: run an agent, or check its configuration."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

MODULES = (
    "edge_outbox",
    "edge_enter",
    "edge_drivers",
    "edge_enrol",
    "edge_profiles",
    "edge_init",
    "edge_status",
    "edge_probe",
    "edge_scan",
)
"""Modules beside this one with further words of `edge`."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's words."""
    edge = subparsers.add_parser("edge", help="the agent that reads meters", description="The agent that reads meters.")
    words = edge.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = words.add_parser(
        "run",
        help="read meters and publish until stopped",
        description="Read meters and publish until SIGTERM or Ctrl-C. What is not stored yet waits in the outbox.",
    )
    _add_config(run)
    run.add_argument(
        "--until-stored",
        action="store_true",
        help="end when all drivers have come to their end (replay) and everything is confirmed as stored",
    )
    run.set_defaults(run=_run)

    check = words.add_parser(
        "check",
        help="say what is wrong with a configuration, or what it would read",
        description="Validate a configuration. Reads no meter and connects to nothing. Exit status 1 on problems.",
    )
    _add_config(check)
    check.add_argument("--json", action="store_true", help="print as JSON")
    check.set_defaults(run=_check)

    for name in MODULES:
        importlib.import_module(f"deploy.commands.{name}").add(words)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="edge.yaml", metavar="FILE", help="the agent's configuration (default: here)"
    )


def _run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from deploy.commands.settings import environment_with_stack
    from deploy.logs import configure_logs
    from deploy.service import Deadline, logging_failures, stop_seconds
    from deploy.status_page import serve_with_page
    from edge.agent import run
    from edge.care.care import Care
    from edge.counters import Counters

    care = Care(Path(arguments.config), environment_with_stack())
    configuration = care.load()
    counters = Counters()
    deadline = Deadline(stop_seconds(), counters.unfinished)
    configure_logs("edge")
    with logging_failures(), deadline:
        return run(
            configuration,
            until_stored=arguments.until_stored,
            serve_probes=serve_with_page,
            stopping=deadline.begin,
            counters=counters,
            care=care,
        )


def _check(arguments: argparse.Namespace) -> int:
    import json
    import os
    import sys
    from pathlib import Path

    from edge.checking import check

    found = check(Path(arguments.config), os.environ)
    if arguments.json:
        meters = [meter.model_dump(mode="json", exclude_none=True) for meter in found.meters]
        told: dict[str, Any] = {"ok": not found.problems, "problems": list(found.problems)}
        if not found.problems:
            told |= {"agent": found.agent, "broker": found.broker, "outbox": found.outbox, "meters": meters}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 1 if found.problems else 0
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if found.problems:
        return 1
    print(f"agent   {found.agent}\nbroker  {found.broker}\noutbox  {found.outbox}\nmeters  {len(found.meters)}")
    for meter in found.meters:
        carrier = f" ({meter.carrier})" if meter.carrier else ""
        cadence = f" every {meter.cadence_ms / 1000:g} s" if meter.cadence_ms else ""
        print(
            f"  {meter.meter}: {meter.resource}{carrier}, {meter.kind} in {meter.unit}{cadence}, driver {meter.driver}"
        )
    return 0
