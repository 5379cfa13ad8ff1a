"""Decoupling of an organisation: the sum of its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from api.database import Connection
from api.decoupling.driving import load_given, load_givens, made_given
from api.decoupling.judging import Meters
from api.decoupling.loading import Loaded, load_facts
from api.decoupling.places import Level, Place
from api.decoupling.questions import Question
from api.decoupling.report import Item, PlaceMade, Report, judge_item, load_site, made_at, windows_of
from api.decoupling.using import Used, of_organisation, roots_of, unit_of, used
from api.drivers.store import Whose
from api.indicators.drivers import Driver, Made, Origin
from api.indicators.pressures import Indicator
from api.indicators.wording import Text
from api.periods import Days
from api.site_store import SiteRow

_WHOLE = Place(level=Level.ORGANISATION)
_SITE = Place(level=Level.SITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiteData:
    loaded: Loaded
    made: PlaceMade


async def organisation_report(
    connection: Connection, sites: Sequence[SiteRow], question: Question, *, organisation_id: int
) -> Report:
    """Judge the sum of the sites. A driver of the organisation's own counts, else the sum of those of its sites."""
    data: dict[str, _SiteData] = {}
    windows = windows_of(question)
    for site in sites:
        facts = await load_facts(connection, site, windows)
        loaded = await load_site(connection, facts, question)
        given = await load_given(connection, organisation_id, site.id, windows)
        data[site.key] = _SiteData(loaded=loaded, made=made_at(_SITE, loaded, given, question))
    own = await _own(connection, question, organisation_id)
    items = [item for one in question.indicators if (item := _item(data, one, question, own)) is not None]
    notes = [] if sites else [Text("the organisation has no site yet", "organisationen har endnu ingen lokation")]
    return Report(question=question, items=items, notes=notes)


async def _own(connection: Connection, question: Question, organisation_id: int) -> PlaceMade:
    """What was given for the organisation as a whole; nothing where nobody gave any."""
    found: list[Mapping[Days, Made]] = []
    for driver in (question.driver, Driver.PRODUCTION_VOLUME):
        givens = await load_givens(
            connection,
            Whose(organisation_id=organisation_id),
            driver,
            windows_of(question),
            base=question.base,
            price_index=question.price_index,
        )
        given = {window: made_given(givens, _WHOLE, window) for window in windows_of(question)}
        found.append(given if givens.is_any else {})
    return PlaceMade(driver=found[0], output=found[1])


def _item(data: Mapping[str, _SiteData], indicator: Indicator, question: Question, own: PlaceMade) -> Item | None:
    by_window = {window: _used(data, indicator, window, question) for window in windows_of(question)}
    if not any(roots_of(one.loaded.facts, indicator) for one in data.values()):
        return None
    # Driver and pressure are of the same sites: a site without data would count on one side only.
    counting = [site for site in data if site not in by_window[question.base].left_out]
    made = PlaceMade(
        driver=own.driver or _sums({site: data[site].made.driver for site in counting}, windows_of(question)),
        output=own.output or _sums({site: data[site].made.output for site in counting}, windows_of(question)),
    )
    return judge_item(_WHOLE, indicator, question, by_window, made, _meters(data))


def _used(data: Mapping[str, _SiteData], indicator: Indicator, window: Days, question: Question) -> Used:
    with_months = question.with_series and window in {question.base, question.period}
    by_site = {
        site: used(one.loaded, _SITE, indicator, window, with_months=with_months)
        if roots_of(one.loaded.facts, indicator)
        else Used(days=window, unit=unit_of(indicator))
        for site, one in data.items()
    }
    return of_organisation(by_site, window, indicator)


def _meters(data: Mapping[str, _SiteData]) -> Meters:
    facts = {site: one.loaded.facts for site, one in data.items()}
    return Meters(
        classes={f"{site}/{meter}": percent for site, of in facts.items() for meter, percent in of.classes.items()},
        exchanged=frozenset(f"{site}/{meter}" for site, of in facts.items() for meter in of.exchanged),
    )


def _sums(by_site: Mapping[str, Mapping[Days, Made]], windows: Sequence[Days]) -> dict[Days, Made]:
    return {window: _sum({site: made[window] for site, made in by_site.items()}, window) for window in windows}


def _sum(by_site: Mapping[str, Made], window: Days) -> Made:
    """The drivers of several sites together, where each has one, in one unit and at one price level."""
    if not by_site:
        nothing = Text("no site has a driver", "ingen lokation har en driver")
        return Made(first=window.first, end=window.end, value=None, unit=None, problem=nothing)
    first = next(iter(by_site.values()))
    problem = next((_at(site, made.problem) for site, made in by_site.items() if made.problem), None)
    known = {(made.unit, made.price_year) for made in by_site.values() if made.value}
    if problem is None and len(known) > 1:
        listed = "; ".join(f"{site}: {_level(made)}" for site, made in by_site.items())
        problem = Text(
            f"the sites' drivers can't be added up ({listed}); give them in one unit and at prices of one year, or give"
            " one for the organisation",
            f"lokationernes drivere kan ikke lægges sammen ({listed}); angiv dem i én enhed og i ét års priser, eller"
            " angiv én for organisationen",
        )
    worst = min(by_site, key=lambda site: by_site[site].usable)
    unit, price_year = next(iter(known), (first.unit, first.price_year))
    return Made(
        first=window.first,
        end=window.end,
        value=None if problem else sum((made.value or Fraction(0) for made in by_site.values()), Fraction(0)),
        unit=unit,
        price_year=price_year,
        problem=problem,
        months=_months(list(by_site.values())),
        origin=Origin.MEASURED if any(made.origin is Origin.MEASURED for made in by_site.values()) else Origin.GIVEN,
        estimated=sum((made.estimated for made in by_site.values()), Fraction(0)),
        usable=by_site[worst].usable,
        worst_meter=f"{worst}/{by_site[worst].worst_meter}" if by_site[worst].worst_meter else None,
        note=first.note,
    )


def _at(site: str, problem: Text) -> Text:
    return replace(problem, en=f"{site}: {problem.en}", da=f"{site}: {problem.da}")


def _level(made: Made) -> str:
    return f"{made.unit} at prices of {made.price_year}" if made.price_year else f"{made.unit}"


def _months(found: Sequence[Made]) -> dict[date, Fraction]:
    shared = set.intersection(*(set(made.months) for made in found)) if found else set()
    return {month: sum((made.months[month] for made in found), Fraction(0)) for month in shared}
