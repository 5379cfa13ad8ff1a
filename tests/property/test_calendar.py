"""Whatever the zone does to its clocks, buckets of any kind hold each quarter of a period once."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from api.calendar.buckets import By, Calendar, buckets, edges
from api.calendar.clock import Period, first_instant, hour_end, local_day, midnight, stretches
from schemas.calendar import WEEKDAYS, Shift, shift_problems
from schemas.time_zones import zone_names

QUARTER = timedelta(minutes=15)
FIRST = datetime(1990, 1, 2, tzinfo=UTC)
HARD = {
    "Pacific/Apia": "2011-12-30T10:00",
    "Pacific/Kwajalein": "1993-08-21T12:00",
    "Pacific/Kiritimati": "1994-12-31T10:40",
    "America/St_Johns": "2010-11-07T02:31",
    "Australia/Lord_Howe": "2026-04-04T15:00",
    "Asia/Kathmandu": "2026-01-01T00:00",
    "America/Havana": "2026-03-08T05:00",
    "America/Asuncion": "2024-03-24T03:00",
    "Asia/Gaza": "2012-03-30T22:00",
    "Antarctica/Casey": "2022-10-01T16:01",
    "Europe/Copenhagen": "2025-10-26T01:00",
}


@st.composite
def periods(draw):
    """Of up to forty days, in any zone; often around a change of clocks that is hard."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(HARD)))
        start = datetime.fromisoformat(HARD[name]).replace(tzinfo=UTC) - draw(st.integers(0, 400)) * QUARTER
    else:
        name = draw(st.sampled_from(sorted(zone_names())))
        start = FIRST + draw(st.integers(0, 40 * 365 * 96)) * QUARTER
    start += draw(st.sampled_from([timedelta(), timedelta(minutes=7, microseconds=1)]))
    return Period(start=start, end=start + draw(st.integers(1, 40 * 96)) * QUARTER, zone=ZoneInfo(name))


@st.composite
def calendars(draw):
    """Any shifts that don't overlap, any fiscal year, some holidays."""
    shifts: list[Shift] = []
    for i in range(draw(st.integers(0, 6))):
        start, end = draw(st.integers(0, 95)), draw(st.integers(0, 95))
        shift = Shift(
            id=f"s{i}",
            start=f"{start // 4:02}:{start % 4 * 15:02}",
            end=f"{end // 4:02}:{end % 4 * 15:02}",
            weekdays=draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True)),
        )
        if not list(shift_problems((), [*shifts, shift])):
            shifts.append(shift)
    holidays = draw(st.frozensets(st.dates(date(2010, 1, 1), date(2026, 12, 31)), max_size=5))
    first = draw(st.dates(date(2001, 1, 1), date(2001, 12, 31)))
    return Calendar(fiscal_year_start=(first.month, first.day), shifts=tuple(shifts), holidays=holidays)


@settings(deadline=None, max_examples=300)
@given(periods(), calendars(), st.sampled_from([by for by in By if by not in {By.QUARTER, By.HOUR}]))
def test_buckets_hold_each_quarter_once(period, calendar, by):
    found = list(buckets(period, by, calendar))
    assert found[0].start <= period.start
    assert found[-1].end >= period.end
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(bucket.start < bucket.end for bucket in found)
    assert len({(bucket.day, bucket.shift) for bucket in found}) == len(found) or by is By.SHIFT
    # No bucket begins within a quarter, so that none is covered by more than its own.
    assert all(bucket.start.timestamp() % 900 == 0 for bucket in found)
    marks = edges(found, period)
    assert (marks[0], marks[-1]) == (period.start, period.end)
    assert marks == sorted(set(marks))


@settings(deadline=None, max_examples=200)
@given(periods(), calendars(), st.sampled_from([By.DAY, By.FISCAL_YEAR, By.SHIFT]), st.data())
def test_a_period_may_be_taken_up_anywhere(period, calendar, by, data):
    """Pages go on from the beginning of a bucket: the rest of the buckets is the same."""
    found = list(buckets(period, by, calendar))
    i = data.draw(st.integers(0, len(found) - 1))
    rest = Period(start=max(found[i].start, period.start), end=period.end, zone=period.zone)
    assert list(buckets(rest, by, calendar)) == found[i:]


@settings(deadline=None, max_examples=200)
@given(periods(), calendars())
def test_shifts_follow_the_clock_on_the_wall(period, calendar):
    rules = {shift.id: shift for shift in calendar.shifts}
    for bucket in buckets(period, By.SHIFT, calendar):
        if bucket.shift not in rules:
            assert bucket.start >= midnight(bucket.day, period.zone)
            assert bucket.end <= midnight(bucket.day + timedelta(days=1), period.zone)
            continue
        rule = rules[bucket.shift]
        assert bucket.day not in calendar.holidays
        assert WEEKDAYS[bucket.day.weekday()] in rule.weekdays
        day = datetime(bucket.day.year, bucket.day.month, bucket.day.day)  # noqa: DTZ001
        assert bucket.start == first_instant(day + timedelta(minutes=rule.start_minute), period.zone)
        assert bucket.end == first_instant(day + timedelta(minutes=rule.end_minute), period.zone)


@settings(deadline=None, max_examples=200)
@given(periods())
def test_days_and_their_quarters_agree(period):
    at = period.start
    while at < min(period.end, period.start + timedelta(days=3)):
        day = local_day(at, period.zone)
        assert midnight(day, period.zone) <= at < midnight(day + timedelta(days=1), period.zone)
        at += 7 * QUARTER


@settings(deadline=None, max_examples=200)
@given(periods())
def test_hours_show_one_hour_of_the_clock_each(period):
    clock = list(stretches(period))
    starts = [stretch.start for stretch in clock]
    at = period.start + timedelta(seconds=-period.start.timestamp() % 900)
    while at < min(period.end, period.start + timedelta(days=4)):
        end = hour_end(at, clock)
        assert QUARTER <= end - at <= timedelta(hours=1)
        shown = {
            (q.astimezone(period.zone).replace(minute=0, second=0, tzinfo=None), q.astimezone(period.zone).utcoffset())
            for q in (at + n * QUARTER for n in range((end - at) // QUARTER))
        }
        # Where clocks are changed within a quarter, that quarter shows two hours.
        assert len(shown) == 1
        assert bisect_right(starts, at) == bisect_right(starts, end - QUARTER)
        at = end
