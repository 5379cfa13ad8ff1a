"""CO2e of consumption: each quarter by the factor that holds for it [METHODS §3].

CO2e = Σ consumption(t) × factor(t), location- and market-based beside each other (GHG Protocol, Scope 2 Guidance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from api.indicators.lines import Grid
from api.indicators.splitting import Bools, Ints
from schemas.carriers import FactorBasis, Scope
from schemas.quantities import QUARTER_MS

HOUR_MS = 3_600_000
_QUARTERS = HOUR_MS // QUARTER_MS

Floats = NDArray[np.float64]


class Basis(StrEnum):
    """The two figures of Scope 2: by where the energy was used, or by what was bought."""

    LOCATION = "location"
    MARKET = "market"


_HIERARCHY: dict[Basis, tuple[FactorBasis | None, ...]] = {
    Basis.LOCATION: (FactorBasis.LOCATION, None),
    # GHG Protocol Scope 2 Guidance, table 6.3: contracts, then the residual mix, then the grid average.
    Basis.MARKET: (FactorBasis.MARKET, FactorBasis.RESIDUAL_MIX, None, FactorBasis.LOCATION),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """An hourly factor: `kg_per_unit[i]` holds in the hour `hour[i]` (Unix milliseconds / 3,600,000), sorted."""

    hour: Ints
    kg_per_unit: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """kg CO2e per `unit` (kWh, m3, kg) of a carrier, from `valid_from` up to `valid_to` (Unix ms; None: no end).

    `value` is the constant one, `hourly` the series; just one of them is there. Without `area` it holds everywhere,
    and without `basis` in both figures, as a fuel's does.
    """

    id: int
    key: str
    version: int
    carrier: str
    scope: Scope
    unit: str
    valid_from: int
    valid_to: int | None
    basis: FactorBasis | None = None
    area: str | None = None
    value: Fraction | None = None
    hourly: Series | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The factor of each quarter of a grid: `kg_per_unit` is nan where there is none, `hourly` tells whether it is of
    that very hour, `by_location` whether a market-based figure had only the grid average to rest on, `factor` its id
    (0: none).

    `ids` are the factors in use, ascending; `scope` is None where there is none.
    """

    kg_per_unit: Floats
    hourly: Bools
    by_location: Bools
    factor: Ints
    ids: tuple[int, ...] = ()
    scope: Scope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carbon:
    """CO2e of a quantity, both ways; sums add up in any order.

    Of the measured and of the estimated quantity in billionths of kg CO2e. The rest is in billionths of the quantity's
    own unit: how much of it had a factor (`known`; what had none is not zero but unknown), one of its very hour
    (`hourly`), and how much of the market-based figure rests on the grid average for want of a better factor.
    """

    location_measured: int = 0
    location_estimated: int = 0
    market_measured: int = 0
    market_estimated: int = 0
    location_known: int = 0
    market_known: int = 0
    location_hourly: int = 0
    market_hourly: int = 0
    market_by_location: int = 0

    @property
    def location(self) -> int:
        return self.location_measured + self.location_estimated

    @property
    def market(self) -> int:
        return self.market_measured + self.market_estimated

    def __add__(self, other: Carbon) -> Carbon:
        return Carbon(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})


_NAMES = tuple(field.name for field in fields(Carbon))


def match(
    grid: Grid,
    factors: Sequence[Factor],
    *,
    carrier: str | None,
    area: str | None,
    basis: Basis,
    unit: str = "kWh",
) -> Matched:
    """The factor that holds in each quarter for a carrier that is counted in `unit` at a place in `area`.

    The better basis wins, then the hourly factor over the constant one, then the one of the area over the one of
    everywhere. Of one key only the newest version counts. Market-based is one's contract, else the residual mix, else
    what holds for both, else the grid average.
    """
    found = Matched(
        kg_per_unit=np.full(grid.count, np.nan),
        hourly=np.zeros(grid.count, np.bool_),
        by_location=np.zeros(grid.count, np.bool_),
        factor=np.zeros(grid.count, np.int64),
    )
    ids: list[int] = []
    scope: Scope | None = None
    hierarchy = _HIERARCHY[basis]
    fitting = [
        factor
        for factor in newest(factors)
        if (factor.carrier, factor.unit) == (carrier, unit)
        and factor.area in {None, area}
        and factor.basis in hierarchy
    ]
    # The best first: each fills what is still empty.
    fitting.sort(key=lambda f: (hierarchy.index(f.basis), f.hourly is None, f.area is None, -f.valid_from, -f.id))
    for factor in fitting:
        values = _over(grid, factor)
        take = np.isnan(found.kg_per_unit) & ~np.isnan(values)
        if not take.any():
            continue
        found.kg_per_unit[take] = values[take]
        found.factor[take] = factor.id
        found.hourly[take] = factor.hourly is not None
        found.by_location[take] = basis is Basis.MARKET and factor.basis is FactorBasis.LOCATION
        ids.append(factor.id)
        scope = scope or factor.scope
    return Matched(
        kg_per_unit=found.kg_per_unit,
        hourly=found.hourly,
        by_location=found.by_location,
        factor=found.factor,
        ids=tuple(sorted(ids)),
        scope=scope,
    )


def newest(factors: Sequence[Factor]) -> list[Factor]:
    """Of each key the highest version."""
    best: dict[str, Factor] = {}
    for factor in factors:
        if factor.key not in best or factor.version > best[factor.key].version:
            best[factor.key] = factor
    return list(best.values())


def _over(grid: Grid, factor: Factor) -> Floats:
    """The factor by quarter, nan where it does not hold. A quarter belongs to the instant at which it begins."""
    values = np.full(grid.count, np.nan)
    if factor.hourly is None:
        if factor.value is None:
            raise ValueError(f"factor {factor.key} has neither a value nor hours")
        first = _quarter(factor.valid_from) - grid.first
        end = grid.count if factor.valid_to is None else _quarter(factor.valid_to) - grid.first
        values[max(first, 0) : max(end, 0)] = float(factor.value)
        return values
    hours = np.arange(grid.first, grid.first + grid.count, dtype=np.int64) // _QUARTERS
    known = factor.hourly.hour
    place = np.searchsorted(known, hours)
    hit = place < len(known)
    hit[hit] = known[place[hit]] == hours[hit]
    values[hit] = factor.hourly.kg_per_unit[place[hit]]
    return values


def _quarter(at_ms: int) -> int:
    return -(-at_ms // QUARTER_MS)


def weigh(amount: Ints, matched: Matched) -> Ints:
    """Billionths of kg CO2e of each quarter's amount (billionths of the unit), shape (grid.count,).

    Rounded quarter by quarter, so that any grouping of quarters has the same sum; 0 where there is no factor, which
    `Carbon.*_known` tells apart from a true zero.
    """
    kg = np.rint(amount * np.nan_to_num(matched.kg_per_unit))
    return kg.astype(np.int64)


def emit(measured: Ints, estimated: Ints, *, location: Matched, market: Matched) -> Carbon:
    """CO2e of amounts by quarter over the grid of both matches."""
    total = measured + estimated
    known = {name: ~np.isnan(matched.kg_per_unit) for name, matched in (("l", location), ("m", market))}
    return Carbon(
        location_measured=int(weigh(measured, location).sum()),
        location_estimated=int(weigh(estimated, location).sum()),
        market_measured=int(weigh(measured, market).sum()),
        market_estimated=int(weigh(estimated, market).sum()),
        location_known=int(total[known["l"]].sum()),
        market_known=int(total[known["m"]].sum()),
        location_hourly=int(total[location.hourly].sum()),
        market_hourly=int(total[market.hourly].sum()),
        market_by_location=int(total[market.by_location].sum()),
    )
