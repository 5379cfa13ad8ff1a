"""Nordvang Metal as data: its lines, products, what each uses in which state, and its meters.

Figures are invented, of the size of a small Danish metal workshop: some 2 GWh and 25 million DKK a year.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edge.simulation.calendar import Shifts

ZONE = "Europe/Copenhagen"
GAS_KWH_PER_M3 = 11.0
AIR_KWH_PER_NM3 = 0.12
"""What the site model says of compressed air; the compressor never does better, so its rest is never negative."""
COMPRESSOR_KWH_PER_NM3 = 0.168
"""What the compressor really takes in the base year: badly controlled, as they are before somebody looks."""


class Flow(StrEnum):
    """What a line draws, with the unit of its meter."""

    ELECTRICITY = "electricity"  # kWh
    AIR = "air"  # Nm3
    GAS = "gas"  # m3
    WATER = "water"  # m3


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a line draws of one flow by state, in units per hour, and how strongly it scatters by quarter."""

    closed: float
    standby: float
    changeover: float
    running: float
    preheat: float
    scatter: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A product on a line. Pieces are good ones an hour in the base year; `per_piece` is on top of the load.

    `gross_kg` is the steel that a piece takes, `net_kg` what of it leaves in the piece.
    """

    product: str
    good_per_hour: float
    scrap_share: float
    gross_kg: float
    net_kg: float
    per_piece: dict[Flow, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDesign:
    """A production line: when it is manned, how it is planned and what it draws.

    `recycled_content` is the share of its steel that was scrap before: little in cold-rolled sheet, most in bar.
    """

    line: str
    name: str
    shifts: Shifts
    breaks: tuple[tuple[int, int], ...]
    down_chance: float
    preheat_quarters: int
    setup_steel_kg_per_hour: float
    recycled_content: float
    loads: dict[Flow, Load]
    recipes: tuple[Recipe, ...]


PRICES_DKK = {"bracket": 19.0, "hinge": 17.0, "shaft": 84.0}
"""Revenue per good piece, prices of the base year."""
PRODUCTS = tuple(PRICES_DKK)
FAMILIES = {"bracket": "sheet parts", "hinge": "sheet parts", "shaft": "shafts"}

SWITCH_WEEKDAYS = frozenset(range(1, 6))
"""Days on which a line switches product, once: the mix stays even, so a year's growth is the development's."""

PRESS = LineDesign(
    line="press",
    name="Press line",
    shifts=Shifts(weekdays=frozenset(range(1, 6)), opens=6, closes=22),
    breaks=((48, 50), (72, 74)),  # 12:00–12:30, 18:00–18:30
    down_chance=0.35,
    preheat_quarters=2,
    setup_steel_kg_per_hour=12.0,
    recycled_content=0.25,
    loads={
        Flow.ELECTRICITY: Load(closed=4.0, standby=16.0, changeover=18.0, running=20.0, preheat=12.0),
        Flow.AIR: Load(closed=12.0, standby=40.0, changeover=60.0, running=70.0, preheat=30.0),
        Flow.WATER: Load(closed=0.01, standby=0.06, changeover=0.35, running=0.25, preheat=0.0, scatter=0.08),
    },
    recipes=(
        Recipe(
            product="bracket",
            good_per_hour=180.0,
            scrap_share=0.030,
            gross_kg=0.62,
            net_kg=0.55,
            per_piece={Flow.ELECTRICITY: 0.26, Flow.AIR: 0.75, Flow.WATER: 0.0011},
        ),
        Recipe(
            product="hinge",
            good_per_hour=200.0,
            scrap_share=0.040,
            gross_kg=0.38,
            net_kg=0.33,
            per_piece={Flow.ELECTRICITY: 0.19, Flow.AIR: 0.55, Flow.WATER: 0.0008},
        ),
    ),
)

FURNACE = LineDesign(
    line="furnace",
    name="Heat treatment line",
    shifts=Shifts(weekdays=frozenset(range(1, 7)), opens=6, closes=22, through_the_night=True),
    breaks=((24, 25), (56, 57), (88, 89)),  # a quarter at each change of shift: 06, 14 and 22
    down_chance=0.30,
    preheat_quarters=8,
    setup_steel_kg_per_hour=18.0,
    recycled_content=0.85,
    loads={
        Flow.ELECTRICITY: Load(closed=3.0, standby=12.0, changeover=14.0, running=20.0, preheat=8.0),
        Flow.AIR: Load(closed=8.0, standby=20.0, changeover=30.0, running=45.0, preheat=5.0),
        Flow.GAS: Load(closed=1.2, standby=5.0, changeover=5.5, running=5.5, preheat=12.0),
        Flow.WATER: Load(closed=0.01, standby=0.10, changeover=0.20, running=0.35, preheat=0.05, scatter=0.08),
    },
    recipes=(
        Recipe(
            product="shaft",
            good_per_hour=38.0,
            scrap_share=0.025,
            gross_kg=2.40,
            net_kg=2.15,
            per_piece={Flow.ELECTRICITY: 0.75, Flow.AIR: 1.50, Flow.GAS: 0.30, Flow.WATER: 0.0075},
        ),
        Recipe(
            product="hinge",
            good_per_hour=100.0,
            scrap_share=0.035,
            gross_kg=0.39,
            net_kg=0.33,
            per_piece={Flow.ELECTRICITY: 0.22, Flow.AIR: 0.50, Flow.GAS: 0.09, Flow.WATER: 0.0024},
        ),
    ),
)

LINES = (PRESS, FURNACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """What no line answers for: per hour by night, and on top while the offices are manned."""

    base: float
    manned: float
    season: float = 0.0
    scatter: float = 0.05


OFFICE_WEEKDAYS = frozenset(range(1, 6))
OFFICE_QUARTERS = (24, 72)  # 06–18
LIGHTS_AND_OFFICE_KW = Building(base=7.0, manned=14.0, season=0.25)
VENTILATION_KW = Building(base=2.5, manned=8.0, season=0.15, scatter=0.02)
SANITARY_WATER_M3 = Building(base=0.02, manned=0.45, scatter=0.15)
MIXED_WASTE_KG = Building(base=0.1, manned=3.4, scatter=0.15)
