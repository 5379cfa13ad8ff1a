"""What places made in the windows of a question: driver values at the prices of one year, or measured production."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from api.database import Connection
from api.decoupling.loading import Loaded
from api.decoupling.places import Level, Place
from api.decoupling.windows import whole_months
from api.drivers import price_index as price_index_store
from api.drivers import store as driver_store
from api.drivers.store import Whose as DriverOf
from api.indicators.decoupling import ESTIMATE_ERROR
from api.indicators.drivers import (
    Driver,
    DriverSpan,
    Made,
    Origin,
    PriceIndex,
    PriceLevel,
    add_up,
    main_year,
    price_years,
)
from api.indicators.outputs import Batch
from api.indicators.volume import VolumeUnit, volume, volume_unit
from api.indicators.wording import Text
from api.periods import Days
from api.problems import bad_value
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Givens:
    """The driver values of one place, by window."""

    driver: Driver
    spans: Mapping[Days, Sequence[DriverSpan]]
    price_level: PriceLevel | None

    @property
    def is_any(self) -> bool:
        return any(self.spans.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """All driver values of a site and its parts, or of an organisation, and the price indices."""

    spans: Mapping[tuple[DriverOf, Driver], Sequence[DriverSpan]]
    indices: Mapping[str, PriceIndex]

    def within(self, whose: DriverOf, driver: Driver, window: Days) -> list[DriverSpan]:
        """Those of one driver whose spans lie inside a window, by time."""
        return [
            span
            for span in self.spans.get((whose, driver), ())
            if span.first >= window.first and span.end <= window.end
        ]


async def load_given(
    connection: Connection, organisation_id: int, site_id: int | None, windows: Sequence[Days]
) -> Given:
    """All that was given for the windows."""
    whole = Days(first=min(window.first for window in windows), end=max(window.end for window in windows))
    return Given(
        spans=await driver_store.within(connection, organisation_id, site_id, whole),
        indices=await price_index_store.indices(connection, organisation_id),
    )


async def load_givens(
    connection: Connection,
    whose: DriverOf,
    driver: Driver,
    windows: Sequence[Days],
    *,
    base: Days,
    price_index: str | None,
) -> Givens:
    """What was given of one driver in each window, as `givens_of` tells it."""
    given = await load_given(connection, whose.organisation_id, whose.site_id, windows)
    return givens_of(given, whose, driver, windows, base=base, price_index=price_index)


def givens_of(
    given: Given,
    whose: DriverOf,
    driver: Driver,
    windows: Sequence[Days],
    *,
    base: Days,
    price_index: str | None,
) -> Givens:
    """What was given of one driver in each window, and how money is brought to one price level.

    Where all of it is at the prices of one year, it stays there; else it goes to the base period's year. Raises a 422
    problem for a price index that the organisation has not.
    """
    spans = {window: given.within(whose, driver, window) for window in windows}
    if not driver.is_money:
        return Givens(driver=driver, spans=spans, price_level=None)
    years = set().union(*(price_years(found) for found in spans.values()))
    indices = given.indices
    if price_index is not None and price_index not in indices:
        known = ", ".join(indices) or "none; give one with `afkobling prices import FILE.csv`"
        raise bad_value("price_index", f"there is no price index {price_index!r}; known: {known}")
    if len(years) <= 1:
        level = PriceLevel(year=next(iter(years), main_year(base.first, base.end)))
    else:
        chosen = price_index or (next(iter(indices)) if len(indices) == 1 else None)
        level = PriceLevel(
            year=main_year(base.first, base.end),
            index=indices[chosen] if chosen else None,
            trouble=None if chosen else _no_index(sorted(years), list(indices)),
        )
    return Givens(driver=driver, spans=spans, price_level=level)


def _no_index(years: Sequence[int], indices: Sequence[str]) -> Text:
    listed = Text(_and(years, "and"), _and(years, "og"))
    if indices:
        known = ", ".join(indices)
        return Text(
            f"the money is at prices of {listed.en}; say with price_index which of {known} deflates it",
            f"beløbene er i priser fra {listed.da}; angiv med price_index, hvilket af {known} der skal deflatere dem",
        )
    return Text(
        f"the money is at prices of {listed.en}; give a price index for these years (`afkobling prices import"
        " FILE.csv`), or all of it in prices of one year",
        f"beløbene er i priser fra {listed.da}; angiv et prisindeks for disse år (`afkobling prices import FIL.csv`),"
        " eller alle beløb i ét års priser",
    )


def _and(years: Sequence[int], word: str) -> str:
    *before, last = map(str, years)
    return f"{', '.join(before)} {word} {last}" if before else last


def made_given(givens: Givens, place: Place, window: Days) -> Made:
    """The sum of what was given in a window."""
    return add_up(
        window.first,
        window.end,
        givens.spans[window],
        givens.driver,
        level=givens.price_level,
        place=place.phrase,
        remedy=_remedy(givens.driver, place.level),
    )


def _remedy(driver: Driver, level: Level) -> Text:
    told = Text(
        "; give it with `afkobling drivers import FILE.csv`", "; angiv den med `afkobling drivers import FIL.csv`"
    )
    if not driver.is_money or level in {Level.SITE, Level.ORGANISATION}:
        return told
    return told + Text(
        ", or take production_volume as the driver", ", eller brug production_volume (produktionen) som driver"
    )


def made_measured(
    loaded: Loaded, place: Place, windows: Sequence[Days], *, months_of: Sequence[Days] = ()
) -> dict[Days, Made]:
    """What production meters counted as good in each window, in one unit for all of them.

    `months_of` are windows that months are told of as well.
    """
    by_window = {window: _output(loaded, place, window) for window in windows}
    unit = volume_unit([batch for batches in by_window.values() for batch in batches], loaded.units)
    found = {}
    for window, batches in by_window.items():
        total, estimated = volume(batches, unit.unit, loaded.units) if unit.unit else (Fraction(0), Fraction(0))
        usable, worst = _usable(loaded, place, window, {batch.meter for batch in batches})
        problem = unit.problem or (_not_measured(place) if worst is None else None)
        found[window] = Made(
            first=window.first,
            end=window.end,
            value=None if problem else total,
            unit=unit.unit,
            problem=problem,
            months=_months(loaded, place, window, unit) if window in months_of and not problem else {},
            origin=Origin.MEASURED,
            estimated=estimated * ESTIMATE_ERROR,
            usable=usable,
            worst_meter=worst,
            note=unit.note,
        )
    return found


def _output(loaded: Loaded, place: Place, window: Days) -> list[Batch]:
    shared = loaded.shared(window)
    made = place.output(shared.batches, shared.finished, loaded.facts)
    return [batch for batch in made if batch.kind == "good"]


def _months(loaded: Loaded, place: Place, window: Days, unit: VolumeUnit) -> dict[date, Fraction]:
    return {
        month.first: volume(_output(loaded, place, month), unit.unit or "", loaded.units)[0]
        for month in whole_months(window)
    }


def _usable(loaded: Loaded, place: Place, window: Days, meters: Collection[str]) -> tuple[float, str | None]:
    """The share of usable days of the worst production meter; no meter where nothing is known of any."""
    counts = loaded.counted(window)
    asked = meters or {
        meter["id"]
        for meter in loaded.facts.meters
        if meter["resource"] == Resource.PRODUCTION
        and meter["carrier"] == "good"
        and (place.level is not Level.LINE or meter["line"] == place.key)
    }
    if not any(meter in counts for meter in asked):
        return 0.0, None
    worst = min(sorted(asked), key=lambda meter: counts[meter].usable if meter in counts else 0)
    return (counts[worst].usable if worst in counts else 0) / window.count, worst


def _not_measured(place: Place) -> Text:
    return Text(
        f"nobody gave a production volume{place.phrase.en}, and no meter counts it; give it with"
        " `afkobling drivers import FILE.csv`, or set up a production meter",
        f"ingen har angivet en produktionsmængde{place.phrase.da}, og ingen måler tæller den; angiv den med"
        " `afkobling drivers import FIL.csv`, eller opret en produktionsmåler",
    )
