"""What tests of offers share: agents that say what they have, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

from collector.batch import assemble
from collector.connection import connect
from collector.decode import Incoming, decode
from collector.meter_index import load_meter_index
from collector.replay import replay_all
from collector.store import write_batch
from schemas.topics import AgentAddress, Kind

NOW_MS = 1_767_225_600_000
CABINET = AgentAddress(organisation="acme", site="odense", agent="cabinet-1")
SHED = AgentAddress(organisation="acme", site="odense", agent="shed")
OVEN = {"meter": "oven", "resource": "energy", "unit": "kWh", "kind": "counter", "carrier": "electricity"}
FULL = {
    **OVEN,
    "driver": "modbus",
    "cadence_ms": 10_000,
    "register_width": 1e6,
    "rated_maximum": 60,
    "dip_window_ms": 60_000,
    "frozen_after_ms": 7_200_000,
    "accuracy_class": 1,
}


def send(database_url: str, body: dict[str, Any], address: AgentAddress = CABINET, kind: Kind = Kind.READINGS) -> None:
    """Write a message as a collector would."""
    deliver(database_url, json.dumps(body).encode(), to=address.topic(kind))


def deliver(database_url: str, payload: bytes, *, to: str) -> None:
    """Write a message as a collector would, whatever it is."""
    with connect(database_url, role="test") as connection:
        index = load_meter_index(connection)
        batch = assemble([decode(Incoming(topic=to, payload=payload))], index, now_ms=NOW_MS, future_tolerance_ms=0)
        write_batch(connection, batch, model_version=index.version)


def finish(database_url) -> None:
    """What a collector does between batches."""
    with connect(database_url, role="test") as connection:
        replay_all(connection, clock_ms=lambda: NOW_MS)


def meter_row(connection, key) -> Any:
    return connection.execute(
        """
        SELECT unit, carrier, register_width, rated_maximum, dip_window_ms, frozen_after_ms, cadence_ms, accuracy_class
        FROM meter WHERE key = %s
        """,
        [key],
    ).fetchone()
