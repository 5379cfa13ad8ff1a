"""Two sites with readings over two months in the table, and what of them stands where."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from api.site_model import apply_site_model
from collector.archive.archiver import Archiver, Pass
from collector.archive.files import list_files
from collector.archive.parquet import rows_of_file
from collector.archive.settings import ArchiveSettings
from collector.archive.store import MARKER, ArchiveStore
from collector.backfill import Backfilled, backfill
from collector.binary_copy import READING_TYPES, encode_rows
from collector.decode import Incoming, decode
from schemas.archive import manifest_path
from schemas.configuration import parse_configuration
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = datetime(2026, 3, 20, tzinfo=UTC)
METERS = ("power", "water", "steam")
SITE = """
organisation: {{id: acme}}
site: {{id: {site}, time_zone: Europe/Copenhagen}}
agents: [{{id: cabinet}}]
meters:
  - {{id: power, agent: cabinet, resource: energy, carrier: electricity, unit: kWh, kind: counter}}
  - {{id: water, agent: cabinet, resource: water, unit: m3, kind: counter}}
  - {{id: steam, agent: cabinet, resource: energy, carrier: steam, unit: kWh, kind: counter}}
  - {{id: silent, agent: cabinet, resource: water, unit: m3, kind: counter}}
"""
Reading = tuple[int, int, float, int]


def prepare(
    database_url: str, *, start: datetime = START, days: int = 28, step: timedelta = timedelta(hours=1)
) -> None:
    """Two sites, whose meters spoke at each step; all of it is rolled up, as far as the table of progress says."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for site in ("hall", "yard"):
            model = parse_configuration(SITE.format(site=site), name="site.yaml", model=SiteModel)
            apply_site_model(connection, model)
        fill(connection, start, days=days, step=step)
        connection.execute("UPDATE rollup_progress SET closed_to = %(now)s, computed_to = %(now)s", {"now": NOW})


def fill(connection: psycopg.Connection[Any], start: datetime, *, days: int, step: timedelta) -> None:
    """A reading of each meter at each step, in the order of time."""
    rows = connection.execute("SELECT id FROM meter WHERE key = ANY(%s) ORDER BY id", [list(METERS)]).fetchall()
    ids = np.array([row[0] for row in rows], dtype=np.int32)
    instants = int(timedelta(days=days) / step)
    nth, meter = np.divmod(np.arange(instants * len(ids)), len(ids))
    at = int(start.timestamp() * 1000) + nth * int(step.total_seconds() * 1000) + meter * 7
    value = np.round(1000.0 * meter + nth * 0.37, 2)
    quality = (nth % 3).astype(np.int16)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY reading (meter_id, at, value, quality) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(encode_rows(READING_TYPES, (ids[meter], at, value, quality)))


def settings(database_url: str, folder: Path | str, **more: Any) -> ArchiveSettings:
    return ArchiveSettings(database_url=database_url, archive_url=str(folder), **{"archive_retention": "30d", **more})


def archive_all(connection: psycopg.Connection[Any], given: ArchiveSettings, *, now: datetime = NOW) -> Pass:
    """One pass, at the moment that a test says."""
    return Archiver(given, clock=lambda: now).once(connection)


def late(database_url: str, *values: tuple[str, datetime, float], site: str = "hall") -> Backfilled:
    """Readings (meter, at, value) that come late, through the collector's own transaction; each a message."""
    topic = AgentAddress(organisation="acme", site=site, agent="cabinet").topic(Kind.READINGS)
    units = {"water": "m3", "silent": "m3"}
    messages = []
    for meter, at, value in values:
        unit, at_ms = units.get(meter, "kWh"), int(at.timestamp() * 1000)
        payload = f'{{"meter": "{meter}", "at": {at_ms}, "value": {value}, "unit": "{unit}"}}'
        messages.append(decode(Incoming(topic=topic, payload=payload.encode(), content_type="application/json")))
    return backfill(database_url, messages)


def in_table(connection: psycopg.Connection[Any]) -> Counter[Reading]:
    return Counter(
        connection.execute(
            "SELECT meter_id, (extract(epoch FROM at) * 1000000)::int8, value, quality FROM reading"
        ).fetchall()
    )


def in_archive(connection: psycopg.Connection[Any], folder: Path) -> Counter[Reading]:
    """What the files that count hold."""
    found: Counter[Reading] = Counter()
    store = ArchiveStore(str(folder))
    for file in list_files(connection):
        for rows in rows_of_file(store, file.path, file.sha256):
            columns = (rows.meter_id, rows.at_us, rows.value, rows.quality)
            found.update(zip(*(column.tolist() for column in columns), strict=True))
    return found


def everything(connection: psycopg.Connection[Any], folder: Path) -> Counter[Reading]:
    """Each reading with the number of places where it stands."""
    return in_table(connection) + in_archive(connection, folder)


def strays(connection: psycopg.Connection[Any], folder: Path) -> set[str]:
    """Files in the folder that don't count, although they are neither the marker nor to be kept a while."""
    wanted = {MARKER}
    for (path,) in connection.execute(
        "SELECT path FROM archive_file WHERE restored_at IS NULL "
        "UNION SELECT path FROM archive_leftover WHERE remove_after > now()"
    ).fetchall():
        wanted |= {path, manifest_path(path)}
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - wanted
