"""Readings of calm meters, slice after slice: the short way, for as long as there is nothing to judge.

A country's meters say 85,000 things a second, and nearly all of them are calm. Here each reading is looked at once,
beside the one before it. What is not calm is told, and judged elsewhere with all that is around it (`consumption`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.metering.flows import frozen_event, is_odd
from collector.metering.registers import is_break
from collector.metering.sums import Spans, join_spans, make_spans
from collector.metering.tables import (
    NEVER,
    Bools,
    Event,
    Floats,
    Ints,
    KindCode,
    MeterRules,
    ReadingTable,
    billionths,
    is_doubtful,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """Each meter's last reading, and since when it says the same; one entry a meter. `at` NEVER: none is known."""

    at: Ints
    value: Floats
    quality: NDArray[np.int16]
    still_since: Ints

    def replace(self, meter: Ints, *, at: Ints, value: Floats, quality: NDArray[np.int16], still_since: Ints) -> None:
        """Put these readings in place of what was known of their meters."""
        self.at[meter], self.value[meter] = at, value
        self.quality[meter], self.still_since[meter] = quality, still_since


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Spans that the slice's calm readings end, stretches of standing still, and the meters that have to be judged.

    `rough` are meters and `rough_from` the instants of the first readings of theirs that are not in the spans.
    """

    spans: Spans
    frozen: list[Event]
    rough: Ints
    rough_from: Ints


def no_tails(count: int) -> Tails:
    """Nothing known of any meter."""
    return Tails(
        at=np.full(count, NEVER, dtype=np.int64),
        value=np.zeros(count),
        quality=np.zeros(count, dtype=np.int16),
        still_since=np.full(count, NEVER, dtype=np.int64),
    )


def follow(readings: ReadingTable, rules: MeterRules, tails: Tails, *, kept_from: int, first_at: Ints) -> Followed:
    """Take the next readings of calm meters up, and move `tails` on to them.

    No reading may be older than its meter's tail. What reaches back before `kept_from` (Unix milliseconds) is rough,
    and so is a meter without a tail that has spoken before: `first_at` is when each spoke first.
    """
    meter, at, value = readings.meter, readings.at, readings.value
    if len(meter) == 0:
        nothing = np.empty(0, dtype=np.int64)
        empty = make_spans(meter=nothing, start=nothing, end=nothing, is_estimated=np.empty(0, np.bool_))
        return Followed(spans=empty, frozen=[], rough=nothing, rough_from=nothing)
    is_first = np.r_[True, meter[1:] != meter[:-1]]
    firsts = np.flatnonzero(is_first)
    before = _predecessors(readings, rules, tails, firsts)
    rough_row = _rough_rows(readings, rules, before, kept_from=kept_from, first_at=first_at)
    # From a meter's first rough row on nothing of it is followed.
    row = np.arange(len(meter))
    begins_rough = np.minimum.reduceat(np.where(rough_row, row, len(row)), firsts)
    group = np.cumsum(is_first) - 1
    is_followed = row < begins_rough[group]
    rough_groups = np.flatnonzero(begins_rough < len(row))
    frozen = _frozen(readings, rules, tails, is_followed=is_followed, firsts=firsts)
    lasts = np.r_[firsts[1:], len(row)] - 1
    tails.at[meter[lasts]], tails.value[meter[lasts]] = at[lasts], value[lasts]
    tails.quality[meter[lasts]] = readings.quality[lasts]
    return Followed(
        spans=_spans(readings, rules, before, is_followed),
        frozen=frozen,
        rough=meter[firsts[rough_groups]],
        rough_from=at[begins_rough[rough_groups]],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """Each reading beside its predecessor: `at` NEVER where there is none."""

    at: Ints
    value: Floats
    is_doubtful: Bools
    register: Ints
    own_register: Ints


def _predecessors(readings: ReadingTable, rules: MeterRules, tails: Tails, firsts: Ints) -> _Before:
    meter, first_meter = readings.meter, readings.meter[firsts]
    doubtful = is_doubtful(readings.quality)
    is_counter = rules.kind[meter] == KindCode.COUNTER
    own = billionths(np.where(is_counter, readings.value * rules.to_canonical[meter], 0.0))
    at, value = np.roll(readings.at, 1), np.roll(readings.value, 1)
    doubted, register = np.roll(doubtful, 1), np.roll(own, 1)
    at[firsts], value[firsts] = tails.at[first_meter], tails.value[first_meter]
    doubted[firsts] = is_doubtful(tails.quality[first_meter])
    counts = rules.kind[first_meter] == KindCode.COUNTER
    register[firsts] = billionths(np.where(counts, value[firsts] * rules.to_canonical[first_meter], 0.0))
    return _Before(at=at, value=value, is_doubtful=doubtful | doubted, register=register, own_register=own)


def _rough_rows(readings: ReadingTable, rules: MeterRules, before: _Before, *, kept_from: int, first_at: Ints) -> Bools:
    meter, at = readings.meter, readings.at
    kind = rules.kind[meter]
    has_before = before.at != NEVER
    is_interval = kind == KindCode.INTERVAL
    reach = np.where(is_interval, rules.interval_ms[meter], 0)
    silence = np.where(has_before, at - reach - before.at, 0)
    is_rough = (silence > rules.max_gap_ms[meter]) | (has_before & (before.at < kept_from)) | (at - reach < kept_from)
    is_rough |= ~has_before & (first_at[meter] < at)
    is_counter = kind == KindCode.COUNTER
    rise = before.own_register - before.register
    is_rough |= is_counter & has_before & is_break(rise, silence, rules.rated[meter])
    if not is_counter.all():
        is_rough |= ~is_counter & is_odd(readings, rules)
    return np.asarray(is_rough, dtype=np.bool_)


def _spans(readings: ReadingTable, rules: MeterRules, before: _Before, is_followed: Bools) -> Spans:
    meter, at, value = readings.meter, readings.at, readings.value
    kind = rules.kind[meter]
    follows = is_followed & (before.at != NEVER)
    row = np.flatnonzero(follows & (kind == KindCode.COUNTER))
    parts = [
        make_spans(
            meter=meter[row],
            start=before.at[row],
            end=at[row],
            quantity=before.own_register[row] - before.register[row],
            is_estimated=before.is_doubtful[row],
        )
    ]
    row = np.flatnonzero(is_followed & (kind == KindCode.INTERVAL))
    if len(row):
        parts.append(
            make_spans(
                meter=meter[row],
                start=at[row] - rules.interval_ms[meter[row]],
                end=at[row],
                quantity=billionths(value[row] * rules.to_canonical[meter[row]]),
                is_estimated=is_doubtful(readings.quality[row]),
            )
        )
    row = np.flatnonzero(follows & (kind == KindCode.RATE))
    if len(row):
        to_canonical = rules.to_canonical[meter[row]]
        parts.append(
            make_spans(
                meter=meter[row],
                start=before.at[row],
                end=at[row],
                rates=(before.value[row] * to_canonical, value[row] * to_canonical),
                is_estimated=before.is_doubtful[row],
            )
        )
    return join_spans(*parts) if len(parts) > 1 else parts[0]


def _frozen(
    readings: ReadingTable, rules: MeterRules, tails: Tails, *, is_followed: Bools, firsts: Ints
) -> list[Event]:
    """Stretches of standing still that end or go on in this slice, as far as they are long enough to tell."""
    limits = rules.frozen_after_ms[readings.meter[firsts]]
    watched = np.flatnonzero((limits > 0) & (rules.kind[readings.meter[firsts]] != KindCode.INTERVAL))
    ends = np.r_[firsts[1:], len(readings.meter)]
    found = []
    for nth in watched.tolist():
        begin, end = int(firsts[nth]), int(ends[nth])
        end = begin + int(is_followed[begin:end].sum())
        if end > begin:
            found += _frozen_of(readings, tails, begin, end, limit=int(limits[nth]))
    return found


def _frozen_of(readings: ReadingTable, tails: Tails, begin: int, end: int, *, limit: int) -> list[Event]:
    meter = int(readings.meter[begin])
    at, value = readings.at[begin:end], readings.value[begin:end]
    moved = np.flatnonzero(value[1:] != value[:-1]) + 1
    begins, ends = np.r_[0, moved], np.r_[moved, len(at)] - 1
    since = at[begins]
    goes_on = tails.at[meter] != NEVER and tails.value[meter] == value[0]
    if goes_on:
        since[0] = tails.still_since[meter]
    until = at[ends]
    tails.still_since[meter] = since[-1]
    return [
        frozen_event(meter=meter, at=int(since[i]), until=int(until[i]), value=float(value[begins[i]]))
        for i in np.flatnonzero(until - since > limit).tolist()
    ]
