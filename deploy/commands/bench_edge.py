"""`afkobling bench edge`: what an agent costs on its device."""

from __future__ import annotations

import argparse
import sys


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the word's options."""
    edge = actions.add_parser("edge", help="an agent's start, memory, processor, bytes to flash, and a backlog's drain")
    edge.add_argument(
        "--meters", type=int, default=100, metavar="N", help="Modbus meters, read each second; default 100"
    )
    edge.add_argument("--seconds", type=int, default=60, metavar="S", help="for each batch age; default 60")
    edge.add_argument(
        "--backlog-hours",
        type=float,
        default=2.0,
        metavar="H",
        help="of these meters, in the outbox before it drains; 168 is a week, 0 leaves it out; default 2",
    )
    edge.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    edge.set_defaults(run=_edge)


def _edge(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.edge import bench_edge
    from schemas.errors import PermanentError

    if not 1 <= arguments.meters <= 1_000 or not 1 <= arguments.seconds <= 86_400:
        raise PermanentError("meters are 1 to 1000, seconds 1 to 86400")
    if not 0 <= arguments.backlog_hours <= 24 * 31:
        raise PermanentError("a backlog is 0 to 744 hours")
    case = bench_edge(
        meters=arguments.meters, seconds=arguments.seconds, backlog_hours=arguments.backlog_hours, report=_report
    )
    if arguments.json:
        print(json.dumps({"bench": "edge", "cpus": os.cpu_count(), **asdict(case)}, indent=2))
        return
    print(
        f"{case.meters} meters each second: started in {case.start_s} s, first reading after {case.first_reading_s} s"
    )
    for steady in case.steady:
        print(
            f"batch age {steady.batch_age:>5}: {steady.core_share:.1%} of a core, {steady.resident_mb} MB resident "
            f"(peak {steady.peak_mb}), {steady.written_bytes_a_reading} bytes written a reading, "
            f"{steady.readings} of {steady.readings_wanted} readings"
        )
    if case.drain is not None:
        drain = case.drain
        print(
            f"backlog of {drain.backlog_readings:,} readings in {drain.outbox_mb} MB, {drain.outbox_bytes_a_reading} "
            f"bytes a reading (a week {drain.week_of_these_meters_gb} GB): started in {drain.start_s} s, drained at "
            f"{drain.readings_per_s:,}/s, newest reading stored {drain.live_age_median_s} s old "
            f"(at most {drain.live_age_max_s}), peak {drain.peak_mb} MB, all stored: {drain.all_stored}"
        )


def _report(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
