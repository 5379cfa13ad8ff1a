"""The roll-up: follow all readings, write each quarter when it is complete, and compute again what late ones touch.

`closed_to` divides time. A reading newer than it needs no note: it is still to be followed. An older one left a row in
`pending` in the transaction that stored it. A crash at any point loses nothing: progress and notes are taken off in the
transaction that writes the consumption behind them, and what is held in memory is read again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import LiteralString

import numpy as np
import psycopg

from collector.attribution_due import mark_due
from collector.follower import LOOK_MS, Follower
from collector.metering.neighbourhood import Neighbourhood, Stretch, floor_quarter
from collector.metering.sums import finish_quarters, merge_sums
from collector.metering.tables import Ints
from collector.neighbourhoods import Horizon, compute_stretches
from collector.pending import LONGEST_STRETCH_MS, merge_notes, take_pending
from collector.prefetch import Prefetch
from collector.rollup_progress import Progress, close, has_turn, move_computed, read_progress
from collector.rollup_store import (
    LIVE,
    Target,
    clear_quarters,
    count_readings,
    put_events,
    put_quarters,
    read_facts,
    read_readings,
    read_rules,
    reading_bounds,
    replace_events,
)
from schemas.archive_store import ArchiveError
from schemas.quantities import QUARTER_MS

_SLICE_READINGS = 2_000_000
"""Readings followed at once, about."""
_FIRST_SLICE_MS = 15_000
_LONGEST_SLICE_MS = 30 * 86_400_000
_BEFORE_MS = 120_000
"""How far before the first slice meters' last readings are looked for; of others it is found when they speak again."""
_ARCHIVE_AWAY_MS = 60_000

_METERS: LiteralString = """
    SELECT meter_id, (extract(epoch FROM first_at) * 1000)::int8, (extract(epoch FROM rough_from) * 1000)::int8
    FROM rolled_meter
"""
_PUT_METERS: LiteralString = """
    INSERT INTO rolled_meter (meter_id, first_at)
    SELECT meter_id, to_timestamp(first_ms / 1000.0) FROM unnest(%s::int4[], %s::int8[]) AS m(meter_id, first_ms)
    ON CONFLICT (meter_id) DO UPDATE SET first_at = least(rolled_meter.first_at, excluded.first_at)
"""
_PUT_ROUGH: LiteralString = """
    UPDATE rolled_meter AS m SET rough_from = to_timestamp(r.from_ms / 1000.0)
    FROM unnest(%s::int4[], %s::int8[]) AS r(meter_id, from_ms)
    WHERE m.meter_id = r.meter_id AND m.rough_from IS DISTINCT FROM to_timestamp(r.from_ms / 1000.0)
"""
_DROP_ROUGH: LiteralString = """
    UPDATE rolled_meter SET rough_from = NULL WHERE rough_from IS NOT NULL AND meter_id <> ALL (%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did: readings followed, rows of consumption written, late stretches computed again.

    `computed_to_ms`: quarters before this instant stand in the table. `followed_to_ms`: all readings before this one
    have been taken up. `is_behind`: more is due now.
    """

    computed_to_ms: int
    followed_to_ms: int
    readings: int
    quarters: int
    recomputed: int
    is_behind: bool


_NOTHING = Step(computed_to_ms=0, followed_to_ms=0, readings=0, quarters=0, recomputed=0, is_behind=False)


class RollUp:
    """Step after step; `target` is where results go. What it remembers serves only to be fast.

    `problem` says why late readings are not computed now; None when they are.
    """

    def __init__(self, *, target: Target = LIVE, prefetch: Prefetch | None = None) -> None:
        self._target = target
        self._prefetch = prefetch
        self._follower: Follower | None = None
        self._state: tuple[int, int] | None = None
        self._slice_ms = _FIRST_SLICE_MS
        self._late_from_ms = 0
        self.problem: str | None = None

    def step(self, connection: psycopg.Connection, *, due_ms: int) -> Step:
        """Complete what ended by `due_ms` (a slice at most), and compute again what is pending (some at most).

        `due_ms` is Unix milliseconds: the present less the grace that readings get to arrive, of which LOOK_MS are
        used to look beyond a quarter's end. Raises ArchiveError where the archive is needed and can't be read; for the
        next minute steps then do without late readings.
        """
        close(connection, due_ms + LOOK_MS)
        leaves_late = due_ms < self._late_from_ms
        try:
            with connection.transaction(), connection.cursor() as cursor:
                step = self._step(cursor, leaves_late=leaves_late) if has_turn(cursor) else _NOTHING
        except BaseException as error:
            # What was remembered may not have been committed.
            self._follower = None
            if isinstance(error, ArchiveError):
                # Late readings wait for the archive, and nothing new waits for them.
                self._late_from_ms = due_ms + _ARCHIVE_AWAY_MS
                self.problem = f"late readings wait to be computed: {error}"
            raise
        if not leaves_late:
            self.problem = None
        return step

    def catch_up(self, cursor: psycopg.Cursor) -> Progress:
        """Do all that is due, and bring the complete quarters to all that is known; whoever calls has the turn.

        Between two completions a quarter may still lack what readings after it tell of its end.
        """
        while self._step(cursor).is_behind:
            pass
        if self._follower is not None:
            self._complete(cursor, self._follower, self._follower.computed_to)
        return read_progress(cursor)

    def compute_all(self, cursor: psycopg.Cursor, *, progress: Progress) -> None:
        """Compute from the first reading on what stands in the tables at that progress. Nothing else is noted."""
        follower = self._begin(cursor, None, progress.closed_to)
        while follower is not None and follower.followed_to < progress.closed_to:
            self._follow_slice(cursor, follower, progress.closed_to)
            complete = min(floor_quarter(follower.followed_to - LOOK_MS), progress.computed_to or 0)
            if complete > follower.computed_to or follower.followed_to == progress.closed_to:
                self._complete(cursor, follower, max(complete, follower.computed_to))

    def _step(self, cursor: psycopg.Cursor, *, leaves_late: bool = False) -> Step:
        progress = read_progress(cursor)
        follower = self._load(cursor, progress)
        if follower is None:
            return _NOTHING
        readings = self._follow_slice(cursor, follower, progress.closed_to)
        quarters, recomputed = 0, 0
        if follower.followed_to == progress.closed_to and not leaves_late:
            recomputed, quarters = self._recompute_pending(cursor, follower)
        complete = floor_quarter(follower.followed_to - LOOK_MS)
        if complete > follower.computed_to:
            quarters += self._complete(cursor, follower, complete)
        is_changed = readings or recomputed or quarters or follower.computed_to != progress.computed_to
        if is_changed:
            move_computed(cursor, follower.computed_to)
        self._state = (progress.steps + bool(is_changed), progress.model_version)
        return Step(
            computed_to_ms=follower.computed_to,
            followed_to_ms=follower.followed_to,
            readings=readings,
            quarters=quarters,
            recomputed=recomputed,
            is_behind=follower.followed_to < progress.closed_to or recomputed > 0,
        )

    def _load(self, cursor: psycopg.Cursor, progress: Progress) -> Follower | None:
        """What is remembered, if nobody else has worked since; else begin again at the last complete quarter."""
        if self._follower is not None and self._state == (progress.steps, progress.model_version):
            return self._follower
        self._follower = self._begin(cursor, progress.computed_to, progress.closed_to)
        return self._follower

    def _begin(self, cursor: psycopg.Cursor, computed_to: int | None, closed_to: int) -> Follower | None:
        """One that stands a quarter before `computed_to`, or before the first reading; None where there is none."""
        if self._prefetch is not None:
            self._prefetch.forget()
        rules = read_rules(cursor)
        if computed_to is None:
            bounds = reading_bounds(cursor)
            if bounds is None or bounds[0] >= closed_to:
                return None
            first = floor_quarter(bounds[0]) - QUARTER_MS
            return Follower(rules, from_ms=first - QUARTER_MS, computed_to=first)
        kept_from = computed_to - QUARTER_MS
        follower = Follower(rules, from_ms=kept_from, computed_to=computed_to)
        meters = cursor.execute(_METERS).fetchall()
        follower.note_first((meter, first_at) for meter, first_at, _ in meters)
        for meter, _, rough_from in meters:
            if rough_from is not None and meter < len(rules.kind):
                follower.make_rough(meter, rough_from)
        follower.remember(read_readings(cursor, kept_from - _BEFORE_MS, kept_from))
        return follower

    def _follow_slice(self, cursor: psycopg.Cursor, follower: Follower, closed_to: int) -> int:
        """Take up the next readings. Returns how many."""
        from_ms = follower.followed_to
        if from_ms >= closed_to:
            return 0
        to_ms = min(from_ms + self._slice_ms, closed_to)
        facts = read_facts(cursor, from_ms, to_ms)
        stated = [(exchange.meter, exchange.at) for exchange in facts.exchanges]
        for meter, at in stated + [(told.meter, told.at) for told in facts.told]:
            # Nothing of the slice is followed then, not what lies before the fact either.
            follower.see_first(meter, min(at, from_ms))
            follower.make_rough(meter, min(at, from_ms))
        readings = self._prefetch.take(from_ms, to_ms) if self._prefetch else None
        if readings is None:
            readings = read_readings(cursor, from_ms, to_ms)
        self._fit_slices(cursor, len(readings.at), to_ms)
        if self._prefetch and to_ms < closed_to:
            self._prefetch.fetch(to_ms, min(to_ms + self._slice_ms, closed_to))
        follower.take(readings, to_ms)
        return len(readings.at)

    def _fit_slices(self, cursor: psycopg.Cursor, count: int, from_ms: int) -> None:
        """Choose the next slice's length by this one's readings, and look before it gets longer."""
        if count > 2 * _SLICE_READINGS:
            self._slice_ms = max(self._slice_ms // 2, 1000)
        elif count < _SLICE_READINGS // 2 and self._slice_ms < _LONGEST_SLICE_MS:
            longer = self._slice_ms * 2
            if count_readings(cursor, from_ms, from_ms + longer, _SLICE_READINGS) < _SLICE_READINGS:
                self._slice_ms = longer

    def _recompute_pending(self, cursor: psycopg.Cursor, follower: Follower) -> tuple[int, int]:
        """Compute again around late readings. Returns how many stretches, and the rows written."""
        notes = take_pending(cursor)
        if not notes:
            return 0, 0
        known = [note for note in notes if note[0] < len(follower.rules.kind) and follower.rules.kind[note[0]] >= 0]
        rounds = merge_notes(known, follower.followed_to)
        written = 0
        for stretches in rounds:
            for stretch in stretches:
                follower.see_first(stretch.meter, stretch.from_ms)
            written += self._judge(cursor, follower, stretches)
        self._note_meters(cursor, follower)
        return sum(len(stretches) for stretches in rounds), written

    def _judge(self, cursor: psycopg.Cursor, follower: Follower, stretches: list[Stretch]) -> int:
        """Compute stretches, at most one a meter, and put what they come to in place. Returns the rows written."""
        # What was followed comes first: a judgement sees more.
        put_events(cursor, self._target, follower.frozen)
        follower.frozen = []
        stretches = [_join_rough(stretch, follower) for stretch in stretches]
        horizon = Horizon(known_to=follower.followed_to, first_at=follower.first_at)
        found = compute_stretches(cursor, stretches, follower.rules, horizon, target=self._target)
        # What reaches into the quarters at hand is computed to the end, so that it can be followed from there.
        cut = [n for n in found if not n.ends and n.end > follower.kept_from]
        if cut:
            asked = {stretch.meter: stretch for stretch in stretches}
            whole = [
                Stretch(meter=n.meter, from_ms=asked[n.meter].from_ms, to_ms=follower.followed_to - 1) for n in cut
            ]
            again = compute_stretches(cursor, whole, follower.rules, horizon, target=self._target)
            done = {n.meter for n in again}
            found = [n for n in found if n.meter not in done] + again
        follower.accept(found)
        return self._put(cursor, follower, found)

    def _put(self, cursor: psycopg.Cursor, follower: Follower, found: list[Neighbourhood]) -> int:
        if not found:
            return 0
        meter, start, end = (np.array([getattr(n, name) for n in found]) for name in ("meter", "start", "end"))
        complete = np.minimum(end, follower.computed_to)
        clear_quarters(cursor, self._target, meter, start, complete)
        self._mark_due(cursor, meter, start, complete)
        sums = merge_sums(*(n.sums.select(n.sums.quarter < follower.computed_to) for n in found))
        table = finish_quarters(sums)
        put_quarters(cursor, self._target, table)
        replace_events(cursor, self._target, meter, start, end, [event for n in found for event in n.events])
        return len(table.meter)

    def _complete(self, cursor: psycopg.Cursor, follower: Follower, to_ms: int) -> int:
        """Write the quarters up to `to_ms`. Returns the rows written."""
        written = self._judge(cursor, follower, follower.stretches())
        fresh, again = follower.complete(to_ms)
        clear_quarters(cursor, self._target, again.meter, again.quarter, again.quarter + QUARTER_MS)
        put_quarters(cursor, self._target, again)
        put_quarters(cursor, self._target, fresh)
        for table in (again, fresh):
            self._mark_due(cursor, table.meter, table.quarter, table.quarter + QUARTER_MS)
        self._note_meters(cursor, follower)
        return written + len(fresh.meter) + len(again.meter)

    def _mark_due(self, cursor: psycopg.Cursor, meter: Ints, from_ms: Ints, to_ms: Ints) -> None:
        if self._target == LIVE:
            mark_due(cursor, meter, from_ms, to_ms)

    def _note_meters(self, cursor: psycopg.Cursor, follower: Follower) -> None:
        if self._target != LIVE:
            return
        if follower.new_meters:
            cursor.execute(_PUT_METERS, [list(follower.new_meters), list(follower.new_meters.values())])
            follower.new_meters = {}
        if follower.rough:
            cursor.execute(_PUT_ROUGH, [list(follower.rough), list(follower.rough.values())])
        cursor.execute(_DROP_ROUGH, [list(follower.rough)])


def roll_up_once(connection: psycopg.Connection, *, due_ms: int, prefetch: Prefetch | None = None) -> Step:
    """Do all that is due by `due_ms`, remembering nothing from before; returns what it came to."""
    roll_up = RollUp(prefetch=prefetch)
    total = _NOTHING
    while True:
        step = roll_up.step(connection, due_ms=due_ms)
        total = replace(
            step,
            readings=total.readings + step.readings,
            quarters=total.quarters + step.quarters,
            recomputed=total.recomputed + step.recomputed,
        )
        if not step.is_behind:
            return total


def _join_rough(stretch: Stretch, follower: Follower) -> Stretch:
    """A meter that is to be judged anyhow is judged once, over all of it, unless the stretch lies far off."""
    rough_from = follower.rough.get(stretch.meter)
    if rough_from is None or stretch.to_ms + LONGEST_STRETCH_MS < rough_from:
        return stretch
    return Stretch(
        meter=stretch.meter, from_ms=min(stretch.from_ms, rough_from), to_ms=max(follower.followed_to - 1, rough_from)
    )
