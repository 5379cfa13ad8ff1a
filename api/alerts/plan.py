"""What becomes of alerts when conditions come and go, and which of them are told now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.alerts.rules import Condition
from schemas.alerts import AlertChange, AlertRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How quickly an alert closes, how often it is told again, and how many messages a site sends in an hour."""

    close_after: timedelta = timedelta(minutes=15)
    remind_after: timedelta = timedelta(days=1)
    per_hour: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAlert:
    """An alert as it is kept. `told_at` is when it was last in a message, `end_told_at` when its end was."""

    id: int
    rule: AlertRule
    meter: str | None
    agent: str | None
    since: datetime
    seen: str
    why: str
    todo: str
    seen_at: datetime
    closed_at: datetime | None = None
    acknowledged_at: datetime | None = None
    told_at: datetime | None = None
    end_told_at: datetime | None = None

    @property
    def key(self) -> tuple[AlertRule, str, str]:
        return self.rule, self.meter or "", self.agent or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Conditions that are new, alerts whose condition goes on, and alerts whose condition has been gone long enough."""

    opened: Sequence[Condition]
    going_on: Sequence[tuple[int, Condition]]
    closed: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An alert that somebody should hear of, and what of it."""

    alert: KnownAlert
    change: AlertChange


def reconcile(alerts: Sequence[KnownAlert], holding: Sequence[Condition], *, now: datetime, policy: Policy) -> Changes:
    """What to write, given the open alerts and the conditions that hold. One that flickers stays one alert."""
    by_key = {alert.key: alert for alert in alerts}
    held = {condition.key for condition in holding}
    return Changes(
        opened=[condition for condition in holding if condition.key not in by_key],
        going_on=[(by_key[condition.key].id, condition) for condition in holding if condition.key in by_key],
        closed=[alert.id for alert in alerts if alert.key not in held and now - alert.seen_at >= policy.close_after],
    )


def due(alerts: Sequence[KnownAlert], *, now: datetime, policy: Policy) -> list[Due]:
    """What should be told, the new first. An acknowledged alert says no more."""
    found = []
    for alert in alerts:
        change = _change(alert, now=now, policy=policy)
        if change is not None and alert.acknowledged_at is None:
            found.append(Due(alert=alert, change=change))
    order = list(AlertChange)
    return sorted(found, key=lambda one: (order.index(one.change), one.alert.since, one.alert.id))


def _change(alert: KnownAlert, *, now: datetime, policy: Policy) -> AlertChange | None:
    if alert.closed_at is not None:
        return AlertChange.CLOSED if alert.end_told_at is None else None
    if alert.told_at is None:
        return AlertChange.OPENED
    return AlertChange.REMINDER if now - alert.told_at >= policy.remind_after else None


def batches(found: Sequence[Due], *, told_lately: int, policy: Policy) -> list[list[Due]]:
    """Messages to send now: one each, or, when more are due than the hour has room for, the rest in one.

    `told_lately` is how many messages the site sent in the last hour. With no room left all of them wait, and none is
    lost: they are due again next time.
    """
    room = policy.per_hour - told_lately
    if room <= 0 or not found:
        return []
    if len(found) <= room:
        return [[one] for one in found]
    return [*([one] for one in found[: room - 1]), list(found[room - 1 :])]
