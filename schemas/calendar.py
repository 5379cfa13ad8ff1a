"""A site's calendar: the first day of its fiscal year, its shifts, and the days on which no shift works.

Times are those of the clock on the wall. Shifts begin and end on a quarter of an hour: consumption knows nothing
finer, and each time zone in force since 1990 is a whole number of quarters off UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.configuration import Location, Problem
from schemas.parts import Part

OFF_SHIFT = "none"
"""What the time outside of all shifts is told as."""
DAY_MINUTES, WEEK_MINUTES = 1440, 10_080

_MONTH_DAY = re.compile(r"(\d\d)-(\d\d)")
_WALL_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Weekday(StrEnum):
    """In the order of `date.weekday()`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEKDAYS = tuple(Weekday)


def _month_day(text: str) -> str:
    match = _MONTH_DAY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a day of the year; write month and day, as in 07-01")
    month, day = int(match[1]), int(match[2])
    if (month, day) == (2, 29):
        raise ValueError("02-29 is not in every year; a fiscal year begins on a day that is, such as 03-01")
    try:
        date(2001, month, day)
    except ValueError:
        raise ValueError(f"{text!r} is in no year; write month and day, as in 07-01") from None
    return text


def _wall_time(text: str) -> str:
    match = _WALL_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of the day; write hours and minutes, as in 06:00 or 22:00")
    if int(match[2]) % 15:
        raise ValueError(
            f"{text} is not on a quarter of an hour, the finest grain of consumption; "
            f"write {match[1]}:00, {match[1]}:15, {match[1]}:30 or {match[1]}:45"
        )
    return text


def _holiday(day: object) -> object:
    # A bare number would be taken for days since 1970, and a datetime for its date.
    if (isinstance(day, date) and not isinstance(day, datetime)) or (isinstance(day, str) and _DATE.fullmatch(day)):
        return day
    raise ValueError(f"{day!r} is not a date; write it like 2026-12-25")


MonthDay = Annotated[str, AfterValidator(_month_day)]
"""Month and day, as in 07-01; one that every year has."""
WallTime = Annotated[str, AfterValidator(_wall_time)]
"""Hours and minutes on the wall, on a quarter of an hour, as in 22:00."""
EndTime = Annotated[WallTime, BeforeValidator(lambda text: "00:00" if text == "24:00" else text)]
Holiday = Annotated[date, BeforeValidator(_holiday)]


class Shift(Part):
    """From `start` to `end` on each of the weekdays. An end at or before the start is on the day after (22:00–06:00).

    Its working day is the day on which it began.
    """

    start: WallTime
    end: EndTime
    weekdays: Annotated[list[Weekday], Field(min_length=1)]

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if self.id == OFF_SHIFT:
            raise ValueError(f"{OFF_SHIFT!r} is what the time outside of all shifts is called; choose another id")
        if len(set(self.weekdays)) < len(self.weekdays):
            raise ValueError("a weekday stands twice; name each once")
        return self

    @property
    def start_minute(self) -> int:
        """Minutes after midnight."""
        return minute_of(self.start)

    @property
    def end_minute(self) -> int:
        """Minutes after the midnight with which the working day begins; beyond 1440 for a shift over midnight."""
        return self.start_minute + ((minute_of(self.end) - self.start_minute) % DAY_MINUTES or DAY_MINUTES)


def minute_of(time: str) -> int:
    """Minutes after midnight of a wall time such as 22:00."""
    return int(time[:2]) * 60 + int(time[3:])


def shift_problems(location: Location, shifts: Sequence[Shift]) -> Iterator[Problem]:
    """Ids that stand twice, and shifts that overlap, each told once."""
    ids = [shift.id for shift in shifts]
    for i, key in enumerate(ids):
        if key in ids[:i]:
            yield Problem(location=(*location, i, "id"), message=f"{key!r} stands twice; give each its own id")
    for i, later in enumerate(shifts):
        for j, earlier in enumerate(shifts[:i]):
            if weekday := _overlap(earlier, later):
                own = f"shift {j + 1}" if earlier.id == later.id else earlier.id
                yield Problem(
                    location=(*location, i),
                    message=f"{later.id} ({later.start}–{later.end}) overlaps {own} ({earlier.start}–{earlier.end}) "
                    f"on {weekday}; at any time one shift works at most",
                )


def _overlap(one: Shift, other: Shift) -> Weekday | None:
    """The weekday of `other` on which both work at once, if there is one."""
    for theirs in other.weekdays:
        begins = WEEKDAYS.index(theirs) * DAY_MINUTES + other.start_minute
        for ours in one.weekdays:
            # The week is a ring: Sunday's night shift reaches into Monday.
            ahead = (WEEKDAYS.index(ours) * DAY_MINUTES + one.start_minute - begins) % WEEK_MINUTES
            if (
                ahead < other.end_minute - other.start_minute
                or WEEK_MINUTES - ahead < one.end_minute - one.start_minute
            ):
                return theirs
    return None
