"""The ledger of attribution as the API and the command line tell it: who carries how much of which meter, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from itertools import islice, pairwise
from typing import Annotated

from pydantic import Field

from api.attribution.balances import (
    BalanceAnswer,
    FindingAnswer,
    QuantityAnswer,
    amount_answer,
    balance_answers,
    finding_answers,
)
from api.attribution.loader import Attributed, attribute_buckets, attribute_period
from api.calendar.buckets import By, buckets
from api.calendar.clock import Period, hour_end, stretches
from api.database import Connection
from api.exact_json import Answer, Instant, Number, Ratio, quantity, ratio
from api.indicators.contributions import Contribution, Role, Sharing, contributions, merge_parts
from api.indicators.flows import Amount
from api.indicators.lines import Phase
from api.indicators.outputs import batches, finished, only_finished
from api.indicators.parts import Part
from api.indicators.sharing import Rule
from api.indicators.takings import Owner, Whose
from api.problems import bad_value, not_found
from api.site_store import SiteRow
from schemas.resources import Resource

_CO2 = {"unit": "kg CO2e"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
MOST_BUCKETS = 800
"""The parts of each bucket are told one by one; a longer list is asked for piece by piece."""


class PartsBy(StrEnum):
    """Into which spans of time the ledger is cut, by the clocks of the site; NONE: the period is one."""

    NONE = "none"
    QUARTER = "quarter"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedParts:
    """Which parts are asked for; None asks for all. Of a product, run or order its share of idle is told too."""

    by: PartsBy = PartsBy.NONE
    product: str | None = None
    line: str | None = None
    resource: Resource | None = None
    meter: str | None = None
    run: str | None = None
    order: str | None = None

    @property
    def whose(self) -> Whose | None:
        """Whom it is about; None: nobody, the ledger is told as it stands."""
        for given, whose in ((self.run, Whose.RUN), (self.order, Whose.ORDER), (self.product, Whose.PRODUCT)):
            if given is not None:
                return whose
        return None

    def takes(self, part: Part) -> bool:
        """Whether a part is of the line, resource and meter that are asked for."""
        return all(
            wanted is None or wanted == found
            for wanted, found in ((self.line, part.line), (self.resource, part.resource), (self.meter, part.meter))
        )

    def owns(self, owner: Owner) -> bool:
        """Whether it is about this owner."""
        return all(
            wanted is None or wanted == found
            for wanted, found in ((self.product, owner.product), (self.run, owner.run), (self.order, owner.order))
        )


class PartAnswer(Answer):
    """What one rule gave of one meter to one product, to a line's idle, or to nobody.

    `destination` idle with a product is that product's share of its lines' idle, by occupied hours. `via` are the
    utilities that it passed on its way, `hops` the rules by which it came into each.
    """

    start: Annotated[Instant, Field(alias="from")]
    end: Annotated[Instant, Field(alias="to")]
    meter: str
    resource: Resource
    carrier: str | None
    line: str | None
    destination: Annotated[Phase, Field(description="processing, changeover, idle or unattributed")]
    product: str | None
    run: str | None
    order: str | None
    rule: Rule
    hops: list[Rule]
    via: list[str]
    quantity: QuantityAnswer
    otherwise: Annotated[Number, Field(description="what another admissible rule would have given")]
    share: Annotated[Ratio | None, Field(description="of all that is told here of the resource, 0 to 1")]
    unit: str
    co2_location: Annotated[Number | None, Field(description="by the grid's average", json_schema_extra=_CO2)]
    co2_market: Annotated[Number | None, Field(description="by what was bought", json_schema_extra=_CO2)]


class TotalAnswer(Answer):
    """The sum of the parts that are told, by resource."""

    resource: Resource
    quantity: QuantityAnswer
    unit: str


class AttributionAnswer(Answer):
    """The parts, largest first in each span; their totals; and the balance of everything in the period."""

    items: list[PartAnswer]
    totals: list[TotalAnswer]
    balance: list[BalanceAnswer]
    findings: list[FindingAnswer]
    next: None = None


async def attribution_answer(
    connection: Connection, site: SiteRow, period: Period, asked: AskedParts
) -> AttributionAnswer:
    """The ledger of a period. Raises a 404 or 422 problem."""
    at = cuts(period, asked.by, site)
    by_run = asked.run is not None or asked.order is not None
    found = await attribute_buckets(connection, site, at, by_run=by_run)
    whole = await attribute_period(connection, site, period) if len(found) > 1 else found[0]
    _check(site, whole, asked)
    spans = list(pairwise(at))
    told = [(*span, part) for span, one in zip(spans, found, strict=True) for part in _sorted(asked_parts(one, asked))]
    totals = _totals(part for *_, part in told)
    return AttributionAnswer(
        items=[part_answer(start, end, part, totals[part.resource, part.unit].total) for start, end, part in told],
        totals=[
            TotalAnswer(resource=resource, quantity=amount_answer(amount), unit=unit)
            for (resource, unit), amount in totals.items()
        ],
        balance=balance_answers(whole.attribution),
        findings=finding_answers(whole.attribution),
    )


def asked_parts(found: Attributed, asked: AskedParts) -> list[Part]:
    """The parts that are asked for; of an owner what they carry, idle with the owner's product."""
    if asked.whose is None:
        parts = merge_parts(found.attribution.parts)
    else:
        parts = [
            owned(one, owner)
            for owner, of_owner in contributions_of(found, asked.whose).items()
            if asked.owns(owner)
            for one in of_owner
        ]
    return [part for part in parts if asked.takes(part) and (part.amount.measured or part.amount.estimated)]


def contributions_of(found: Attributed, whose: Whose) -> dict[Owner, list[Contribution]]:
    """What each owner carries, part by part."""
    attribution = found.attribution
    made = batches(attribution.production)
    sharing = Sharing(
        products=found.units,
        found=made if whose is Whose.RUN else only_finished(made, finished(made, found.onward), found.onward),
        beside={key: row["product"] for key, row in found.meters.items()},
    )
    return contributions(attribution.parts, attribution.hours, whose=whose, sharing=sharing)


def owned(one: Contribution, owner: Owner) -> Part:
    """The part as its owner's: a share of idle with the owner's product, run and order."""
    part = one.part
    if one.role is not Role.IDLE or owner.product is None:
        return part
    return replace(part, slot=replace(part.slot, product=owner.product), run=owner.run, order=owner.order)


def _check(site: SiteRow, found: Attributed, asked: AskedParts) -> None:
    place = f"/v1/sites/{site.key}"
    for what, key, known in (
        ("product", asked.product, found.units),
        ("line", asked.line, found.onward),
        ("meter", asked.meter, found.meters),
    ):
        if key is not None and key not in known:
            raise not_found(f"there is no {what} {key!r} at {site.key}; GET {place}/{what}s lists them")
    for what, key in (("run", asked.run), ("order", asked.order)):
        if key is not None and not any(getattr(part, what) == key for part in _all_parts(found)):
            raise not_found(f"no {what} {key!r} took or made anything in this period; GET {place}/runs lists them")


def _all_parts(found: Attributed) -> Iterator[Part]:
    yield from found.attribution.parts
    yield from found.attribution.production


def cuts(period: Period, by: PartsBy, site: SiteRow) -> list[datetime]:
    """Where the spans of a period begin, and its end. Raises a 422 problem for more than MOST_BUCKETS."""
    found = list(islice(_starts(period, by, site), MOST_BUCKETS + 1))
    if len(found) > MOST_BUCKETS:
        raise bad_value(
            "by", f"the period has more than {MOST_BUCKETS} of them; ask for a shorter one, or longer spans"
        )
    return [*found, period.end]


def _starts(period: Period, by: PartsBy, site: SiteRow) -> Iterator[datetime]:
    match by:
        case PartsBy.NONE:
            yield period.start
        case PartsBy.QUARTER:
            at = period.start
            while at < period.end:
                yield at
                at = _EPOCH + ((at - _EPOCH) // QUARTER + 1) * QUARTER
        case PartsBy.HOUR:
            clock = list(stretches(period))
            at = period.start
            while at < period.end:
                yield at
                at = hour_end(at, clock)
        case _:
            for bucket in buckets(period, By(by.value), site.calendar):
                yield max(bucket.start, period.start)


def _sorted(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: (part.resource, -abs(part.amount.total), part.meter, part.line or ""))


def _totals(parts: Iterable[Part]) -> dict[tuple[Resource, str], Amount]:
    totals: dict[tuple[Resource, str], Amount] = {}
    for part in parts:
        key = part.resource, part.unit
        totals[key] = totals.get(key, Amount()) + part.amount
    return totals


def part_answer(start: datetime, end: datetime, part: Part, total: int) -> PartAnswer:
    """A part of a span of time; `total` in billionths is what it is a share of."""
    carbon = part.carbon
    return PartAnswer(
        start=start,
        end=end,
        meter=part.meter,
        resource=part.resource,
        carrier=part.carrier,
        line=part.line,
        destination=part.slot.phase,
        product=part.slot.product,
        run=part.run,
        order=part.order,
        rule=part.rule,
        hops=list(part.hops),
        via=list(part.via),
        quantity=amount_answer(part.amount),
        otherwise=quantity(part.otherwise),
        share=ratio(Fraction(part.amount.total, total)) if total else None,
        unit=part.unit,
        # Without a factor it is unknown, and not zero.
        co2_location=quantity(carbon.location) if carbon.location_known or carbon.location else None,
        co2_market=quantity(carbon.market) if carbon.market_known or carbon.market else None,
    )
