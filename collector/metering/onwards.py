"""Quarters that go on: what is known of them so far, from the last readings before them to the present. Pure."""

from __future__ import annotations

import numpy as np

from collector.metering.consumption import judge_readings
from collector.metering.flows import is_spike
from collector.metering.neighbourhood import Loaded, Stretch, ceil_quarter, counter_frame, is_aside
from collector.metering.sums import Sums, sum_by_quarter
from collector.metering.tables import KindCode, MeterRules


def sum_onwards(from_ms: int, loaded: Loaded, rules: MeterRules) -> Sums:
    """One meter's quarters from `from_ms` on, as far as what is loaded tells; `rules` are its own."""
    spans = judge_readings(loaded.readings, rules, loaded.facts, known_to=loaded.to_ms).spans
    return sum_by_quarter(spans, from_ms=np.array([from_ms]), to_ms=np.array([ceil_quarter(loaded.to_ms)]))


def is_enough(from_ms: int, loaded: Loaded, rules: MeterRules) -> bool:
    """Whether no reading before those that are loaded can change these sums."""
    readings = loaded.readings
    match rules.kind[0]:
        case KindCode.COUNTER:
            stretch = Stretch(meter=0, from_ms=from_ms, to_ms=max(loaded.to_ms - 1, from_ms))
            return counter_frame(stretch, loaded, rules) is not None
        case KindCode.RATE:
            counts = ~(is_spike(readings, rules) | is_aside(readings, loaded.facts))
            return loaded.begins or bool((counts & (readings.at < from_ms)).any())
        case _:
            return True
