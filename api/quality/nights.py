"""Leaks: a base load at night that is above its norm.

At night, when nothing is made, a meter's lowest quarters show what runs without end. The norm of a night is the median
of the 28 nights before it, plus what these scatter by. The idea is the minimum night flow of water networks [S]; the
numbers are our own choice [O].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from api.quality.facts import MeterFacts, NightLoad

NORM_NIGHTS = 28
FEWEST_NIGHTS = 7
"""Nights of the 28 that must be known: with fewer there is no norm, and nothing is said."""
SCATTER = 5.0
"""Standard deviations above the median, told by the median absolute deviation."""
_MAD_TO_DEVIATION = 1.4826
"""The usual ratio, for what scatters normally."""
LEAST_SHARE_OF_BASE = 0.25
LEAST_SHARE_OF_MEAN = 0.05
"""Less than this share of the base load, or of what the meter counts in an hour on average, is not worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Nights on end above the norm. `base` and `norm` are per hour, in canonical units, of the worst of them.

    `goes_on`: no night that is known comes after them.
    """

    meter: str
    start: datetime
    end: datetime
    nights: int
    base: float
    norm: float
    goes_on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One night: `excess` is what it has above the median, `is_high` whether that is more than the norm allows."""

    load: NightLoad
    norm: float
    excess: float
    is_high: bool


def find_leaks(
    meters: Sequence[MeterFacts], nights: Mapping[str, Sequence[NightLoad]], *, start: datetime, end: datetime
) -> list[Leak]:
    """Leaks in nights that end in the period, each told of the meter nearest to it.

    `nights` holds each meter's known nights by date, from four weeks before the period on. A meter whose parts' leaks
    explain its own high night has none.
    """
    judged = {meter.meter: _judge(nights.get(meter.meter, ())) for meter in meters}
    parts: dict[str, list[str]] = {}
    for meter in meters:
        if meter.parent is not None:
            parts.setdefault(meter.parent, []).append(meter.meter)
    found = []
    for meter in meters:
        own = [
            night
            for day, night in judged[meter.meter].items()
            if start < night.load.end <= end and night.is_high and not _explained(meter.meter, day, judged, parts)
        ]
        known = [day for day, night in judged[meter.meter].items() if start < night.load.end <= end]
        found += [_leak(meter.meter, spell, last=known[-1]) for spell in _spells(own, known)]
    return found


def _judge(loads: Sequence[NightLoad]) -> dict[date, _Judged]:
    found = {}
    for i, load in enumerate(loads):
        earliest = load.night - timedelta(days=NORM_NIGHTS)
        before = [other for other in loads[:i] if other.night >= earliest]
        if len(before) < FEWEST_NIGHTS:
            continue
        bases = np.array([other.base for other in before])
        median = float(np.median(bases))
        deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(bases - median)))
        mean = float(np.mean([other.mean for other in before]))
        least = max(LEAST_SHARE_OF_BASE * abs(median), LEAST_SHARE_OF_MEAN * mean)
        norm = median + max(SCATTER * deviation, least)
        found[load.night] = _Judged(load=load, norm=norm, excess=load.base - median, is_high=load.base > norm)
    return found


def _explained(
    meter: str, day: date, judged: Mapping[str, dict[date, _Judged]], parts: Mapping[str, list[str]]
) -> bool:
    """Whether without what its parts have too much that night the meter would be within its norm."""
    night = judged[meter][day]
    return night.load.base - _excess_of_parts(meter, day, judged, parts) <= night.norm and any(
        _is_high(part, day, judged, parts) for part in parts.get(meter, ())
    )


def _excess_of_parts(
    meter: str, day: date, judged: Mapping[str, dict[date, _Judged]], parts: Mapping[str, list[str]]
) -> float:
    total = 0.0
    for part in parts.get(meter, ()):
        night = judged.get(part, {}).get(day)
        if night is not None and night.is_high:
            total += night.excess
        elif night is None or not night.is_high:
            total += _excess_of_parts(part, day, judged, parts)
    return total


def _is_high(part: str, day: date, judged: Mapping[str, dict[date, _Judged]], parts: Mapping[str, list[str]]) -> bool:
    night = judged.get(part, {}).get(day)
    return (night is not None and night.is_high) or any(
        _is_high(deeper, day, judged, parts) for deeper in parts.get(part, ())
    )


def _spells(high: Sequence[_Judged], known: Sequence[date]) -> list[list[_Judged]]:
    """Nights on end: of those that are known, none between them is within its norm."""
    place = {day: i for i, day in enumerate(known)}
    spells: list[list[_Judged]] = []
    for night in high:
        if spells and place[night.load.night] == place[spells[-1][-1].load.night] + 1:
            spells[-1].append(night)
        else:
            spells.append([night])
    return spells


def _leak(meter: str, spell: Sequence[_Judged], *, last: date) -> Leak:
    worst = max(spell, key=lambda night: night.excess)
    return Leak(
        meter=meter,
        start=spell[0].load.start,
        end=spell[-1].load.end,
        nights=len(spell),
        base=worst.load.base,
        norm=worst.norm,
        goes_on=spell[-1].load.night == last,
    )
