"""Compute again around stretches of readings: load what is near, and more where that does not suffice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg

from collector.metering.neighbourhood import Loaded, Neighbourhood, Stretch, compute_neighbourhood
from collector.metering.tables import Ints, MeterRules
from collector.rollup_store import Target, read_chain_events, read_facts, read_readings

_MINUTE_MS, _DAY_MS = 60_000, 86_400_000
_LOOKS_MS = (45 * _MINUTE_MS, 6 * 60 * _MINUTE_MS, 3 * _DAY_MS, 40 * _DAY_MS, 400 * _DAY_MS, 2**62)
"""How far around a stretch readings are looked for, step after step."""
_MOST_METER_MS = 100 * _DAY_MS
"""Time of meters that is loaded in one query, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What is known of the readings: all before `known_to` are there; `first_at[meter]` is when each first spoke."""

    known_to: int
    first_at: Ints


def compute_stretches(
    cursor: psycopg.Cursor, stretches: Sequence[Stretch], rules: MeterRules, horizon: Horizon, *, target: Target | None
) -> list[Neighbourhood]:
    """What the surroundings of each stretch come to; at most one stretch a meter. `rules` are those of all meters.

    `target` holds the events that tell whether something was judged near; None: that is not believed.
    """
    found: list[Neighbourhood] = []
    todo = list(stretches)
    for look in _LOOKS_MS:
        missed: list[Stretch] = []
        for group in _groups(todo, look):
            for stretch, loaded in _load(cursor, group, look, rules=rules, horizon=horizon, target=target):
                own = rules.select(np.array([stretch.meter]))
                neighbourhood = compute_neighbourhood(stretch, loaded, own)
                if neighbourhood is None:
                    missed.append(stretch)
                else:
                    found.append(neighbourhood)
        todo = missed
        if not todo:
            return found
    raise AssertionError(f"all readings do not suffice to judge {todo[0]}")


def _groups(stretches: Iterable[Stretch], look: int) -> Iterator[list[Stretch]]:
    """Stretches near each other in time, to be loaded together: the table is ordered by time."""
    group: list[Stretch] = []
    end, size = 0, 0
    for stretch in sorted(stretches, key=lambda s: s.from_ms):
        length = stretch.to_ms - stretch.from_ms + min(look, 400 * _DAY_MS)
        if group and (stretch.from_ms - look > end or size + length > _MOST_METER_MS):
            yield group
            group, size = [], 0
        end = max(end, stretch.to_ms + look) if group else stretch.to_ms + look
        size += length
        group.append(stretch)
    if group:
        yield group


def _load(
    cursor: psycopg.Cursor,
    group: list[Stretch],
    look: int,
    *,
    rules: MeterRules,
    horizon: Horizon,
    target: Target | None,
) -> Iterator[tuple[Stretch, Loaded]]:
    meter_ids = np.array(sorted({stretch.meter for stretch in group}), dtype=np.int64)
    oldest = int(horizon.first_at[meter_ids].min())
    from_ms = max(min(stretch.from_ms for stretch in group) - look, oldest)
    to_ms = min(max(stretch.to_ms for stretch in group) + look, horizon.known_to)
    facts = read_facts(cursor, from_ms, to_ms, meter_ids)
    readings = read_readings(cursor, from_ms, to_ms, meter_ids)
    chain_events = read_chain_events(cursor, target, meter_ids) if target else {}
    for stretch in group:
        window = int(rules.dip_window_ms[stretch.meter])
        judged = target is None or any(
            is_undecided or (until >= from_ms - window and at < to_ms + window)
            for at, until, is_undecided in chain_events.get(stretch.meter, ())
        )
        yield (
            stretch,
            Loaded(
                readings=readings.alone(stretch.meter),
                from_ms=from_ms,
                to_ms=to_ms,
                begins=from_ms <= int(horizon.first_at[stretch.meter]),
                ends=to_ms >= horizon.known_to,
                was_judged=judged,
                facts=facts.alone(stretch.meter),
            ),
        )
