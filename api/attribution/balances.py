"""Quantities, balances and findings as answers tell them."""

from __future__ import annotations

from decimal import Decimal

from api.exact_json import Answer, Number, Ratio, quantity, ratio
from api.indicators.balances import balances
from api.indicators.flows import Amount, FindingKind
from api.indicators.parts import Attribution
from schemas.resources import Resource


class QuantityAnswer(Answer):
    """An amount in a canonical unit, measured and estimated apart."""

    total: Number
    measured: Number
    estimated: Number


class BalanceAnswer(Answer):
    """consumed = products + idle + unattributed; `difference` is 0."""

    resource: Resource
    unit: str
    consumed: QuantityAnswer
    products: QuantityAnswer
    idle: QuantityAnswer
    unattributed: QuantityAnswer
    difference: Number
    coverage: Ratio


class FindingAnswer(Answer):
    """Something in the data or the model that a person should look at."""

    kind: FindingKind
    meter: str
    quarters: int
    quantity: Number
    unit: str


def amount_answer(amount: Amount) -> QuantityAnswer:
    """Billionths as canonical units."""
    return QuantityAnswer(
        total=quantity(amount.total), measured=quantity(amount.measured), estimated=quantity(amount.estimated)
    )


def share_answer(value: float) -> Decimal:
    """A share of something, never null."""
    return ratio(value) or Decimal(0)


def balance_answers(attribution: Attribution) -> list[BalanceAnswer]:
    """Where each resource went."""
    return [
        BalanceAnswer(
            resource=item.resource,
            unit=item.unit,
            consumed=amount_answer(item.consumed),
            products=amount_answer(item.products),
            idle=amount_answer(item.idle),
            unattributed=amount_answer(item.unattributed),
            difference=quantity(item.difference),
            coverage=share_answer(item.coverage),
        )
        for item in balances(attribution)
    ]


def finding_answers(attribution: Attribution) -> list[FindingAnswer]:
    """What a person should look at."""
    return [
        FindingAnswer(kind=f.kind, meter=f.meter, quarters=f.quarters, quantity=quantity(f.amount), unit=f.unit)
        for f in attribution.findings
    ]
