"""`afkobling bench ingest|latency|sustained|rollup|import|archive|query|backlog|outage`: measured speed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands import bench_backlog, bench_country, bench_edge

_SHORTEST_S = 60
_MOST_IMPORTED = 100_000_000
_SIZES = [1, 10, 100, 1000]
_FILE_SHAPES = ("csv-wide", "csv-long", "parquet-long", "arrow-wide")

if TYPE_CHECKING:
    from deploy.bench.ingest import IngestCase


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("bench", help="measure speed on this machine")
    actions = parser.add_subparsers(metavar="WHAT", required=True)
    ingest = actions.add_parser("ingest", help="publishers → broker → collector → table, beside raw COPY")
    ingest.add_argument("--shape", action="append", choices=["deep", "wide"], help="default: both")
    ingest.add_argument(
        "--readings-per-message",
        action="append",
        type=int,
        metavar="N",
        help="1 to 1000, may be repeated; default 1, 10, 100 and 1000",
    )
    ingest.add_argument("--encoding", action="append", choices=["json", "arrow"], help="default: both")
    ingest.add_argument("--collectors", action="append", type=int, metavar="N", help="1 to 8; default 1 and 2")
    ingest.add_argument(
        "--readings", type=int, default=2_000_000, metavar="N", help="readings a case, at most; default 2000000"
    )
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
    archive = actions.add_parser("archive", help="old readings into the archive: speed, CPU, bytes a reading")
    archive.add_argument("--slice", action="append", choices=["country", "factory"], help="default: both")
    archive.add_argument("--readings", type=int, default=3_600_000, metavar="N", help="of each; default 3600000")
    archive.add_argument("--one-core", action="store_true", help="let archiver and server share one core")
    archive.add_argument("--json", action="store_true", help="print one JSON object")
    archive.set_defaults(run=_archive)
    query = actions.add_parser("query", help="figures of a site with 100 meters and 20 products, over HTTP")
    query.add_argument("--years", type=int, default=3, metavar="N", help="3 to 10 years of quarters; default 3")
    query.add_argument(
        "--readings", type=int, default=2_000_000, metavar="N", help="raw readings to ask again with; default 2000000"
    )
    query.add_argument("--json", action="store_true", help="print one JSON object")
    query.set_defaults(run=_query)
    bench_country.add(actions)
    importing = actions.add_parser("import", help="history from files → table, beside raw COPY of the same rows")
    importing.add_argument(
        "--shape",
        action="append",
        choices=_FILE_SHAPES,
        metavar="SHAPE",
        help=f"default: all of {', '.join(_FILE_SHAPES)}",
    )
    importing.add_argument(
        "--readings", type=int, default=5_000_000, metavar="N", help="readings a file; default 5000000"
    )
    importing.add_argument("--json", action="store_true", help="print one JSON object")
    importing.set_defaults(run=_import)
    bench_backlog.add(actions)
    bench_edge.add(actions)


def _ingest(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.ingest import bench_ingest, cases_of
    from deploy.bench.load import Encoding, Shape
    from schemas.errors import PermanentError

    sizes, collectors = arguments.readings_per_message or _SIZES, arguments.collectors or [1, 2]
    if not all(1 <= size <= 1000 for size in sizes) or not all(1 <= n <= 8 for n in collectors):
        raise PermanentError("readings a message go from 1 to 1000, collectors from 1 to 8")
    cases = cases_of(
        shapes=[Shape(s) for s in arguments.shape or Shape],
        sizes=sizes,
        encodings=[Encoding(e) for e in arguments.encoding or Encoding],
        collectors=collectors,
    )
    row = "{:5} {:>9} {:6} {:>10} {:>10} {:>10} {:>11} {:>6} {:>7} {:>6}"
    heads = ("a message", "", "collectors", "messages/s", "readings/s", "raw COPY/s", "ratio", "µs/msg", "MB")

    def show(c: IngestCase) -> None:
        rates = (f"{c.messages_per_s:,.0f}", f"{c.readings_per_s:,.0f}", f"{c.raw_copy_rows_per_s:,.0f}")
        of_case = (c.readings_per_message, c.encoding, c.collectors)
        print(row.format(c.shape, *of_case, *rates, c.ratio, c.collectors_us_per_message, c.peak_mb), flush=True)

    if not arguments.json:
        print(row.format("shape", *heads))
    on_case = (lambda _: None) if arguments.json else show
    measured = bench_ingest(cases, readings=max(arguments.readings, 1), on_case=on_case)
    if arguments.json:
        print(json.dumps({"bench": "ingest", "cpus": os.cpu_count(), "cases": [asdict(c) for c in measured]}, indent=2))


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
            shown = "-" if figure is None else f"{figure:,}" if isinstance(figure, (int, float)) else str(figure)
            print(f"  {name:26} {shown:>14}")


def _archive(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.archive import Slice, bench_archive
    from schemas.errors import PermanentError

    if arguments.readings < 100_000:
        raise PermanentError("readings are 100000 or more")
    cases = bench_archive(
        readings=arguments.readings,
        slices=[Slice(which) for which in arguments.slice or Slice],
        one_core=arguments.one_core,
    )
    if arguments.json:
        found = {"bench": "archive", "cpus": os.cpu_count(), "one_core": arguments.one_core}
        print(json.dumps({**found, "cases": [asdict(case) for case in cases]}, indent=2))
        return
    for case in cases:
        print(case.slice)
        _print_figures(asdict(case))


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


def _import(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.importing import FileShape, bench_import
    from schemas.errors import PermanentError

    if not 1_000 <= arguments.readings <= _MOST_IMPORTED:
        raise PermanentError(f"readings are 1000 to {_MOST_IMPORTED}")
    shapes = [FileShape(shape) for shape in arguments.shape or _FILE_SHAPES]
    cases = [asdict(case) for case in bench_import(shapes=shapes, readings=arguments.readings)]
    if arguments.json:
        print(json.dumps({"bench": "import", "cpus": os.cpu_count(), "cases": cases}, indent=2))
        return
    for case in cases:
        print(case.pop("shape"))
        _print_figures(case)


def _print_figures(figures: dict[str, object]) -> None:
    print("  " + " · ".join(f"{name} {figure}" for name, figure in figures.items()))
