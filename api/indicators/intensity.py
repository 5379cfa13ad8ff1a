"""What a good unit takes: of products, families, runs, orders, lines and the site.

Marginal: processing, changeover and shares of utilities. Fully loaded: that and idle, by occupied hours. Both are
divided by good units, or kilograms of them, so scrap burdens the good ones (METHODS §2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from api.indicators.facets import Slice, slices
from api.indicators.figures import Figure, MeterFacts, figure, relative_errors
from api.indicators.outputs import Batch, Made, Per, add_up, batches, finished, only_finished
from api.indicators.parts import NO_CARBON, Attribution, Part
from api.indicators.pressures import Indicator
from api.indicators.products import ProductUnit
from api.indicators.takings import Owner, Taken, Whose, gather, owner_of
from api.indicators.tallies import UNITS, Tally, of_indicator
from schemas.carriers import Scope
from schemas.resources import Resource

Ends = frozenset[tuple[str, str]]
"""(line, product) of the lines that finish it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the site model says. `onward` is the line to which a line's output goes on."""

    products: Mapping[str, ProductUnit] = field(default_factory=dict)
    meters: Mapping[str, MeterFacts] = field(default_factory=dict)
    onward: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A quantity by the good unit, and its bounds, in canonical units. None where nothing good is known to be made."""

    value: Fraction | None
    low: Fraction | None = None
    high: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """One indicator of one owner. `unattributed` and `whole` are told of lines and the site, whose own they are."""

    owner: Owner
    indicator: Indicator
    made: Made
    marginal: Figure
    idle: Figure
    loaded: Figure
    unattributed: Figure | None
    whole: Figure | None
    slices: tuple[Slice, ...]

    @property
    def unit(self) -> str:
        return UNITS[self.indicator]

    @property
    def value(self) -> Ratio:
        """Marginal."""
        return by_the_unit(self.marginal, self.made)

    @property
    def fully_loaded(self) -> Ratio:
        return by_the_unit(self.loaded, self.made)

    @property
    def comprehensive(self) -> Ratio | None:
        """All that a line or a site used by its good units [ISO 22400-2: comprehensive energy consumption]."""
        return None if self.whole is None else by_the_unit(self.whole, self.made)

    @property
    def idle_share(self) -> Fraction | None:
        """How much was idle of the fully loaded quantity; of a line's or a site's, of all that it used."""
        of = (self.whole or self.loaded).total
        return Fraction(self.idle.total, of) if of > 0 else None


def by_the_unit(figure: Figure, made: Made) -> Ratio:
    """The figure by good units, each as wrong as it may be. There is no upper bound where good may be nothing."""
    good = made.good.total
    if made.unit is None or good <= 0:
        return Ratio(value=None)
    least, most = good - made.error, good + made.error
    low = Fraction(figure.low, most if figure.low >= 0 else least) if figure.low >= 0 or least > 0 else None
    high = Fraction(figure.high, least if figure.high >= 0 else most) if figure.high < 0 or least > 0 else None
    return Ratio(value=Fraction(figure.total, good), low=low, high=high)


def ends_of(facts: Facts, *attributions: Attribution) -> Ends:
    """Where products are finished, judged over all of the time of these attributions."""
    return finished((batch for one in attributions for batch in batches(one.production)), facts.onward)


def intensities(
    attribution: Attribution,
    facts: Facts,
    *,
    whose: Whose = Whose.PRODUCT,
    per: Per = Per.UNIT,
    indicators: Collection[Indicator] = tuple(Indicator),
    ends: Ends | None = None,
) -> list[Intensity]:
    """Every owner and indicator of which something was taken, in order.

    An output that goes on to another line and is counted there again is not finished (`ends`, judged over this time
    where it is not given): it counts for its run and its line, and not for products, orders and the site.
    """
    whole_batches = batches(attribution.production)
    ends = ends_of(facts, attribution) if ends is None else ends
    made = _made_by(whose, whole_batches, facts, per=per, ends=ends)
    parts = _of(indicators, attribution.parts)
    takings = gather(
        parts,
        attribution.hours,
        whose=whose,
        found=whole_batches if whose is Whose.RUN else only_finished(whole_batches, ends, facts.onward),
        products=facts.products,
        beside={meter: of.product for meter, of in facts.meters.items()},
    )
    resources = {part.meter: part.resource for part in parts}
    # A part that had no factor knows no scope.
    scopes = {part.meter: part.scope for part in parts if part.scope is not None}
    errors = relative_errors(parts, facts.meters)
    teller = _Teller(facts=facts, is_place=whose.is_place, errors=errors, resources=resources, scopes=scopes)
    found: list[Intensity] = []
    for owner, taken in sorted(takings.items(), key=lambda item: item[0].sort_key):
        output = made.get(owner) or Made(unit=_unit_of(owner, facts, per))
        found += teller.tell(owner, taken, output, indicators)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    """What figures of any owner rest on."""

    facts: Facts
    is_place: bool
    errors: Mapping[str, float]
    resources: Mapping[str, Resource]
    scopes: Mapping[str, Scope]

    def tell(self, owner: Owner, taken: Taken, made: Made, indicators: Collection[Indicator]) -> Iterator[Intensity]:
        loaded = taken.loaded
        whole = taken.whole if self.is_place else loaded
        for indicator in Indicator:
            if indicator not in indicators or not self._is_told(whole, indicator):
                continue
            yield Intensity(
                owner=owner,
                indicator=indicator,
                made=made,
                marginal=self._figure(taken.marginal, indicator),
                idle=self._figure(taken.idle, indicator),
                loaded=self._figure(loaded, indicator),
                unattributed=self._figure(taken.unattributed, indicator) if self.is_place else None,
                whole=self._figure(whole, indicator) if self.is_place else None,
                slices=tuple(
                    slices(
                        taken.marginal,
                        taken.idle,
                        indicator,
                        meters=self.facts.meters,
                        resources=self.resources,
                        scopes=self.scopes,
                    )
                ),
            )

    def _figure(self, tallies: Mapping[str, Tally], indicator: Indicator) -> Figure:
        return figure(tallies, indicator, meters=self.facts.meters, errors=self.errors, resources=self.resources)

    def _is_told(self, tallies: Mapping[str, Tally], indicator: Indicator) -> bool:
        """CO2e is told as soon as anything had a factor; without any it is unknown, not zero."""
        found = [tally for _, tally in of_indicator(tallies, indicator, self.resources)]
        if not indicator.is_carbon:
            return bool(found)
        known = f"{indicator.removeprefix('co2_')}_known"
        return any(tally[known] for tally in found)


def _of(indicators: Collection[Indicator], parts: Sequence[Part]) -> Sequence[Part]:
    """The parts that these indicators rest on: CO2e on energy, and on whatever else had a factor."""
    wanted = {Resource.ENERGY if one.is_carbon else Resource(one.value) for one in indicators}
    has_carbon = any(one.is_carbon for one in indicators)
    return [part for part in parts if part.resource in wanted or (has_carbon and part.carbon is not NO_CARBON)]


def _made_by(whose: Whose, found: Sequence[Batch], facts: Facts, *, per: Per, ends: Ends) -> dict[Owner, Made]:
    gathered: dict[Owner, list[Batch]] = {}
    for batch in found:
        owner = owner_of(whose, line=batch.line, product=batch.product, run=batch.run, order=batch.order)
        if whose is Whose.FAMILY:
            product = facts.products.get(batch.product or "")
            owner = Owner(family=product.family if product else None)
        gathered.setdefault(owner, []).append(batch)
    if whose is Whose.ORDER:
        # An order is finished where it was counted last, however far other orders of the product go.
        gathered = {
            owner: only_finished(its, finished(its, facts.onward), facts.onward) for owner, its in gathered.items()
        }
    elif whose not in {Whose.RUN, Whose.LINE}:
        gathered = {owner: only_finished(its, ends, facts.onward) for owner, its in gathered.items()}
    return {
        owner: add_up(its, per=per, products=facts.products, meters=facts.meters, unit=_unit_of(owner, facts, per))
        for owner, its in gathered.items()
    }


def _unit_of(owner: Owner, facts: Facts, per: Per) -> str | None:
    product = facts.products.get(owner.product or "")
    return "kg" if per is Per.KG else product.unit if product else None
