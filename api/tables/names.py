"""How people head the columns of plain tables, and how they name periods there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

PERIODS = (
    "periode", "year", "år", "aar", "quarter", "kvartal", "month", "måned", "week", "uge", "date", "dato", "time",
    "tid", "fiscal year", "regnskabsår",
)  # fmt: skip
PRESSURES = (
    "belastning", "p", "energy", "energi", "energy use", "energy consumption", "energiforbrug", "electricity",
    "elforbrug", "consumption", "forbrug", "quantity", "mængde", "emissions", "emission", "udledning", "co2", "co2e",
    "co2 emissions", "ghg", "ghg emissions", "water", "vand", "water use", "vandforbrug", "material", "materiale",
    "materialeforbrug", "waste", "affald",
)  # fmt: skip
DRIVERS = (
    "d", "revenue", "turnover", "omsætning", "gdp", "bnp", "gva", "bvt", "value_added", "værditilvækst", "output",
    "production", "produktion", "production volume", "produktionsmængde", "activity", "aktivitet",
)  # fmt: skip
"""Other spellings of a period, of what was used or emitted, and of what was made; capitals don't matter."""

_UNITS = (
    "wh|kwh|mwh|gwh|twh|j|mj|gj|tj|pj|toe|ktoe|mtoe|g|kg|t|kt|mt|gt|tons?|tonnes?|l|m3|m³|co2e|tco2e?|kgco2e?|dkk|eur|usd"
    "|sek|nok|kr|mio|pcs|stk"
)
_BRACKETS = re.compile(r"\s*(\([^()]*\)|\[[^\[\]]*\])$")
_UNIT = re.compile(rf"[ ,]({_UNITS})\.?$")
_NAMED = re.compile(
    r"(?:FY ?)?(?P<year>\d{4})"
    r"(?:/\d\d|/\d{4}|-?[QK](?P<quarter>[1-4])|[-M](?P<month>\d\d)(?:-(?P<day>\d\d))?|-?[WU](?P<week>\d\d))?",
    re.ASCII | re.IGNORECASE,
)


def spelt(header: str) -> str:
    """A header without what spellings don't differ by: capitals, underscores and runs of spaces."""
    return re.sub(r"[\s_]+", " ", header).strip().casefold()


def spellings_of(header: str) -> list[str]:
    """As which names a header may be meant, the likeliest first: as it stands, and without the unit at its end."""
    whole = spelt(header)
    bare = whole
    while (shorter := _UNIT.sub("", _BRACKETS.sub("", bare)).strip()) not in {bare, ""}:
        bare = shorter
    return [whole, bare] if bare != whole else [whole]


def in_time(periods: Iterable[str]) -> list[str]:
    """Names of periods by time where each of them tells it, in any year; else all of them as they stand.

    Known are years, fiscal years, quarters, months, weeks and days, also as statistical offices write them (2020K1,
    2020M01).
    """
    found = list(periods)
    try:
        firsts = {name: _first_day(name) for name in found}
    except ValueError:
        return found
    return sorted(found, key=lambda name: firsts[name])


def _first_day(name: str) -> date:
    """The day that a period begins on, a fiscal year being taken for its calendar year. Raises ValueError."""
    first, dots, last = name.partition("..")
    if dots:
        _first_day(last)
    found = _NAMED.fullmatch(first.strip())
    if found is None:
        raise ValueError(f"{name} names no period")
    parts = {part: int(digits) for part, digits in found.groupdict().items() if digits is not None}
    if "week" in parts:
        return date.fromisocalendar(parts["year"], parts["week"], 1)
    month = 3 * parts["quarter"] - 2 if "quarter" in parts else parts.get("month", 1)
    return date(parts["year"], month, parts.get("day", 1))
