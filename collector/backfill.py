"""Messages that are at hand already, written without a broker: by the same checks and the same transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from collector.batch import assemble
from collector.connection import connect
from collector.decode import Decoded, ReadingsMessage
from collector.meter_index import load_meter_index
from collector.store import write_batch

_BATCH_READINGS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """What became of the readings of a backfill."""

    stored: int
    repeated: int
    quarantined: int


def backfill(
    database_url: str,
    messages: Iterable[Decoded],
    *,
    report: Callable[[int], None] = lambda _: None,
    future_tolerance_ms: int = 300_000,
) -> Backfilled:
    """Write all messages; what is there already is a no-op. `report` hears how many readings each batch brought.

    The site model must not change meanwhile. Raises what the database says, and ArchiveError where old readings
    can't be looked up in the archive; what is committed by then stays.
    """
    counts: Counter[str] = Counter()
    with connect(database_url, role="backfill") as connection:
        index = load_meter_index(connection)

        def write(pending: list[Decoded], readings: int) -> None:
            now_ms = time.time_ns() // 1_000_000
            batch = assemble(pending, index, now_ms=now_ms, future_tolerance_ms=future_tolerance_ms)
            written = write_batch(connection, batch, model_version=index.version, needs_archive=True)
            counts.update(stored=written.stored, repeated=written.repeated, quarantined=written.quarantined.total())
            report(readings)

        pending: list[Decoded] = []
        readings = 0
        for message in messages:
            pending.append(message)
            readings += len(message.meter) if isinstance(message, ReadingsMessage) else 0
            if readings >= _BATCH_READINGS:
                write(pending, readings)
                pending, readings = [], 0
        if pending:
            write(pending, readings)
    return Backfilled(stored=counts["stored"], repeated=counts["repeated"], quarantined=counts["quarantined"])
