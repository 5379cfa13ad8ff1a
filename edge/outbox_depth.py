"""How full an outbox is, read from its file without opening it for an agent: for when none runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge import outbox_table as table
from edge.errors import EdgePermanentError, OutboxUnavailableError
from edge.outbox_file import FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """What waits for a confirmation. `oldest_ms`: when the oldest of it was put together, Unix milliseconds."""

    epoch: str
    messages: int
    readings: int
    size_bytes: int
    oldest_ms: int | None
    dropped_readings: int


def read_depth(path: Path) -> Depth | None:
    """The file is left as it is; None where there is none.

    Of an agent that was killed, what was confirmed within its last seconds still counts as waiting.
    Raises OutboxUnavailableError when it cannot be read, EdgePermanentError for another format.
    """
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path.absolute().as_posix()}?mode=ro", uri=True, timeout=5)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version != FORMAT:
                raise EdgePermanentError(
                    f"the outbox {path} has format {version}, this version reads {FORMAT}; `afkobling edge run` brings "
                    "an older one to it"
                )
            epoch, last_seq, stored_seq, dropped, size, readings = database.execute(
                "SELECT epoch, last_seq, stored_seq, dropped_readings, size_bytes, waiting_readings FROM outbox"
            ).fetchone() or ("", 0, 0, 0, 0, 0)
            oldest_ms = table.oldest_sent_ms(database, stored_seq)
    except sqlite3.DatabaseError as error:
        raise OutboxUnavailableError(f"the outbox {path} cannot be read: {error}") from error
    return Depth(
        epoch=epoch,
        messages=last_seq - stored_seq,
        readings=readings,
        size_bytes=size,
        oldest_ms=oldest_ms,
        dropped_readings=dropped,
    )
