"""`afkobling rollup run|once|rebuild`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, LiteralString

from deploy.commands.settings import add_server_options
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from psycopg import Connection

_METERS: LiteralString = """
    SELECT m.key, m.id
    FROM meter AS m JOIN site AS s ON s.id = m.site_id JOIN organisation AS o ON o.id = s.organisation_id
    WHERE (%(keys)s::text[] IS NULL OR m.key = ANY (%(keys)s)) AND (%(site)s::text IS NULL OR s.key = %(site)s)
      AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
"""
_HAS_METERS: LiteralString = "SELECT EXISTS (SELECT FROM meter)"


class RebuildRefusedError(PermanentError):
    """What was asked for can't be computed anew."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("rollup", help="turn readings into consumption")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser("run", help="close each quarter and recompute what is late, until stopped")
    add_server_options(run, "database_url", metrics="rollup_metrics_port")
    run.set_defaults(run=_run)
    once = actions.add_parser("once", help="do all that is due now, and end")
    add_server_options(once, "database_url")
    once.set_defaults(run=_once)
    rebuild = actions.add_parser(
        "rebuild",
        help="compute everything anew from raw readings, and tell whether it comes out the same",
        description="What comes out differently is put in place. Readings are stored as ever meanwhile.",
    )
    rebuild.add_argument("--meter", action="append", metavar="METER", help="may be repeated; default: all of all sites")
    rebuild.add_argument("--from", dest="start", metavar="INSTANT", help="an instant with its offset, or a date (UTC)")
    rebuild.add_argument("--to", dest="end", metavar="INSTANT", help="the first instant after; default: no end")
    rebuild.add_argument("--site", metavar="[ORGANISATION/]SITE", help="where --meter is (default: wherever it is)")
    rebuild.add_argument("--json", action="store_true", help="print one JSON object")
    add_server_options(rebuild, "database_url")
    rebuild.set_defaults(run=_rebuild)


def _run(arguments: argparse.Namespace) -> None:
    from collector.rollup_runner import RollupRunner
    from collector.settings import RollupSettings
    from deploy.commands.settings import read_settings
    from deploy.service import serve

    settings = read_settings(RollupSettings, arguments)
    runner = RollupRunner(settings)
    serve(runner, registry=runner.metrics.registry, port=settings.rollup_metrics_port, part="rollup")


def _once(arguments: argparse.Namespace) -> None:
    from collector.rollup_runner import roll_up_all
    from collector.settings import RollupSettings
    from deploy.commands.settings import read_settings
    from deploy.migrate import reaching

    settings = read_settings(RollupSettings, arguments)
    with reaching():
        total = roll_up_all(settings)
    print(f"{total.quarters} quarters written, {total.recomputed} late stretches recomputed")


def _rebuild(arguments: argparse.Namespace) -> None:
    import json
    import time
    from dataclasses import asdict

    from collector.connection import connect
    from collector.prefetch import Prefetch
    from collector.rebuild import rebuild
    from collector.settings import RollupSettings
    from deploy.commands.settings import read_settings
    from deploy.migrate import reaching

    settings = read_settings(RollupSettings, arguments)
    from_ms, to_ms = _instant_ms(arguments.start), _instant_ms(arguments.end)
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise RebuildRefusedError("--to is not after --from; nothing lies in between")
    started = time.monotonic()
    prefetch = Prefetch(lambda: connect(settings.database_url, role="rebuild-prefetch"))
    try:
        with reaching(), connect(settings.database_url, role="rebuild") as connection:
            meters = _find_meters(connection, arguments.meter, arguments.site)
            done = rebuild(connection, meter_ids=meters, from_ms=from_ms, to_ms=to_ms, prefetch=prefetch)
    finally:
        prefetch.close()
    elapsed = time.monotonic() - started
    if arguments.json:
        print(json.dumps({**asdict(done), "identical": done.is_identical, "seconds": round(elapsed, 1)}, indent=2))
        return
    print(
        f"{done.quarters:,} quarters and {done.events:,} events of {done.meters:,} meters computed in {elapsed:.1f} s"
    )
    if done.is_identical:
        print("identical to what the tables held")
    else:
        print(f"replaced, as they differed: {done.different_quarters:,} quarters, {done.different_events:,} events")


def _instant_ms(text: str | None) -> int | None:
    from deploy.commands.instants import parse_instant

    if text is None:
        return None
    return int(parse_instant(text).timestamp() * 1000)


def _find_meters(connection: Connection, keys: list[str] | None, site: str | None) -> list[int] | None:
    if not keys and site is None:
        if connection.execute(_HAS_METERS).fetchone() != (True,):
            raise RebuildRefusedError("there is no meter yet; `afkobling site apply site.yaml` makes those in the file")
        return None
    organisation, _, name = (site or "").rpartition("/")
    rows = connection.execute(_METERS, {"keys": keys, "site": name or None, "organisation": organisation or None})
    found = {(key, number) for key, number in rows.fetchall()}
    missing = sorted(set(keys or ()) - {key for key, _ in found})
    if missing or not found:
        raise RebuildRefusedError(
            f"there is no meter {', '.join(missing) or 'at ' + (site or '')}; see `afkobling meters`"
        )
    return sorted(number for _, number in found)
