"""Material by origin, yield, and waste by code and route; what nobody said is unknown."""

from __future__ import annotations

from fractions import Fraction

import pytest

from api.indicators.circularity import Circularity, Hazard, Route, Share, Source, circularities, hazard_of, route_of
from api.indicators.figures import MeterFacts
from api.indicators.intensity import Facts
from api.indicators.products import ProductUnit
from api.indicators.takings import Whose
from schemas.quantities import SCALE
from schemas.resources import Resource
from tests.unit.api.test_intensity import attribution, hours, made, part

A = ProductUnit(unit="pcs", mass_kg=0.5)


def material(**more) -> MeterFacts:
    return MeterFacts(resource=Resource.MATERIAL, **more)


def waste(**more) -> MeterFacts:
    return MeterFacts(resource=Resource.WASTE, **more)


def told(meters, production=(), *, whose=Whose.PRODUCT, products=None, onward=None, **quantities) -> Circularity:
    """What product A did with so much by each meter."""
    parts = [
        part(meter, quantity, "A", resource=meters[meter].resource, unit="kg") for meter, quantity in quantities.items()
    ]
    known = Facts(products=products or {"A": A}, meters=meters, onward=onward or {})
    (found,) = circularities(attribution(parts, production, [hours("A", 1)]), known, whose=whose)
    return found


def test_sources_and_recycled_content():
    meters = {
        "new": material(origin="virgin"),
        "mixed": material(origin="virgin", recycled_content=0.3),
        "scrap": material(origin="recycled", recycled_content=0.9),
        "pallets": material(origin="reused", recycled_content=0.5),
        "back": material(origin="returned"),
    }
    found = told(meters, new=40, mixed=20, scrap=20, pallets=15, back=5)
    assert {source: amount.total // SCALE for source, amount in found.sources.items()} == {
        Source.VIRGIN: 40 + 14 + 2,
        Source.RECYCLED: 6 + 18,
        Source.REUSED: 15,
        Source.RETURNED: 5,
    }
    assert (found.circular_input.value, found.virgin_input.value) == (Fraction(44, 100), Fraction(56, 100))


def test_an_unknown_origin_bounds_the_share_and_makes_no_number():
    found = told({"new": material(origin="virgin"), "what": material()}, new=60, what=40)
    assert found.circular_input == Share(value=None, low=Fraction(0), high=Fraction(40, 100))
    assert found.virgin_input == Share(value=None, low=Fraction(60, 100), high=Fraction(1))


def test_without_any_material_or_waste_there_are_no_shares():
    found = told({"chips": waste(waste_code="12 01 01", treatment="R4")}, chips=4)
    assert (found.circular_input, found.material_yield, found.material.meters) == (Share(), None, ())
    assert told({"new": material(origin="virgin")}, new=4).recovered_waste == Share()


@pytest.mark.parametrize(
    ("code", "hazard"),
    [("12 01 01", Hazard.NOT_HAZARDOUS), ("13 02 05*", Hazard.HAZARDOUS), (None, Hazard.UNKNOWN)],
)
def test_hazard_is_what_the_code_says(code, hazard):
    assert hazard_of(code) is hazard


@pytest.mark.parametrize(
    ("treatment", "route"),
    [
        ("R1", Route.ENERGY_RECOVERY),
        ("R2", Route.RECOVERY),
        ("R13", Route.RECOVERY),
        ("R10", Route.RECOVERY),
        ("D1", Route.DISPOSAL),
        ("D15", Route.DISPOSAL),
        (None, Route.UNKNOWN),
    ],
)
def test_routes(treatment, route):
    assert route_of(treatment) is route


def test_both_views_of_burning_for_energy():
    meters = {
        "chips": waste(waste_code="12 01 01", treatment="R4"),
        "oil": waste(waste_code="12 01 07*", treatment="R1"),
        "mud": waste(waste_code="12 01 14*", treatment="D9"),
    }
    found = told(meters, chips=60, oil=30, mud=10)
    assert (found.recovered_waste.value, found.recovered_waste_esrs.value) == (Fraction(90, 100), Fraction(60, 100))
    assert found.hazardous_waste.value == Fraction(40, 100)
    assert [(flow.code, flow.treatment, flow.amount.total // SCALE) for flow in found.flows] == [
        ("12 01 01", "R4", 60),
        ("12 01 07*", "R1", 30),
        ("12 01 14*", "D9", 10),
    ]


def test_waste_without_a_code_is_unknown_and_not_harmless():
    found = told({"chips": waste(treatment="R4"), "mixed": waste(waste_code="20 03 01")}, chips=30, mixed=70)
    assert found.hazardous_waste == Share(value=None, low=Fraction(0), high=Fraction(30, 100))
    assert found.recovered_waste == Share(value=None, low=Fraction(30, 100), high=Fraction(1))


class TestYield:
    METERS = {"steel": material(origin="virgin")}  # noqa: RUF012 - a constant

    def test_material_in_the_product_of_material_in(self):
        found = told(self.METERS, [made("A", 150)], steel=100)
        assert found.material_yield == Fraction(75, 100)

    def test_without_a_mass_it_is_unknown(self):
        found = told(self.METERS, [made("A", 150)], steel=100, products={"A": ProductUnit(unit="pcs")})
        assert (found.material_yield, found.problem) == (None, "A has no mass_kg; give it in the site model")

    def test_of_a_line_that_goes_on_from_another_one_it_is_unknown(self):
        found = told(self.METERS, [made("A", 150)], steel=10, whose=Whose.LINE, onward={"saw": "line", "line": None})
        assert found.material_yield is None
        assert "what another line made" in (found.problem or "")

    def test_made_nothing_good_is_a_yield_of_zero_and_not_unknown(self):
        assert told(self.METERS, [made("A", 7, carrier="scrap")], steel=10).material_yield == 0


def test_a_site_has_what_is_nobody_s_too():
    parts = [
        part("steel", 10, "A", resource=Resource.MATERIAL, unit="kg"),
        part("steel", 5, resource=Resource.MATERIAL, unit="kg"),
    ]
    known = Facts(products={"A": A}, meters={"steel": material(origin="recycled")})
    (site,) = circularities(attribution(parts), known, whose=Whose.SITE)
    assert (site.material.total, site.circular_input.value) == (15 * SCALE, Fraction(1))
