"""Buckets of a site's own calendar: days, weeks, months, years, fiscal years and shifts.

Buckets of one kind follow each other without a gap and without an overlap, so that sums over them are the sum over the
period, whatever the zone does to its clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from api.calendar.clock import Period, first_instant, local_day, midnight
from schemas.calendar import OFF_SHIFT, WEEKDAYS, Shift

_DAY = timedelta(days=1)


class By(StrEnum):
    """The length of a bucket, in the site's own calendar."""

    QUARTER = "quarter"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    FISCAL_YEAR = "fiscal_year"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """What a site says of its time. `fiscal_year_start` is a month and a day that every year has."""

    fiscal_year_start: tuple[int, int] = (1, 1)
    shifts: tuple[Shift, ...] = ()
    holidays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """From `start` up to, but not with, `end`, in UTC. `day` is its first local day; a shift's is its working day.

    `shift` is a shift's id, or OFF_SHIFT for the time of one local day between two shifts.
    """

    start: datetime
    end: datetime
    day: date
    shift: str | None = None


def bucket_day(day: date, by: By, *, fiscal_year_start: tuple[int, int] = (1, 1)) -> date:
    """The first day of the week (Monday), month, year or fiscal year that the day lies in."""
    match by:
        case By.WEEK:
            return day - timedelta(days=day.weekday())
        case By.MONTH:
            return day.replace(day=1)
        case By.YEAR:
            return day.replace(month=1, day=1)
        case By.FISCAL_YEAR:
            first = date(day.year, *fiscal_year_start)
            return first if first <= day else first.replace(year=first.year - 1)
        case _:
            return day


def next_bucket_day(first: date, by: By) -> date:
    """The first day of the bucket after the one that begins on `first`."""
    match by:
        case By.WEEK:
            return first + timedelta(days=7)
        case By.MONTH:
            return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        case By.YEAR | By.FISCAL_YEAR:
            return first.replace(year=first.year + 1)
        case _:
            return first + _DAY


def buckets(period: Period, by: By, calendar: Calendar) -> Iterator[Bucket]:
    """The buckets of days or longer, or of shifts, that the period touches: whole ones, in order."""
    if by is By.SHIFT:
        return _shifts(period, calendar)
    return _days(period, by, calendar)


def edges(found: Sequence[Bucket], period: Period) -> list[datetime]:
    """Where buckets that follow each other begin, and where the last one ends, cut to the period."""
    return [max(bucket.start, period.start) for bucket in found] + [min(found[-1].end, period.end)]


def _days(period: Period, by: By, calendar: Calendar) -> Iterator[Bucket]:
    day = bucket_day(local_day(period.start, period.zone), by, fiscal_year_start=calendar.fiscal_year_start)
    start = midnight(day, period.zone)
    while start < period.end:
        following = next_bucket_day(day, by)
        end = midnight(following, period.zone)
        # A day that the zone skips is none.
        if start < end:
            yield Bucket(start=start, end=end, day=day)
        day, start = following, end


def _shifts(period: Period, calendar: Calendar) -> Iterator[Bucket]:
    # Yesterday's night shift may reach into the period.
    day = local_day(period.start, period.zone) - _DAY
    reached = midnight(day, period.zone)
    while midnight(day, period.zone) < period.end:
        for shift in shifts_of(day, period.zone, calendar):
            yield from _touching(period, _off_shift(reached, shift.start, period.zone))
            yield from _touching(period, [shift])
            reached = shift.end
        day += _DAY
    yield from _touching(period, _off_shift(reached, midnight(day, period.zone), period.zone))


def shifts_of(day: date, zone: ZoneInfo, calendar: Calendar) -> list[Bucket]:
    """The shifts that begin on a local day, in order. They follow the clock on the wall.

    A day that the zone skips has none, and a shift that would end in it ends with the day before.
    """
    if day in calendar.holidays or midnight(day, zone) == midnight(day + _DAY, zone):
        return []
    wall = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - what the clock on the wall shows
    working = sorted((s for s in calendar.shifts if WEEKDAYS[day.weekday()] in s.weekdays), key=lambda s: s.start)
    found = [
        Bucket(
            start=first_instant(wall + timedelta(minutes=shift.start_minute), zone),
            end=first_instant(wall + timedelta(minutes=shift.end_minute), zone),
            day=day,
            shift=shift.id,
        )
        for shift in working
    ]
    # The clock may jump over all of a shift.
    return [bucket for bucket in found if bucket.start < bucket.end]


def _off_shift(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[Bucket]:
    """The time between two shifts, cut at midnights."""
    while start < end:
        day = local_day(start, zone)
        until = min(midnight(day + _DAY, zone), end)
        yield Bucket(start=start, end=until, day=day, shift=OFF_SHIFT)
        start = until


def _touching(period: Period, found: Iterable[Bucket]) -> Iterator[Bucket]:
    return (bucket for bucket in found if bucket.end > period.start and bucket.start < period.end)
