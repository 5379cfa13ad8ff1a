"""What tests of replays share: messages delivered as a collector would, replays, and what they leave behind."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from api.site_model import apply_site_model
from collector.batch import assemble
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.replay import replay_all
from collector.store import write_batch
from schemas.configuration import parse_configuration
from schemas.site import SiteModel
from schemas.topics import AgentAddress, Kind
from tests.integration.collector.conftest import NOW_MS, SITE, query

TOLERANCE_MS = 300_000

# Of each ledger entry: what it counts as quarantined, beside what the entries that wait are counted for.
BALANCE = """
    SELECT l.readings, l.stored, l.repeated, l.quarantined,
           (SELECT coalesce(sum(q.counted), 0) FROM quarantine AS q
            WHERE (q.organisation, q.site, q.agent, coalesce(q.epoch, '')) = (l.organisation, l.site, l.agent, l.epoch)
              AND q.replayed_at IS NULL)
    FROM ledger AS l ORDER BY l.agent, l.epoch
"""


def topic(address: AgentAddress, kind: Kind = Kind.READINGS) -> str:
    return address.topic(kind)


def deliver(connection: psycopg.Connection, *messages: dict[str, Any] | bytes, to: str) -> None:
    """Write messages as a collector would, in one batch."""
    decoded = [
        decode(Incoming(topic=to, payload=m if isinstance(m, bytes) else json.dumps(m).encode())) for m in messages
    ]
    index = load_meter_index(connection)
    batch = assemble(decoded, index, now_ms=NOW_MS, future_tolerance_ms=TOLERANCE_MS)
    write_batch(connection, batch, model_version=index.version)


def ask(database_url: str, **filters: Any) -> int:
    """Ask for a replay; gives its number."""
    columns = ["organisation", "site", "agent", "meters", "reason", "entry"]
    [(number,)] = query(
        database_url,
        f"INSERT INTO quarantine_replay ({', '.join(columns)}) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
        *(filters.get(column) for column in columns),
    )
    return int(number)


def replay(connection: psycopg.Connection, database_url: str, **filters: Any) -> tuple[int, int, int, dict[str, int]]:
    """Tried, stored, repeated, refused."""
    number = ask(database_url, **filters)
    replay_all(connection, number, clock_ms=lambda: NOW_MS, future_tolerance_ms=TOLERANCE_MS)
    [row] = query(
        database_url,
        "SELECT tried, stored, repeated, refused FROM quarantine_replay WHERE id = %s AND finished_at IS NOT NULL",
        number,
    )
    return row  # type: ignore[no-any-return]


def add_meter(
    database_url: str, site: SiteModel, *meters: str, line: str | None = None, agent: str = "cabinet"
) -> None:
    """Add meters (in kWh), and a line."""
    text = SITE.format(organisation=site.organisation.id)
    for meter in meters:
        text += f"  - {{id: {meter}, agent: {agent}, resource: energy, carrier: steam, unit: kWh, kind: counter}}\n"
    if line:
        text = text.replace("lines: [", f"lines: [{{id: {line}}}, ")
    if agent != "cabinet":
        text = text.replace("agents: [", f"agents: [{{id: {agent}}}, ")
    with psycopg.connect(database_url) as connection:
        apply_site_model(connection, parse_configuration(text, name="site.yaml", model=SiteModel))


def stored(database_url: str) -> list[Any]:
    """Meter and value of what is stored."""
    return query(
        database_url, "SELECT key, value FROM reading JOIN meter ON meter.id = meter_id ORDER BY key, reading.at"
    )


def waiting(database_url: str) -> list[Any]:
    """Reason and readings of what waits."""
    return query(database_url, "SELECT reason, readings FROM quarantine WHERE replayed_at IS NULL ORDER BY id")
