"""What places used of an indicator in the windows of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from api.decoupling.loading import Facts, Loaded
from api.decoupling.places import Level, Place
from api.decoupling.windows import whole_months
from api.indicators.pressures import CO2_UNIT, Indicator, Use, add_up
from api.indicators.tallies import of_indicator
from api.indicators.uses import use_of
from api.periods import Days
from api.series import Row
from api.series import counted as counted_meters
from schemas.resources import CANONICAL_UNITS, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was used of one indicator in a window. `use` is None where nothing is known; that is not zero.

    `meters` are those that it rests on, `usable` is the share of usable days of the worst of them. `left_out` are the
    sites of an organisation of which nothing is known.
    """

    days: Days
    unit: str
    meters: Sequence[str] = ()
    use: Use | None = None
    coverage: float = 0.0
    usable: float = 0.0
    worst_meter: str = ""
    months: Mapping[date, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def unit_of(indicator: Indicator) -> str:
    """The canonical unit."""
    return CO2_UNIT if indicator.is_carbon else CANONICAL_UNITS[Resource(indicator.value)]


def roots_of(facts: Facts, indicator: Indicator) -> list[tuple[Row, int]]:
    """The meters that make up what a site uses, each with its sign; of CO2 those of its energy."""
    resource = Resource.ENERGY if indicator.is_carbon else Resource(indicator.value)
    return list(counted_meters([meter for meter in facts.meters if meter["resource"] == resource]))


def used(loaded: Loaded, place: Place, indicator: Indicator, window: Days, *, with_months: bool = False) -> Used:
    """The sum of the counted meters of a site; of a line, family, product, and of CO2, what was shared out."""
    use, meters = _use(loaded, place, indicator, window, through_rests=True)
    months = whole_months(window) if with_months else []
    return _with_days(loaded, indicator, window, use, meters, months=_months(loaded, place, indicator, months))


def _months(loaded: Loaded, place: Place, indicator: Indicator, months: Sequence[Days]) -> dict[date, int]:
    found = {}
    for month in months:
        use, _ = _use(loaded, place, indicator, month, through_rests=False)
        if use is not None and not use.is_unknown:
            found[month.first] = use.total
    return found


def _use(
    loaded: Loaded, place: Place, indicator: Indicator, window: Days, *, through_rests: bool
) -> tuple[Use | None, list[str]]:
    """The use, and the meters that it rests on. What each of them gave is right only if told `through_rests`."""
    if place.level is Level.SITE and not indicator.is_carbon:
        roots = roots_of(loaded.facts, indicator)
        return _counted_use(loaded, roots, window), [meter["id"] for meter, _ in roots]
    shared, facts = loaded.shared(window), loaded.facts
    tallies = shared.tallies(place.owner, whole=place.whose.is_place)
    places = facts.places if through_rests else {}
    use = use_of(tallies, indicator, resources=facts.resources, places=places, counted=shared.counted)
    return use, sorted(meter for meter, _ in of_indicator(tallies, indicator, facts.resources))


def _counted_use(loaded: Loaded, roots: Sequence[tuple[Row, int]], window: Days) -> Use | None:
    """As much is estimated as of all meters together: estimates of what came in and of what went out don't cancel."""
    counts = loaded.counted(window)
    known = [(counts[meter["id"]], meter["id"], sign) for meter, sign in roots if meter["id"] in counts]
    if not known:
        return None
    total = sum(sign * (its.measured + its.estimated) for its, _, sign in known)
    estimated = sum(its.estimated if sign > 0 else abs(its.estimated) for its, _, sign in known)
    return Use(
        measured=total - estimated,
        estimated=estimated,
        counts={meter: Fraction(sign * (its.measured + its.estimated)) for its, meter, sign in known},
    )


def _with_days(
    loaded: Loaded,
    indicator: Indicator,
    window: Days,
    use: Use | None,
    meters: Sequence[str],
    *,
    months: Mapping[date, int],
) -> Used:
    counts = loaded.counted(window)
    known = {meter: counts[meter] for meter in meters if meter in counts}
    worst = min(meters, key=lambda meter: known[meter].usable if meter in known else 0, default="")
    length_ms = window.within(loaded.facts.site.zone).length_ms
    covered = sum(its.covered_ms for its in known.values())
    return Used(
        days=window,
        unit=unit_of(indicator),
        meters=meters,
        use=use,
        coverage=covered / (length_ms * len(meters)) if meters else 0.0,
        usable=(known[worst].usable if worst in known else 0) / window.count,
        worst_meter=worst,
        months=months,
    )


def of_organisation(by_site: Mapping[str, Used], window: Days, indicator: Indicator) -> Used:
    """The sum over sites, by their keys. A site of which nothing is known is left out, and told."""
    known = {site: one for site, one in by_site.items() if one.use is not None}
    worst = min(known, key=lambda site: known[site].usable, default="")
    months: dict[date, int] = {}
    for month in {month for one in known.values() for month in one.months}:
        # A month that one of the sites lacks would look like a saving.
        if all(month in one.months for one in known.values()):
            months[month] = sum(one.months[month] for one in known.values())
    return Used(
        days=window,
        unit=unit_of(indicator),
        meters=[f"{site}/{meter}" for site, one in known.items() for meter in one.meters],
        use=add_up(_renamed(site, one.use) for site, one in known.items() if one.use) if known else None,
        coverage=min((one.coverage for one in known.values()), default=0.0),
        usable=known[worst].usable if known else 0.0,
        worst_meter=f"{worst}/{known[worst].worst_meter}" if known else "",
        months=months,
        left_out=tuple(sorted(by_site.keys() - known.keys())),
    )


def _renamed(site: str, use: Use) -> Use:
    return Use(
        measured=use.measured,
        estimated=use.estimated,
        spread=use.spread,
        counts={f"{site}/{meter}": count for meter, count in use.counts.items()},
        known=use.known,
        asked=use.asked,
    )
