"""From alerts that are due to the message that is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from api.alerts.plan import Due
from api.said import unix_ms
from api.site_store import SiteRow
from schemas.alerts import Alert, AlertChange, AlertMessage

_ABOUT: dict[AlertChange, str] = {
    AlertChange.OPENED: "",
    AlertChange.REMINDER: "Still: ",
    AlertChange.CLOSED: "Over: ",
}


def message_of(site: SiteRow, batch: Sequence[Due], *, number: UUID, now: datetime) -> AlertMessage:
    """One message about all alerts of the batch."""
    return AlertMessage(
        message=str(number),
        organisation=site.organisation,
        site=site.key,
        at=unix_ms(now),
        text=_text(site, batch),
        alerts=[_alert(one) for one in batch],
    )


def _text(site: SiteRow, batch: Sequence[Due]) -> str:
    if len(batch) == 1:
        (one,) = batch
        return f"{site.name}: {_ABOUT[one.change]}{one.alert.seen}"
    counts = {change: sum(one.change is change for one in batch) for change in AlertChange}
    words = {AlertChange.OPENED: "new", AlertChange.REMINDER: "still open", AlertChange.CLOSED: "over"}
    told = ", ".join(f"{count} {words[change]}" for change, count in counts.items() if count)
    return f"{site.name}: {len(batch)} alerts at once ({told}); the first: {batch[0].alert.seen}"


def _alert(one: Due) -> Alert:
    alert = one.alert
    return Alert(
        id=alert.id,
        rule=alert.rule,
        change=one.change,
        meter=alert.meter,
        agent=alert.agent,
        since=unix_ms(alert.since),
        until=None if alert.closed_at is None else unix_ms(alert.closed_at),
        seen=alert.seen,
        why=alert.why,
        todo=alert.todo,
    )
