"""Meter events as the database holds them: what the roll-up found, joined with what a person decided last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow

from api.database import Connection, fetch_all, fetch_one
from api.said import unix_ms
from schemas.events import Decision, EventKey, EventKind, EventState

IS_FINDING: LiteralString = """
(e.kind <> 'frozen' OR NOT EXISTS (SELECT FROM run AS r WHERE r.line_id = m.line_id)
 OR (SELECT sum(upper(span) - lower(span)) FROM (
         SELECT unnest(range_agg(tstzrange(greatest(r.start_at, e.at), least(r.stop_at, e.until)))) AS span
         FROM (
             SELECT r.start_at, coalesce(
                 r.end_at,
                 (SELECT min(n.start_at) FROM run AS n WHERE n.line_id = r.line_id AND n.start_at > r.start_at),
                 greatest(now(), r.start_at)) AS stop_at
             FROM run AS r
             WHERE r.line_id = m.line_id AND r.state = 'running' AND r.start_at < e.until
               AND (r.end_at > e.at OR r.end_at IS NULL)
         ) AS r
         WHERE r.stop_at > e.at
     ) AS running) > coalesce(m.frozen_after_ms, 0) * interval '1 millisecond')
"""
"""SQL: whether row `e` of `meter_event`, of row `m` of `meter`, is a finding.

All rows are, but for a `frozen` one, which the roll-up puts down without knowing what the line did: where the line has
runs, it is a finding only if the line was *running* for longer than `frozen_after` of that time.
"""

# Both sides are cut down to what was asked before they meet; an event's end is known only when they have.
_EVENTS: LiteralString = (
    """
WITH found AS (
    SELECT e.*, """
    + IS_FINDING
    + """ AS is_finding
    FROM meter_event AS e JOIN meter AS m ON m.id = e.meter_id
    WHERE e.meter_id = ANY (%(meters)s) AND e.at < %(end)s AND e.at <= %(after_at)s
      AND (%(kinds)s::text[] IS NULL OR e.kind = ANY (%(kinds)s)) AND (%(at)s::timestamptz IS NULL OR e.at = %(at)s)
), decided AS (
    SELECT DISTINCT ON (meter_id, kind, at) meter_id, kind, at, until, state, decision, author, reason, decided_at
    FROM event_decision
    WHERE meter_id = ANY (%(meters)s) AND at < %(end)s AND at <= %(after_at)s
      AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s)) AND (%(at)s::timestamptz IS NULL OR at = %(at)s)
    ORDER BY meter_id, kind, at, id DESC
)
SELECT k.meter_id, m.key AS meter, m.kind AS meter_kind, m.unit, m.canonical_unit, m.register_width, k.kind, k.at,
       coalesce(f.until, d.until) AS until, coalesce(d.state, 'proposed') AS state,
       coalesce(d.decision, f.decision) AS decision, f.decision AS applied, f.readings, f.value, f.until_value,
       f.before_at, f.before_value, f.after_at, f.after_value, f.quantity, d.author, d.reason, d.decided_at
FROM found AS f FULL JOIN decided AS d USING (meter_id, kind, at) AS k JOIN meter AS m ON m.id = k.meter_id
WHERE coalesce(f.until, d.until) >= %(start)s
  AND (d.decision IS NOT NULL OR f.is_finding OR (%(at)s::timestamptz IS NOT NULL AND d.state IS NOT NULL))
  AND (%(states)s::text[] IS NULL OR coalesce(d.state, 'proposed') = ANY (%(states)s))
  AND (k.at, k.meter_id, k.kind) < (%(after_at)s, %(after_meter)s, %(after_kind)s)
ORDER BY k.at DESC, k.meter_id DESC, k.kind DESC LIMIT %(limit)s
"""
)
_DECISIONS: LiteralString = """
SELECT until, state, decision, author, reason, decided_at FROM event_decision
WHERE meter_id = %(meter)s AND kind = %(kind)s AND at = %(at)s ORDER BY id
"""
_IS_PENDING: LiteralString = """
SELECT EXISTS (SELECT FROM pending WHERE meter_id = %(meter)s AND from_at <= %(until)s AND to_at >= %(at)s) AS pending
"""
_FIRST, _LAST = "-infinity", "infinity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. Values are in the meter's `unit`, `quantity` is in billionths of the canonical unit.

    `decision` is in effect; None where it was taken back and the rules find nothing. `applied` is the one that the
    roll-up last went by: another one while it has yet to compute the neighbourhood again, None where it finds nothing
    (any more), as where a person had the readings set aside; what they said is then for `event_evidence` to look up.
    """

    meter_id: int
    meter: str
    meter_kind: str
    unit: str
    canonical_unit: str
    register_width: float | None
    kind: EventKind
    at: datetime
    until: datetime
    state: EventState
    decision: Decision | None
    applied: Decision | None
    readings: int | None = None
    value: float | None = None
    until_value: float | None = None
    before_at: datetime | None = None
    before_value: float | None = None
    after_at: datetime | None = None
    after_value: float | None = None
    quantity: int | None = None
    author: str | None = None
    reason: str | None = None
    decided_at: datetime | None = None

    @property
    def key(self) -> EventKey:
        return EventKey(meter=self.meter, kind=self.kind, at_ms=unix_ms(self.at))

    @property
    def begins(self) -> datetime:
        """From where the decision about it matters."""
        return self.at if self.before_at is None else min(self.before_at, self.at)

    @property
    def ends(self) -> datetime:
        """Up to where the decision about it matters."""
        return self.until if self.after_at is None else max(self.after_at, self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which events are asked for; None asks for all."""

    meters: Sequence[int]
    start: datetime | None = None
    end: datetime | None = None
    kinds: Sequence[EventKind] | None = None
    states: Sequence[EventState] | None = None
    at: datetime | None = None


async def events(
    connection: Connection, asked: Asked, *, after: tuple[datetime, int, str] | None, limit: int
) -> list[Event]:
    """Events that touch the period, the newest first, beginning after a key (at, meter's number, kind)."""
    after_at, after_meter, after_kind = after or (_LAST, 0, "")
    values = {
        "meters": list(asked.meters),
        "start": asked.start or _FIRST,
        "end": asked.end or _LAST,
        "kinds": None if asked.kinds is None else list(asked.kinds),
        "states": None if asked.states is None else list(asked.states),
        "at": asked.at,
        "after_at": after_at,
        "after_meter": after_meter,
        "after_kind": after_kind,
        "limit": limit,
    }
    return [_event(row) for row in await fetch_all(connection, _EVENTS, values)]


async def event(connection: Connection, meter_id: int, kind: EventKind, at: datetime) -> Event | None:
    """The one event with this key, if there is one, or ever was one about which somebody said something."""
    found = await events(connection, Asked(meters=[meter_id], kinds=[kind], at=at), after=None, limit=1)
    return found[0] if found else None


async def decisions(connection: Connection, event: Event) -> list[DictRow]:
    """Everything that was decided about the event, oldest first."""
    return await fetch_all(connection, _DECISIONS, {"meter": event.meter_id, "kind": event.kind, "at": event.at})


async def is_pending(connection: Connection, event: Event) -> bool:
    """Whether the roll-up has yet to compute the event's span again."""
    values = {"meter": event.meter_id, "at": event.at, "until": event.until}
    row = await fetch_one(connection, _IS_PENDING, values)
    return bool(row and row["pending"])


def _event(row: DictRow) -> Event:
    decisions = {name: row[name] and Decision(row[name]) for name in ("decision", "applied")}
    return Event(**{**row, **decisions, "kind": EventKind(row["kind"]), "state": EventState(row["state"])})
