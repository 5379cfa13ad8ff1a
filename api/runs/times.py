"""When a run began and ended, from what a file says of it: times on the wall, and lengths of time. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from api.runs.mapping import DurationUnit
from schemas.cells import parse_number
from schemas.local_time import NonexistentTimeError, Placed, place

MOMENT = timedelta(milliseconds=1)
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
"""Beyond them no run is taken anyhow, and calendars end."""
_CLOCK = re.compile(r"(\d{1,4}):([0-5]\d)(?::([0-5]\d))?")
_UNIT_MS = {
    DurationUnit.MILLISECONDS: 1,
    DurationUnit.SECONDS: 1000,
    DurationUnit.MINUTES: 60_000,
    DurationUnit.HOURS: 3_600_000,
    DurationUnit.DAYS: 86_400_000,
}


class RowRefusedError(ValueError):
    """The row tells no run."""


def duration(text: str, unit: DurationUnit, decimal: str) -> timedelta:
    """The length of time in a cell. Raises RowRefusedError."""
    if unit is DurationUnit.CLOCK:
        found = _CLOCK.fullmatch(text)
        if found is None:
            raise RowRefusedError(f"duration {text!r} is not of the form hours:minutes or hours:minutes:seconds")
        return timedelta(hours=int(found[1]), minutes=int(found[2]), seconds=int(found[3] or 0))
    try:
        length = timedelta(milliseconds=round(parse_number(text, decimal) * _UNIT_MS[unit]))
    except (ValueError, OverflowError) as error:
        raise RowRefusedError(f"duration: {error}") from error
    if not timedelta() <= length < timedelta(days=36_525):
        raise RowRefusedError(f"duration {text!r} is less than nothing, or longer than a hundred years")
    return length


def placed_time(label: datetime, zone: ZoneInfo, what: str, *, previous: datetime | None) -> tuple[datetime, list[str]]:
    """The instant behind a time, to the millisecond, and what is odd about it.

    Of a time that the clock showed twice the first is meant, unless `previous`, which comes before it, lies between
    the two. Raises RowRefusedError for a time that the clock never showed, or in which nobody measured.
    """
    label = label.replace(microsecond=label.microsecond // 1000 * 1000)
    if not _FIRST_YEAR <= label.year <= _LAST_YEAR:
        raise RowRefusedError(f"{what} {label} lies before 2000 or after 2199; check the date and its form")
    try:
        if label.tzinfo is not None:
            return label.astimezone(UTC), []
        first = _local(label, zone, what, previous=None)
        if not first.is_ambiguous:
            return first.at, []
        second = _local(label, zone, what, previous=first.at)
    except NonexistentTimeError as error:
        raise RowRefusedError(f"{what} {error}") from error
    is_second = previous is not None and first.at <= previous < second.at
    chosen = second if is_second else first
    told = f"{what} {label} stood twice on the clock in {zone.key}; taken as the {'second' if is_second else 'first'}"
    return chosen.at, [told]


def _local(label: datetime, zone: ZoneInfo, what: str, *, previous: datetime | None) -> Placed:
    return place(label, zone, previous=previous, ends_interval=what == "end")
