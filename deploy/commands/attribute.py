"""`afkobling attribute run|once|rebuild`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploy.commands.at_site import add_site_options, at_site, in_database
from deploy.commands.db import add_database_url
from deploy.commands.settings import add_server_options

if TYPE_CHECKING:
    from api.database import Connection
    from api.site_store import SiteRow


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("attribute", help="share consumption out to products, day by day")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser("run", help="compute whatever has changed, until stopped")
    add_server_options(run, "database_url", metrics="attribution_metrics_port")
    run.set_defaults(run=_run)
    once = actions.add_parser("once", help="do all that is due now, at all sites, and end")
    add_database_url(once)
    once.set_defaults(run=_once)
    rebuild = actions.add_parser("rebuild", help="compute a site's days anew, and tell whether they come out the same")
    add_site_options(rebuild)
    rebuild.add_argument("--json", action="store_true", help="print one JSON object")
    rebuild.set_defaults(run=_rebuild)


def _run(arguments: argparse.Namespace) -> None:
    from api.attribution.service import AttributionService
    from api.attribution.settings import AttributionSettings
    from deploy.commands.settings import read_settings
    from deploy.service import serve

    settings = read_settings(AttributionSettings, arguments)
    service = AttributionService(settings)
    serve(service, registry=service.metrics.registry, port=settings.attribution_metrics_port, part="attribution")


def _once(arguments: argparse.Namespace) -> None:
    from api.attribution.keeper import keep_due

    kept = in_database(arguments, keep_due)
    print(f"{kept.days:,} days computed, {kept.months:,} months summed")


def _rebuild(arguments: argparse.Namespace) -> None:
    import json
    import time
    from dataclasses import asdict

    from api.attribution.rebuild import rebuild

    async def work(connection: Connection, site: SiteRow) -> dict[str, object]:
        started = time.monotonic()
        done = await rebuild(connection, site)
        seconds = round(time.monotonic() - started, 1)
        return {**asdict(done), "identical": done.is_identical, "seconds": seconds}

    answer = at_site(arguments, work)
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return
    print(f"{answer['days']:,} days, {answer['rows']:,} rows computed anew in {answer['seconds']} s")
    print("identical to what was kept" if answer["identical"] else f"replaced, as they differed: {answer['different']}")
