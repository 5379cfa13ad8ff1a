"""Instants, spans and amounts in sentences."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


def moment(at: datetime, zone: ZoneInfo) -> str:
    """An instant as the clock on the site's wall shows it."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def span(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """`from … to …`, or `at …` where both are the same minute."""
    first, last = moment(start, zone), moment(end, zone)
    return f"at {first}" if first == last else f"from {first} to {last}"


def duration(length: timedelta) -> str:
    """A length of time in the unit in which it is read best."""
    seconds = abs(length.total_seconds())
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def plural(count: int, what: str) -> str:
    """`1 reading`, `2 readings`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def listed(names: list[str], most: int = 6) -> str:
    """Names in a row; of many the first, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
