"""What products take, and where everything went."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from api.attribution_loader import attribute_period
from api.database import Database
from api.exact_json import Answer, Number, quantity, ratio, reply
from api.indicators.attribution import Attribution
from api.indicators.flows import Amount, FindingKind
from api.indicators.intensity import Balance, Intensity, balances, intensities
from api.indicators.lines import Phase
from api.indicators.sharing import Rule
from api.routes.consumption import AskedPeriod
from api.site_store import OwnSite
from schemas.resources import Resource

router = APIRouter(prefix="/v1/sites/{site}", tags=["indicators"])


class IntensityBy(StrEnum):
    PRODUCT = "product"


class QuantityAnswer(Answer):
    """An amount in a canonical unit, measured and estimated apart."""

    total: Number
    measured: Number
    estimated: Number


class ProductIntensity(Answer):
    """What one product took of one resource. `value` and `fully_loaded` are for one good unit; null without any."""

    product: str
    resource: Resource
    marginal: QuantityAnswer
    idle: Annotated[QuantityAnswer, Field(description="idle of its lines by occupied hours; fully loaded adds it")]
    quantity_unit: str
    good: Number
    good_unit: str
    value: Number | None
    fully_loaded: Number | None
    unit: Annotated[str, Field(description="such as kWh/pcs")]
    coverage: Number
    estimated_share: Number | None
    rules: list[Rule]


class BalanceAnswer(Answer):
    """consumed = products + idle + unattributed; `difference` is 0."""

    resource: Resource
    unit: str
    consumed: QuantityAnswer
    products: QuantityAnswer
    idle: QuantityAnswer
    unattributed: QuantityAnswer
    difference: Number
    coverage: Number


class FindingAnswer(Answer):
    """Something in the data or the model that a person should look at."""

    kind: FindingKind
    meter: str
    quarters: int
    quantity: Number
    unit: str


class IntensityAnswer(Answer):
    items: list[ProductIntensity]
    balance: list[BalanceAnswer]
    findings: list[FindingAnswer]
    next: None = None


class PartAnswer(Answer):
    """What one rule gave of one meter to one product, to a line's idle, or to nobody."""

    meter: str
    resource: Resource
    carrier: str | None
    line: str | None
    destination: Annotated[Phase, Field(description="processing, changeover, idle or unattributed")]
    product: str | None
    rule: Rule
    quantity: QuantityAnswer
    unit: str


class AttributionAnswer(Answer):
    items: list[PartAnswer]
    balance: list[BalanceAnswer]
    findings: list[FindingAnswer]
    next: None = None


@router.get("/intensity", response_model=IntensityAnswer)
async def intensity(
    site: OwnSite, period: AskedPeriod, connection: Database, by: IntensityBy = IntensityBy.PRODUCT
) -> Response:
    """What a good unit of each product takes of each resource."""
    found = await attribute_period(connection, site, period)
    return reply(
        IntensityAnswer(
            items=[_intensity(item) for item in intensities(found.attribution, found.units)],
            balance=[_balance(item) for item in balances(found.attribution)],
            findings=_findings(found.attribution),
        )
    )


@router.get("/attribution", response_model=AttributionAnswer)
async def attribution(site: OwnSite, period: AskedPeriod, connection: Database) -> Response:
    """Where every meter's consumption went, and by which rule."""
    found = await attribute_period(connection, site, period)
    items = [
        PartAnswer(
            meter=part.meter,
            resource=part.resource,
            carrier=part.carrier,
            line=part.line,
            destination=part.slot.phase,
            product=part.slot.product,
            rule=part.rule,
            quantity=amount_answer(part.amount),
            unit=part.unit,
        )
        for part in found.attribution.parts
    ]
    balance = [_balance(item) for item in balances(found.attribution)]
    return reply(AttributionAnswer(items=items, balance=balance, findings=_findings(found.attribution)))


def _intensity(item: Intensity) -> ProductIntensity:
    return ProductIntensity(
        product=item.product,
        resource=item.resource,
        marginal=amount_answer(item.marginal),
        idle=amount_answer(item.idle),
        quantity_unit=item.unit,
        good=quantity(item.good.total),
        good_unit=item.product_unit,
        value=ratio(item.value),
        fully_loaded=ratio(item.fully_loaded),
        unit=f"{item.unit}/{item.product_unit}",
        coverage=share_answer(item.coverage),
        estimated_share=ratio(item.estimated_share),
        rules=list(item.rules),
    )


def _balance(item: Balance) -> BalanceAnswer:
    return BalanceAnswer(
        resource=item.resource,
        unit=item.unit,
        consumed=amount_answer(item.consumed),
        products=amount_answer(item.products),
        idle=amount_answer(item.idle),
        unattributed=amount_answer(item.unattributed),
        difference=quantity(item.difference),
        coverage=share_answer(item.coverage),
    )


def _findings(attribution: Attribution) -> list[FindingAnswer]:
    return [
        FindingAnswer(kind=f.kind, meter=f.meter, quarters=f.quarters, quantity=quantity(f.amount), unit=f.unit)
        for f in attribution.findings
    ]


def amount_answer(amount: Amount) -> QuantityAnswer:
    """Billionths as canonical units."""
    return QuantityAnswer(
        total=quantity(amount.total), measured=quantity(amount.measured), estimated=quantity(amount.estimated)
    )


def share_answer(value: float) -> Decimal:
    """A share of something, never null."""
    return ratio(value) or Decimal(0)
