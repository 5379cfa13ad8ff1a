"""From the database to decompositions: attributions of windows of days, and what was made in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from starlette.concurrency import run_in_threadpool

from api.attribution.loader import attribute_buckets
from api.calendar.clock import midnight
from api.database import Connection
from api.decoupling.driving import load_givens, made_given
from api.decoupling.places import Level, Place
from api.decoupling.windows import pieces, whole_months
from api.drivers.store import Whose as DriverOf
from api.indicators.activity import Accounts
from api.indicators.carried import Carried, carry, condense, together
from api.indicators.drivers import Driver
from api.indicators.intensity import Facts
from api.indicators.parts import Attribution
from api.indicators.pressures import Indicator
from api.indicators.takings import Whose
from api.indicators.volume import volume_unit
from api.indicators.wording import Text
from api.intensity.loader import facts_of
from api.periods import Days
from api.problems import bad_value
from api.site_store import SiteRow

MOST_STEPS = 120
_LEVELS = {Whose.PRODUCT: Level.PRODUCT, Whose.FAMILY: Level.FAMILY, Whose.LINE: Level.LINE}
Made = Mapping[str, Fraction]
"""By category."""


class Chain(StrEnum):
    """In one step, or with the base period moved month by month until it is the period."""

    NONE = "none"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedDecomposition:
    """What is to be taken apart. `activity` is what Q is told in: output, or money that is given for each category."""

    base: Days
    period: Days
    indicator: Indicator = Indicator.ENERGY
    by: Whose = Whose.PRODUCT
    chain: Chain = Chain.NONE
    activity: Driver = Driver.PRODUCTION_VOLUME
    price_index: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of days: what was used by whom, and with what each of them made."""

    days: Days
    carried: Carried
    accounts: Accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The windows from the base period to the period, and the unit of the activity.

    `unit` is None where `problem` says why nothing can be told in one.
    """

    windows: Sequence[Window]
    unit: str | None
    note: Text | None = None
    problem: Text | None = None


async def load_windows(connection: Connection, site: SiteRow, asked: AskedDecomposition) -> Windows:
    """The accounts of each window. Raises a 422 problem."""
    windows = _windows(asked)
    shared, facts = await _attributions(connection, site, windows, by_month=asked.chain is Chain.MONTH)

    def work() -> list[Carried]:
        spans = {days: condense(one, facts, asked.indicator) for days, one in shared.items()}
        return [
            carry(
                together([one for days, one in spans.items() if w.first <= days.first and days.end <= w.end]),
                facts,
                asked.by,
            )
            for w in windows
        ]

    # Many windows are arithmetic of up to a second: other requests go on meanwhile.
    carried = await run_in_threadpool(work)
    note = None
    if asked.activity is Driver.PRODUCTION_VOLUME:
        found = volume_unit([b for one in carried for its in one.made.values() for b in its], facts.products)
        unit, note, problem = found.unit, found.note, found.problem
        made: Sequence[Made] = [one.output(unit, facts) if unit is not None else {} for one in carried]
    else:
        made, unit, problem = await _given(connection, site, asked, windows, carried, facts)
    return Windows(
        windows=[
            Window(days=days, carried=one, accounts=one.accounts(its))
            for days, one, its in zip(windows, carried, made, strict=True)
        ],
        unit=unit,
        note=note,
        problem=problem,
    )


def obstacle(windows: Windows, asked: AskedDecomposition) -> Text | None:
    """What forbids a decomposition, if something does."""
    ends = (
        (windows.windows[0], Text("base period", "basisperioden")),
        (windows.windows[-1], Text("period", "perioden")),
    )
    # Of a chain those between as well: what is missing there would be told as zero, and then as growth from it.
    between = [(window, _span(window.days)) for window in windows.windows[1:-1]]
    for window, when in (*ends, *between):
        carried = window.carried
        if carried.coverage is None:
            return Text("no meter measures it", "ingen måler måler det")
        if not carried.used.total and not carried.coverage:
            return Text(f"there are no readings in the {when.en}", f"der er ingen aflæsninger i {when.da}")
        if asked.indicator.is_carbon and not carried.known:
            return Text(
                f"no CO2 factor is known for the energy of the {when.en}; import one with `afkobling factors`",
                f"der findes ingen CO2-faktor for energien i {when.da}; indlæs en med `afkobling factors`",
            )
    if windows.problem is not None:
        return windows.problem
    for window, when in ends:
        if not window.accounts.activity:
            return Text(
                f"nothing good was counted in the {when.en}; give the lines production meters of good output, and runs",
                f"der er ikke talt god produktion i {when.da}; giv linjerne produktionsmålere for god produktion og"
                " kørsler",
            )
    return None


def _span(days: Days) -> Text:
    return Text(
        f"span {days.first} – {days.end} (last day not counted)",
        f"tiden {days.first} – {days.end} (sidste dag ikke medregnet)",
    )


def _windows(asked: AskedDecomposition) -> list[Days]:
    if asked.chain is Chain.NONE:
        return [asked.base, asked.period]
    months = [whole_months(days) for days in (asked.base, asked.period)]
    for name, days, its in zip(("base", "period"), (asked.base, asked.period), months, strict=True):
        if not its or (its[0].first, its[-1].end) != (days.first, days.end):
            raise bad_value(name, "a chain over months needs whole months; choose others, or chain=none")
    if len(months[0]) != len(months[1]):
        raise bad_value(
            "period",
            f"has {len(months[1])} months and the base period {len(months[0])}; a chain over months needs as many in "
            "both; choose others, or chain=none",
        )
    steps = _number(asked.period.first) - _number(asked.base.first)
    if not 1 <= steps <= MOST_STEPS:
        raise bad_value(
            "period", f"a chain over months needs a period that begins 1 to {MOST_STEPS} months after the base period"
        )
    first, length = _number(asked.base.first), len(months[0])
    return [Days(first=_first_day(first + i), end=_first_day(first + i + length)) for i in range(steps + 1)]


def _number(day: date) -> int:
    return day.year * 12 + day.month - 1


def _first_day(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)


async def _attributions(
    connection: Connection, site: SiteRow, windows: Sequence[Days], *, by_month: bool
) -> tuple[dict[Days, Attribution], Facts]:
    """What was shared out in each span that the windows are made of, and the site model."""
    found: dict[Days, Attribution] = {}
    facts = Facts()
    for edges in _consecutive(pieces(windows, by_month=by_month)):
        shared = await attribute_buckets(connection, site, [midnight(edge, site.zone) for edge in edges])
        facts = facts_of(shared[-1])
        for (first, end), one in zip(pairwise(edges), shared, strict=True):
            found[Days(first=first, end=end)] = one.attribution
    return found, facts


def _consecutive(spans: Sequence[Days]) -> Iterator[list[date]]:
    """The edges of spans that follow each other without a hole."""
    edges: list[date] = []
    for span in spans:
        if edges and span.first != edges[-1]:
            yield edges
            edges = []
        edges = [*(edges or [span.first]), span.end]
    if edges:
        yield edges


async def _given(
    connection: Connection,
    site: SiteRow,
    asked: AskedDecomposition,
    windows: Sequence[Days],
    carried: Sequence[Carried],
    facts: Facts,
) -> tuple[list[Made], str | None, Text | None]:
    """What was given of the activity for each category and window, its unit, and what is missing if something is."""
    made: list[dict[str, Fraction]] = [{} for _ in windows]
    units: set[str] = set()
    years: set[int] = set()
    for category in sorted({category for one in carried for category in one.categories}):
        place = _place(category, asked.by, facts)
        whose = _driver_of(site, place)
        givens = await load_givens(
            connection, whose, asked.activity, windows, base=asked.base, price_index=asked.price_index
        )
        for i, window in enumerate(windows):
            if category not in carried[i].categories and not givens.spans[window]:
                continue
            one = made_given(givens, place, window)
            if one.problem is not None or one.value is None:
                return [{} for _ in windows], None, one.problem
            made[i][category] = one.value
            units |= {one.unit} if one.unit else set()
            years |= {one.price_year} if one.price_year else set()
    if len(units) != 1 or len(years) > 1:
        told = ", ".join([*sorted(units), *map(str, sorted(years))]) or "-"
        return (
            [{} for _ in windows],
            None,
            Text(
                f"the values of the categories are not in one unit and in prices of one year ({told})",
                f"kategoriernes værdier er ikke i én enhed og i ét års priser ({told})",
            ),
        )
    unit = units.pop()
    return list(made), f"{unit} ({years.pop()})" if years else unit, None


def _place(category: str, by: Whose, facts: Facts) -> Place:
    if by is Whose.FAMILY and category in facts.products and facts.products[category].family is None:
        return Place(level=Level.PRODUCT, key=category)
    return Place(level=_LEVELS[by], key=category)


def _driver_of(site: SiteRow, place: Place) -> DriverOf:
    return DriverOf(
        organisation_id=site.organisation_id,
        site_id=site.id,
        line=place.key if place.level is Level.LINE else None,
        family=place.key if place.level is Level.FAMILY else None,
        product=place.key if place.level is Level.PRODUCT else None,
    )
