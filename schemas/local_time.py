"""From what a clock on the wall showed to the instant it meant. A fixed offset is never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MOMENT = timedelta(milliseconds=1)


class NonexistentTimeError(ValueError):
    """The clock never showed that: it was put forward past it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The instant, in UTC, and whether the clock showed this time twice, so that the order of rows had to decide."""

    at: datetime
    is_ambiguous: bool


def place(label: datetime, zone: ZoneInfo, *, previous: datetime | None, ends_interval: bool) -> Placed:
    """The instant behind a local time without offset. `previous` is the instant of the row before it, in time's order.

    When the clock was put back it showed an hour twice: the first time is meant unless `previous` is there already.
    At the other end of the year a time that was skipped is refused, except that an interval may *end* at the very
    moment of the change, whichever way its label is written. Raises NonexistentTimeError.
    """
    first, second = instants(label, zone)
    if first.astimezone(zone).replace(tzinfo=None) != label:
        before = label - _MOMENT
        if not (ends_interval and _instant(before, zone, fold=0).astimezone(zone).replace(tzinfo=None) == before):
            raise NonexistentTimeError(f"{label} did not exist in {zone.key}: the clock was put forward past it")
        return Placed(at=first, is_ambiguous=False)
    if second == first:
        return Placed(at=first, is_ambiguous=False)
    return Placed(at=second if previous is not None and previous >= first else first, is_ambiguous=True)


def instants(label: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the clock showed that for the first time and for the second: the same, but where it was put back."""
    return _instant(label, zone, fold=0), _instant(label, zone, fold=1)


def _instant(label: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return label.replace(tzinfo=zone, fold=fold).astimezone(UTC)
