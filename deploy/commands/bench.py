"""`afkobling bench ingest`: measured speed, as ratios within one run."""

from __future__ import annotations

import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("bench", help="measure speed on this machine")
    actions = parser.add_subparsers(metavar="WHAT", required=True)
    ingest = actions.add_parser("ingest", help="publishers → broker → collector → table, beside raw COPY")
    ingest.add_argument("--shape", action="append", choices=["deep", "wide"], help="default: both")
    ingest.add_argument(
        "--readings-per-message", action="append", type=int, metavar="N", help="1 to 1000, may be repeated; default 100"
    )
    ingest.add_argument("--encoding", action="append", choices=["json", "arrow"], help="default: json")
    ingest.add_argument("--collectors", action="append", type=int, metavar="N", help="default: 1")
    ingest.add_argument("--readings", type=int, default=2_000_000, metavar="N", help="readings a case; default 2000000")
    ingest.add_argument("--json", action="store_true", help="print one JSON object")
    ingest.set_defaults(run=_ingest)


def _ingest(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.ingest import bench_ingest
    from deploy.bench.load import Encoding, Shape
    from schemas.errors import PermanentError

    sizes = arguments.readings_per_message or [100]
    if not all(1 <= size <= 1000 for size in sizes) or not all(1 <= n <= 8 for n in arguments.collectors or [1]):
        raise PermanentError("readings a message go from 1 to 1000, collectors from 1 to 8")
    cases = bench_ingest(
        shapes=[Shape(s) for s in arguments.shape or Shape],
        readings_per_message=sizes,
        encodings=[Encoding(e) for e in arguments.encoding or [Encoding.JSON]],
        collectors=arguments.collectors or [1],
        readings=max(arguments.readings, 1),
    )
    if arguments.json:
        print(json.dumps({"bench": "ingest", "cpus": os.cpu_count(), "cases": [asdict(c) for c in cases]}, indent=2))
        return
    row = "{:6} {:>9} {:8} {:>10} {:>11} {:>11} {:>6} {:>6} {:>6}"
    print(
        row.format("shape", "a message", "encoding", "collectors", "readings/s", "raw COPY/s", "ratio", "CPU s", "MB")
    )
    for c in cases:
        rates = (f"{c.readings_per_s:,.0f}", f"{c.raw_copy_rows_per_s:,.0f}")
        print(row.format(c.shape, c.readings_per_message, c.encoding, c.collectors, *rates, c.ratio, c.cpu_s, c.rss_mb))
