"""`afkobling collector run`."""

from __future__ import annotations

import argparse

from deploy.commands.settings import add_server_options


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("collector", help="write what agents publish into the database")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser("run", help="subscribe, store, acknowledge, until stopped")
    add_server_options(run, "database_url", "broker_url", metrics="collector_metrics_port")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from collector.collector import Collector
    from collector.settings import CollectorSettings
    from deploy.commands.settings import read_settings
    from deploy.service import serve

    settings = read_settings(CollectorSettings, arguments)
    collector = Collector(settings)
    serve(collector, registry=collector.metrics.registry, port=settings.collector_metrics_port, part="collector")
