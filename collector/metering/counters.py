"""Counters: from register values to spans of consumption, device by device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from collector.metering.registers import Finding, Life, Link, find_breaks, is_break, judge
from collector.metering.sums import Spans, make_spans
from collector.metering.tables import (
    Bools,
    Event,
    Exchange,
    Facts,
    Floats,
    Ints,
    MeterRules,
    ReadingTable,
    billionths,
    is_doubtful,
)
from schemas.events import Decision, EventKind

_LAST_OLD, _FIRST_NEW, _READ = 0, 1, 2
"""Where a row comes from, in the order of rows at one instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCounters:
    """Spans of the readings that count, what was found, and for meters that had to be judged until when it is settled.

    `settled` maps a meter to the instant before which no reading after its last one can change anything; of those in
    `open` something is still to be decided.
    """

    spans: Spans
    events: list[Event]
    settled: dict[int, int]
    open: set[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Register values by meter and instant, those that exchanges recorded among them; `life` counts the devices."""

    meter: Ints
    at: Ints
    value: Floats
    register: Ints
    is_doubtful: Bools
    origin: Ints
    life: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Links:
    """What lies between readings that count, by the row at which each link ends, in order."""

    end: Ints
    quantity: Ints

    def quantity_to(self, row: int) -> int | None:
        """The quantity of the link that ends there; None where nothing is known."""
        place = int(np.searchsorted(self.end, row))
        return int(self.quantity[place]) if place < len(self.end) and self.end[place] == row else None


def judge_counters(readings: ReadingTable, rules: MeterRules, facts: Facts, *, known_to: int) -> JudgedCounters:
    """Readings of counters alone, of which those set aside by a person are gone already."""
    rows = _with_exchanges(readings, rules, facts.exchanges)
    is_counted = np.ones(len(rows.at), dtype=np.bool_)
    link = np.zeros(len(rows.at), dtype=np.int64)
    findings: list[Finding] = []
    settled: dict[int, int] = {}
    undecided: set[int] = set()
    vouched = _vouched_by_exchanges(rows, rules, facts.exchanges)
    for begin, end in _lives_to_judge(rows, rules, facts, vouched):
        meter = int(rows.meter[begin])
        life = _life(rows, rules, facts, begin=begin, end=end, known_to=known_to)
        judgement = judge(replace(life, vouched=frozenset(row - begin for row in vouched if begin <= row < end)))
        is_counted[begin:end], link[begin:end] = judgement.is_counted, judgement.link
        findings += [_shifted(finding, begin) for finding in judgement.findings]
        settled[meter] = judgement.settled_ms
        undecided |= {meter} if judgement.is_open else set()
    counted = np.flatnonzero(is_counted)
    first, second = counted[:-1], counted[1:]
    linked = (rows.life[first] == rows.life[second]) & (link[second] != Link.UNKNOWN)
    first, second = first[linked], second[linked]
    quantity = _quantities(rows, rules, first, second, link[second])
    gaps, is_believed = _gaps(rows, rules, facts, first, second, quantity)
    first, second, quantity = first[is_believed], second[is_believed], quantity[is_believed]
    meter = rows.meter[second]
    spans = make_spans(
        meter=meter,
        start=rows.at[first],
        end=rows.at[second],
        quantity=quantity,
        is_estimated=(rows.at[second] - rows.at[first] > rules.max_gap_ms[meter])
        | rows.is_doubtful[first]
        | rows.is_doubtful[second]
        # What a register counted before it began again at zero is not known.
        | (link[second] == Link.RESET),
    )
    links = _Links(end=second, quantity=quantity)
    events = [_event(rows, finding, links) for finding in findings]
    events += gaps
    events += [_exchange_event(rows, exchange, counted, links) for exchange in facts.exchanges]
    return JudgedCounters(spans=spans, events=events, settled=settled, open=undecided)


def _with_exchanges(readings: ReadingTable, rules: MeterRules, exchanges: Sequence[Exchange]) -> _Rows:
    meter, at, value = readings.meter, readings.at, readings.value
    doubtful = is_doubtful(readings.quality)
    origin = np.full(len(at), _READ, dtype=np.int64)
    if exchanges:
        recorded = {(exchange.meter, exchange.at) for exchange in exchanges}
        # What was recorded for the very instant of an exchange stands in for what the meter said then.
        kept = np.array([pair not in recorded for pair in zip(meter.tolist(), at.tolist(), strict=True)], np.bool_)
        twice = [exchange for exchange in exchanges for _ in range(2)]
        meter = np.r_[meter[kept], [e.meter for e in twice]].astype(np.int64)
        at = np.r_[at[kept], [e.at for e in twice]].astype(np.int64)
        value = np.r_[value[kept], [register for e in exchanges for register in (e.last_old, e.first_new)]]
        doubtful = np.r_[doubtful[kept], np.zeros(len(twice), np.bool_)]
        origin = np.r_[origin[kept], [_LAST_OLD, _FIRST_NEW] * len(exchanges)].astype(np.int64)
        order = np.lexsort((origin, at, meter))
        meter, at, value, doubtful, origin = (c[order] for c in (meter, at, value, doubtful, origin))
    begins = np.ones(len(at), dtype=np.bool_)
    begins[1:] = (meter[1:] != meter[:-1]) | (origin[1:] == _FIRST_NEW)
    return _Rows(
        meter=meter,
        at=at,
        value=value,
        register=billionths(value * rules.to_canonical[meter]),
        is_doubtful=doubtful,
        origin=origin,
        life=np.cumsum(begins),
    )


def _vouched_by_exchanges(rows: _Rows, rules: MeterRules, exchanges: Sequence[Exchange]) -> list[int]:
    """Rows that an exchange accounts for: what both devices counted is plausible over the time between two readings.

    An exchange is recorded to the minute, perhaps, and so near to a reading that either part alone would look too fast.
    """
    vouched = []
    for exchange in exchanges:
        old, new = _recorded_rows(rows, exchange)
        before, after = old - 1, new + 1
        if (
            before < 0
            or rows.life[before] != rows.life[old]
            or after >= len(rows.at)
            or rows.life[after] != rows.life[new]
        ):
            continue
        parts = (int(rows.register[old] - rows.register[before]), int(rows.register[after] - rows.register[new]))
        span = np.array([rows.at[after] - rows.at[before]])
        if min(parts) >= 0 and not is_break(np.array([sum(parts)]), span, float(rules.rated[exchange.meter]))[0]:
            vouched += [old, after]
    return vouched


def _recorded_rows(rows: _Rows, exchange: Exchange) -> tuple[int, int]:
    """Where the last register of the old device and the first of the new one stand."""
    here = np.flatnonzero((rows.meter == exchange.meter) & (rows.at == exchange.at))
    old = int(here[rows.origin[here] == _LAST_OLD][0])
    return old, old + 1


def _lives_to_judge(rows: _Rows, rules: MeterRules, facts: Facts, vouched: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows [begin, end) of each life in which there is anything to judge; all others are calm throughout."""
    same = rows.life[1:] == rows.life[:-1]
    rise, span = np.diff(rows.register), np.diff(rows.at)
    breaks = same & is_break(rise, span, rules.rated[rows.meter[1:]])
    breaks[np.array(vouched, dtype=np.int64) - 1] = False
    rough = set(rows.life[1:][breaks].tolist())
    told = {told.meter for told in facts.told}
    if told:
        rough |= set(rows.life[np.isin(rows.meter, list(told))].tolist())
    lives = np.array(sorted(rough), dtype=np.int64)
    begins, ends = np.searchsorted(rows.life, lives, "left"), np.searchsorted(rows.life, lives, "right")
    yield from zip(begins.tolist(), ends.tolist(), strict=True)


def _life(rows: _Rows, rules: MeterRules, facts: Facts, *, begin: int, end: int, known_to: int) -> Life:
    meter = int(rows.meter[begin])
    at = rows.at[begin:end]
    pins = {}
    for told in facts.told:
        if told.meter != meter or told.kind in {EventKind.GAP, EventKind.FROZEN} or told.decision is Decision.SET_ASIDE:
            continue
        row = int(np.searchsorted(at, told.at))
        if row < len(at) and at[row] == told.at:
            pins[row] = (told.kind, told.decision)
    return Life(
        at=at,
        register=rows.register[begin:end],
        width=int(rules.width[meter]),
        rated=float(rules.rated[meter]),
        dip_window_ms=int(rules.dip_window_ms[meter]),
        known_to=known_to,
        pins=pins,
    )


def stops_of(readings: ReadingTable, rules: MeterRules) -> Ints:
    """Rows of one counter's readings after which something has to be judged, for `is_synchronised`."""
    register = billionths(readings.value * rules.to_canonical[0])
    return find_breaks(readings.at, register, float(rules.rated[0]))


def _shifted(finding: Finding, by: int) -> Finding:
    return Finding(
        kind=finding.kind,
        decision=finding.decision,
        first=finding.first + by,
        last=finding.last + by,
        before=finding.before + by if finding.before >= 0 else -1,
        after=finding.after + by if finding.after >= 0 else -1,
    )


def _quantities(rows: _Rows, rules: MeterRules, first: Ints, second: Ints, link: Ints) -> Ints:
    difference = rows.register[second] - rows.register[first]
    wrapped = difference + rules.width[rows.meter[second]]
    return np.select(
        [link == Link.ROLLOVER, link == Link.RESET], [wrapped, rows.register[second]], default=difference
    ).astype(np.int64)


def _gaps(
    rows: _Rows, rules: MeterRules, facts: Facts, first: Ints, second: Ints, quantity: Ints
) -> tuple[list[Event], Bools]:
    """Silences longer than `max_gap`, and which links are believed: a person may not believe a gap's total."""
    believed = np.ones(len(first), dtype=np.bool_)
    doubted = {
        (told.meter, told.at) for told in facts.told if told.kind is EventKind.GAP and told.decision is Decision.RESTART
    }
    events = []
    silent = rows.at[second] - rows.at[first] > rules.max_gap_ms[rows.meter[second]]
    for nth in np.flatnonzero(silent).tolist():
        begin, end = int(first[nth]), int(second[nth])
        meter, at = int(rows.meter[begin]), int(rows.at[begin])
        believed[nth] = (meter, at) not in doubted
        events.append(
            Event(
                meter=meter,
                kind=EventKind.GAP,
                decision=Decision.COUNT if believed[nth] else Decision.RESTART,
                at=at,
                until=int(rows.at[end]),
                readings=2,
                value=float(rows.value[begin]),
                until_value=float(rows.value[end]),
                quantity=int(quantity[nth]) if believed[nth] else None,
            )
        )
    return events, believed


def _event(rows: _Rows, finding: Finding, links: _Links) -> Event:
    ends = finding.after if finding.after >= 0 else finding.first
    counts = finding.decision not in {Decision.UNDECIDED, Decision.RESTART}
    return Event(
        meter=int(rows.meter[finding.first]),
        kind=finding.kind,
        decision=finding.decision,
        at=int(rows.at[finding.first]),
        until=int(rows.at[finding.last]),
        readings=finding.last - finding.first + 1,
        value=float(rows.value[finding.first]),
        until_value=float(rows.value[finding.last]),
        before=_reading(rows, finding.before),
        after=_reading(rows, finding.after),
        quantity=links.quantity_to(ends) if counts else None,
    )


def _exchange_event(rows: _Rows, exchange: Exchange, counted: Ints, links: _Links) -> Event:
    old, new = _recorded_rows(rows, exchange)
    place = int(np.searchsorted(counted, new))
    before = int(counted[place - 2]) if place >= 2 and links.quantity_to(old) is not None else -1
    after = (
        int(counted[place + 1]) if place + 1 < len(counted) and rows.life[counted[place + 1]] == rows.life[new] else -1
    )
    parts = [part for part in (links.quantity_to(old), links.quantity_to(after)) if part is not None]
    return Event(
        meter=exchange.meter,
        kind=EventKind.EXCHANGE,
        decision=Decision.COUNT,
        at=exchange.at,
        until=exchange.at,
        readings=len(parts),
        value=exchange.last_old,
        until_value=exchange.first_new,
        before=_reading(rows, before),
        after=_reading(rows, after),
        quantity=sum(parts) if parts else None,
    )


def _reading(rows: _Rows, row: int) -> tuple[int, float] | None:
    return None if row < 0 else (int(rows.at[row]), float(rows.value[row]))
