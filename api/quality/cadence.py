"""How often a meter is expected to speak, whether it does, and when it counts as silent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from api.quality.facts import CadenceFrom, MeterFacts

LATE = 1.5
"""A meter keeps its cadence while its readings lie at most this many times as far apart as expected [O]."""
MISSED = 3
"""Expected readings that may stay away before a meter is silent [O]."""
LOOKED = timedelta(days=30)
"""How far back a meter's last reading is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """`expected_ms` and where it comes from; `is_kept` is None where nothing was promised or too little was seen.

    A learnt cadence is what the meter does, and so can't be broken.
    """

    expected_ms: float | None
    source: CadenceFrom | None
    is_kept: bool | None


def cadence_of(meter: MeterFacts) -> Cadence:
    """What is set goes before an interval meter's interval, and that before what the meter was seen to do."""
    for expected, source in ((meter.cadence_ms, CadenceFrom.SET), (meter.interval_ms, CadenceFrom.INTERVAL)):
        if expected is not None:
            kept = None if meter.seen_ms is None else meter.seen_ms <= LATE * expected
            return Cadence(expected_ms=expected, source=source, is_kept=kept)
    # What speaks too seldom to have been seen twice leaves gaps, which tell the same.
    learnt = meter.gap_ms if meter.seen_ms is None else meter.seen_ms
    return Cadence(expected_ms=learnt, source=None if learnt is None else CadenceFrom.LEARNT, is_kept=None)


def silent_after(meter: MeterFacts) -> timedelta:
    """How long the meter may say nothing: its `max_gap`, or three times its cadence where that is longer."""
    expected = cadence_of(meter).expected_ms or 0
    return timedelta(milliseconds=max(meter.max_gap_ms, MISSED * expected))


def is_silent(meter: MeterFacts, now: datetime) -> bool:
    """Whether it has said nothing for longer than that; not where we did not look that far back."""
    return (LOOKED if meter.last_at is None else now - meter.last_at) > silent_after(meter)
