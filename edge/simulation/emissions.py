"""CO2 of the workshop: the factors that the simulation made up, and what really was emitted, hour by hour.

None of the factors is anybody's published figure. They are named as simulated wherever they are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.simulation.calendar import QUARTERS_PER_HOUR, Day
from edge.simulation.development import COLDEST_DAY
from edge.simulation.flows import Series

Basis = Literal["location", "market"]
"""How electricity is counted: as the grid made it in that hour, or as it was bought."""

AREA = "DK1"
SOURCE = "simulated: made up by the demo, not a published factor"
GAS_KG_PER_KWH = 0.204
RESIDUAL_MIX_KG_PER_KWH = 0.48
"""What bought electricity without a certificate counts: the market-based factor, of all years."""
GRID_KG_PER_KWH = 0.130
GRID_YEARLY = 0.96
"""Each year's mean against the year before."""
CLEANEST_YEAR = 0.05
LOWEST, HIGHEST = 0.012, 0.420
_GRID_NOISE = 200
"""Third word of the noise's seed; the plans use 1, 2, … and the flows 100."""
_LONGEST_DAY_HOURS = 25
_DAY_SCATTER = 0.35
_HOUR_SCATTER = 0.08
_SUN = 0.30
_EVENING = 0.18
_WINTER = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyFactor:
    """kg CO2e a kWh of electricity in the hour that begins at this instant (Unix milliseconds)."""

    at_ms: int
    kg_per_kwh: float


def grid_factors(days: Sequence[Day], *, seed: int) -> Series:
    """The grid's factor in every hour of the days, kg CO2e/kWh in steps of 0.00001; each day knows nothing of others.

    Windy days are clean, noons cleaner than evenings, summers cleaner than winters, later years than earlier ones.
    """
    base_year = days[0].date.year
    return np.concatenate([_of_day(day, base_year, seed) for day in days])


def hourly(days: Sequence[Day], factors: Series) -> list[HourlyFactor]:
    """The factors with their hours, as a grid operator would publish them."""
    first_ms = days[0].start_ms
    return [HourlyFactor(at_ms=first_ms + i * 3_600_000, kg_per_kwh=value) for i, value in enumerate(factors.tolist())]


def by_quarter(factors: Series) -> Series:
    """The factor of the hour that each quarter is in."""
    return np.repeat(factors, QUARTERS_PER_HOUR)


def _of_day(day: Day, base_year: int, seed: int) -> Series:
    noise = np.random.default_rng([seed, day.date.toordinal(), _GRID_NOISE]).standard_normal(1 + _LONGEST_DAY_HOURS)
    hour = np.arange(day.quarters // QUARTERS_PER_HOUR)
    winter = np.cos(2 * np.pi * (day.date.timetuple().tm_yday - COLDEST_DAY) / 365.25)
    level = max(GRID_KG_PER_KWH * GRID_YEARLY ** (day.date.year - base_year), GRID_KG_PER_KWH * CLEANEST_YEAR)
    sun = _SUN * (1.0 - 0.6 * winter) * np.exp(-(((hour - 13.0) / 3.0) ** 2))
    evening = _EVENING * np.exp(-(((hour - 19.0) / 2.0) ** 2))
    wind = np.exp(_DAY_SCATTER * np.clip(noise[0], -2.5, 2.5)) * (
        1.0 + _HOUR_SCATTER * np.clip(noise[1 : 1 + hour.size], -3.0, 3.0)
    )
    factor = level * (1.0 + _WINTER * winter + evening - sun) * wind
    return np.asarray(np.rint(np.clip(factor, LOWEST, HIGHEST) * 1e5) / 1e5)
