"""Spans of time as callers give them, and the calendar of a site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo

from api.problems import bad_value

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+ -]\d\d:\d\d)")
Moment = TypeVar("Moment", date, datetime)
EARLIEST, LATEST = 1990, 2200
"""Years that a period may lie in: what is beyond is a slip of the pen."""


class By(StrEnum):
    """The length of a bucket, in the site's own calendar."""

    QUARTER = "quarter"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `start` up to, but not with, `end`: instants in UTC, and the zone of the site."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @property
    def length_ms(self) -> int:
        return (self.end - self.start) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Whole local days, from `first` up to, but not with, `end`."""

    first: date
    end: date

    @property
    def count(self) -> int:
        return (self.end - self.first).days

    def within(self, zone: ZoneInfo) -> Period:
        return Period(start=midnight(self.first, zone), end=midnight(self.end, zone), zone=zone)


def parse_period(start: str, end: str, zone: ZoneInfo) -> Period:
    """Both ends as an instant with its offset or as a date, which is the site's midnight. Raises a 422 problem."""
    period = Period(start=_edge("from", start, zone), end=_edge("to", end, zone), zone=zone)
    if period.start >= period.end:
        raise bad_value("to", "must be after `from`")
    return period


def parse_days(place: str, first: str, end: str) -> Days:
    """Both ends as a date. `place` is the prefix of the two parameters' names. Raises a 422 problem."""
    days = Days(first=_date(f"{place}from", first), end=_date(f"{place}to", end))
    if days.first >= days.end:
        raise bad_value(f"{place}to", f"must be after `{place}from`; it is the first day after the period")
    return days


def _edge(place: str, text: str, zone: ZoneInfo) -> datetime:
    if _DATE.fullmatch(text):
        return midnight(_date(place, text), zone)
    if not _INSTANT.fullmatch(text):
        raise bad_value(
            place, "write a date (2026-01-31) or an instant with its offset (2026-01-31T12:00:00Z, …T12:00:00+01:00)"
        )
    try:
        # In an address a plus sign means a space; whoever forgot to write %2B meant the plus sign.
        at = datetime.fromisoformat(text.replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise bad_value(place, f"not in the calendar: {error}") from error
    return _sane(place, at)


def _date(place: str, text: str) -> date:
    if not _DATE.fullmatch(text):
        raise bad_value(place, "not a date; write it like 2026-01-31")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise bad_value(place, f"not a date: {error}") from error
    return _sane(place, day)


def _sane(place: str, at: Moment) -> Moment:
    if not EARLIEST <= at.year <= LATEST:
        raise bad_value(place, f"must lie in the years {EARLIEST} to {LATEST}")
    return at


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a local day begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The local day that an instant lies in."""
    return at.astimezone(zone).date()


def bucket_day(day: date, by: By) -> date:
    """The first day of the week (Monday), month or year that the day lies in."""
    match by:
        case By.WEEK:
            return day - timedelta(days=day.weekday())
        case By.MONTH:
            return day.replace(day=1)
        case By.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def next_bucket_day(first: date, by: By) -> date:
    """The first day of the bucket after the one that begins on `first`."""
    match by:
        case By.WEEK:
            return first + timedelta(days=7)
        case By.MONTH:
            return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        case By.YEAR:
            return first.replace(year=first.year + 1)
        case _:
            return first + timedelta(days=1)


def bucket_days(period: Period, by: By) -> Iterator[date]:
    """The first day of each bucket of days or longer that the period touches."""
    day = bucket_day(local_day(period.start, period.zone), by)
    while midnight(day, period.zone) < period.end:
        yield day
        day = next_bucket_day(day, by)
