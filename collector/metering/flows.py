"""Interval and rate meters: from quantities of stated spans, and from powers and flows, to spans of consumption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.metering.sums import Spans, make_spans
from collector.metering.tables import (
    HOUR_MS,
    Bools,
    Event,
    Ints,
    KindCode,
    MeterRules,
    ReadingTable,
    billionths,
    is_doubtful,
)
from schemas.events import Decision, EventKind
from schemas.quantities import SCALE

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFlows:
    """Spans of the readings that count, and what was found."""

    spans: Spans
    events: list[Event]


def judge_intervals(readings: ReadingTable, rules: MeterRules, is_vouched: Bools) -> JudgedFlows:
    """Readings of interval meters alone. `is_vouched`: a person said of the reading that it stands as it is."""
    canonical = readings.value * rules.to_canonical[readings.meter]
    spikes = is_spike(readings, rules) & ~is_vouched
    row = np.flatnonzero(~spikes)
    meter, end = readings.meter[row], readings.at[row]
    spans = make_spans(
        meter=meter,
        start=end - rules.interval_ms[meter],
        end=end,
        quantity=billionths(canonical[row]),
        is_estimated=is_doubtful(readings.quality[row]),
    )
    events = _spikes(readings, spikes) + _exports(readings, row)
    same = np.flatnonzero(meter[1:] == meter[:-1])
    hole = spans.start[same + 1] - spans.end[same] > rules.max_gap_ms[meter[same]]
    events += [_gap(readings, int(row[i]), int(row[i + 1]), until=int(spans.start[i + 1])) for i in same[hole].tolist()]
    return JudgedFlows(spans=spans, events=events)


def judge_rates(readings: ReadingTable, rules: MeterRules, is_vouched: Bools, *, follows_aside: Bools) -> JudgedFlows:
    """Readings of rate meters alone: the trapezoid between neighbours not further apart than `max_gap`.

    Beyond that nothing is known. Where a reading between two was set aside, what lies between them is estimated, be it
    by these rules or by a person: `follows_aside` is true of the readings right after those that a person set aside.
    """
    rate = readings.value * rules.to_canonical[readings.meter]
    spikes = is_spike(readings, rules) & ~is_vouched
    row = np.flatnonzero(~spikes)
    same = np.flatnonzero(readings.meter[row[1:]] == readings.meter[row[:-1]])
    first, second = row[same], row[same + 1]
    meter, start, end = readings.meter[first], readings.at[first], readings.at[second]
    doubtful = is_doubtful(readings.quality)
    is_near = end - start <= rules.max_gap_ms[meter]
    spans = make_spans(
        meter=meter[is_near],
        start=start[is_near],
        end=end[is_near],
        rates=(rate[first[is_near]], rate[second[is_near]]),
        is_estimated=(doubtful[first] | doubtful[second] | (second - first > 1) | follows_aside[second])[is_near],
    )
    events = _spikes(readings, spikes) + _exports(readings, row)
    events += [
        _gap(readings, int(i), int(j), until=int(readings.at[j]))
        for i, j in zip(first[~is_near].tolist(), second[~is_near].tolist(), strict=True)
    ]
    return JudgedFlows(spans=spans, events=events)


def find_frozen(readings: ReadingTable, rules: MeterRules) -> list[Event]:
    """Stretches in which a counter or a rate says the same for longer than its `frozen_after`. They count as they are.

    Whether the line ran meanwhile is another question, which runs answer.
    """
    limit = rules.frozen_after_ms[readings.meter]
    row = np.flatnonzero((limit > 0) & (rules.kind[readings.meter] != KindCode.INTERVAL))
    if len(row) == 0:
        return []
    meter, value = readings.meter[row], readings.value[row]
    begins = np.flatnonzero(np.r_[True, (meter[1:] != meter[:-1]) | (value[1:] != value[:-1])])
    ends = np.r_[begins[1:], len(row)] - 1
    long = readings.at[row[ends]] - readings.at[row[begins]] > limit[row[begins]]
    return [
        frozen_event(
            meter=int(meter[begin]),
            at=int(readings.at[row[begin]]),
            until=int(readings.at[row[end]]),
            value=float(value[begin]),
        )
        for begin, end in zip(begins[long].tolist(), ends[long].tolist(), strict=True)
    ]


def frozen_event(*, meter: int, at: int, until: int, value: float) -> Event:
    """A meter that said the same from `at` to `until`. Its evidence is the first and the last such reading."""
    return Event(
        meter=meter,
        kind=EventKind.FROZEN,
        decision=Decision.COUNT,
        at=at,
        until=until,
        readings=2,
        value=value,
        until_value=value,
    )


def is_odd(readings: ReadingTable, rules: MeterRules) -> Bools:
    """Readings of intervals and rates that can't be taken as they are: negative, or more than the meter can count."""
    return np.asarray((readings.value < 0) | is_spike(readings, rules), dtype=np.bool_)


def is_spike(readings: ReadingTable, rules: MeterRules) -> Bools:
    """Readings of intervals and rates that are more than the meter can count, either way."""
    meter = readings.meter
    hours = np.where(rules.kind[meter] == KindCode.INTERVAL, rules.interval_ms[meter] / HOUR_MS, 1.0)
    rate = np.abs(readings.value * rules.to_canonical[meter]) / hours
    return np.asarray(rate * SCALE > rules.rated[meter], dtype=np.bool_)


def _spikes(readings: ReadingTable, spikes: Bools) -> list[Event]:
    return [
        _event(readings, rows, EventKind.SPIKE, Decision.SET_ASIDE)
        for rows in _stretches(readings, np.flatnonzero(spikes))
    ]


def _exports(readings: ReadingTable, row: Ints) -> list[Event]:
    """Stretches of negative values: what flows the other way counts, and is told."""
    negative = row[readings.value[row] < 0]
    return [_event(readings, rows, EventKind.EXPORT, Decision.COUNT) for rows in _stretches(readings, negative)]


def _stretches(readings: ReadingTable, row: Ints) -> list[Ints]:
    """Rows grouped by meter into runs of neighbours, none beyond a day (UTC), so that its end comes in sight."""
    if len(row) == 0:
        return []
    meter, day = readings.meter[row], readings.at[row] // DAY_MS
    return np.split(row, np.flatnonzero((np.diff(row) > 1) | (meter[1:] != meter[:-1]) | (np.diff(day) > 0)) + 1)


def _event(readings: ReadingTable, rows: Ints, kind: EventKind, decision: Decision) -> Event:
    first, last = int(rows[0]), int(rows[-1])
    return Event(
        meter=int(readings.meter[first]),
        kind=kind,
        decision=decision,
        at=int(readings.at[first]),
        until=int(readings.at[last]),
        readings=len(rows),
        value=float(readings.value[first]),
        until_value=float(readings.value[last]),
        before=_neighbour(readings, first, first - 1),
        after=_neighbour(readings, last, last + 1),
    )


def _gap(readings: ReadingTable, first: int, second: int, *, until: int) -> Event:
    return Event(
        meter=int(readings.meter[first]),
        kind=EventKind.GAP,
        decision=Decision.RESTART,
        at=int(readings.at[first]),
        until=until,
        readings=2,
        value=float(readings.value[first]),
        until_value=float(readings.value[second]),
    )


def _neighbour(readings: ReadingTable, row: int, other: int) -> tuple[int, float] | None:
    if not 0 <= other < len(readings.at) or readings.meter[other] != readings.meter[row]:
        return None
    return int(readings.at[other]), float(readings.value[other])
