"""A verdict of decoupling found again: what was used and made in both periods, and who says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

from api.database import Connection
from api.decoupling.answers import DriverPeriod, IndicatorAnswer, PressurePeriod
from api.decoupling.places import Level
from api.decoupling.questions import Question
from api.decoupling.report import report
from api.decoupling.telling import answer
from api.drivers import store as driver_store
from api.drivers.store import Whose as DriverOf
from api.explain.answers import TermAnswer
from api.explain.asking import days_of, one_of, owner_of
from api.explain.found import Found, Span, plain
from api.figures import Figure, FigureError, parse_figure
from api.indicators.drivers import Driver
from api.indicators.pressures import Indicator
from api.periods import Days
from api.problems import not_found
from api.site_store import SiteRow

_FORMULA = (
    "p = pressure / pressure of the base - 1, d = driver / driver of the base - 1; absolute: d > 0 and p < 0, "
    "relative: d > 0 and 0 <= p < d, none: d > 0 and p >= d"
)
_MOST_VALUES = 10_000


async def find_decoupling(connection: Connection, site: SiteRow, figure: Figure) -> Found:
    """The verdict as it is now. Raises FigureError, and a 404 or 422 problem."""
    if figure.measure != "state":
        raise FigureError(f"decoupling has no {figure.measure!r}; its figure is the state")
    level = one_of(Level, figure.by, "decoupling is told by")
    if level is Level.ORGANISATION:
        raise FigureError("an organisation's verdict is that of its sites' sums; ask for the figure of one site")
    base, period = days_of(figure)
    question = Question(
        base=base,
        period=period,
        driver=one_of(Driver, figure.options.get("driver", Driver.REVENUE), "drivers are"),
        indicators=[one_of(Indicator, figure.resource, "there are")],
        level=level,
        keys=None if figure.of is None else [figure.of],
        price_index=figure.options.get("price_index"),
        with_series=False,
    )
    named = str(replace(figure, version=None))
    for item in answer(await report(connection, site, question)).items:
        if str(replace(parse_figure(item.figure), version=None)) == named:
            return await _found(connection, site, question, item)
    raise not_found(f"nothing of {figure.resource} is known of {figure.by} {figure.of or site.key} in these periods")


async def _found(connection: Connection, site: SiteRow, question: Question, item: IndicatorAnswer) -> Found:
    growth = item.growth
    numbers = "; ".join(
        f"{name} = {plain(now)} / {plain(before)} - 1 = {plain(grown)}"
        for name, now, before, grown in (
            ("p", _total(item.period), _total(item.base), growth.pressure),
            ("d", item.driver.period.value, item.driver.base.value, growth.driver),
        )
    )
    whose, owner = owner_of(item.level, item.key)
    terms = [*_terms(item), *await _stated(connection, site, question, item)]
    return Found(
        today=item.figure,
        value=None,
        unit=None,
        told=item.sentence,
        formula=_FORMULA,
        numbers=f"{numbers}: {item.state}{f', {item.verdict}' if item.verdict else ''}",
        terms=terms,
        indicator=item.indicator,
        quantity_unit=item.unit,
        spans=[
            Span(title=title, period=days.within(site.zone), whose=whose, owner=owner)
            for title, days in (("base", question.base), ("period", question.period))
        ],
        coverage=item.coverage,
        estimated_share=item.estimated_share,
    )


def _total(used: PressurePeriod) -> Decimal | None:
    return None if used.quantity is None else used.quantity.total


def _terms(item: IndicatorAnswer) -> Iterator[TermAnswer]:
    for title, used, made in (
        ("base", item.base, item.driver.base),
        ("period", item.period, item.driver.period),
    ):
        yield TermAnswer(
            name=f"pressure, {title}",
            value=None if used.quantity is None else used.quantity.total,
            unit=item.unit,
            source=", ".join(item.meters),
            start=made.start,
            end=made.end,
        )
        yield TermAnswer(
            name=f"driver {item.driver.name}, {title}",
            value=made.value,
            unit=_money(made),
            source=made.problem or ("stated" if made.origin == "given" else "production meters"),
            start=made.start,
            end=made.end,
        )


def _money(made: DriverPeriod) -> str:
    unit = made.unit or ""
    return unit if made.price_year is None else f"{unit} in prices of {made.price_year}"


async def _stated(connection: Connection, site: SiteRow, question: Question, item: IndicatorAnswer) -> list[TermAnswer]:
    """The driver values that were stated for the two periods, each with its source."""
    if item.driver.base.origin != "given" and item.driver.period.origin != "given":
        return []
    of_site = DriverOf(organisation_id=site.organisation_id, site_id=site.id)
    rows = await driver_store.page(connection, of_site, driver=question.driver, after=None, limit=_MOST_VALUES)
    wanted = {level: item.key if item.level == level else None for level in ("line", "family", "product")}
    return [
        TermAnswer(
            name=f"{question.driver} stated",
            value=row["value"],
            unit=row["unit"] if row["price_year"] is None else f"{row['unit']} in prices of {row['price_year']}",
            source=row["source"],
            start=row["from_date"],
            end=row["to_date"],
        )
        for row in rows
        if all(row[name] == key for name, key in wanted.items())
        and any(_lies_in(row["from_date"], row["to_date"], days) for days in (question.base, question.period))
    ]


def _lies_in(first: date, end: date, days: Days) -> bool:
    return days.first <= first and end <= days.end
