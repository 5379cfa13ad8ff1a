"""Which showing of the clock is meant, and what is noted for the roll-up."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from collector.importing.clock import clock_of
from collector.pending import LONGEST_STRETCH_MS, by_week, merge_notes
from schemas.durations import parse_span_ms, span_text
from schemas.local_time import instants
from schemas.time_zones import zone_names

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR_MS = 3_600_000


@pytest.mark.parametrize("zone", sorted(zone_names())[::25])
def test_a_clock_is_its_zone_at_every_change_and_far_beyond(zone: str) -> None:
    own = ZoneInfo(zone)
    clock = clock_of(own)
    edges = [int(edge) + s * 1_000_000 for edge in (*clock.first_from, *clock.second_from) for s in (-1, 0, 1, 1799)]
    chance = random.Random(zone)
    labels = edges + [chance.randrange(-(10**16), 10**16) for _ in range(200)]
    shown = clock.shown(np.array(labels, dtype=np.int64))
    for label, first, second in zip(labels, shown.first.tolist(), shown.second.tolist(), strict=True):
        naive = (EPOCH + label * MICROSECOND).replace(tzinfo=None)
        assert tuple((at - EPOCH) // MICROSECOND for at in instants(naive, own)) == (first, second)


class TestNotes:
    def test_a_note_is_what_is_computed_together(self) -> None:
        at = np.arange(0, 20 * 24) * HOUR_MS
        at = np.r_[at, at[-1] + 30 * 24 * HOUR_MS]
        meter = np.full(len(at), 7, dtype=np.int32)
        # Shuffled rows, and another meter that said one thing.
        order = np.random.default_rng(1).permutation(len(at))
        notes = list(zip(*by_week(np.r_[meter[order], np.int32(3)], np.r_[at[order], 5]), strict=True))
        week = LONGEST_STRETCH_MS
        last = 19 * 24 * HOUR_MS + 23 * HOUR_MS
        assert notes == [
            (3, 5, 5),
            (7, 0, week - HOUR_MS),
            (7, week, 2 * week - HOUR_MS),
            (7, 2 * week, last),
            (7, int(at[-1]), int(at[-1])),
        ]
        assert sum(len(stretches) for stretches in merge_notes(notes, 2**60)) == len(notes)


@pytest.mark.parametrize("span", ["1ms", "15min", "90s", "1h", "36h", "1d"])
def test_a_span_is_written_as_it_is_read(span: str) -> None:
    assert span_text(parse_span_ms(span)) == span
