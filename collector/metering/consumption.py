"""From readings to consumption by quarter of an hour and to meter events (METHODS §1), for many meters at once.

What happens in a quarter depends on the readings around it as far as its meter is not calm (`registers`), and no
further: recomputing a neighbourhood gives the same whole numbers as recomputing everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from collector.metering.counters import judge_counters
from collector.metering.flows import find_frozen, judge_intervals, judge_rates
from collector.metering.sums import QuarterTable, Spans, finish_quarters, join_spans, sum_by_quarter
from collector.metering.tables import (
    NO_FACTS,
    Bools,
    Event,
    Facts,
    Ints,
    KindCode,
    MeterRules,
    ReadingTable,
    Told,
)
from schemas.events import Decision, EventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Spans of the readings that count, and all that was found, by meter and instant.

    `settled` maps a counter that had to be judged to the instant before which no later reading changes anything; of
    those in `open` something is still to be decided.
    """

    spans: Spans
    events: list[Event]
    settled: dict[int, int]
    open: set[int]


def judge_readings(readings: ReadingTable, rules: MeterRules, facts: Facts = NO_FACTS, *, known_to: int = 0) -> Judged:
    """Which readings count, how they follow each other, and what is odd about them.

    All readings before `known_to` (Unix milliseconds) are given: a register that has not come back by then may be
    judged although nothing has come since.
    """
    told_aside = [told for told in facts.told if told.decision is Decision.SET_ASIDE]
    is_kept, events = _set_aside(readings, told_aside)
    readings = readings.select(is_kept)
    follows_aside = np.r_[False, ~is_kept[:-1]][: len(is_kept)][is_kept]
    kind = rules.kind[readings.meter]
    is_interval, is_rate = kind == KindCode.INTERVAL, kind == KindCode.RATE
    is_vouched = _vouched(readings, facts)
    counters = judge_counters(
        readings.select(kind == KindCode.COUNTER), rules, _of_counters(facts, rules), known_to=known_to
    )
    intervals = judge_intervals(readings.select(is_interval), rules, is_vouched[is_interval])
    rates = judge_rates(readings.select(is_rate), rules, is_vouched[is_rate], follows_aside=follows_aside[is_rate])
    events = [_with_quantity(event, counters.spans) for event in events]
    events += counters.events + find_frozen(readings, rules) + intervals.events + rates.events
    return Judged(
        spans=join_spans(counters.spans, intervals.spans, rates.spans),
        events=sorted(events, key=lambda event: (event.meter, event.at, event.kind)),
        settled=counters.settled,
        open=counters.open,
    )


def roll_up(
    readings: ReadingTable, rules: MeterRules, *, from_ms: Ints, to_ms: Ints, facts: Facts = NO_FACTS
) -> QuarterTable:
    """Consumption of each meter in its window [from_ms, to_ms), whose edges are quarters.

    To be exact at the edges, `readings` must reach beyond the window: to the next reading on either side where the
    meter is calm, and otherwise as far as a calm stretch.
    """
    spans = judge_readings(readings, rules, facts).spans
    return finish_quarters(sum_by_quarter(spans, from_ms=from_ms, to_ms=to_ms))


def _of_counters(facts: Facts, rules: MeterRules) -> Facts:
    return Facts(
        exchanges=[e for e in facts.exchanges if rules.kind[e.meter] == KindCode.COUNTER],
        told=[t for t in facts.told if rules.kind[t.meter] == KindCode.COUNTER],
    )


def _set_aside(readings: ReadingTable, told_aside: list[Told]) -> tuple[Bools, list[Event]]:
    """Which readings are left once those are gone that a person set aside, and the events of the latter."""
    is_kept = np.ones(len(readings.at), dtype=np.bool_)
    found = []
    for told in told_aside:
        rows = (readings.meter == told.meter) & (readings.at >= told.at) & (readings.at <= told.until)
        # A register that is stuck was right when it last moved.
        aside = rows & (readings.at > told.at) if told.kind is EventKind.FROZEN else rows
        is_kept &= ~aside
        found.append((told, np.flatnonzero(rows)))
    return is_kept, [_told_event(readings, told, rows, is_kept) for told, rows in found if len(rows)]


def _told_event(readings: ReadingTable, told: Told, rows: Ints, is_kept: Bools) -> Event:
    mine = np.flatnonzero(is_kept & (readings.meter == told.meter))
    before, after = mine[mine < rows[0]][-1:], mine[mine > rows[-1]][:1]
    event = Event(
        meter=told.meter,
        kind=told.kind,
        decision=told.decision,
        at=told.at,
        until=told.until,
        readings=len(rows),
        value=float(readings.value[rows[0]]),
        until_value=float(readings.value[rows[-1]]),
    )
    if len(before):
        event = replace(event, before=(int(readings.at[before[0]]), float(readings.value[before[0]])))
    if len(after):
        event = replace(event, after=(int(readings.at[after[0]]), float(readings.value[after[0]])))
    return event


def _with_quantity(event: Event, spans: Spans) -> Event:
    """An event of readings that a person set aside, with what their register counted meanwhile, where that is known."""
    over = np.flatnonzero((spans.meter == event.meter) & (spans.start < event.at) & (spans.end > event.until))
    return replace(event, quantity=int(spans.quantity[over[0]])) if len(over) else event


def _vouched(readings: ReadingTable, facts: Facts) -> Bools:
    """Readings of which a person said that they stand as they are."""
    vouched = np.zeros(len(readings.at), dtype=np.bool_)
    for told in facts.told:
        if told.kind is EventKind.SPIKE and told.decision is Decision.COUNT:
            vouched |= (readings.meter == told.meter) & (readings.at >= told.at) & (readings.at <= told.until)
    return vouched
