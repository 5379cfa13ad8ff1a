"""Where each resource went: what came in is products + idle + unattributed, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.indicators.flows import Amount
from api.indicators.lines import Phase
from api.indicators.parts import Attribution, Part
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One resource: consumed = products + idle + unattributed."""

    resource: Resource
    unit: str
    consumed: Amount
    products: Amount
    idle: Amount
    unattributed: Amount
    coverage: float

    @property
    def difference(self) -> int:
        """Zero, in billionths; shown so that a reader need not take our word."""
        return self.consumed.total - self.products.total - self.idle.total - self.unattributed.total


def balances(attribution: Attribution) -> list[Balance]:
    """Where each resource went."""
    found = []
    for ledger in attribution.ledgers:
        parts = [part for part in attribution.parts if part.resource is ledger.resource]
        found.append(
            Balance(
                resource=ledger.resource,
                unit=ledger.unit,
                consumed=ledger.consumed,
                products=_total(part for part in parts if part.slot.product is not None),
                idle=_total(part for part in parts if part.slot.phase is Phase.IDLE),
                unattributed=_total(part for part in parts if part.slot.phase is Phase.UNATTRIBUTED),
                coverage=ledger.coverage,
            )
        )
    return found


def _total(parts: Iterable[Part]) -> Amount:
    return sum((part.amount for part in parts), Amount())
