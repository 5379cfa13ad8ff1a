"""An outbox as an agent fills it that reads each second and reaches no broker."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

from edge.batch import Draft, Gathering
from edge.outbox import Outbox, WhenFull
from edge.readings import Reading, Taken

_AT_ONCE = 100
_UNIT = "kWh"
_SPREAD_MS = 40
"""Meters that are due at the same instant answer one after the other."""


def fill_backlog(path: Path, *, meters: int, seconds: int) -> int:
    """A message for each second that ends now, with a rising register of each meter. Returns the last seq."""
    chance = random.Random(1)  # noqa: S311 - the same load each time
    began_ms = time.time_ns() // 1_000_000 - seconds * 1_000
    keys = [f"agent-0-m{meter}" for meter in range(meters)]
    values = [chance.uniform(1_000, 90_000) for _ in keys]
    outbox = Outbox(path, max_bytes=10**11, when_full=WhenFull.STOP_READING, now_ms=lambda: began_ms)
    with closing(outbox):
        drafts: list[Draft] = []
        for second in range(seconds):
            at_ms = began_ms + second * 1_000
            readings = []
            for meter, key in enumerate(keys):
                values[meter] += chance.uniform(0, 0.02)
                readings.append(
                    Reading(
                        meter=key,
                        at_ms=at_ms + chance.randrange(_SPREAD_MS),
                        value=round(values[meter], 2),
                        unit=_UNIT,
                    )
                )
            gathering = Gathering(max_readings=max(500, meters), max_age_s=0, max_bytes=256_000)
            gathering.add(Taken(readings=readings), 0)
            drafts += gathering.take(now_ms=lambda at_ms=at_ms: at_ms)  # type: ignore[misc]
            if len(drafts) >= _AT_ONCE:
                outbox.append(drafts)
                drafts = []
        outbox.append(drafts)
        return outbox.state().last_seq
