"""From readings to consumption by quarter of an hour (METHODS §1), for many meters at once.

What happens in a quarter depends only on the readings in it and their next neighbours on either side. So recomputing
a neighbourhood gives the same whole numbers as recomputing everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import MeterKind, Quality

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HOUR_MS = 3_600_000.0
_LARGEST_SUM = 9.2e18
"""Just below what 64 bits hold."""


class KindCode(IntEnum):
    """`MeterKind` as a number, for arrays."""

    COUNTER = 0
    INTERVAL = 1
    RATE = 2

    @classmethod
    def of(cls, kind: MeterKind | str) -> KindCode:
        return cls[MeterKind(kind).name]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRules:
    """How each meter's readings turn into consumption; arrays of one entry a meter.

    `factor`: canonical units per unit (for a rate per unit and hour). `max_gap_ms`: the longest silence that is still
    measured. `interval_ms`: the span that an interval reading covers, ending at its instant.
    """

    kind: NDArray[np.int8]
    factor: Floats
    max_gap_ms: Ints
    interval_ms: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingTable:
    """Readings sorted by meter and instant, none twice. `meter` points into the rules; `at` is Unix milliseconds."""

    meter: Ints
    at: Ints
    value: Floats
    quality: NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarterTable:
    """Consumption, one row a meter and quarter that anything is known of, sorted by both.

    `quarter` is the start in Unix milliseconds; `measured` and `estimated` are billionths of the canonical unit;
    `covered_ms` is how much of the quarter measured readings stand behind.
    """

    meter: Ints
    quarter: Ints
    measured: Ints
    estimated: Ints
    covered_ms: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spans:
    """Stretches of time with a known quantity: whole billionths, or, for a rate, the rate at either end."""

    meter: Ints
    start: Ints
    end: Ints
    quantity: Ints
    is_estimated: Bools
    rate_from: Floats
    rate_to: Floats
    is_rate: Bools


def roll_up(readings: ReadingTable, rules: MeterRules, *, from_ms: Ints, to_ms: Ints) -> QuarterTable:
    """Consumption of each meter in its window [from_ms, to_ms), whose edges are quarters.

    To be exact at the edges, `readings` must hold each meter's last reading before the window and its first after it.
    A counter that falls tells nothing about the time of its fall: that span stays unknown, neither zero nor negative.
    """
    spans = _join(_register_spans(readings, rules), _interval_spans(readings, rules), _rate_spans(readings, rules))
    if len(spans.meter) == 0:
        nothing = np.empty(0, dtype=np.int64)
        return QuarterTable(meter=nothing, quarter=nothing, measured=nothing, estimated=nothing, covered_ms=nothing)
    return _sum_by_quarter(spans, from_ms=from_ms, to_ms=to_ms)


def billionths(canonical: Floats) -> Ints:
    """Canonical units as whole billionths. The whole part is scaled apart, as a large product would lose digits."""
    whole = np.floor(canonical)
    return np.asarray(whole.astype(np.int64) * SCALE + np.rint((canonical - whole) * SCALE).astype(np.int64))


def _register_spans(readings: ReadingTable, rules: MeterRules) -> _Spans:
    """Between neighbouring register values, rounded before they are subtracted so that differences telescope."""
    pair = _neighbours(readings, rules, KindCode.COUNTER)
    # Registers of other kinds of meter are not used; only counters' must fit.
    is_counter = rules.kind[readings.meter] == KindCode.COUNTER
    register = billionths(np.where(is_counter, readings.value * rules.factor[readings.meter], 0.0))
    quantity = register[pair + 1] - register[pair]
    kept = pair[quantity >= 0]
    meter, start, end = readings.meter[kept], readings.at[kept], readings.at[kept + 1]
    return _spans(
        meter=meter,
        start=start,
        end=end,
        quantity=quantity[quantity >= 0],
        is_estimated=(end - start > rules.max_gap_ms[meter])
        | _doubtful(readings, kept)
        | _doubtful(readings, kept + 1),
    )


def _interval_spans(readings: ReadingTable, rules: MeterRules) -> _Spans:
    row = np.flatnonzero(rules.kind[readings.meter] == KindCode.INTERVAL)
    meter, end = readings.meter[row], readings.at[row]
    return _spans(
        meter=meter,
        start=end - rules.interval_ms[meter],
        end=end,
        quantity=billionths(readings.value[row] * rules.factor[meter]),
        is_estimated=_doubtful(readings, row),
    )


def _rate_spans(readings: ReadingTable, rules: MeterRules) -> _Spans:
    """Between neighbouring rates not further apart than `max_gap`; beyond that nothing is known."""
    pair = _neighbours(readings, rules, KindCode.RATE)
    meter, start, end = readings.meter[pair], readings.at[pair], readings.at[pair + 1]
    near = end - start <= rules.max_gap_ms[meter]
    pair, meter, start, end = pair[near], meter[near], start[near], end[near]
    return _spans(
        meter=meter,
        start=start,
        end=end,
        quantity=np.zeros(len(pair), dtype=np.int64),
        is_estimated=_doubtful(readings, pair) | _doubtful(readings, pair + 1),
        rate_from=readings.value[pair] * rules.factor[meter],
        rate_to=readings.value[pair + 1] * rules.factor[meter],
    )


def _neighbours(readings: ReadingTable, rules: MeterRules, kind: KindCode) -> Ints:
    """Rows i such that i and i + 1 are readings of one meter of that kind."""
    same = readings.meter[:-1] == readings.meter[1:]
    return np.flatnonzero(same & (rules.kind[readings.meter[:-1]] == kind))


def _doubtful(readings: ReadingTable, row: Ints) -> Bools:
    return np.asarray(
        (readings.quality[row] != Quality.GOOD) & (readings.quality[row] != Quality.MANUAL), dtype=np.bool_
    )


def _spans(
    *,
    meter: Ints,
    start: Ints,
    end: Ints,
    quantity: Ints,
    is_estimated: Bools,
    rate_from: Floats | None = None,
    rate_to: Floats | None = None,
) -> _Spans:
    nothing = np.zeros(len(meter))
    return _Spans(
        meter=meter,
        start=start,
        end=end,
        quantity=quantity,
        is_estimated=is_estimated,
        rate_from=nothing if rate_from is None else rate_from,
        rate_to=nothing if rate_to is None else rate_to,
        is_rate=np.full(len(meter), rate_from is not None),
    )


def _join(*parts: _Spans) -> _Spans:
    return _Spans(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _Spans.__dataclass_fields__}
    )


def _sum_by_quarter(spans: _Spans, *, from_ms: Ints, to_ms: Ints) -> QuarterTable:
    """Cut spans at quarters, keep what lies in each meter's window, and add up."""
    first = np.maximum(spans.start, from_ms[spans.meter]) // QUARTER_MS
    last = (np.minimum(spans.end, to_ms[spans.meter]) - 1) // QUARTER_MS
    count = np.maximum(last - first + 1, 0)
    span = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(span)) - np.repeat(np.cumsum(count) - count, count)
    quarter = (first[span] + nth) * QUARTER_MS
    start = np.maximum(spans.start[span], quarter)
    end = np.minimum(spans.end[span], quarter + QUARTER_MS)
    quantity = _share_until(spans, span, end) - _share_until(spans, span, start)
    energy = _integral(spans, span, start, end)

    # By meter, quarter and time, so that floats of one quarter are always added up in the same order.
    row = np.lexsort((start, quarter, spans.meter[span]))
    meter, quarter = spans.meter[span][row], quarter[row]
    if len(row) == 0:
        return QuarterTable(meter=meter, quarter=quarter, measured=meter, estimated=meter, covered_ms=meter)
    begins = np.flatnonzero(np.r_[True, (meter[1:] != meter[:-1]) | (quarter[1:] != quarter[:-1])])
    group = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(row)]))
    doubtful = spans.is_estimated[span[row]]
    # What no quantity can hold is no measurement but a broken source: such a quarter stays unknown.
    magnitude = np.add.reduceat(np.abs(quantity[row].astype(np.float64)) + np.abs(energy[row]) * SCALE, begins)
    is_sane = magnitude < _LARGEST_SUM

    def total(mask: Bools) -> Ints:
        whole = np.add.reduceat(np.where(mask, quantity[row], 0), begins)
        # bincount adds one after another, in order; reduceat would group floats by position.
        rates = np.bincount(group, weights=np.where(mask, energy[row], 0.0), minlength=len(begins))
        rates = np.where(is_sane, rates, 0.0)
        return np.asarray(whole + np.rint(rates * SCALE).astype(np.int64), dtype=np.int64)

    covered = np.add.reduceat(np.where(doubtful, 0, end[row] - start[row]), begins)
    return QuarterTable(
        meter=meter[begins][is_sane],
        quarter=quarter[begins][is_sane],
        measured=total(~doubtful)[is_sane],
        estimated=total(doubtful)[is_sane],
        covered_ms=np.minimum(covered, QUARTER_MS)[is_sane],
    )


def _share_until(spans: _Spans, span: Ints, at: Ints) -> Ints:
    """How much of a span's quantity falls before `at`, evenly in time; exactly all of it at the span's end."""
    quantity = spans.quantity[span]
    length = spans.end[span] - spans.start[span]
    part = np.rint(quantity * ((at - spans.start[span]) / length)).astype(np.int64)
    # A product of floats can pass a large whole number by its last bits; the part never exceeds the whole.
    part = np.where(quantity >= 0, np.minimum(part, quantity), np.maximum(part, quantity))
    return np.where(at >= spans.end[span], quantity, part)


def _integral(spans: _Spans, span: Ints, start: Ints, end: Ints) -> Floats:
    """Canonical units that a rate gives between two instants of its span, by the trapezoid."""
    origin, length = spans.start[span], spans.end[span] - spans.start[span]
    low, slope = spans.rate_from[span], (spans.rate_to[span] - spans.rate_from[span]) / length
    at_start, at_end = low + slope * (start - origin), low + slope * (end - origin)
    return np.where(spans.is_rate[span], (at_start + at_end) / 2 * ((end - start) / _HOUR_MS), 0.0)
