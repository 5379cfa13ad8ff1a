"""How much around a stretch of changed readings has to be computed again, and whether enough is at hand to do so. Pure.

A calm neighbourhood ends at the next readings. Where something was judged near, it reaches to a calm stretch on either
side that is long enough for every chain of judgements to have become one (`registers.is_synchronised`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from collector.metering.consumption import Judged, judge_readings
from collector.metering.counters import stops_of
from collector.metering.flows import DAY_MS, is_odd, is_spike
from collector.metering.registers import is_synchronised
from collector.metering.sums import Sums, sum_by_quarter
from collector.metering.tables import NEVER, Bools, Event, Facts, Ints, KindCode, MeterRules, ReadingTable
from schemas.events import Decision, EventKind
from schemas.quantities import QUARTER_MS

CHAIN_KINDS = frozenset({EventKind.ROLLOVER, EventKind.DIP, EventKind.RESET, EventKind.SPIKE})
"""Kinds that decide which readings count; the others only tell of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Readings of a meter between two instants (Unix milliseconds, both included) that are new or judged anew."""

    meter: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One meter's readings in [from_ms, to_ms), and what is known of them; `meter` is 0 throughout.

    `begins`: the meter had said nothing before. `ends`: nothing after these is known yet. `was_judged`: a stored event
    that decided which readings count reaches into [from_ms, to_ms), or stands as near as a judgement looks.
    """

    readings: ReadingTable
    from_ms: int
    to_ms: int
    begins: bool
    ends: bool
    was_judged: bool
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A meter's last reading, and since when it says the same (Unix milliseconds)."""

    at: int
    value: float
    quality: int
    still_since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """What the whole quarters [start, end) of a meter come to, and the events that reach into them.

    `ends`: no readings after `end` are known. Then `tail` is the last one (None: there is none), and `rough_from` None
    when the meter can simply be followed from there, else the instant from which it has to be judged again.
    """

    meter: int
    start: int
    end: int
    sums: Sums
    events: list[Event]
    ends: bool
    tail: Tail | None
    rough_from: int | None


def compute_neighbourhood(stretch: Stretch, loaded: Loaded, rules: MeterRules) -> Neighbourhood | None:
    """Compute again what hangs on a stretch; None when more must be loaded around it to be exact.

    `rules` are those of the one meter.
    """
    frame = _frame(stretch, loaded, rules)
    if frame is None:
        return None
    start, end = frame
    judged = judge_readings(loaded.readings, rules, loaded.facts, known_to=loaded.to_ms)
    sums = sum_by_quarter(judged.spans, from_ms=np.array([start]), to_ms=np.array([end]))
    ends = loaded.ends and end >= loaded.to_ms
    tail, rough_from = _tail(loaded, rules, judged) if ends else (None, None)
    return Neighbourhood(
        meter=stretch.meter,
        start=start,
        end=end,
        sums=replace(sums, meter=np.full(len(sums.meter), stretch.meter, dtype=np.int64)),
        events=[
            replace(event, meter=stretch.meter) for event in judged.events if event.until >= start and event.at < end
        ],
        ends=ends,
        tail=tail,
        rough_from=rough_from,
    )


def floor_quarter(at: int) -> int:
    """When the quarter begins in which an instant lies."""
    return at // QUARTER_MS * QUARTER_MS


def ceil_quarter(at: int) -> int:
    """When the quarter ends in which the time just before an instant lies."""
    return -(-at // QUARTER_MS) * QUARTER_MS


def _end_after(at: int) -> int:
    """When the quarter ends that an instant lies in: an event that begins with that reading is told anew."""
    return floor_quarter(at) + QUARTER_MS


def _frame(stretch: Stretch, loaded: Loaded, rules: MeterRules) -> tuple[int, int] | None:
    readings = loaded.readings
    match rules.kind[0]:
        case KindCode.COUNTER:
            frame = counter_frame(stretch, loaded, rules)
        case KindCode.INTERVAL:
            reach = int(rules.interval_ms[0])
            frame = _plain_frame(stretch, loaded, rules, reach=reach)
        case _:
            frame = _plain_frame(stretch, loaded, rules, reach=0)
    if frame is None:
        return None
    start, end = frame
    if rules.frozen_after_ms[0] and not _sees_standing_still(loaded, start, end):
        return None
    # The spans that cross the edges need a reading beyond them.
    has_before = loaded.begins or bool((readings.at < start).any())
    has_after = loaded.ends or bool((readings.at >= end).any())
    return frame if has_before and has_after else None


def _sees_standing_still(loaded: Loaded, start: int, end: int) -> bool:
    """Whether stretches of one value that reach into [start, end) are there whole: the outermost ones may not be."""
    at = loaded.readings.at
    moved = np.flatnonzero(np.diff(loaded.readings.value))
    is_begun = loaded.begins or bool(len(moved) and at[moved[0]] < start)
    is_ended = loaded.ends or bool(len(moved) and at[moved[-1] + 1] >= end)
    return is_begun and is_ended


def _plain_frame(stretch: Stretch, loaded: Loaded, rules: MeterRules, *, reach: int) -> tuple[int, int] | None:
    """Intervals and rates: to the next readings on either side that count.

    Odd ones are told of by the stretch, and none of those that reach into the frame may be seen in part.
    """
    readings = loaded.readings
    counts = ~(is_spike(readings, rules) | is_aside(readings, loaded.facts))
    before = np.flatnonzero((readings.at < stretch.from_ms) & counts)
    after = np.flatnonzero((readings.at > stretch.to_ms) & counts)
    if not ((len(before) or loaded.begins) and (len(after) or loaded.ends)):
        return None
    # Where none counts before, odd ones may stand there, and be told of together with the stretch.
    first = int(readings.at[before[-1] if len(before) else 0]) if len(readings.at) else stretch.from_ms
    last = int(readings.at[after[0]]) if len(after) else loaded.to_ms
    start, end = floor_quarter(min(first, stretch.from_ms - reach)), _end_after(last)
    # An interval that ends later may begin before.
    is_reached = loaded.ends or loaded.to_ms > end + reach
    # What crosses the edges hangs on readings that count: one that is set aside stands for nothing beyond them.
    has_before = loaded.begins or bool((readings.at[counts] < start).any())
    has_after = loaded.ends or bool((readings.at[counts] >= end).any())
    is_seen = is_reached and has_before and has_after and _sees_odd_stretches(loaded, rules, start, end)
    return (start, end) if is_seen else None


def _sees_odd_stretches(loaded: Loaded, rules: MeterRules, start: int, end: int) -> bool:
    """Whether stretches of odd readings that reach into [start, end) are there whole, and their neighbours."""
    readings = loaded.readings
    plain = readings.at[~is_odd(readings, rules)]
    day_before, day_after = start // DAY_MS * DAY_MS, -(-end // DAY_MS) * DAY_MS
    is_begun = loaded.begins or bool((plain < start).any()) or bool((readings.at < day_before).any())
    is_ended = loaded.ends or bool((plain >= end).any()) or bool((readings.at >= day_after).any())
    return is_begun and is_ended


def counter_frame(stretch: Stretch, loaded: Loaded, rules: MeterRules) -> tuple[int, int] | None:
    """The quarters that may come out otherwise because of the stretch; None when more must be loaded to tell.

    What lies in them is exact as far as the spans that cross their edges are loaded.
    """
    readings = loaded.readings
    aside = is_aside(readings, loaded.facts)
    kept = readings.select(~aside)
    stops = stops_of(kept, rules)
    before, after = kept.at[kept.at < stretch.from_ms], kept.at[kept.at > stretch.to_ms]
    if not len(stops) and not loaded.was_judged and not loaded.facts.exchanges and not loaded.facts.told:
        if not ((len(before) >= 2 or loaded.begins) and (len(after) >= 2 or loaded.ends)):
            return None
        first = int(before[-1]) if len(before) else stretch.from_ms
        last = int(after[0]) if len(after) else loaded.to_ms
        return floor_quarter(first), _end_after(last)
    start = _rough_start(stretch, loaded, rules, kept)
    end = _rough_end(stretch, loaded, rules, kept, stops)
    return None if start is None or end is None else (start, end)


def _rough_start(stretch: Stretch, loaded: Loaded, rules: MeterRules, kept: ReadingTable) -> int | None:
    """From where on the judgements of the readings before the stretch may change because of it."""
    earlier = kept.select(kept.at < stretch.from_ms)
    if len(earlier.at) < 2 and not loaded.begins:
        return None
    facts = _facts_until(loaded.facts, stretch.from_ms)
    judged = judge_readings(earlier, rules, facts, known_to=stretch.from_ms)
    last = int(earlier.at[-2]) if len(earlier.at) >= 2 else NEVER
    # What was stated since the last readings that count is told of with the next one beside it.
    stated = [told.at for told in facts.told if told.until >= last] + [e.at for e in facts.exchanges if e.at >= last]
    near = [*earlier.at[-2:].tolist(), *stated, stretch.from_ms]
    start = floor_quarter(min(judged.settled.get(0, stretch.from_ms), *near))
    if loaded.begins:
        return start
    # Whatever chain came from before what is loaded, it must be this one by then.
    known = earlier.select(earlier.at < start)
    stops = _with_facts(stops_of(known, rules), known, loaded.facts)
    window = int(rules.dip_window_ms[0])
    return start if len(known.at) and is_synchronised(known.at, stops, window) else None


def _rough_end(stretch: Stretch, loaded: Loaded, rules: MeterRules, kept: ReadingTable, stops: Ints) -> int | None:
    """Up to where the judgements of the readings after the stretch may change because of it."""
    if loaded.ends:
        return ceil_quarter(loaded.to_ms)
    first = int(np.searchsorted(kept.at, stretch.to_ms, side="right"))
    later = kept.at[first:]
    if not len(later):
        return None
    own = _with_facts(stops[stops >= first] - first, kept.select(kept.at > stretch.to_ms), loaded.facts)
    begins, ends = np.r_[0, own + 1], np.r_[own, len(later) - 1]
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        # The first reading of the calm stretch that every chain counts, and that the one before it was counted too.
        joined = int(np.searchsorted(later, later[begin] + int(rules.dip_window_ms[0]), "right")) + 1
        if joined < end and _end_after(int(later[joined])) <= later[end - 1]:
            return _end_after(int(later[joined]))
    return None


def _with_facts(stops: Ints, readings: ReadingTable, facts: Facts) -> Ints:
    """Readings after which something was decided or exchanged, among those after which something is to be judged."""
    instants = [exchange.at for exchange in facts.exchanges]
    for told in facts.told:
        instants += [told.at, told.until + 1]
    rows = np.searchsorted(readings.at, instants) - 1
    rows = rows[(rows >= 0) & (rows < len(readings.at) - 1)]
    return np.union1d(stops, rows).astype(np.int64)


def is_aside(readings: ReadingTable, facts: Facts) -> Bools:
    """Readings that a person set aside."""
    aside = np.zeros(len(readings.at), dtype=np.bool_)
    for told in facts.told:
        if told.decision is Decision.SET_ASIDE:
            aside |= (readings.at >= told.at + (told.kind is EventKind.FROZEN)) & (readings.at <= told.until)
    return aside


def _facts_until(facts: Facts, instant: int) -> Facts:
    return Facts(
        exchanges=[exchange for exchange in facts.exchanges if exchange.at < instant],
        told=[told for told in facts.told if told.at < instant],
    )


def _tail(loaded: Loaded, rules: MeterRules, judged: Judged) -> tuple[Tail | None, int | None]:
    """The last reading; and from where the meter has to be judged again, when it can't simply be followed."""
    readings = loaded.readings
    if not len(readings.at):
        return None, None
    same = np.flatnonzero(readings.value != readings.value[-1])
    tail = Tail(
        at=int(readings.at[-1]),
        value=float(readings.value[-1]),
        quality=int(readings.quality[-1]),
        still_since=int(readings.at[same[-1] + 1 if len(same) else 0]),
    )
    aside = is_aside(readings, loaded.facts)
    if rules.kind[0] == KindCode.COUNTER:
        kept = readings.at[~aside]
        # Calm, the newest reading may still turn out to be a spike; that shows when the next one falls.
        calm = int(kept[-2]) if len(kept) >= 2 else int(readings.at[0])
        settled = judged.settled.get(0, calm)
        exchanged = any(exchange.at > tail.at for exchange in loaded.facts.exchanges)
        is_calm = 0 not in judged.open and not aside[-1] and not exchanged
        return tail, None if is_calm else min(settled, calm)
    odd = is_odd(readings, rules) | aside
    if not odd[-1]:
        return tail, None
    plain = np.flatnonzero(~odd)
    return tail, max(int(readings.at[plain[-1] + 1 if len(plain) else 0]), tail.at // DAY_MS * DAY_MS)
