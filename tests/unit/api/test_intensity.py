"""Intensities by product, run, order, line and site: METHODS §2's example, routes, co-products, intervals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from api.indicators.carbon import Carbon
from api.indicators.comparing import compare
from api.indicators.facets import Facet
from api.indicators.figures import MeterFacts
from api.indicators.flows import Amount
from api.indicators.intensity import Facts, Intensity, intensities
from api.indicators.lines import Grid, Phase, Slot
from api.indicators.outputs import Batch, Per, add_up
from api.indicators.parts import Attribution, LineHours, Metered, Part
from api.indicators.pressures import Indicator
from api.indicators.products import CoProducts, ProductUnit, ShareBy, last_lines
from api.indicators.sharing import Rule
from api.indicators.takings import Owner, Whose
from schemas.carriers import Scope
from schemas.quantities import SCALE
from schemas.resources import Resource

HOUR_MS = 3_600_000
PCS = ProductUnit(unit="pcs")
EXACT = {"accuracy_class": 0.0, "coverage": 1.0}


def part(meter, total, product=None, *, line="line", phase=None, estimated=0.0, otherwise=None, **more) -> Part:
    """A part in canonical units; idle without a product."""
    phase = phase or (Phase.PROCESSING if product else Phase.IDLE)
    amount = Amount(round((total - estimated) * SCALE), round(estimated * SCALE))
    settings: dict[str, Any] = {
        "resource": Resource.ENERGY,
        "unit": "kWh",
        "carrier": "electricity",
        "rule": Rule.LINE_METER,
        **more,
    }
    return Part(
        meter=meter,
        line=line,
        slot=Slot(phase, product),
        amount=amount,
        otherwise=amount.total if otherwise is None else round(otherwise * SCALE),
        **settings,
    )


def made(product, good, *, line="line", meter=None, carrier="good", unit="pcs", **more) -> Part:
    return part(
        meter or f"count-{line}",
        good,
        product,
        line=line,
        phase=Phase.PROCESSING,
        resource=Resource.PRODUCTION,
        unit=unit,
        carrier=carrier,
        **more,
    )


def hours(product, count, *, line="line", phase=Phase.PROCESSING, **more) -> LineHours:
    return LineHours(line=line, slot=Slot(phase, product), milliseconds=round(count * HOUR_MS), **more)


def attribution(parts, production=(), occupied=()) -> Attribution:
    return Attribution(
        grid=Grid(first=0, count=96),
        parts=tuple(parts),
        production=tuple(production),
        metered=tuple(
            Metered(meter=p.meter, resource=p.resource, unit=p.unit, counted=p.amount, used=p.amount, covered_ms=0)
            for p in parts
        ),
        hours=tuple(occupied),
        findings=(),
    )


def energy(**more) -> MeterFacts:
    return MeterFacts(resource=Resource.ENERGY, carrier="electricity", **{**EXACT, **more})


def facts(*products, meters=None, onward=None, **units) -> Facts:
    return Facts(
        products={**dict.fromkeys(products, PCS), **units},
        meters={"power": energy(), "air": energy(), **(meters or {})},
        onward=onward or {},
    )


def of(items, indicator=Indicator.ENERGY, **owner) -> Intensity:
    found: Intensity
    (found,) = [one for one in items if one.owner == Owner(**owner) and one.indicator is indicator]
    return found


WORKED = attribution(
    [
        part("power", 600, "A"),
        part("power", 300, "B"),
        part("power", 10, "B", phase=Phase.CHANGEOVER),
        part("power", 90),
        part("air", 14.4, "A", rule=Rule.SHARE_MEASURED),
        part("air", 9.6, "B", rule=Rule.SHARE_MEASURED),
    ],
    [made("A", 500), made("B", 200)],
    [hours("A", 6), hours("B", 3)],
)


class TestWorkedExampleOfMethods2:
    def test_by_product(self):
        found = intensities(WORKED, facts("A", "B"))
        a, b = of(found, product="A"), of(found, product="B")
        assert (a.loaded.total, b.loaded.total) == (674_400_000_000, 349_600_000_000)
        assert (a.fully_loaded.value, b.fully_loaded.value) == (Fraction("1.3488"), Fraction("1.748"))
        assert (a.marginal.total, b.marginal.total) == (614_400_000_000, 319_600_000_000)
        assert (a.idle_share, b.loaded.rules) == (
            Fraction(60, Fraction("674.4")),
            (Rule.LINE_METER, Rule.SHARE_MEASURED),
        )

    def test_idle_is_shared_out_by_a_rule_and_so_no_primary_data(self):
        a = of(intensities(WORKED, facts("A", "B")), product="A")
        assert a.marginal.primary_share == 1
        assert a.loaded.primary_share == Fraction("614.4") / Fraction("674.4")

    def test_by_line_and_site_nothing_is_shared_out(self):
        line = of(intensities(WORKED, facts("A", "B"), whose=Whose.LINE), line="line")
        assert (line.marginal.total, line.idle.total) == (934 * SCALE, 90 * SCALE)
        assert (line.idle_share, line.made.good.total) == (Fraction(90, 1024), 700 * SCALE)
        site = of(intensities(WORKED, facts("A", "B"), whose=Whose.SITE))
        assert site.comprehensive is not None
        assert site.comprehensive.value == Fraction(1024, 700)

    def test_by_family(self):
        known = facts(A=ProductUnit(unit="pcs", family="shafts"), B=ProductUnit(unit="pcs", family="shafts"))
        family = of(intensities(WORKED, known, whose=Whose.FAMILY), family="shafts")
        assert family.fully_loaded.value == Fraction(1024, 700)

    def test_products_of_no_family_are_no_place(self):
        none = of(intensities(WORKED, facts("A", "B"), whose=Whose.FAMILY))
        assert (none.whole, none.unattributed, none.fully_loaded.value) == (None, None, Fraction(1024, 700))

    def test_per_kilogram(self):
        known = facts(A=ProductUnit(unit="pcs", mass_kg=0.5), B=ProductUnit(unit="pcs", mass_kg=2))
        found = intensities(WORKED, known, per=Per.KG)
        assert of(found, product="A").fully_loaded.value == Fraction("674.4") / 250
        assert of(intensities(WORKED, known, whose=Whose.SITE, per=Per.KG)).made.good.total == 650 * SCALE

    def test_without_a_mass_nothing_is_told_by_the_kilogram(self):
        a = of(intensities(WORKED, facts("A", "B"), per=Per.KG), product="A")
        assert a.fully_loaded.value is None
        assert a.made.problem == "A has no mass_kg; give it in the site model"


def test_of_a_site_that_makes_pieces_and_kilograms_nothing_is_told_by_the_unit():
    found = attribution([part("power", 4, "A")], [made("A", 2), made("B", 3, unit="kg", meter="scale")])
    site = of(intensities(found, facts("A", B=ProductUnit(unit="kg")), whose=Whose.SITE))
    assert (site.value.value, site.made.unit) == (None, None)
    assert "ask per kg" in (site.made.problem or "")


def test_without_good_units_there_is_no_intensity_and_no_zero():
    only = of(intensities(attribution([part("power", 4, "A")]), facts("A")), product="A")
    assert only.value.value is only.value.low is only.fully_loaded.value is None
    assert only.made.scrap_ratio is None


def test_scrap_burdens_the_good_ones_and_rework_is_told():
    output = [made("A", 80), made("A", 15, carrier="scrap"), made("A", 5, carrier="rework")]
    only = of(intensities(attribution([part("power", 100, "A")], output), facts("A")), product="A")
    assert only.value.value == Fraction(100, 80)
    assert (only.made.scrap_ratio, only.made.rework_ratio) == (Fraction(15, 100), Fraction(5, 100))


class TestRunsAndOrders:
    FOUND = attribution(
        [
            part("power", 40, "A", run="1", order="x"),
            part("power", 60, "A", run="2", order="x"),
            part("power", 30, "A", run="3", order="y"),
            part("power", 26),
        ],
        [
            made("A", 10, run="1", order="x"),
            made("A", 20, run="2", order="x"),
            made("A", 10, run="3", order="y"),
        ],
        [
            hours("A", 4, run="1", order="x"),
            hours("A", 6, run="2", order="x"),
            hours("A", 2, run="3", order="y"),
            hours("A", 1, run="3", order="y", phase=Phase.CHANGEOVER),
        ],
    )

    def test_idle_goes_by_each_run_s_own_occupied_time(self):
        found = intensities(self.FOUND, facts("A"), whose=Whose.RUN)
        assert [(one.owner.run, one.idle.total // SCALE, one.value.value) for one in found] == [
            ("1", 8, Fraction(4)),
            ("2", 12, Fraction(3)),
            ("3", 6, Fraction(3)),
        ]

    def test_orders_add_up_their_runs(self):
        x = of(intensities(self.FOUND, facts("A"), whose=Whose.ORDER), order="x", product="A")
        assert (x.fully_loaded.value, x.made.good.total) == (Fraction(4), 30 * SCALE)


class TestRoutes:
    ONWARD = {"saw": "mill", "mill": "wash", "wash": None, "other": None}  # noqa: RUF012 - a constant

    @pytest.mark.parametrize(
        ("made_on", "last"),
        [
            ({"saw": 10, "mill": 9, "wash": 8}, {"wash"}),
            ({"saw": 10, "wash": 8}, {"wash"}),
            ({"saw": 10, "mill": 0, "wash": 0}, {"saw"}),
            ({"mill": 9, "other": 5}, {"mill", "other"}),
            ({"saw": -1}, set()),
            ({}, set()),
        ],
    )
    def test_an_output_counts_at_the_last_line_that_saw_it(self, made_on, last):
        assert last_lines(made_on, self.ONWARD) == last

    def test_a_loop_of_old_data_hangs_nobody(self):
        assert last_lines({"a": 1, "b": 1}, {"a": "b", "b": "a"}) == set()

    def test_a_product_is_counted_once_and_a_line_has_its_own(self):
        found = attribution(
            [part("power", 10, "A", line="saw"), part("mill-power", 8, "A", line="mill")],
            [made("A", 10, line="saw"), made("A", 8, line="mill"), made("A", 2, line="mill", carrier="scrap")],
        )
        known = facts("A", meters={"mill-power": energy()}, onward=self.ONWARD)
        product = of(intensities(found, known), product="A")
        assert (product.value.value, product.made.scrap_ratio) == (Fraction(18, 8), Fraction(2, 10))
        lines = intensities(found, known, whose=Whose.LINE)
        assert {one.value.value for one in lines} == {Fraction(1)}

    def test_an_order_that_has_not_gone_on_yet_is_judged_by_itself(self):
        found = attribution(
            [part("power", 10, "A", line="saw", order="new")],
            [made("A", 10, line="saw", order="new"), made("A", 8, line="mill", order="old")],
        )
        known = facts("A", onward=self.ONWARD)
        assert of(intensities(found, known, whose=Whose.ORDER), order="new", product="A").value.value == 1
        # What of the product stands at the saw is not finished.
        assert of(intensities(found, known), product="A").value.value == Fraction(10, 8)


class TestCoProducts:
    def found(self, *yields, units) -> list[Intensity]:
        beside = {p.meter: MeterFacts(resource=Resource.PRODUCTION, product=p.slot.product) for p in yields}
        parts = [part("power", 90, "A"), part("power", 9), part("power", 7, "B")]
        known = facts(meters=beside, **units)
        return intensities(attribution(parts, [made("A", 10), *yields], [hours("A", 1)]), known)

    UNITS = {  # noqa: RUF012 - a constant
        "A": ProductUnit(
            unit="pcs",
            mass_kg=4,
            price_dkk=30,
            co_products=CoProducts(by=ShareBy.MASS, products=("B", "C")),
        ),
        "B": ProductUnit(unit="pcs", mass_kg=1, price_dkk=60),
        "C": ProductUnit(unit="kg", price_dkk=15),
    }

    def test_by_mass_marginal_and_idle_alike(self):
        found = self.found(made("B", 20, meter="b"), made("C", 30, meter="c", unit="kg"), units=self.UNITS)
        totals = {one.owner.product: (one.marginal.total, one.idle.total) for one in found}
        # 40, 20 and 30 kg; B also took 7 in a run of its own.
        assert totals == {
            "A": (40 * SCALE, 4 * SCALE),
            "B": (27 * SCALE, 2 * SCALE),
            "C": (30 * SCALE, 3 * SCALE),
        }

    def test_by_price(self):
        co_products = CoProducts(by=ShareBy.PRICE, products=("B", "C"))
        units = {**self.UNITS, "A": replace(self.UNITS["A"], co_products=co_products)}
        found = self.found(made("B", 20, meter="b"), made("C", 80, meter="c", unit="kg"), units=units)
        # 300, 1200 and 1200 DKK.
        assert of(found, product="A").marginal.total == 10 * SCALE
        assert of(found, product="C").marginal.total == 40 * SCALE

    def test_without_any_beside_it_the_main_product_carries_all(self):
        found = self.found(units=self.UNITS)
        assert of(found, product="A").loaded.total == 99 * SCALE

    def test_what_came_out_of_a_run_of_its_own_has_no_weight(self):
        # Its meter counts whatever the line makes.
        found = [made("A", 10), made("B", 20)]
        only = of(intensities(attribution([part("power", 90, "A")], found), facts(**self.UNITS)), product="A")
        assert only.marginal.total == 90 * SCALE

    def test_thirds_sum_to_the_last_billionth(self):
        units = {**self.UNITS, "A": replace(self.UNITS["A"], mass_kg=1)}
        found = self.found(made("B", 10, meter="b"), made("C", 10, meter="c", unit="kg"), units=units)
        assert sum(one.loaded.total for one in found) == 106 * SCALE


class TestInterval:
    def loaded(self, *parts, good=10.0, good_facts=None, **meters) -> Intensity:
        known = facts("A", meters={**meters, "count-line": good_facts or MeterFacts(resource=Resource.PRODUCTION)})
        return of(intensities(attribution(parts, [made("A", good)]), known), product="A")

    def test_all_of_what_is_estimated(self):
        figure = self.loaded(part("power", 100, "A", estimated=20)).marginal
        assert (figure.by_estimates, figure.margin) == (20 * SCALE, 20 * SCALE)
        assert figure.estimated_share == 0.2

    def test_accuracy_classes_add_up(self):
        parts = [part("power", 300, "A"), part("air", 400, "A")]
        figure = self.loaded(*parts, power=energy(accuracy_class=1.0), air=energy(accuracy_class=1.0)).marginal
        assert figure.by_accuracy == 7 * SCALE

    def test_a_meter_without_a_class_has_two_percent(self):
        assert self.loaded(part("power", 100, "A"), power=energy(accuracy_class=None)).marginal.by_accuracy == 2 * SCALE

    def test_a_rest_is_as_wrong_as_the_meters_on_both_of_its_sides(self):
        parts = [part("power", 10, "A"), part("sub", 990, "B")]
        meters = {
            "power": energy(accuracy_class=0.4),
            "sub": energy(accuracy_class=0.3 / 0.99, part_of="power"),
        }
        assert self.loaded(*parts, **meters).marginal.by_accuracy == pytest.approx(5 * SCALE)

    def test_the_other_admissible_rule_of_each_meter(self):
        parts = [
            part("power", 60, "A", otherwise=50),
            part("power", 40, "A", otherwise=55),
            part("air", 10, "A", otherwise=8),
        ]
        # By meter: what one span got more another one may have got less. 5 and 2, and half as much again.
        assert self.loaded(*parts).marginal.by_sharing == 10.5 * SCALE

    def test_the_bounds_by_the_unit_know_that_good_may_be_wrong_too(self):
        scale = MeterFacts(resource=Resource.PRODUCTION, accuracy_class=10.0)
        value = self.loaded(part("power", 90, "A"), good=9, good_facts=scale).value
        # One piece, and ten percent: 7.1 to 10.9.
        assert (value.value, value.low, value.high) == (
            Fraction(10),
            Fraction(90) / Fraction("10.9"),
            Fraction(90) / Fraction("7.1"),
        )

    def test_there_is_no_upper_bound_where_nothing_good_may_have_been_made(self):
        value = self.loaded(part("power", 90, "A"), good=1).value
        assert (value.low, value.high) == (Fraction(45), None)

    def test_coverage_is_of_its_meters(self):
        parts = [part("power", 1, "A"), part("air", 1, "A"), part("else", 1, "B")]
        meters = {"power": energy(coverage=1.0), "air": energy(coverage=0.5), "else": energy(coverage=0.0)}
        assert self.loaded(*parts, **meters).loaded.coverage == 0.75

    def test_by_time_or_fixed_shares_is_no_primary_data_and_neither_is_a_hop_of_them(self):
        parts = [
            part("power", 50, "A", estimated=10),
            part("air", 30, "A", rule=Rule.SHARE_RUN_TIME),
            part("cold", 20, "A", rule=Rule.SHARE_MEASURED, hops=(Rule.UTILITY_METER, Rule.SHARE_FIXED)),
        ]
        assert self.loaded(*parts, cold=energy()).marginal.primary_share == Fraction(40, 100)


class TestCarbon:
    CARBON = Carbon(
        location_measured=5 * SCALE, market_measured=9 * SCALE, location_known=40 * SCALE, market_known=20 * SCALE
    )

    def found(self) -> list[Intensity]:
        parts = [
            part("power", 40, "A", carbon=self.CARBON, scope=Scope.SCOPE_2, factors=(3, 7), otherwise=44),
            part("gas", 10, "A", carrier="gas", carbon=Carbon(), scope=None),
            part("power", 10),
        ]
        known = facts("A", meters={"gas": energy()})
        return intensities(attribution(parts, [made("A", 10)], [hours("A", 1)]), known)

    def test_both_bases_and_what_had_a_factor(self):
        found = self.found()
        location, market = (of(found, one, product="A") for one in (Indicator.CO2_LOCATION, Indicator.CO2_MARKET))
        assert (location.value.value, market.value.value) == (Fraction(1, 2), Fraction(9, 10))
        assert (location.unit, location.marginal.known, market.marginal.known) == (
            "kg CO2e",
            Fraction(4, 5),
            Fraction(2, 5),
        )
        assert location.marginal.factors == (3, 7)
        assert of(found, product="A").marginal.factors == ()

    def test_it_is_as_uncertain_as_its_energy(self):
        location = of(self.found(), Indicator.CO2_LOCATION, product="A")
        assert location.marginal.by_sharing == 7.5 * SCALE // 10

    def test_by_scope(self):
        location = of(self.found(), Indicator.CO2_LOCATION, product="A")
        by_scope = {s.name: s.marginal.total for s in location.slices if s.facet is Facet.SCOPE}
        assert by_scope == {"scope_2": 5 * SCALE, None: 0}

    def test_without_any_factor_it_is_not_told(self):
        found = intensities(WORKED, facts("A", "B"))
        assert {one.indicator for one in found} == {Indicator.ENERGY}


def test_slices_of_a_facet_sum_to_the_figure():
    steel = {"resource": Resource.MATERIAL, "unit": "kg"}
    parts = [part("steel", 7, "A", **steel), part("old", 2, "A", **steel), part("steel", 3, **steel)]
    meters = {
        "steel": MeterFacts(resource=Resource.MATERIAL, origin="virgin", carrier="steel"),
        "old": MeterFacts(resource=Resource.MATERIAL, origin="recycled", carrier="steel"),
    }
    found = intensities(attribution(parts, [], [hours("A", 1)]), facts("A", meters=meters))
    only = of(found, Indicator.MATERIAL, product="A")
    assert [(s.facet, s.name, s.marginal.total // SCALE, s.idle.total // SCALE) for s in only.slices] == [
        (Facet.CARRIER, "steel", 9, 3),
        (Facet.ORIGIN, "recycled", 2, 0),
        (Facet.ORIGIN, "virgin", 7, 3),
    ]


class TestComparison:
    def period(self, used, good, **more) -> list[Intensity]:
        return intensities(attribution([part("power", used, "A", **more)], [made("A", good)]), facts("A"))

    def test_a_change_and_its_bounds(self):
        change = compare(self.period(100, 10), self.period(90, 10, estimated=9))[Owner(product="A"), Indicator.ENERGY]
        assert change.marginal.change == Fraction(-1, 10)
        assert (change.marginal.low, change.marginal.high) == (Fraction(-19, 100), Fraction(-1, 100))
        assert change.marginal.is_clear

    def test_a_doubtful_direction(self):
        change = compare(self.period(100, 10), self.period(98, 10, estimated=9))[Owner(product="A"), Indicator.ENERGY]
        assert change.marginal.is_clear is False

    def test_what_was_not_made_before_has_no_change(self):
        found = compare(self.period(100, 0), self.period(90, 10))
        assert found[Owner(product="A"), Indicator.ENERGY].marginal.change is None
        assert compare([], self.period(1, 1)) == {}


class TestHoweverTimeIsCut:
    """Days and months beside each other give the sums of one stretch."""

    @staticmethod
    def made(product, amount) -> Batch:
        return Batch(
            meter=f"good-{product}",
            line="line-1",
            product=product,
            run=None,
            order=None,
            kind="good",
            unit="pcs",
            amount=Amount(amount),
        )

    def test_kilograms_are_rounded_once(self):
        products = {"A": ProductUnit(unit="pcs", mass_kg=0.4)}
        days = [self.made("A", 1)] * 10
        assert add_up(days, per=Per.KG, products=products, meters={}).good == Amount(4)

    def test_the_same_of_several_missing_masses_is_told(self):
        products = {"A": ProductUnit(unit="pcs"), "B": ProductUnit(unit="pcs")}
        for order in ("AB", "BA"):
            found = add_up([self.made(key, 1) for key in order], per=Per.KG, products=products, meters={})
            assert found.problem == "A has no mass_kg; give it in the site model"
