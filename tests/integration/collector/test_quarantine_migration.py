"""What was in quarantine before it could be replayed can be found by its meters, and counts as it did."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import sql

from deploy import migrate as migrate_module
from deploy.migrate import migrate
from deploy.stack import on_database
from schemas.sql import migrations

pytestmark = pytest.mark.stack

TABLE = {
    "v": 1,
    "epoch": "E1",
    "seq": 1,
    "sent_at": 0,
    "meters": ["oven", "Not a key", "kiln"],
    "units": ["kWh", "kWh", "m3"],
    "meter": [0, 2, 1, 0, 2],
    "at": [1_767_225_600_000, 1_767_225_601_000, 0, 1_767_225_602_000, 10**17],
    "value": [1.0, float("nan"), 3.0, 4.0, float("-inf")],
}
PLAIN = {"meter": "oven", "at": 1_767_225_600_000, "value": 1.5, "unit": "kWh"}
ENTRIES: list[tuple[str, str | None, int, int, Any]] = [
    ("unknown meter", "E1", 5, 2, TABLE),
    ("unknown agent", None, 1, 3, PLAIN),
    ("malformed message", "E1", 4, 1, b"\xff{"),
    ("wrong unit", "E1", 1, 1, b"no JSON"),
    ("malformed message", None, 1, 2, PLAIN),
]


def test_older_entries(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = f"{connection.info.dbname}_old"
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    old_url = on_database(database_url, name)
    try:
        monkeypatch.setattr(migrate_module, "migrations", lambda: migrations()[:8])
        assert migrate(old_url) == [1, 2, 3, 4, 5, 6, 7, 8]
        with psycopg.connect(old_url, autocommit=True) as connection:
            for i, (reason, epoch, count, times, body) in enumerate(ENTRIES):
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                connection.execute(
                    """
                    INSERT INTO quarantine (reason, detail, topic, epoch, readings, content_type, payload, digest,
                                            times)
                    VALUES (%s, '', '', %s, %s, '', %s, %s, %s)
                    """,
                    [reason, epoch, count, payload, bytes([i]), times],
                )
        monkeypatch.undo()
        assert migrate(old_url)[0] == 9
        with psycopg.connect(old_url, autocommit=True) as connection:
            assert connection.execute("SELECT counted FROM quarantine ORDER BY id").fetchall() == [
                (5,),
                (3,),
                (4,),
                (1,),
                (0,),
            ]
            assert connection.execute(
                """
                SELECT entry_id, meter, unit, readings, extract(epoch FROM first_at)::int8,
                       extract(epoch FROM last_at)::int8, last_value
                FROM quarantine_meter ORDER BY 1, 2
                """
            ).fetchall() == [
                (1, "kiln", "m3", 2, 1_767_225_601, 1_767_225_601, None),
                (1, "oven", "kWh", 2, 1_767_225_600, 1_767_225_602, 4.0),
                (2, "oven", "kWh", 1, 1_767_225_600, 1_767_225_600, 1.5),
            ]
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
