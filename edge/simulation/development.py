"""How the workshop develops over the years, so that the truth has a verdict worth finding.

Against the first calendar year (the base) the second has more output from the same hours, an energy project from
1 March, thinner sheet and bar from New Year, and tools that wear: energy decouples absolutely, water and material
relatively, waste not at all. Later years keep that level and grow a little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

SECOND_YEAR_VOLUME = 1.08
LATER_VOLUME_GROWTH = 1.02
PRICE_PREMIUM = 1.01
THINNER = 0.935
"""Steel per piece, gross and net, from the second year on."""
WORN_TOOLS_SCRAP = 2.2
"""Scrap share against the base year, reached after half of the second year."""
WEAR_DAYS = 181
PROJECT_MONTH = 3
PROJECT_GAS = 0.80
PROJECT_COMPRESSOR = 0.75
PROJECT_BASE_LOAD = 0.90
MIXED_WASTE = 1.15
COLDEST_DAY = 20  # of the year, in Denmark's climate normals the second half of January


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Factors of one day against the base year. `winter` is 1 on the coldest day and −1 half a year later."""

    volume: float
    premium: float
    steel: float
    scrap: float
    gas: float
    compressor: float
    base_load: float
    mixed_waste: float
    winter: float


def development_on(day: date, base_year: int) -> Development:
    """The factors that hold on that day."""
    years = day.year - base_year
    later = years >= 1
    project_done = years > 1 or (years == 1 and day.month >= PROJECT_MONTH)
    worn = min(1.0, max(0, (day - date(base_year + 1, 1, 1)).days) / WEAR_DAYS)
    return Development(
        volume=SECOND_YEAR_VOLUME * LATER_VOLUME_GROWTH ** (years - 1) if later else 1.0,
        premium=PRICE_PREMIUM if later else 1.0,
        steel=THINNER if later else 1.0,
        scrap=1.0 + worn * (WORN_TOOLS_SCRAP - 1.0),
        gas=PROJECT_GAS if project_done else 1.0,
        compressor=PROJECT_COMPRESSOR if project_done else 1.0,
        base_load=PROJECT_BASE_LOAD if project_done else 1.0,
        mixed_waste=MIXED_WASTE if later else 1.0,
        winter=math.cos(2 * math.pi * (day.timetuple().tm_yday - COLDEST_DAY) / 365.25),
    )
