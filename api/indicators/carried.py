"""What products, families or lines carry of what a site used, and what nobody carries: the accounts of a period.

Products are fully loaded: idle of their lines by occupied hours is theirs [METHODS §2]. A line carries all that was
shared out to it, its idle as well. Carried and not carried sum to what the site used, to the last billionth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from api.indicators.activity import Account, Accounts, Beside
from api.indicators.flows import Amount
from api.indicators.intensity import Facts
from api.indicators.outputs import Batch, batches, finished, only_finished
from api.indicators.parts import Attribution, LineHours
from api.indicators.pressures import Indicator
from api.indicators.spots import Sum, Where, sum_up, to_parts
from api.indicators.takings import Owner, Whose, gather
from api.indicators.volume import volume
from schemas.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One indicator of a span of time: what went where, by carrier, what came out, and when lines were occupied.

    `covered_ms` of all meters of its resource together, `meters` being how many they are; `factors` by their ids.
    """

    indicator: Indicator
    sums: Mapping[Where, Sum]
    hours: Sequence[LineHours]
    made: Sequence[Batch]
    covered_ms: int
    length_ms: int
    meters: int
    factors: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A span by category: of each carrier (used,), or (used, emitted), in billionths; and what nobody carries.

    `made` is the good output that counts for a category: of products and families what was finished, of lines all that
    they made. `coverage` and `known` (the share of the energy with a CO2 factor) are None where nothing could be.
    """

    used: Amount
    by_category: Mapping[str, Mapping[str, tuple[Fraction, ...]]]
    beside: Mapping[str, Fraction]
    made: Mapping[str, Sequence[Batch]]
    coverage: Fraction | None
    known: Fraction | None
    factors: tuple[int, ...]

    @property
    def categories(self) -> set[str]:
        """Who made or used something."""
        return {*self.by_category, *self.made}

    def accounts(self, made: Mapping[str, Fraction]) -> Accounts:
        """With what was made of each category, in one unit."""
        return Accounts(
            by_category={
                category: Account(
                    made=made.get(category, Fraction(0)), used=self.by_category.get(category, {"": (Fraction(0),)})
                )
                for category in sorted({*self.by_category, *made})
            },
            beside=self.beside,
        )

    def output(self, unit: str, facts: Facts) -> dict[str, Fraction]:
        """The good output of each category in `unit` (pcs, kg), which `volume_unit` gave."""
        return {category: volume(its, unit, facts.products)[0] for category, its in self.made.items()}


def condense(found: Attribution, facts: Facts, indicator: Indicator) -> Span:
    """What of an attribution the accounts of one indicator rest on."""
    resource = Resource.ENERGY if indicator.is_carbon else Resource(indicator.value)
    carriers = {meter: _carrier(meter, facts) if indicator.is_carbon else "" for meter in facts.meters}
    covered = {metered.meter: metered.covered_ms for metered in found.metered}
    meters = [meter for meter, of in facts.meters.items() if of.resource is resource]
    parts = [part for part in found.parts if part.resource is resource]
    return Span(
        indicator=indicator,
        sums=sum_up(parts, indicator, carriers),
        hours=_merge_hours(found.hours),
        made=_merge_batches(batch for batch in batches(found.production) if batch.kind == "good"),
        covered_ms=sum(covered.get(meter, 0) for meter in meters),
        length_ms=found.grid.length_ms,
        meters=len(meters),
        factors=frozenset(number for part in parts for number in part.factors) if indicator.is_carbon else frozenset(),
    )


def together(spans: Sequence[Span]) -> Span:
    """Spans that follow each other, as one. There is one at least."""
    sums: dict[Where, Sum] = {}
    for span in spans:
        for where, told in span.sums.items():
            sums[where] = sums[where] + told if where in sums else told
    return replace(
        spans[-1],
        sums=sums,
        hours=_merge_hours(hours for span in spans for hours in span.hours),
        made=_merge_batches(batch for span in spans for batch in span.made),
        covered_ms=sum(span.covered_ms for span in spans),
        length_ms=sum(span.length_ms for span in spans),
        factors=frozenset().union(*(span.factors for span in spans)),
    )


def carry(span: Span, facts: Facts, whose: Whose) -> Carried:
    """Who carries what of it, by product, family or line; a product without a family stands for itself."""
    done = only_finished(span.made, finished(span.made, facts.onward), facts.onward)
    beside = {meter: of.product for meter, of in facts.meters.items()}
    by = Whose.LINE if whose is Whose.LINE else Whose.PRODUCT
    parts = list(to_parts(span.sums, span.indicator))
    owners = gather(parts, span.hours, whose=by, found=done, products=facts.products, beside=beside)
    by_category: dict[str, dict[str, tuple[Fraction, ...]]] = {}
    given = idle_given = 0
    for owner, taken in owners.items():
        of = by_category.setdefault(_category(owner, facts, whose), {})
        idle_given += sum(tally.of(span.indicator).total for tally in taken.idle.values())
        for carrier, tally in taken.whole.items():
            told = tally.of(span.indicator).total
            given += told
            levels = (tally.amount.total, told) if span.indicator.is_carbon else (told,)
            before = of.get(carrier, (Fraction(0),) * len(levels))
            of[carrier] = tuple(one + two for one, two in zip(before, levels, strict=True))
    used = sum((told.told for told in span.sums.values()), Amount())
    idle = sum(told.told.total for where, told in span.sums.items() if where.is_idle) - idle_given
    made: dict[str, list[Batch]] = {}
    # Of a line all that it made counts, also what goes on to another.
    for batch in span.made if by is Whose.LINE else done:
        if (batch.line if by is Whose.LINE else batch.product) is not None:
            category = _category(Owner(line=batch.line, product=batch.product), facts, whose)
            made.setdefault(category, []).append(batch)
    energy = sum(abs(told.amount.total) for told in span.sums.values())
    known = sum(abs(told.known) for told in span.sums.values())
    return Carried(
        used=used,
        by_category=by_category,
        # A line's idle is its own, so of lines this is nothing.
        beside={Beside.IDLE: Fraction(idle), Beside.UNATTRIBUTED: Fraction(used.total - given - idle)},
        made=made,
        coverage=Fraction(span.covered_ms, span.length_ms * span.meters) if span.meters and span.length_ms else None,
        known=min(Fraction(known, energy), Fraction(1)) if span.indicator.is_carbon and energy else None,
        factors=tuple(sorted(span.factors)),
    )


def _merge_hours(hours: Iterable[LineHours]) -> list[LineHours]:
    found: dict[tuple[str, str, str], LineHours] = {}
    for one in hours:
        key = one.line, one.slot.phase, one.slot.product or ""
        milliseconds = one.milliseconds + (found[key].milliseconds if key in found else 0)
        found[key] = LineHours(line=one.line, slot=replace(one.slot, run=0), milliseconds=milliseconds)
    return list(found.values())


def _merge_batches(made: Iterable[Batch]) -> list[Batch]:
    found: dict[tuple[str, str, str], Batch] = {}
    for batch in made:
        key = batch.meter, batch.line or "", batch.product or ""
        amount = found[key].amount + batch.amount if key in found else batch.amount
        found[key] = replace(batch, amount=amount, run=None, order=None)
    return list(found.values())


def _carrier(meter: str, facts: Facts) -> str:
    """Its own, else that of the meter of which it is a part."""
    passed: set[str] = set()
    while meter in facts.meters and meter not in passed:
        of = facts.meters[meter]
        if of.carrier is not None or of.part_of is None:
            return of.carrier or ""
        passed.add(meter)
        meter = of.part_of
    return ""


def _category(owner: Owner, facts: Facts, whose: Whose) -> str:
    if whose is Whose.LINE:
        return owner.line or ""
    product = owner.product or ""
    if whose is Whose.FAMILY and product in facts.products:
        return facts.products[product].family or product
    return product
