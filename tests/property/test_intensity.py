"""What goes in comes out of intensities too, with routes and co-products; units of measurement change nothing."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from api.indicators.circularity import circularities
from api.indicators.figures import MeterFacts
from api.indicators.flows import Amount
from api.indicators.intensity import Facts, intensities
from api.indicators.lines import Grid, Phase, Slot
from api.indicators.outputs import Per, batches, finished, only_finished
from api.indicators.parts import Attribution, LineHours, Part
from api.indicators.pressures import Indicator
from api.indicators.products import CoProducts, ProductUnit, ShareBy
from api.indicators.sharing import Rule
from api.indicators.takings import Whose
from schemas.resources import Resource

LINES = ("saw", "mill", "wash")
ONWARD = {"saw": "mill", "mill": "wash", "wash": None}
METERS = ("m1", "m2", "m3")
PRODUCTS = ("main", "side", "dust", "other")
quantity = st.integers(-(10**14), 10**15)
good = st.integers(0, 10**13)
mass = st.floats(1e-3, 1e3)
RESOURCES = {"m1": Resource.ENERGY, "m2": Resource.MATERIAL, "m3": Resource.WASTE}


@st.composite
def parts(draw) -> Part:
    meter = draw(st.sampled_from(METERS))
    line = draw(st.sampled_from([*LINES, None]))
    phase = draw(st.sampled_from(Phase)) if line else Phase.UNATTRIBUTED
    product = draw(st.sampled_from(PRODUCTS)) if phase in {Phase.PROCESSING, Phase.CHANGEOVER} else None
    return Part(
        meter=meter,
        resource=RESOURCES[meter],
        unit="kWh",
        carrier=None,
        line=line,
        slot=Slot(phase, product),
        rule=draw(st.sampled_from(Rule)),
        amount=Amount(draw(quantity), draw(quantity)),
        otherwise=draw(quantity),
        run=draw(st.sampled_from(["1", "2", None])),
        order=draw(st.sampled_from(["x", None])),
    )


@st.composite
def outputs(draw) -> Part:
    product = draw(st.sampled_from(PRODUCTS))
    line = draw(st.sampled_from(LINES))
    return Part(
        meter=f"{product}-{line}",
        resource=Resource.PRODUCTION,
        unit=draw(st.sampled_from(["pcs", "kg"])),
        carrier=draw(st.sampled_from(["good", "scrap", "rework"])),
        line=line,
        slot=Slot(Phase.PROCESSING, product),
        rule=Rule.LINE_METER,
        amount=Amount(draw(good), draw(good)),
        otherwise=0,
        run=draw(st.sampled_from(["1", "2", None])),
        order=draw(st.sampled_from(["x", None])),
    )


@st.composite
def line_hours(draw) -> LineHours:
    return LineHours(
        line=draw(st.sampled_from(LINES)),
        slot=Slot(draw(st.sampled_from([Phase.PROCESSING, Phase.CHANGEOVER])), draw(st.sampled_from(PRODUCTS))),
        milliseconds=draw(st.integers(0, 10**10)),
        run=draw(st.sampled_from(["1", "2", None])),
        order=draw(st.sampled_from(["x", None])),
    )


@st.composite
def sites(draw) -> tuple[Attribution, Facts]:
    found = Attribution(
        grid=Grid(first=0, count=1),
        parts=tuple(draw(st.lists(parts(), max_size=12))),
        production=tuple(draw(st.lists(outputs(), max_size=8))),
        metered=(),
        hours=tuple(draw(st.lists(line_hours(), max_size=8))),
        findings=(),
    )
    shared = CoProducts(by=draw(st.sampled_from(ShareBy)), products=("side", "dust"))
    facts = Facts(
        products={
            "main": ProductUnit(unit="pcs", mass_kg=draw(mass), price_dkk=draw(mass), co_products=shared, family="f"),
            "side": ProductUnit(unit="pcs", mass_kg=draw(mass), price_dkk=draw(mass), family="f"),
            "dust": ProductUnit(unit="kg", price_dkk=draw(mass)),
            "other": ProductUnit(unit="pcs", mass_kg=draw(mass)),
        },
        meters={
            **{key: MeterFacts(resource=RESOURCES[key], accuracy_class=1.0, coverage=1.0) for key in METERS},
            **{f"{p}-{line}": MeterFacts(resource=Resource.PRODUCTION, product=p) for p in PRODUCTS for line in LINES},
        },
        onward=ONWARD,
    )
    return found, facts


@settings(deadline=None, max_examples=300)
@given(sites(), st.sampled_from([Whose.PRODUCT, Whose.FAMILY, Whose.RUN, Whose.ORDER]))
def test_products_carry_all_that_was_theirs_and_the_idle_of_occupied_lines(site, whose):
    attribution, facts = site
    found = intensities(attribution, facts, whose=whose)
    occupied = {hours.line for hours in attribution.hours if hours.milliseconds > 0}
    for indicator in (Indicator.ENERGY, Indicator.MATERIAL, Indicator.WASTE):
        of = [one for one in found if one.indicator is indicator]
        went_in = [part for part in attribution.parts if part.resource == indicator.value]
        theirs = [part for part in went_in if part.slot.product is not None]
        idle = [part for part in went_in if part.slot.phase is Phase.IDLE and part.line in occupied]
        for name in ("measured", "estimated"):
            assert sum(getattr(one.marginal.amount, name) for one in of) == sum(
                getattr(part.amount, name) for part in theirs
            )
            assert sum(getattr(one.idle.amount, name) for one in of) == sum(getattr(part.amount, name) for part in idle)


@settings(deadline=None, max_examples=200)
@given(sites(), st.sampled_from([Whose.LINE, Whose.SITE]))
def test_lines_and_the_site_have_everything(site, whose):
    attribution, facts = site
    found = intensities(attribution, facts, whose=whose)
    for indicator in (Indicator.ENERGY, Indicator.MATERIAL, Indicator.WASTE):
        whole = sum(one.whole.total for one in found if one.indicator is indicator and one.whole is not None)
        assert whole == sum(
            part.amount.total
            for part in attribution.parts
            if part.resource == indicator.value and (whose is Whose.SITE or part.line is not None)
        )


@settings(deadline=None, max_examples=200)
@given(sites())
def test_a_good_output_counts_on_one_line_of_its_chain(site):
    attribution, facts = site
    made = batches(attribution.production)
    kept = only_finished(made, finished(made, facts.onward), facts.onward)
    for product in PRODUCTS:
        on = {batch.line for batch in kept if batch.product == product and batch.kind == "good" and batch.amount.total}
        # All lines of this site are of one chain.
        assert len(on) <= 1
        seen = [
            line
            for line in LINES
            if sum(b.amount.total for b in made if (b.product, b.line, b.kind) == (product, line, "good")) > 0
        ]
        assert on == set(seen[-1:])


@settings(deadline=None, max_examples=200)
@given(sites())
def test_the_interval_holds_the_figure_and_grows_with_the_doubt(site):
    attribution, facts = site
    doubtful = replace(facts, meters={key: replace(of, accuracy_class=5.0) for key, of in facts.meters.items()})
    for one, other in zip(intensities(attribution, facts), intensities(attribution, doubtful), strict=True):
        assert one.loaded.low <= one.loaded.total <= one.loaded.high
        assert other.loaded.margin >= one.loaded.margin
        for ratio in (one.value, one.fully_loaded):
            if ratio.value is not None:
                assert ratio.low is None or ratio.low <= ratio.value
                assert ratio.high is None or ratio.value <= ratio.high


@settings(deadline=None, max_examples=200)
@given(sites(), mass)
def test_by_kilogram_is_by_unit_over_its_mass(site, kilograms):
    """Of a product that is counted in pieces only, of one mass."""
    attribution, facts = site
    pieces = replace(attribution, production=tuple(replace(p, unit="pcs") for p in attribution.production))
    exact = round(kilograms * 1024) / 1024
    products = {**facts.products, "other": ProductUnit(unit="pcs", mass_kg=exact)}
    known = replace(facts, products=products)
    by_unit, by_kg = (
        {(one.owner, one.indicator): one for one in intensities(pieces, known, per=per)} for per in (Per.UNIT, Per.KG)
    )
    for key, one in by_unit.items():
        if key[0].product == "other" and one.value.value is not None:
            kg = by_kg[key].value.value
            assert kg is not None
            # Each batch is rounded to whole billionths of a kilogram.
            assert abs(one.value.value - kg * Fraction(exact)) <= abs(one.value.value) * Fraction(1, 10**3) or (
                by_kg[key].made.good.total < 10**4
            )


@settings(deadline=None, max_examples=200)
@given(sites(), st.integers(2, 9))
def test_everything_twice_is_the_same_by_the_unit(site, times):
    attribution, facts = site
    # Kilograms of what is counted in pieces are rounded.
    attribution = replace(attribution, production=tuple(replace(p, unit="pcs") for p in attribution.production))

    def multiple(found: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(
            replace(
                part,
                amount=Amount(part.amount.measured * times, part.amount.estimated * times),
                otherwise=part.otherwise * times,
            )
            for part in found
        )

    more = replace(attribution, parts=multiple(attribution.parts), production=multiple(attribution.production))
    for one, other in zip(
        intensities(attribution, facts, whose=Whose.LINE), intensities(more, facts, whose=Whose.LINE), strict=True
    ):
        assert (other.made.unit, other.made.scrap_ratio) == (one.made.unit, one.made.scrap_ratio)
        assert (other.value.value, other.idle_share) == (one.value.value, one.idle_share)


@settings(deadline=None, max_examples=200)
@given(sites(), st.sampled_from([Whose.PRODUCT, Whose.LINE, Whose.SITE]))
def test_material_and_waste_are_all_told_by_source_and_route(site, whose):
    attribution, facts = site
    for one in circularities(attribution, facts, whose=whose):
        assert sum(amount.total for amount in one.sources.values()) == one.material.total
        assert sum(flow.amount.total for flow in one.flows) == one.waste.total
