"""Notes for the roll-up: what it has to compute again because somebody said something of old readings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import LiteralString

from psycopg.types.json import Jsonb

from api.database import Connection

_LOCK: LiteralString = "SELECT FROM meter WHERE id = ANY (%(meters)s) ORDER BY id FOR NO KEY UPDATE"
_NOTE: LiteralString = """
INSERT INTO pending (meter_id, from_at, to_at)
SELECT meter_id, from_at, to_at
FROM jsonb_to_recordset(%(notes)s) AS n (meter_id int, from_at timestamptz, to_at timestamptz)
"""


async def lock_meters(connection: Connection, meters: Iterable[int]) -> None:
    """Until the transaction ends nobody else says anything of these meters: each sees what the one before said."""
    await connection.execute(_LOCK, {"meters": sorted(set(meters))})


async def note_pending(connection: Connection, spans: Sequence[tuple[int, datetime, datetime]]) -> None:
    """Have each meter (by its number) computed again around its span, ends included.

    Belongs into the transaction that writes the reason: the roll-up then sees both or neither.
    """
    notes = [
        {"meter_id": meter, "from_at": from_at.isoformat(), "to_at": to_at.isoformat()}
        for meter, from_at, to_at in spans
    ]
    await connection.execute(_NOTE, {"notes": Jsonb(notes)})
