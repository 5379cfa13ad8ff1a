"""Hourly factors from files of the Danish grid, as Energinet's Energi Data Service gives them out.

Told apart by their columns: 5-minute values (dataset CO2Emis: Minutes5UTC, PriceArea, CO2Emission), whose hour is their
mean, and hourly declarations (DeclarationGridEmission, DeclarationEmissionHour: HourUTC, PriceArea, CO2PerkWh, and
FuelAllocationMethod, of which one is taken). All are g CO2/kWh. The column in UTC decides, so that a change of clocks
is nothing special.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from api.factors.given import GivenSeries
from api.indicators.carbon import HOUR_MS
from schemas.carriers import AREA_PATTERN

AREAS = ("DK1", "DK2")
METHOD = "125%"
"""How fuel is shared between power and heat where the file leaves the choice: the Danish declaration's own way."""
LICENCE = "as stated by Energi Data Service"
_MINUTES_5_MS = 300_000
_MOST_G = 5000.0
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::00(?:\.0+)?)?(?:Z|\+00:00)?", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?", re.ASCII)

Row = tuple[str, Mapping[str, object]]
"""Where it stands (`file:line`), and its cells by column in small letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridChoice:
    """Which rows to take: of these areas and this method; up to `now` (Unix milliseconds), as what lies ahead is a
    prognosis.
    """

    now: int
    areas: Collection[str] = AREAS
    method: str | None = None
    licence: str = LICENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class GridHours:
    """What a file gave. Hours are incomplete where a 5-minute value is missing, empty or below zero."""

    series: list[GivenSeries]
    hours: int
    hours_incomplete: int
    rows_of_other_areas: int
    rows_of_other_methods: int


def is_grid_file(columns: Collection[str]) -> bool:
    """Whether a file with these columns, in small letters, is one of the grid's."""
    return {"co2emission", "co2perkwh"} & set(columns) != set() and "pricearea" in columns


def read_grid_rows(rows: Iterable[Row], columns: Collection[str], choice: GridChoice, problems: list[str]) -> GridHours:
    """The hours of a file's rows. What is wrong is added to `problems`, each with its place and the way out."""
    is_hourly = "co2perkwh" in columns
    time_column, value_column = ("hourutc", "co2perkwh") if is_hourly else ("minutes5utc", "co2emission")
    odd = [area for area in choice.areas if not re.fullmatch(AREA_PATTERN, area)]
    if odd:
        problems.append(f"{odd[0]!r} is no area of the grid; write it as the file does, in capitals: DK1")
    if time_column not in columns:
        problems.append(f"no column {time_column} in the file; download it again with times in UTC")
        return GridHours(series=[], hours=0, hours_incomplete=0, rows_of_other_areas=0, rows_of_other_methods=0)
    step = HOUR_MS if is_hourly else _MINUTES_5_MS
    has_methods = "fuelallocationmethod" in columns
    method = choice.method or METHOD
    found: dict[tuple[str, int], tuple[float | None, str]] = {}
    other_areas: Counter[str] = Counter()
    other_methods: Counter[str] = Counter()
    for place, cells in rows:
        area = str(cells.get("pricearea") or "").strip()
        if has_methods and (of := str(cells.get("fuelallocationmethod") or "").strip()) != method:
            other_methods[of] += 1
        elif area not in choice.areas:
            other_areas[area] += 1
        else:
            try:
                at = _instant(cells.get(time_column), step, choice.now)
                value = _grams(cells.get(value_column))
            except ValueError as error:
                problems.append(f"{place}: {error}")
                continue
            known, first = found.setdefault((area, at), (value, place))
            if known != value:
                problems.append(f"{place}: another value for the same time and area than {first}; keep one of them")
    if not (found or problems):
        problems.append(_nothing(choice, method, other_areas, other_methods))
    by_hour = _by_hour(found, step)
    complete = {key: value for key, value in by_hour.items() if value is not None}
    if found and not complete and not problems:
        problems.append("no hour in the file is complete; download whole hours")
    what = f"declaration-{_slug(method)}" if has_methods else "declaration" if is_hourly else "co2emis"
    return GridHours(
        series=_months(complete, what, method if has_methods else None, choice.licence),
        hours=len(complete),
        hours_incomplete=len(by_hour) - len(complete),
        rows_of_other_areas=other_areas.total(),
        rows_of_other_methods=other_methods.total(),
    )


def _instant(cell: object, step: int, now: int) -> int:
    text = str(cell or "").strip()
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time; it is written 2025-03-30 01:05 and in UTC")
    try:
        at = round(datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise ValueError(f"{text!r} is not in the calendar: {error}") from error
    if at % step:
        raise ValueError(f"{text!r} is not on a full {'hour' if step == HOUR_MS else '5 minutes'}; check the dataset")
    if not 0 <= at <= now:
        raise ValueError(f"{text!r} lies ahead or before 1970; a prognosis is no factor, so load what has been")
    return at


def _grams(cell: object) -> float | None:
    """g CO2/kWh; None for what is empty or below zero, as nobody takes emissions back by using power."""
    text = "" if cell is None else str(cell).strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number of g CO2/kWh; write 123.4 or 123,4")
    value = float(text.replace(",", "."))
    if value > _MOST_G:
        raise ValueError(f"{text[:40]} g CO2/kWh is more than any power plant's; check the column")
    return value if value >= 0 else None


def _by_hour(
    found: Mapping[tuple[str, int], tuple[float | None, str]], step: int
) -> dict[tuple[str, int], float | None]:
    """kg/kWh by area and hour; None where a value of the hour is missing."""
    values: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for (area, at), (value, _) in found.items():
        hour = values[area, at // HOUR_MS]
        if value is not None:
            hour.append(value)
    wanted = HOUR_MS // step
    # fsum gives the same mean in whatever order the rows stand.
    return {key: math.fsum(v) / wanted / 1000 if len(v) == wanted else None for key, v in values.items()}


def _months(hours: Mapping[tuple[str, int], float], what: str, method: str | None, licence: str) -> list[GivenSeries]:
    months: defaultdict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for (area, hour), value in hours.items():
        months[area, f"{datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC):%Y-%m}"][hour] = value
    dataset = "CO2Emis" if what == "co2emis" else "hourly declaration"
    return [
        GivenSeries(
            key=f"{what}-{area.lower()}-{month}",
            area=area,
            source=f"Energinet, Energi Data Service, {dataset}, {area}",
            licence=licence,
            remark=None if method is None else f"FuelAllocationMethod {method}",
            hours=values,
        )
        for (area, month), values in sorted(months.items())
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())[:10] or "x"


def _nothing(choice: GridChoice, method: str, other_areas: Mapping[str, int], other_methods: Mapping[str, int]) -> str:
    if other_methods and not other_areas:
        return f"no row of method {method!r}; the file has {_listed(other_methods)}: choose one of them"
    if other_areas:
        return f"no row of the areas {', '.join(choice.areas)}; the file has {_listed(other_areas)}: choose among them"
    return "the file has no rows; download it again"


def _listed(found: Mapping[str, int]) -> str:
    return ", ".join(repr(name[:20]) for name in sorted(found)[:10])
