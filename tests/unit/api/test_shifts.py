"""Shifts over the clock: nights, changes of clocks, holidays and the time in between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from api.calendar.buckets import By, Calendar, buckets
from api.calendar.clock import Period
from schemas.calendar import WEEKDAYS, Shift

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
WORKDAYS = list(WEEKDAYS[:5])


def shift(key, start, end, weekdays=WORKDAYS) -> Shift:
    return Shift(id=key, start=start, end=end, weekdays=list(weekdays))


THREE = (shift("early", "06:00", "14:00"), shift("late", "14:00", "22:00"), shift("night", "22:00", "06:00"))


def told(start, end, *shifts, zone=COPENHAGEN, holidays=()) -> list[tuple[str, str, float]]:
    """(shift, working day, hours) of whole local days."""
    period = Period(
        start=datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC),
        end=datetime.fromisoformat(end).replace(tzinfo=zone).astimezone(UTC),
        zone=zone,
    )
    found = list(buckets(period, By.SHIFT, Calendar(shifts=shifts, holidays=frozenset(holidays))))
    assert all(one.end == other.start for one, other in pairwise(found))
    assert found[0].start <= period.start < found[0].end
    assert found[-1].start < period.end <= found[-1].end
    return [(str(b.shift), str(b.day), (b.end - b.start) / timedelta(hours=1)) for b in found]


def test_a_week_of_three_shifts_and_a_free_weekend():
    found = told("2026-01-09", "2026-01-13", *THREE)
    assert found == [
        ("night", "2026-01-08", 8),
        ("early", "2026-01-09", 8),
        ("late", "2026-01-09", 8),
        ("night", "2026-01-09", 8),
        ("none", "2026-01-10", 18),
        ("none", "2026-01-11", 24),
        ("none", "2026-01-12", 6),
        ("early", "2026-01-12", 8),
        ("late", "2026-01-12", 8),
        ("night", "2026-01-12", 8),
    ]


def test_a_night_shift_follows_the_clock():
    nights = shift("night", "22:00", "06:00", WEEKDAYS)
    spring = told("2026-03-28T12:00", "2026-03-29T12:00", nights)
    autumn = told("2025-10-25T12:00", "2025-10-26T12:00", nights)
    assert ("night", "2026-03-28", 7) in spring
    assert ("night", "2025-10-25", 9) in autumn


def test_no_shift_begins_on_a_holiday_and_the_one_before_ends():
    found = told("2026-12-25", "2026-12-26", *THREE, holidays=[date(2026, 12, 25)])
    assert found == [("night", "2026-12-24", 8), ("none", "2026-12-25", 18)]


def test_a_shift_of_a_whole_day():
    found = told("2026-01-10", "2026-01-12", shift("weekend", "06:00", "06:00", WEEKDAYS[5:]))
    assert found == [
        ("none", "2026-01-10", 6),
        ("weekend", "2026-01-10", 24),
        ("weekend", "2026-01-11", 24),
    ]


def test_shifts_end_with_the_day_before_one_that_is_skipped():
    found = told("2011-12-29", "2011-12-31T12:00", *THREE[::2], zone=ZoneInfo("Pacific/Apia"))
    assert found == [
        ("night", "2011-12-28", 8),
        ("early", "2011-12-29", 8),
        ("none", "2011-12-29", 8),
        ("night", "2011-12-29", 2),
        ("none", "2011-12-31", 24),
    ]


def test_a_shift_that_the_clock_jumps_over_is_not_there():
    found = told("2026-03-29", "2026-03-30", shift("watch", "02:00", "03:00", WEEKDAYS))
    assert [name for name, _, _ in found] == ["none"]


def test_all_time_of_a_site_with_a_shift_a_week_is_told_by_the_day():
    found = told("2026-01-05", "2026-01-12", shift("sunday", "00:00", "24:00", WEEKDAYS[6:]))
    assert [name for name, _, _ in found] == ["none"] * 6 + ["sunday"]
