"""A figure found again, as each kind of figure tells it, and what of an attribution it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction

from api.attribution.answers import contributions_of, owned, part_answer
from api.attribution.loader import attribute_period
from api.calendar.clock import Period
from api.database import Connection
from api.exact_json import exact, quantity
from api.explain.answers import FigurePart, TermAnswer
from api.indicators.contributions import Contribution
from api.indicators.flows import Amount
from api.indicators.parts import Part
from api.indicators.pressures import Indicator
from api.indicators.takings import Owner, Whose
from api.site_store import SiteRow
from schemas.quantities import SCALE

_BILLIONTH = Decimal("1e-9")
_WIDE = Context(prec=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A period of which parts are told, and whose: `owner` as far as it says. `title` is base or period."""

    title: str
    period: Period
    whose: Whose
    owner: Owner
    is_loaded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A figure as it is now. `today` is its name with the digest of what it rests on now."""

    today: str
    value: Decimal | None
    unit: str | None
    told: str | None
    formula: str
    numbers: str
    terms: Sequence[TermAnswer]
    indicator: Indicator
    quantity_unit: str
    spans: Sequence[Span]
    coverage: Decimal | None = None
    estimated_share: Decimal | None = None
    factors: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A part of the figure, and the part of the attribution that it is a share of."""

    span: Span
    one: Contribution
    amount: Amount
    whole: Amount


async def trace(connection: Connection, site: SiteRow, found: Found) -> list[Traced]:
    """The figure's parts in its own unit, the largest first. Raises a 422 problem."""
    traced = []
    for span in found.spans:
        by_run = span.whose in {Whose.RUN, Whose.ORDER}
        attributed = await attribute_period(connection, site, span.period, by_run=by_run)
        wholes: dict[tuple[object, ...], Amount] = {}
        for part in attributed.attribution.parts:
            key = place_of(part)
            wholes[key] = wholes.get(key, Amount()) + amount_of(part, found.indicator)
        for owner, of_owner in contributions_of(attributed, span.whose).items():
            if owner != span.owner:
                continue
            for one in of_owner:
                amount = amount_of(one.part, found.indicator)
                is_asked = is_of(one.part, found.indicator) and (span.is_loaded or one.role != "idle")
                if is_asked and (amount.measured or amount.estimated):
                    traced.append(
                        Traced(span=span, one=one, amount=amount, whole=wholes.get(place_of(one.part), amount))
                    )
    return sorted(traced, key=lambda one: -abs(one.amount.total))


def is_of(part: Part, indicator: Indicator) -> bool:
    """Whether it is a part of figures of this indicator."""
    return indicator.is_carbon or part.resource == indicator.value


def amount_of(part: Part, indicator: Indicator) -> Amount:
    """What it is in the unit of the indicator, in billionths."""
    match indicator:
        case Indicator.CO2_LOCATION:
            return Amount(part.carbon.location_measured, part.carbon.location_estimated)
        case Indicator.CO2_MARKET:
            return Amount(part.carbon.market_measured, part.carbon.market_estimated)
        case _:
            return part.amount


def place_of(part: Part) -> tuple[object, ...]:
    """What tells parts of an attribution apart, but for their quantities."""
    return (part.meter, part.line, part.slot, part.rule, part.via, part.hops, part.run, part.order)


def part_answers(site: SiteRow, traced: Sequence[Traced], unit: str) -> list[FigurePart]:
    """The parts as they are told, numbered from 1."""
    totals: dict[str, int] = {}
    for one in traced:
        totals[one.span.title] = totals.get(one.span.title, 0) + one.amount.total
    answers = []
    for number, one in enumerate(traced, 1):
        period = one.span.period
        part = replace(owned(one.one, one.span.owner), amount=one.amount, unit=unit)
        told = part_answer(period.start, period.end, part, totals[one.span.title])
        answers.append(
            FigurePart(
                **dict(told),
                part=number,
                role=one.one.role,
                period=one.span.title,
                of_place=quantity(one.whole.total),
            )
        )
    return answers


def plain(value: Fraction | int | Decimal | None) -> str:
    """A number for a formula, to nine digits where it has more."""
    if value is None:
        return "unknown"
    number = exact(Fraction(value)) if not isinstance(value, Decimal) else value
    text = format(number.quantize(_BILLIONTH, context=_WIDE), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def in_units(billionths: int) -> str:
    """Billionths for a formula."""
    return plain(Fraction(billionths, SCALE))
