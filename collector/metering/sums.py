"""From spans with a known quantity to sums by quarter of an hour.

All sums are whole numbers, so that they can be added up in any order and any grouping: what was added slice by slice is
what comes out when everything is added at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.metering.tables import HOUR_MS, Bools, Floats, Ints
from schemas.quantities import QUARTER_MS, SCALE

_LARGEST_SUM = int(9.2e18)
"""Just below what 64 bits hold."""
_SIZE_BITS = 20
_FINE_BITS = 32


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
class Spans:
    """Stretches of time with a known quantity: whole billionths, or, for a rate, the rate at either end.

    Rates are canonical units an hour. None is of length zero.
    """

    meter: Ints
    start: Ints
    end: Ints
    quantity: Ints
    is_estimated: Bools
    rate_from: Floats
    rate_to: Floats
    is_rate: Bools

    def select(self, rows: Ints | Bools) -> Spans:
        """These rows, in this order."""
        return Spans(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What is known of a meter's quarter so far, sorted by both; all of it adds up.

    `measured` and `estimated` are billionths, `…_fine` their fractions, in parts of 2^32. `size` is above zero for each
    row, and beyond bounds where the sums may have overflown.
    """

    meter: Ints
    quarter: Ints
    measured: Ints
    estimated: Ints
    measured_fine: Ints
    estimated_fine: Ints
    covered_ms: Ints
    size: Ints

    def select(self, rows: Ints | Bools) -> Sums:
        """These rows, in this order."""
        return Sums(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


_ADDED = ("measured", "estimated", "measured_fine", "estimated_fine", "covered_ms", "size")


def no_sums() -> Sums:
    """Nothing known of any quarter."""
    nothing = np.empty(0, dtype=np.int64)
    return Sums(**dict.fromkeys(Sums.__dataclass_fields__, nothing))


def make_spans(
    *,
    meter: Ints,
    start: Ints,
    end: Ints,
    is_estimated: Bools,
    quantity: Ints | None = None,
    rates: tuple[Floats, Floats] | None = None,
) -> Spans:
    """Spans of known quantities, or of `rates` (at either end)."""
    nothing = np.zeros(len(meter))
    rate_from, rate_to = rates or (nothing, nothing)
    return Spans(
        meter=meter,
        start=start,
        end=end,
        quantity=np.zeros(len(meter), dtype=np.int64) if quantity is None else quantity,
        is_estimated=is_estimated,
        rate_from=rate_from,
        rate_to=rate_to,
        is_rate=np.full(len(meter), rates is not None),
    )


def join_spans(*parts: Spans) -> Spans:
    """All of them."""
    return Spans(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Spans.__dataclass_fields__}
    )


def sum_by_quarter(spans: Spans, *, from_ms: Ints | None = None, to_ms: Ints | None = None) -> Sums:
    """Cut spans at quarters and add up, in each meter's window [from_ms, to_ms) of whole quarters where it is given."""
    begin = spans.start if from_ms is None else np.maximum(spans.start, from_ms[spans.meter])
    finish = spans.end if to_ms is None else np.minimum(spans.end, to_ms[spans.meter])
    first, last = begin // QUARTER_MS, (finish - 1) // QUARTER_MS
    is_whole = (first == last) & (begin == spans.start) & (finish == spans.end)
    cut = np.flatnonzero((last >= first) & ~is_whole)
    # Most spans lie within one quarter and need no cutting.
    return merge_sums(_pieces_of_whole(spans, np.flatnonzero(is_whole)), _pieces_of_cut(spans, cut, first, last))


def merge_sums(*parts: Sums) -> Sums:
    """One row a meter and quarter, whatever stood in which part."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Sums.__dataclass_fields__}
    if len(columns["meter"]) == 0:
        return no_sums()
    order = np.lexsort((columns["quarter"], columns["meter"]))
    meter, quarter = columns["meter"][order], columns["quarter"][order]
    begins = np.flatnonzero(np.r_[True, (meter[1:] != meter[:-1]) | (quarter[1:] != quarter[:-1])])
    added = {name: np.add.reduceat(columns[name][order], begins) for name in _ADDED}
    return Sums(meter=meter[begins], quarter=quarter[begins], **added)


def finish_quarters(sums: Sums) -> QuarterTable:
    """The sums as consumption. What no quantity can hold is no measurement but a broken source: it stays unknown."""
    sane = sums.select(sums.size < (_LARGEST_SUM >> _SIZE_BITS))
    half = 1 << (_FINE_BITS - 1)
    return QuarterTable(
        meter=sane.meter,
        quarter=sane.quarter,
        measured=sane.measured + ((sane.measured_fine + half) >> _FINE_BITS),
        estimated=sane.estimated + ((sane.estimated_fine + half) >> _FINE_BITS),
        # Interval readings may overlap.
        covered_ms=np.minimum(sane.covered_ms, QUARTER_MS),
    )


def _pieces_of_whole(spans: Spans, row: Ints) -> Sums:
    meter, start, end = spans.meter[row], spans.start[row], spans.end[row]
    energy = _integral(spans, row, start, end)
    return _pieces(
        meter=meter,
        quarter=start // QUARTER_MS * QUARTER_MS,
        quantity=spans.quantity[row],
        energy=energy,
        is_estimated=spans.is_estimated[row],
        length=end - start,
    )


def _pieces_of_cut(spans: Spans, row: Ints, first: Ints, last: Ints) -> Sums:
    count = last[row] - first[row] + 1
    span = np.repeat(row, count)
    nth = np.arange(len(span)) - np.repeat(np.cumsum(count) - count, count)
    quarter = (first[span] + nth) * QUARTER_MS
    start = np.maximum(spans.start[span], quarter)
    end = np.minimum(spans.end[span], quarter + QUARTER_MS)
    return _pieces(
        meter=spans.meter[span],
        quarter=quarter,
        quantity=_share_until(spans, span, end) - _share_until(spans, span, start),
        energy=_integral(spans, span, start, end),
        is_estimated=spans.is_estimated[span],
        length=end - start,
    )


def _pieces(
    *, meter: Ints, quarter: Ints, quantity: Ints, energy: Floats | None, is_estimated: Bools, length: Ints
) -> Sums:
    fine = np.zeros(len(meter), dtype=np.int64)
    if energy is not None:
        # Billionths beyond all bounds come from a source that is broken; `size` tells, and the number does not matter.
        scaled = np.clip(np.nan_to_num(energy) * SCALE, -_LARGEST_SUM, _LARGEST_SUM)
        whole = np.floor(scaled)
        quantity = quantity + whole.astype(np.int64)
        fine = np.rint((scaled - whole) * (1 << _FINE_BITS)).astype(np.int64)
    return Sums(
        meter=meter,
        quarter=quarter,
        measured=np.where(is_estimated, 0, quantity),
        estimated=np.where(is_estimated, quantity, 0),
        measured_fine=np.where(is_estimated, 0, fine),
        estimated_fine=np.where(is_estimated, fine, 0),
        covered_ms=np.where(is_estimated, 0, length),
        size=(np.abs(quantity) >> _SIZE_BITS) + 1,
    )


def _share_until(spans: Spans, span: Ints, at: Ints) -> Ints:
    """How much of a span's quantity falls before `at`, evenly in time; exactly all of it at the span's end."""
    quantity = spans.quantity[span]
    length = spans.end[span] - spans.start[span]
    part = np.rint(quantity * ((at - spans.start[span]) / length)).astype(np.int64)
    # A product of floats can pass a large whole number by its last bits; the part never exceeds the whole.
    part = np.where(quantity >= 0, np.minimum(part, quantity), np.maximum(part, quantity))
    return np.where(at >= spans.end[span], quantity, part)


def _integral(spans: Spans, span: Ints, start: Ints, end: Ints) -> Floats | None:
    """Canonical units that a rate gives between two instants of its span, by the trapezoid; None without any rate."""
    if not spans.is_rate[span].any():
        return None
    origin, length = spans.start[span], spans.end[span] - spans.start[span]
    low, slope = spans.rate_from[span], (spans.rate_to[span] - spans.rate_from[span]) / length
    at_start, at_end = low + slope * (start - origin), low + slope * (end - origin)
    return np.where(spans.is_rate[span], (at_start + at_end) / 2 * ((end - start) / HOUR_MS), 0.0)
