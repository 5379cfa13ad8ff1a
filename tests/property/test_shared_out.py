"""Utilities in chains, spans, emissions: nothing is lost on any way, and no scale of numbers changes where it goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.indicators.attribution import Places, attribute, attribute_spans
from api.indicators.balances import balances
from api.indicators.carbon import Matched
from api.indicators.flows import Flow, Ruled
from schemas.carriers import Scope
from schemas.resources import Direction, Resource
from schemas.sharing import Share, ShareBy
from tests.property.test_indicators import COUNT, GRID, LINES, meters, runs

UTILITIES = ("u0", "u1", "u2")


@st.composite
def chains(draw):
    """Utilities of which each may serve lines and the ones after it, by rules that may change on the way."""
    found = {}
    for i, utility in enumerate(UTILITIES):
        targets = [*LINES, *UTILITIES[i + 1 :]]
        rules = []
        for since in sorted(draw(st.sets(st.sampled_from([0, GRID.first + 2, GRID.first + 4]), min_size=1))):
            by = draw(st.sampled_from(ShareBy))
            weights = draw(st.dictionaries(st.sampled_from(targets), st.integers(1, 9).map(float), min_size=1))
            keys = {target: draw(st.sampled_from(["m0", "m1", "m2"])) for target in weights}
            rules.append(Ruled(since=since, share=Share(by=by, weights=weights, keys=keys)))
        found[utility] = tuple(rules)
    return found


def placed(flows: list[Flow], choices: list[str | None]) -> list[Flow]:
    """The same flows, those of no line in a utility or in none."""
    return [
        replace(flow, utility=choice, share=None) if flow.line is None and choice else flow
        for flow, choice in zip(flows, choices, strict=False)
    ] + flows[len(choices) :]


choices = st.lists(st.sampled_from([*UTILITIES, None]), max_size=7)


@settings(deadline=None, max_examples=60)
@given(meters(), st.lists(runs(), max_size=6), chains(), choices)
def test_what_goes_into_a_chain_of_utilities_comes_out(flows, spans, utilities, chosen):
    attribution = attribute(GRID, placed(flows, chosen), spans, lines=LINES, mass_kg={"p": 2.0}, utilities=utilities)
    for balance in balances(attribution):
        assert balance.difference == 0
    for part in attribution.parts:
        assert len(part.via) == len(part.hops) == len(set(part.via))


@settings(deadline=None, max_examples=40)
@given(meters(), st.lists(runs(), max_size=6), chains(), choices, st.sets(st.integers(1, COUNT - 1)))
def test_spans_add_up_to_the_whole(flows, spans, utilities, chosen, cuts):
    flows = placed(flows, chosen)
    places = Places(lines=LINES, utilities=utilities, mass_kg={"p": 2.0})
    whole = sums(attribute_spans(GRID, flows, spans, places))
    cut = sums(attribute_spans(replace(GRID, starts=(0, *sorted(cuts))), flows, spans, places))
    assert cut == whole


def sums(attributions) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for attribution in attributions:
        for part in (*attribution.parts, *attribution.production):
            key = (part.meter, part.line, part.slot, part.rule, part.via, part.hops)
            found[*key, 0] += part.amount.measured
            found[*key, 1] += part.amount.estimated
            found[*key, 2] += part.carbon.location
        for hours in attribution.hours:
            found[hours.line, hours.slot] += hours.milliseconds
        for metered in attribution.metered:
            found[metered.meter] += metered.used.total
    return Counter({key: value for key, value in found.items() if value})


@st.composite
def factors(draw):
    """A factor for some of the quarters, hourly for some of these."""
    kg = np.array(draw(st.lists(st.sampled_from([0.0, 0.05, 0.204, 0.7, np.nan]), min_size=COUNT, max_size=COUNT)))
    return Matched(
        kg_per_unit=kg,
        hourly=~np.isnan(kg) & np.array(draw(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))),
        by_location=np.zeros(COUNT, np.bool_),
        factor=np.where(np.isnan(kg), 0, 7),
        ids=(7,),
        scope=Scope.SCOPE_2,
    )


@settings(deadline=None, max_examples=60)
@given(meters(), st.lists(runs(), max_size=6), factors(), factors(), chains(), choices)
def test_what_is_bought_is_emitted_by_somebody(flows, spans, location, market, utilities, chosen):
    """All parts of a root carry what the root's own imports emit, to the last billionth, both ways."""
    known = [
        replace(flow, location=location, market=market, present=np.ones(COUNT, np.bool_))
        for flow in placed(flows, chosen)
        if flow.resource is Resource.ENERGY
    ]
    attribution = attribute(GRID, known, spans, lines=LINES, mass_kg={}, utilities=utilities)
    bought = [flow for flow in known if flow.direction is Direction.IMPORT and flow.parent is None]
    for name, matched in (("location", location), ("market", market)):
        kg = np.nan_to_num(matched.kg_per_unit)
        emitted = sum(int(np.rint((flow.measured + flow.estimated) * kg).astype(np.int64).sum()) for flow in bought)
        got = sum(getattr(part.carbon, name) for part in attribution.parts)
        # A root with feeds emits what it bought; without them rounding is the only difference, and it is the root's.
        assert abs(got - emitted) <= rounding(known)
    for part in attribution.parts:
        assert abs(part.carbon.location_hourly) <= abs_total(known)


def rounding(flows) -> int:
    """Measured and estimated are rounded apart."""
    return 2 * COUNT * (len(flows) + 1)


def abs_total(flows) -> int:
    return sum(int(np.abs(flow.measured).sum() + np.abs(flow.estimated).sum()) for flow in flows)


@settings(deadline=None, max_examples=40)
@given(meters(), st.lists(runs(), max_size=6), chains(), choices)
def test_twice_as_much_of_everything_goes_the_same_ways(flows, spans, utilities, chosen):
    flows = placed(flows, chosen)
    twice = [replace(flow, measured=2 * flow.measured, estimated=2 * flow.estimated) for flow in flows]
    one, two = (attribute(GRID, f, spans, lines=LINES, mass_kg={"p": 2.0}, utilities=utilities) for f in (flows, twice))
    assert [b.consumed.total * 2 for b in balances(one)] == [b.consumed.total for b in balances(two)]
    shared, doubled = by_place(one), by_place(two)
    for place in shared.keys() | doubled.keys():
        # Cuts are rounded: a billionth a quarter, slot and hop at most, on either side.
        assert abs(2 * shared[place] - doubled[place]) <= 40 * COUNT + abs(shared[place]) // 2**25


def by_place(attribution) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for part in attribution.parts:
        found[part.meter, part.line, part.slot, part.rule, part.via] += part.amount.total
    return found
