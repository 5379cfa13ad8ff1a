"""`afkobling bench latency|sustained`: how soon a reading is there; whether a country's load can be borne for long."""

from __future__ import annotations

import argparse

_SHORTEST_S = 60
_RATES = [1_000, 85_000]


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both to the actions of `bench`."""
    latency = actions.add_parser("latency", help="from a reading's instant until a query sees it, under load")
    latency.add_argument(
        "--rate", action="append", type=int, metavar="N", help="readings a second; default 1000 and 85000, a country's"
    )
    latency.add_argument("--seconds", type=int, default=60, metavar="S", help="how long at each rate; default 60")
    latency.add_argument("--json", action="store_true", help="print one JSON object")
    latency.set_defaults(run=_latency)
    sustained = actions.add_parser(
        "sustained", help="a country's readings for ten minutes, with roll-ups: processor, memory, lags"
    )
    sustained.add_argument("--seconds", type=int, default=600, metavar="S", help="how long; default 600")
    sustained.add_argument(
        "--rate", type=int, default=85_000, metavar="N", help="readings a second; default 85000, a country's"
    )
    sustained.add_argument("--json", action="store_true", help="print one JSON object")
    sustained.set_defaults(run=_sustained)


def _latency(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.latency import bench_latency
    from schemas.errors import PermanentError

    rates = arguments.rate or _RATES
    if not all(100 <= rate <= 1_000_000 for rate in rates) or not 1 <= arguments.seconds <= 86_400:
        raise PermanentError("rates go from 100 to 1000000 readings a second, seconds from 1 to 86400")
    cases = [asdict(case) for case in bench_latency(rates=rates, seconds=arguments.seconds)]
    if arguments.json:
        print(json.dumps({"bench": "latency", "cpus": os.cpu_count(), "cases": cases}, indent=2))
        return
    for case in cases:
        print(f"at {case['readings_per_s']:,} readings/s")
        _print_figures(case)


def _sustained(arguments: argparse.Namespace) -> None:
    import json
    import os
    from dataclasses import asdict

    from deploy.bench.country import bench_follow
    from schemas.errors import PermanentError

    if not 1_000 <= arguments.rate <= 1_000_000:
        raise PermanentError("the rate is 1000 to 1000000 readings a second")
    if arguments.seconds < _SHORTEST_S:
        raise PermanentError(f"in less than {_SHORTEST_S} seconds no quarter is completed; give more")
    found = asdict(bench_follow(seconds=arguments.seconds, readings_per_s=arguments.rate))
    if arguments.json:
        print(json.dumps({"bench": "sustained", "cpus": os.cpu_count(), **found}, indent=2))
    else:
        _print_figures(found)


def _print_figures(figures: dict[str, object]) -> None:
    for name, figure in figures.items():
        print(f"  {name:26} {_shown(figure):>22}")


def _shown(figure: object) -> str:
    match figure:
        case None:
            return "-"
        case tuple() | list():
            return " ".join(_shown(one) for one in figure)
        case int() | float():
            return f"{figure:,}"
        case _:
            return str(figure)
