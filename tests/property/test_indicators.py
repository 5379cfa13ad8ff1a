"""What goes in comes out, whatever the meters, runs and shares; and units of measurement change no verdict."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.indicators.attribution import attribute
from api.indicators.balances import balances
from api.indicators.comparison import compare
from api.indicators.decoupling import Pressure, Verdict, judge
from api.indicators.flows import Amount, Flow
from api.indicators.intensity import Facts, intensities
from api.indicators.lines import Grid, Phase, Run
from api.indicators.splitting import MAX_WEIGHT_SUM, cut, fit, split
from api.series import counted
from schemas.quantities import QUARTER_MS
from schemas.resources import Direction, Resource, RunState
from schemas.sharing import Share, ShareBy

COUNT = 6
LINES = ("a", "b", "c")
GRID = Grid(first=1000, count=COUNT)
quantity = st.integers(-(10**15), 10**16)
instant = st.integers(GRID.first * QUARTER_MS - 10**6, (GRID.first + COUNT) * QUARTER_MS + 10**6)


@st.composite
def runs(draw):
    start, end = sorted((draw(instant), draw(instant)))
    return Run(
        line=draw(st.sampled_from(LINES)),
        state=draw(st.sampled_from(RunState)),
        product=draw(st.sampled_from(["p", "q", None])),
        start_ms=start,
        end_ms=end + 1,
    )


@st.composite
def shares(draw, names):
    by = draw(st.sampled_from(ShareBy))
    weights = draw(st.dictionaries(st.sampled_from([*LINES, "gone"]), st.floats(0, 1e12), min_size=1))
    if by in {ShareBy.AREA, ShareBy.FIXED} and not sum(weights.values()) > 0:
        weights = {"a": 1.0}
    keys = draw(st.dictionaries(st.sampled_from(LINES), st.sampled_from(names), min_size=1))
    return Share(by=by, weights=weights, keys=keys)


@st.composite
def meters(draw):
    """A forest of meters: each may be a part of an earlier one of its resource."""
    names = [f"m{i}" for i in range(draw(st.integers(1, 7)))]
    flows: list[Flow] = []
    for name in names:
        resource = draw(st.sampled_from(Resource))
        direction = draw(st.sampled_from(Direction)) if resource is Resource.ENERGY else Direction.IMPORT
        above = [
            flow.meter
            for flow in flows
            if flow.resource is resource and flow.direction in {Direction.IMPORT, direction}
        ]
        line = draw(st.sampled_from([*LINES, None]))
        present = np.array(draw(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT)))
        numbers = [draw(st.lists(quantity, min_size=COUNT, max_size=COUNT)) for _ in range(2)]
        flows.append(
            Flow(
                meter=name,
                resource=resource,
                unit="kWh",
                carrier=draw(st.sampled_from(["good", "scrap"])),
                line=line,
                parent=draw(st.sampled_from(above)) if above and draw(st.booleans()) else None,
                direction=direction,
                share=None if line else draw(st.none() | shares(names)),
                measured=np.where(present, np.array(numbers[0], np.int64), 0),
                estimated=np.where(present, np.array(numbers[1], np.int64), 0),
                covered_ms=np.where(present, QUARTER_MS, 0).astype(np.int64),
                present=present,
            )
        )
    return flows


@settings(deadline=None, max_examples=300)
@given(meters(), st.lists(runs(), max_size=8), st.floats(0, 1e6), st.sampled_from([LINES, LINES[:1], ()]))
def test_what_goes_in_comes_out(flows, spans, mass, lines):
    attribution = attribute(GRID, flows, spans, lines=lines, mass_kg={"p": mass, "q": 1.5})
    for balance in balances(attribution):
        assert balance.difference == 0
    kept = sum(
        p.amount.total
        for p in attribution.parts
        if p.slot.phase is Phase.IDLE and not any(at == p.line for (at, _), ms in attribution.occupied_ms.items() if ms)
    )
    loaded = sum(one.loaded.total for one in intensities(attribution, Facts()))
    assert loaded == sum(balance.products.total + balance.idle.total for balance in balances(attribution)) - kept


@settings(deadline=None, max_examples=300)
@given(meters())
def test_a_site_uses_what_it_imports_and_generates_less_what_it_exports(flows):
    """Where all meters are known, attribution and the sum of the counted meters are the same, whatever lies where."""
    known = [replace(flow, share=None, present=np.ones(COUNT, np.bool_)) for flow in flows]
    rows = [{"id": f.meter, "parent": f.parent, "direction": f.direction, "flow": f} for f in known]
    by_resource = {balance.resource: balance for balance in balances(attribute(GRID, known, [], lines=(), mass_kg={}))}
    for resource, balance in by_resource.items():
        of_resource = [row for row in rows if row["flow"].resource is resource]
        total = sum(
            sign * int((row["flow"].measured + row["flow"].estimated).sum()) for row, sign in counted(of_resource)
        )
        assert balance.consumed.total == total
        assert balance.difference == 0


@settings(deadline=None)
@given(meters(), st.lists(runs(), max_size=8))
def test_each_root_alone_comes_out_measured_and_estimated(flows, spans):
    lonely = [flow for flow in flows if flow.parent is None and flow.share is None]
    attribution = attribute(GRID, lonely, spans, lines=LINES, mass_kg={})
    for flow in lonely:
        parts = [p.amount for p in (*attribution.parts, *attribution.production) if p.meter == flow.meter]
        total = sum(parts, Amount())
        assert total == Amount(flow.sign * int(flow.measured.sum()), flow.sign * int(flow.estimated.sum()))


@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.lists(st.integers(0, 2**60), min_size=3, max_size=3)),
        min_size=1,
        max_size=5,
    ).filter(lambda rows: all(any(weights) for _, weights in rows))
)
def test_splits_sum_to_the_whole_and_follow_the_weights(rows):
    amounts = np.array([amount for amount, _ in rows], np.int64)
    weights = np.array([w for _, w in rows], np.int64)
    parts = split(amounts, weights)
    assert parts.sum(axis=1).tolist() == amounts.tolist()
    for (amount, weight), row in zip(rows, parts.tolist(), strict=True):
        for w, part in zip(weight, row, strict=True):
            assert abs(part - Fraction(amount * w, sum(weight))) <= 2 + abs(amount) / 2**27


@given(st.lists(st.lists(st.integers(0, 2**61), min_size=2, max_size=2), min_size=1, max_size=4))
def test_fitted_weights_are_small_enough(rows):
    assert (fit(np.array(rows, np.int64)).sum(axis=1) <= MAX_WEIGHT_SUM).all()


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, MAX_WEIGHT_SUM), st.data())
def test_cuts_are_exact(amount, of, data):
    upto = data.draw(st.integers(0, of))
    found = cut(np.array([amount]), upto=np.array([upto]), of=np.array([of]))
    assert int(found[0]) == amount * upto // of


positive = st.fractions(Fraction(1, 1000), 10**9)


@given(positive, positive, positive, positive, st.fractions(Fraction(1, 10**6), 10**6))
def test_another_unit_changes_no_state(pa, pb, da, db, factor):
    before = compare(pressure=(pa, pb), driver=(da, db))
    assert compare(pressure=(pa * factor, pb * factor), driver=(da, db)) == before
    assert compare(pressure=(pa, pb), driver=(da * factor, db * factor)) == before


share = st.fractions(0, 1)
days = st.integers(1, 400)


@given(st.tuples(positive, positive), st.tuples(positive, positive), st.tuples(share, share))
def test_the_point_lies_within_its_interval(quantities, driver, estimated):
    base, period = (
        Pressure(measured=quantity * (1 - part), estimated=quantity * part)
        for quantity, part in zip(quantities, estimated, strict=True)
    )
    found = judge(pressure=(base, period), driver=driver, usable_days=(1, 1))
    point = found.comparison.pressure_growth
    assert None not in {found.growth_low, point, found.growth_high}
    assert found.growth_low <= point <= found.growth_high  # type: ignore[operator] # none of them is None
    assert found.states == () or found.comparison.state in found.states


some = st.fractions(-1000, 1000)


@given(st.tuples(some, some), st.tuples(some, some), st.tuples(positive, positive), st.tuples(days, days))
def test_bounds_below_zero_and_of_unequal_periods(measured, estimated, driver, lengths):
    base, period = (Pressure(measured=m, estimated=e) for m, e in zip(measured, estimated, strict=True))
    found = judge(pressure=(base, period), driver=driver, usable_days=(1, 1), days=lengths)
    point = found.comparison.pressure_growth
    if point is None:
        assert found.growth_low is None and found.growth_high is None  # noqa: PT018 - one statement
        return
    assert found.growth_low is None or found.growth_low <= point
    assert found.growth_high is None or point <= found.growth_high
    for before in (base.low, base.total, base.high):
        for after in (period.low, period.total, period.high):
            other = compare(pressure=(before, after), driver=driver)
            assert other.pressure_growth is None or found.states == () or other.state in found.states
    if found.verdict is Verdict.FIRM:
        means = compare(
            pressure=(base.total / lengths[0], period.total / lengths[1]),
            driver=(driver[0] / lengths[0], driver[1] / lengths[1]),
        )
        assert means.state is found.comparison.state
