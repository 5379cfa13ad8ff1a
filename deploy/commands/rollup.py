"""`afkobling rollup run|once`."""

from __future__ import annotations

import argparse

from deploy.commands.settings import add_server_options


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("rollup", help="turn readings into consumption")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser("run", help="close each quarter and recompute what is late, until stopped")
    add_server_options(run, "database_url", metrics="rollup_metrics_port")
    run.set_defaults(run=_run)
    once = actions.add_parser("once", help="do all that is due now, and end")
    add_server_options(once, "database_url")
    once.set_defaults(run=_once)


def _run(arguments: argparse.Namespace) -> None:
    from collector.rollup_runner import RollupRunner
    from collector.settings import RollupSettings
    from deploy.commands.settings import read_settings
    from deploy.service import serve

    settings = read_settings(RollupSettings, arguments)
    runner = RollupRunner(settings)
    serve(runner, registry=runner.metrics.registry, port=settings.rollup_metrics_port)


def _once(arguments: argparse.Namespace) -> None:
    from collector.rollup_runner import roll_up_all
    from collector.settings import RollupSettings
    from deploy.commands.settings import read_settings

    settings = read_settings(RollupSettings, arguments)
    total = roll_up_all(settings)
    print(f"{total.quarters} quarters written, {total.recomputed} late stretches recomputed")
