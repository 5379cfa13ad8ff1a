"""Which spans of days a question about decoupling needs, each loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise

from api.calendar.buckets import By, bucket_day, next_bucket_day
from api.periods import Days
from api.problems import bad_value

MOST_WINDOWS = 120


def whole_months(days: Days) -> list[Days]:
    """The calendar months that lie inside."""
    first = bucket_day(days.first, By.MONTH)
    if first < days.first:
        first = next_bucket_day(first, By.MONTH)
    found = []
    while (end := next_bucket_day(first, By.MONTH)) <= days.end:
        found.append(Days(first=first, end=end))
        first = end
    return found


def rolling_windows(period: Days, months: int) -> list[Days]:
    """For each end of a month in the period, the so many months before it. Raises a 422 problem."""
    ends = [month.end for month in whole_months(period)]
    if period.first.day != 1:
        # The month that the period begins in ends in it as well.
        ends = sorted({*ends, *(end for end in [_next_month(period.first)] if end <= period.end)})
    if not ends:
        raise bad_value("rolling", "no month ends in the period; make the period longer")
    if len(ends) > MOST_WINDOWS:
        raise bad_value("rolling", f"the period has {len(ends)} month ends; ask for {MOST_WINDOWS} at most")
    return [Days(first=_months_before(end, months), end=end) for end in ends]


def pieces(windows: Sequence[Days], *, by_month: bool) -> list[Days]:
    """The spans that all windows are made of, by time: cut wherever one begins or ends, and at months if wished."""
    edges = {edge for window in windows for edge in (window.first, window.end)}
    if by_month:
        edges |= {edge for window in windows for month in whole_months(window) for edge in (month.first, month.end)}
    return list(_cut(sorted(edges), windows))


def _cut(edges: Sequence[date], windows: Sequence[Days]) -> Iterator[Days]:
    for first, end in pairwise(edges):
        if any(window.first <= first and end <= window.end for window in windows):
            yield Days(first=first, end=end)


def _next_month(day: date) -> date:
    return next_bucket_day(bucket_day(day, By.MONTH), By.MONTH)


def _months_before(end: date, months: int) -> date:
    number = end.year * 12 + end.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)
