"""The agent's messages as JSON bytes.

Readings are encoded from plain dictionaries rather than models, as that is what a small machine does most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from edge.readings import Reading
from schemas.wire import (
    VERSION,
    ConfigurationState,
    Health,
    Meters,
    OfferedMeter,
    OutboxState,
    RunSpan,
    Status,
)


def encode_readings(readings: Sequence[Reading], *, epoch: str, seq: int, sent_at_ms: int) -> bytes:
    """A `schemas.wire.Readings`: one table with a dictionary of meters. The readings must be finite.

    No readings is a valid message: it takes the place of one that was given up, so that seq has no gap.
    """
    index: dict[tuple[str, str], int] = {}
    meter = [index.setdefault((r.meter, r.unit), len(index)) for r in readings]
    message: dict[str, object] = {
        "v": VERSION,
        "epoch": epoch,
        "seq": seq,
        "sent_at": sent_at_ms,
        "meters": [key for key, _ in index],
        "units": [unit for _, unit in index],
        "meter": meter,
        "at": [r.at_ms for r in readings],
        "value": [float(r.value) for r in readings],
    }
    if any(r.quality for r in readings):
        message["quality"] = [int(r.quality) for r in readings]
    return _dump(message)


def encode_runs(runs: Sequence[RunSpan], *, epoch: str, seq: int, sent_at_ms: int) -> bytes:
    """A `schemas.wire.Runs`."""
    return _dump(
        {
            "v": VERSION,
            "epoch": epoch,
            "seq": seq,
            "sent_at": sent_at_ms,
            "runs": [run.model_dump(mode="json", exclude_none=True) for run in runs],
        }
    )


def encode_meters(meters: Sequence[OfferedMeter], *, at_ms: int) -> bytes:
    """A `schemas.wire.Meters`: all that the agent offers."""
    return Meters(at=at_ms, meters=list(meters)).model_dump_json(exclude_none=True).encode()


def encode_status(
    *,
    online: bool,
    at_ms: int,
    version: str | None,
    outbox: OutboxState | None,
    configuration: ConfigurationState | None = None,
    health: Health | None = None,
) -> bytes:
    """A `schemas.wire.Status`."""
    status = Status(
        state="online" if online else "offline",
        at=at_ms,
        version=version,
        outbox=outbox,
        configuration=configuration,
        health=health,
    )
    return status.model_dump_json(exclude_none=True).encode()


def shortened(health: Health) -> Iterator[Health]:
    """The same in ever fewer words, for a broker that takes small messages only."""
    yield health
    yield health.model_copy(update={"silent_meters": health.silent_meters[:100]})
    yield health.model_copy(update={"silent_meters": [], "problems": health.problems[:5]})


def _dump(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
