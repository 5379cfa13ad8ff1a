"""`afkobling bench backlog|outage`: what agents had to keep back, and how it gets through."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

_MOST_READINGS = 1_000_000_000
_LONGEST_S = 86_400


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backlog = actions.add_parser("backlog", help="agents come back with a backlog, while live readings come in")
    backlog.add_argument(
        "--readings", type=int, default=50_000_000, metavar="N", help="of the backlog, in all; default 50000000"
    )
    backlog.add_argument("--live", type=int, default=10_000, metavar="N", help="live readings a second; default 10000")
    _add_common(backlog)
    backlog.add_argument(
        "--outbox-readings", type=int, default=100_000, metavar="N", help="in each outbox file; default 100000"
    )
    backlog.set_defaults(run=_backlog)
    outage = actions.add_parser("outage", help="the database is away while readings come in, and returns")
    outage.add_argument(
        "--seconds", type=int, default=3_600, metavar="S", help="how long it is away; default 3600, an hour"
    )
    outage.add_argument("--rate", type=int, default=85_000, metavar="N", help="readings a second; default 85000")
    _add_common(outage)
    outage.set_defaults(run=_outage)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--real-agents", type=int, default=2, metavar="N", help="agents with an outbox file and a process; default 2"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")


def _backlog(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from deploy.bench.backlog import bench_backlog
    from schemas.errors import PermanentError

    _prepare(arguments)
    if not 1_000 <= arguments.readings <= _MOST_READINGS or not 0 <= arguments.outbox_readings <= 10_000_000:
        raise PermanentError("readings are 1000 to 1000000000, those in an outbox file 0 to 10000000")
    if not 1_000 <= arguments.live <= 1_000_000:
        raise PermanentError("live readings are 1000 to 1000000 a second")
    case = bench_backlog(
        readings=arguments.readings,
        live_per_s=arguments.live,
        real_agents=arguments.real_agents,
        outbox_readings=arguments.outbox_readings,
        report=_report,
    )
    _print("backlog", asdict(case), as_json=arguments.json)


def _outage(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from deploy.bench.backlog import bench_outage
    from schemas.errors import PermanentError

    _prepare(arguments)
    if not 1 <= arguments.seconds <= _LONGEST_S or not 100 <= arguments.rate <= 1_000_000:
        raise PermanentError("seconds are 1 to 86400, the rate 100 to 1000000 readings a second")
    case = bench_outage(
        seconds=arguments.seconds, readings_per_s=arguments.rate, real_agents=arguments.real_agents, report=_report
    )
    _print("outage", asdict(case), as_json=arguments.json)


def _prepare(arguments: argparse.Namespace) -> None:
    from schemas.errors import PermanentError

    # It may run for an hour: whoever ends it finds no server left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not 0 <= arguments.real_agents <= 50:
        raise PermanentError("real agents are 0 to 50: each is a process")


def _report(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _print(bench: str, found: dict[str, Any], *, as_json: bool) -> None:
    import json
    import os

    if as_json:
        print(json.dumps({"bench": bench, "cpus": os.cpu_count(), **found}, indent=2))
        return
    for name, figure in found.items():
        if not isinstance(figure, dict):
            print(f"{name:26} {'-' if figure is None else f'{figure:,}':>14}")
            continue
        print(name)
        for part, value in figure.items():
            figures = " · ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"  {part:24} {figures}")
