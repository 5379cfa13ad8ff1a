"""The clock on a site's wall: when it shows a time, which day it is, and where it is put forward or back.

A day begins when the clock first shows its midnight; where the clock jumps over midnight, with the jump. A day that a
zone skips (Apia, 2011-12-30) begins when the next one does and is empty. So days never overlap and leave no gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER_S = 900
_SECOND = timedelta(seconds=1)


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
class Stretch:
    """From `start` on the clock is `offset` ahead of UTC, until the next stretch begins."""

    start: datetime
    offset: timedelta


def first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock first shows this naive time or a later one. In UTC, on a quarter if `wall` is."""
    ways = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    early, late = min(ways), max(ways)
    if _shown(early, zone) == wall:
        return early
    # The clock jumps over it, after `early` and at `late` the latest.
    return _on_quarter(_change(early, late, lambda at: _shown(at, zone) >= wall))


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a local day begins."""
    return first_instant(datetime.combine(day, time()), zone)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The local day that an instant lies in: the one that had begun last."""
    day = at.astimezone(zone).date()
    # Where the clock is put back over midnight, it shows the day before again.
    while midnight(day + _DAY, zone) <= at:
        day += _DAY
    return day


def stretches(period: Period) -> Iterator[Stretch]:
    """Where the clock runs through, from a day before the period to its end; each begins on a quarter."""
    at = period.start - _DAY
    offset = _offset(at, period.zone)
    yield Stretch(start=at, offset=offset)
    while at < period.end:
        following = at + _DAY
        later = _offset(following, period.zone)
        if later != offset:
            yield Stretch(start=_on_quarter(_offset_change(at, following, period.zone)), offset=later)
        at, offset = following, later


def hour_end(start: datetime, along: Sequence[Stretch]) -> datetime:
    """When the clock next shows a full hour, or is changed, after an instant within these stretches."""
    i = bisect_right(along, start, key=lambda stretch: stretch.start) - 1
    end = start + _HOUR - (start - _EPOCH + along[i].offset) % _HOUR
    return min([end, *(stretch.start for stretch in along[i + 1 : i + 2])])


def _offset_change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    before = _offset(low, zone)
    return _change(low, high, lambda at: _offset(at, zone) != before)


def _change(low: datetime, high: datetime, is_after: Callable[[datetime], bool]) -> datetime:
    """The first second after `low`, up to `high`, for which `is_after` holds; it holds for `high`."""
    low, high = low.replace(microsecond=0), high.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        low, high = (low, middle) if is_after(middle) else (middle, high)
    return high


def _shown(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _on_quarter(at: datetime) -> datetime:
    # Clocks in Newfoundland were changed at 00:01 until 2011; consumption knows quarters only.
    return at + timedelta(seconds=-at.timestamp() % _QUARTER_S)
