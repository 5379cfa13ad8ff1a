"""Where material comes from, what becomes of it, and where waste goes: of products, lines and the site.

Waste is known by its code in the List of Waste, `*` for hazardous, and by its treatment, R1–R13 or D1–D15 (Directive
2008/98/EC). Burning for energy, R1, is recovery in the directive and disposal in the tables of ESRS E5-5, so shares of
recovery are told both ways [METHODS §7]. What a meter does not say is unknown, never none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from api.indicators.figures import Figure, MeterFacts, figure, relative_errors
from api.indicators.flows import Amount
from api.indicators.intensity import Ends, Facts, ends_of
from api.indicators.outputs import Made, Per, add_up, batches, only_finished
from api.indicators.parts import Attribution
from api.indicators.pressures import Indicator
from api.indicators.takings import Owner, Taken, Whose, gather, owner_of
from api.indicators.tallies import Tally, of_indicator
from schemas.circularity import Origin, is_hazardous
from schemas.resources import Resource

ENERGY_RECOVERY = "R1"
Kind = TypeVar("Kind", bound=StrEnum)


class Source(StrEnum):
    """What a material input is. Recycled content of a material that is otherwise new counts as recycled."""

    VIRGIN = "virgin"
    RECYCLED = "recycled"
    REUSED = "reused"
    RETURNED = "returned"
    UNKNOWN = "unknown"


class Route(StrEnum):
    """Where waste goes: R1 apart, as the directive and ESRS call it differently."""

    RECOVERY = "recovery"
    ENERGY_RECOVERY = "energy_recovery"
    DISPOSAL = "disposal"
    UNKNOWN = "unknown"


class Hazard(StrEnum):
    HAZARDOUS = "hazardous"
    NOT_HAZARDOUS = "not_hazardous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a whole, 0 to 1. `value` is None where something is unknown; `low` and `high` bound it all the same.

    All are None where there is no whole.
    """

    value: Fraction | None = None
    low: Fraction | None = None
    high: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteFlow:
    """The waste of one code and treatment."""

    code: str | None
    treatment: str | None
    hazard: Hazard
    route: Route
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Circularity:
    """One product, line or site. Material and waste are in billionths of kg, fully loaded for products.

    `in_product` is the mass of its good units, None where a mass is not known or the line goes on from another one.
    """

    owner: Owner
    material: Figure
    sources: Mapping[Source, Amount]
    waste: Figure
    flows: tuple[WasteFlow, ...]
    in_product: Made | None
    problem: str | None = None

    @property
    def circular_input(self) -> Share:
        """Recycled, reused and returned, of all material that came in."""
        return share_of(self.sources, (Source.RECYCLED, Source.REUSED, Source.RETURNED), Source.UNKNOWN)

    @property
    def virgin_input(self) -> Share:
        return share_of(self.sources, (Source.VIRGIN,), Source.UNKNOWN)

    @property
    def hazardous_waste(self) -> Share:
        return share_of(_sums((flow.hazard, flow) for flow in self.flows), (Hazard.HAZARDOUS,), Hazard.UNKNOWN)

    @property
    def recovered_waste(self) -> Share:
        """By the directive: R1–R13."""
        return share_of(self._routes, (Route.RECOVERY, Route.ENERGY_RECOVERY), Route.UNKNOWN)

    @property
    def recovered_waste_esrs(self) -> Share:
        """By ESRS E5-5: R2–R13, and R1 is disposal."""
        return share_of(self._routes, (Route.RECOVERY,), Route.UNKNOWN)

    @property
    def _routes(self) -> dict[Route, Amount]:
        return _sums((flow.route, flow) for flow in self.flows)

    @property
    def material_yield(self) -> Fraction | None:
        """Material in the product, of the material that came in. Both are measured, so it may be above 1."""
        if self.in_product is None or self.in_product.unit is None or self.material.total <= 0:
            return None
        return Fraction(self.in_product.good.total, self.material.total)


def share_of(amounts: Mapping[Kind, Amount], parts: Iterable[Kind], unknown: Kind) -> Share:
    """The parts' share of all amounts. What is unknown may be none or all of the parts: so far apart are the bounds."""
    whole = sum(amount.total for amount in amounts.values())
    if whole <= 0:
        return Share()
    part = sum(amounts[key].total for key in parts if key in amounts)
    open_part = amounts[unknown].total if unknown in amounts else 0
    low, high = Fraction(part, whole), Fraction(part + open_part, whole)
    return Share(value=None if open_part else low, low=low, high=high)


def hazard_of(code: str | None) -> Hazard:
    """What the code says; without one nothing is known."""
    if code is None:
        return Hazard.UNKNOWN
    return Hazard.HAZARDOUS if is_hazardous(code) else Hazard.NOT_HAZARDOUS


def route_of(treatment: str | None) -> Route:
    """Recovery R2–R13, energy recovery R1, disposal D1–D15."""
    if treatment is None:
        return Route.UNKNOWN
    if treatment == ENERGY_RECOVERY:
        return Route.ENERGY_RECOVERY
    return Route.RECOVERY if treatment.startswith("R") else Route.DISPOSAL


def sources_of(amount: Amount, facts: MeterFacts | None) -> dict[Source, Amount]:
    """A material input by what it is; the parts sum to it.

    Material with a `recycled_content` is recycled to that share, and virgin otherwise. What was used before or came
    back from customers is so as a whole.
    """
    if facts is None or (facts.origin is None and facts.recycled_content is None):
        return {Source.UNKNOWN: amount}
    if facts.origin in {Origin.REUSED, Origin.RETURNED}:
        return {Source(facts.origin): amount}
    content = facts.recycled_content
    if content is None:
        return {Source(facts.origin or Source.UNKNOWN): amount}
    by = Fraction(repr(content))
    recycled = Amount(round(amount.measured * by), round(amount.estimated * by))
    virgin = Amount(amount.measured - recycled.measured, amount.estimated - recycled.estimated)
    return {Source.RECYCLED: recycled, Source.VIRGIN: virgin}


def circularities(
    attribution: Attribution, facts: Facts, *, whose: Whose = Whose.PRODUCT, ends: Ends | None = None
) -> list[Circularity]:
    """Every owner with material or waste, in order. Products have their co-products' part taken off."""
    made = batches(attribution.production)
    ends = ends_of(facts, attribution) if ends is None else ends
    found = only_finished(made, ends, facts.onward)
    takings = gather(
        attribution.parts,
        attribution.hours,
        whose=whose,
        found=found,
        products=facts.products,
        beside={meter: of.product for meter, of in facts.meters.items()},
    )
    output: dict[Owner, list[int]] = {}
    counted = made if whose is Whose.LINE else found
    for i, batch in enumerate(counted):
        owner = owner_of(whose, line=batch.line, product=batch.product, run=batch.run, order=batch.order)
        output.setdefault(owner, []).append(i)
    errors = relative_errors(attribution.parts, facts.meters)
    resources = {part.meter: part.resource for part in attribution.parts}
    fed = {line for line in facts.onward.values() if line is not None}
    teller = _Teller(facts=facts, errors=errors, resources=resources)
    items = []
    for owner, taken in sorted(takings.items(), key=lambda item: item[0].sort_key):
        batches_of = [counted[i] for i in output.get(owner, ())]
        in_product = add_up(batches_of, per=Per.KG, products=facts.products, meters=facts.meters)
        item = teller.tell(owner, taken, in_product, is_fed=owner.line in fed)
        if item.material.meters or item.waste.meters:
            items.append(item)
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    facts: Facts
    errors: Mapping[str, float]
    resources: Mapping[str, Resource] = field(default_factory=dict)

    def tell(self, owner: Owner, taken: Taken, in_product: Made, *, is_fed: bool) -> Circularity:
        tallies = taken.whole
        problem = in_product.problem
        if is_fed:
            problem = f"{owner.line} works on what another line made, so what came into it is more than its meters tell"
        return Circularity(
            owner=owner,
            material=self._figure(tallies, Indicator.MATERIAL),
            sources=self._sources(tallies),
            waste=self._figure(tallies, Indicator.WASTE),
            flows=tuple(self._flows(tallies)),
            in_product=None if problem else in_product,
            problem=problem,
        )

    def _figure(self, tallies: Mapping[str, Tally], indicator: Indicator) -> Figure:
        return figure(tallies, indicator, meters=self.facts.meters, errors=self.errors, resources=self.resources)

    def _sources(self, tallies: Mapping[str, Tally]) -> dict[Source, Amount]:
        found: dict[Source, Amount] = {}
        for meter, tally in of_indicator(tallies, Indicator.MATERIAL, self.resources):
            for source, amount in sources_of(tally.amount, self.facts.meters.get(meter)).items():
                found[source] = found.get(source, Amount()) + amount
        return found

    def _flows(self, tallies: Mapping[str, Tally]) -> Sequence[WasteFlow]:
        found: dict[tuple[str | None, str | None], Amount] = {}
        for meter, tally in of_indicator(tallies, Indicator.WASTE, self.resources):
            facts = self.facts.meters.get(meter)
            key = (facts.waste_code, facts.treatment) if facts else (None, None)
            found[key] = found.get(key, Amount()) + tally.amount
        return [
            WasteFlow(code=code, treatment=treatment, hazard=hazard_of(code), route=route_of(treatment), amount=amount)
            for (code, treatment), amount in sorted(
                found.items(), key=lambda item: tuple((part is None, part or "") for part in item[0])
            )
        ]


def _sums(flows: Iterable[tuple[Kind, WasteFlow]]) -> dict[Kind, Amount]:
    found: dict[Kind, Amount] = {}
    for kind, flow in flows:
        found[kind] = found.get(kind, Amount()) + flow.amount
    return found
