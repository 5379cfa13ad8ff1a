"""`afkobling bench ingest|rollup|query`: measured speed, as ratios within one run."""

from __future__ import annotations

import argparse

_SHORTEST_S = 60


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
    rollup = actions.add_parser("rollup", help="readings → consumption: beside plain SQL, and following ingest")
    rollup.add_argument(
        "--readings", type=int, default=9_000_000, metavar="N", help="readings computed from scratch; default 9000000"
    )
    rollup.add_argument(
        "--seconds", type=int, default=120, metavar="S", help="how long to follow ingest; default 120, 0: not at all"
    )
    rollup.add_argument(
        "--rate", type=int, default=85_000, metavar="N", help="readings a second meanwhile; default 85000, a country's"
    )
    rollup.add_argument("--json", action="store_true", help="print one JSON object")
    rollup.set_defaults(run=_rollup)
    query = actions.add_parser("query", help="figures of a site with 100 meters and 20 products, over HTTP")
    query.add_argument("--years", type=int, default=3, metavar="N", help="3 to 10 years of quarters; default 3")
    query.add_argument(
        "--readings", type=int, default=2_000_000, metavar="N", help="raw readings to ask again with; default 2000000"
    )
    query.add_argument("--json", action="store_true", help="print one JSON object")
    query.set_defaults(run=_query)


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


def _rollup(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.country import bench_follow
    from deploy.bench.rollup import bench_rebuild
    from schemas.errors import PermanentError

    if arguments.readings < 1 or arguments.seconds < 0 or not 1_000 <= arguments.rate <= 1_000_000:
        raise PermanentError("readings are 1 or more, seconds 0 or more, the rate 1000 to 1000000 a second")
    if 0 < arguments.seconds < _SHORTEST_S:
        raise PermanentError(f"in less than {_SHORTEST_S} seconds no quarter is completed; give more, or 0")
    found = {"rebuild": asdict(bench_rebuild(readings=arguments.readings))}
    if arguments.seconds:
        found["follow"] = asdict(bench_follow(seconds=arguments.seconds, readings_per_s=arguments.rate))
    if arguments.json:
        print(json.dumps({"bench": "rollup", "cpus": os.cpu_count(), **found}, indent=2))
        return
    for part, figures in found.items():
        print(part)
        for name, figure in figures.items():
            print(f"  {name:26} {'-' if figure is None else f'{figure:,}':>14}")


def _query(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.query import bench_query
    from schemas.errors import PermanentError

    # Two whole calendar years have to lie in it.
    if not 3 <= arguments.years <= 10 or arguments.readings < 1:
        raise PermanentError("years are 3 to 10, readings 1 or more")
    found = asdict(bench_query(readings=arguments.readings, years=arguments.years))
    if arguments.json:
        print(json.dumps({"bench": "query", "cpus": os.cpu_count(), **found}, indent=2))
        return
    for name, figure in found.items():
        match figure:
            case list():
                print(name)
                for one in figure:
                    _print_figures(one)
            case dict():
                print(name)
                _print_figures(figure)
            case _:
                print(f"{name:26} {figure:>14,}")


def _print_figures(figures: dict[str, object]) -> None:
    print("  " + " · ".join(f"{name} {figure}" for name, figure in figures.items()))
