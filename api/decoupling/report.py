"""Decoupling of a site or its parts: what was used and made in two periods, from the database, judged by the maths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from api.database import Connection
from api.decoupling.driving import Given, Givens, givens_of, load_given, made_given, made_measured
from api.decoupling.judging import Judged, Meters, judge_windows
from api.decoupling.loading import Facts, Loaded, load, load_facts
from api.decoupling.places import Level, Place, places_of
from api.decoupling.questions import Question
from api.decoupling.using import Used, roots_of, used
from api.decoupling.windows import whole_months
from api.drivers import store as driver_store
from api.indicators.comparison import indices
from api.indicators.drivers import Driver, Made
from api.indicators.pressures import Indicator
from api.indicators.wording import Text
from api.periods import Days
from api.site_store import SiteRow
from schemas.quantities import SCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A whole month in either period, and both indices (daily mean of the base period = 100)."""

    first: date
    end: date
    pressure: Fraction | None
    driver: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One indicator of one place, judged; `output` is what was physically made in base and period, beside money.

    `rolling` are the same of trailing windows against the base.
    """

    place: Place
    indicator: Indicator
    judged: Judged
    output: tuple[Made, Made] | None
    series: Sequence[Month] = ()
    rolling: Sequence[Judged] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every indicator of every place against one driver; `notes` are what has no item, and why."""

    question: Question
    items: Sequence[Item]
    notes: Sequence[Text] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceMade:
    """What a place made by window: in the question's driver, and physically."""

    driver: Mapping[Days, Made]
    output: Mapping[Days, Made]


def windows_of(question: Question) -> list[Days]:
    """Base, period and rolling windows, each once."""
    return list(dict.fromkeys((question.base, question.period, *question.windows)))


async def report(connection: Connection, site: SiteRow, question: Question) -> Report:
    """Judge the indicators that the site has meters for. Raises 404 and 422 problems."""
    windows = windows_of(question)
    facts = await load_facts(connection, site, windows)
    places = places_of(facts, question.level, question.keys)
    indicators = [one for one in question.indicators if roots_of(facts, one)]
    loaded = await load_site(connection, facts, question)
    given = await load_given(connection, site.organisation_id, site.id, windows)
    meters = Meters(classes=facts.classes, exchanged=facts.exchanged)
    items: list[Item] = []
    notes: list[Text] = []
    for place in places:
        made = made_at(place, loaded, given, question)
        found = [_item(loaded, place, one, question, made, meters) for one in indicators]
        told = [item for item in found if place.level is Level.SITE or item.judged.base.use or item.judged.period.use]
        items += told
        if not told and indicators:
            notes.append(
                Text(
                    f"nothing was shared out in either period{place.phrase.en}; check that there are runs and readings",
                    f"intet blev fordelt i nogen af perioderne{place.phrase.da}; se efter, om der er kørsler og"
                    " aflæsninger",
                )
            )
    if not places:
        notes.append(
            Text(
                f"the site has no {question.level}; name some in the site model",
                f"lokationen har ingen {question.level}; angiv nogle i site-modellen",
            )
        )
    return Report(question=question, items=items, notes=notes)


async def load_site(connection: Connection, facts: Facts, question: Question) -> Loaded:
    """All that the question needs of one site."""
    level = Level.SITE if question.level is Level.ORGANISATION else question.level
    by_month = question.with_series or bool(question.windows)
    return await load(connection, facts, windows_of(question), whose=Place(level=level).whose, by_month=by_month)


def made_at(place: Place, loaded: Loaded, given: Given, question: Question) -> PlaceMade:
    """What the place made, in the question's driver and physically."""
    windows = windows_of(question)
    whose = place.driver_of(loaded.facts)
    volume = _givens(given, whose, Driver.PRODUCTION_VOLUME, question)
    months_of = [question.base, question.period] if question.with_series else []
    if volume.is_any:
        output = {window: made_given(volume, place, window) for window in windows}
    else:
        is_driver = question.driver is Driver.PRODUCTION_VOLUME
        output = made_measured(loaded, place, windows, months_of=months_of if is_driver else ())
    if not question.driver.is_money:
        return PlaceMade(driver=output, output=output)
    money = _givens(given, whose, question.driver, question)
    return PlaceMade(driver={window: made_given(money, place, window) for window in windows}, output=output)


def _givens(given: Given, whose: driver_store.Whose, driver: Driver, question: Question) -> Givens:
    windows = windows_of(question)
    return givens_of(given, whose, driver, windows, base=question.base, price_index=question.price_index)


def _item(
    loaded: Loaded, place: Place, indicator: Indicator, question: Question, made: PlaceMade, meters: Meters
) -> Item:
    by_window = {
        window: used(
            loaded,
            place,
            indicator,
            window,
            with_months=question.with_series and window in {question.base, question.period},
        )
        for window in windows_of(question)
    }
    return judge_item(place, indicator, question, by_window, made, meters)


def judge_item(
    place: Place,
    indicator: Indicator,
    question: Question,
    by_window: Mapping[Days, Used],
    made: PlaceMade,
    meters: Meters,
) -> Item:
    """The period and every rolling window against the base."""

    def against_base(window: Days) -> Judged:
        return judge_windows(
            place,
            indicator,
            question.driver,
            used=(by_window[question.base], by_window[window]),
            made=(made.driver[question.base], made.driver[window]),
            meters=meters,
        )

    judged = against_base(question.period)
    return Item(
        place=place,
        indicator=indicator,
        judged=judged,
        output=(made.output[question.base], made.output[question.period]) if question.driver.is_money else None,
        series=series(judged) if question.with_series else (),
        rolling=[against_base(window) for window in question.windows],
    )


def series(judged: Judged) -> list[Month]:
    """The whole months of both periods as indices."""
    base_use = judged.base.use
    base_total = base_use.pressure.total if base_use else Fraction(0)
    found = []
    for used_then, made_then in ((judged.base, judged.made_base), (judged.period, judged.made_period)):
        months = whole_months(used_then.days)
        pressure = indices(
            [
                (Fraction(used_then.months[month.first], SCALE), month.count)
                if month.first in used_then.months
                else None
                for month in months
            ],
            base=(base_total, judged.base.days.count),
        )
        driver = indices(
            [
                (made_then.months[month.first], month.count) if month.first in made_then.months else None
                for month in months
            ],
            base=(judged.made_base.value or Fraction(0), judged.base.days.count),
        )
        found += [
            Month(first=month.first, end=month.end, pressure=p, driver=d)
            for month, p, d in zip(months, pressure, driver, strict=True)
        ]
    return found


def _spans(months: Sequence[Days], values: Mapping[date, Fraction]) -> list[tuple[Fraction, int] | None]:
    return [(values[month.first], month.count) if month.first in values else None for month in months]
