"""From rows of what is kept, with the numbers of the database, to parts with the keys that people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.attribution.model import Model
from api.attribution.store import Way
from api.indicators.carbon import Carbon
from api.indicators.flows import Amount, Finding, FindingKind
from api.indicators.lines import Phase, Slot
from api.indicators.parts import NO_CARBON, LineHours, Metered, Part
from api.indicators.sharing import Rule
from schemas.carriers import Scope
from schemas.resources import Resource

Row = Sequence[Any]
_CARBON = tuple(Carbon.__dataclass_fields__)


class Names:
    """One site's. Rows come in the order in which `reading` asks for their columns, without the bucket.

    `factors` are the numbers behind each text that lists some, `scopes` the scope of each factor.
    """

    def __init__(
        self,
        model: Model,
        *,
        ways: Mapping[int, Way],
        factors: Mapping[str, tuple[int, ...]],
        scopes: Mapping[int, str],
    ) -> None:
        self._meters = {
            row["number"]: (row["id"], Resource(row["resource"]), row["canonical_unit"], row["carrier"])
            for row in model.meters.values()
        }
        self._lines = {row["number"]: key for key, row in model.lines.items()}
        self._products = {row["number"]: key for key, row in model.products.items()}
        self._ways = {
            number: (Phase(phase), Rule(rule), via, tuple(Rule(hop) for hop in hops))
            for number, (phase, rule, via, hops) in ways.items()
        }
        self._factors = factors
        self._scopes = {number: Scope(scope) for number, scope in scopes.items()}
        self._slots: dict[tuple[Any, ...], Slot] = {}

    def part(self, row: Row) -> Part:
        """Of meter, line, run, product, way, three sums, nine of carbon, and factors."""
        number, line, run, product, way, measured, estimated, otherwise, *carbon, listed = row
        meter, resource, unit, carrier = self._meters[number]
        phase, rule, via, hops = self._ways[way]
        factors = self._factors[listed]
        return Part(
            meter=meter,
            resource=resource,
            unit=unit,
            carrier=carrier,
            line=self._lines.get(line),
            slot=self._slot(phase, product, run),
            rule=rule,
            amount=Amount(measured, estimated),
            otherwise=otherwise,
            via=via,
            hops=hops,
            carbon=Carbon(**dict(zip(_CARBON, carbon, strict=True))) if any(carbon) else NO_CARBON,
            # All factors of one carrier are of one scope.
            scope=self._scopes.get(factors[0]) if factors else None,
            factors=factors,
        )

    def metered(self, row: Row) -> Metered:
        """Of meter, measured, estimated, both as used, covered milliseconds, quarters and usable days."""
        number, measured, estimated, used_measured, used_estimated, covered_ms, quarters, usable_days = row
        meter, resource, unit, _ = self._meters[number]
        return Metered(
            meter=meter,
            resource=resource,
            unit=unit,
            counted=Amount(measured, estimated),
            used=Amount(used_measured, used_estimated),
            covered_ms=covered_ms,
            quarters=quarters,
            usable_days=usable_days,
        )

    def hours(self, row: Row) -> LineHours:
        """Of line, run, phase, product and milliseconds."""
        line, run, phase, product, milliseconds = row
        slot = self._slot(Phase(phase), product, run)
        return LineHours(line=self._lines[line], slot=slot, milliseconds=milliseconds)

    def finding(self, row: Row) -> Finding:
        """Of meter, kind, quarters and amount."""
        number, kind, quarters, amount = row
        meter, _, unit, _ = self._meters[number]
        return Finding(kind=FindingKind(kind), meter=meter, quarters=quarters, amount=amount, unit=unit)

    def _slot(self, phase: Phase, product: int | None, run: int | None) -> Slot:
        key = phase, product, run
        found = self._slots.get(key)
        if found is None:
            found = self._slots[key] = Slot(phase, self._products.get(product or 0), run or 0)
        return found
