"""Who carries what of an attribution, by product, family and line, and that nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from api.indicators.activity import Beside
from api.indicators.carbon import Carbon
from api.indicators.carried import carry, condense, together
from api.indicators.figures import MeterFacts
from api.indicators.flows import Amount
from api.indicators.intensity import Facts
from api.indicators.lines import Grid, Phase, Slot
from api.indicators.parts import Attribution, LineHours, Metered, Part
from api.indicators.pressures import Indicator
from api.indicators.products import CoProducts, ProductUnit, ShareBy
from api.indicators.sharing import Rule
from api.indicators.takings import Whose
from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import Resource

PRODUCTS = {
    "bolt": ProductUnit(unit="pcs", mass_kg=0.5),
    "nut": ProductUnit(unit="pcs", mass_kg=0.25, family="small"),
    "pin": ProductUnit(unit="pcs", mass_kg=0.25, family="small"),
}
METERS = {
    "main": MeterFacts(resource=Resource.ENERGY, carrier="electricity"),
    "power": MeterFacts(resource=Resource.ENERGY, part_of="main"),
    "boiler": MeterFacts(resource=Resource.ENERGY, carrier="gas"),
    "water": MeterFacts(resource=Resource.WATER),
}
FACTS = Facts(products=PRODUCTS, meters=METERS, onward={"press": "pack", "pack": None})


def part(
    meter: str,
    line: str | None,
    phase: Phase,
    product: str | None = None,
    measured: int = 0,
    estimated: int = 0,
    *,
    kg: int = 0,
    resource: Resource = Resource.ENERGY,
) -> Part:
    return Part(
        meter=meter,
        resource=resource,
        unit="kWh",
        carrier=None,
        line=line,
        slot=Slot(phase, product),
        rule=Rule.LINE_METER,
        amount=Amount(measured, estimated),
        otherwise=measured + estimated,
        carbon=Carbon(location_measured=kg, location_known=(measured + estimated) if kg else 0),
        factors=(7,) if kg else (),
    )


def good(line: str, product: str, pieces: int) -> Part:
    made = part("good", line, Phase.PROCESSING, product, pieces * SCALE, resource=Resource.PRODUCTION)
    return replace(made, unit="pcs", carrier="good")


def attribution(parts: Any, made: Any = (), occupied: Any = (), covered: Any = ()) -> Attribution:
    return Attribution(
        grid=Grid(first=0, count=4),
        parts=tuple(parts),
        production=tuple(made),
        metered=tuple(
            Metered(
                meter=meter,
                resource=Resource.ENERGY,
                unit="kWh",
                counted=Amount(),
                used=Amount(),
                covered_ms=count * QUARTER_MS,
            )
            for meter, count in dict(covered).items()
        ),
        hours=tuple(
            LineHours(line=line, slot=Slot(Phase.PROCESSING, product), milliseconds=ms)
            for (line, product), ms in dict(occupied).items()
        ),
        findings=(),
    )


HOUR = attribution(
    [
        part("power", "press", Phase.PROCESSING, "bolt", 60, 4, kg=8),
        part("power", "press", Phase.CHANGEOVER, "nut", 6, kg=1),
        part("boiler", "press", Phase.PROCESSING, "bolt", 20),
        part("power", "press", Phase.IDLE, measured=30, kg=3),
        part("power", "pack", Phase.IDLE, measured=5),
        part("main", None, Phase.UNATTRIBUTED, measured=11, kg=2),
        part("water", "press", Phase.PROCESSING, "bolt", 500, resource=Resource.WATER),
    ],
    made=[good("press", "bolt", 10), good("press", "nut", 4), good("pack", "nut", 4)],
    occupied={("press", "bolt"): 2000, ("press", "nut"): 1000},
    covered={"main": 4, "power": 2, "boiler": 3},
)


def taken(
    *found: Attribution, whose: Whose = Whose.PRODUCT, indicator: Indicator = Indicator.ENERGY, facts: Facts = FACTS
) -> Any:
    return carry(together([condense(one, facts, indicator) for one in found]), facts, whose)


def whole(carried: Any) -> Any:
    of_categories = sum(used[-1] for its in carried.by_category.values() for used in its.values())
    return of_categories + sum(carried.beside.values())


def test_products_are_fully_loaded():
    found = taken(HOUR)
    assert found.by_category == {"bolt": {"": (64 + 20 + 20,)}, "nut": {"": (6 + 10,)}}
    # The other line made nothing, so its idle is no product's.
    assert found.beside == {Beside.IDLE: 5, Beside.UNATTRIBUTED: 11}
    assert (found.used, whole(found)) == (Amount(132, 4), 136)


def test_lines_carry_their_idle():
    found = taken(HOUR, whose=Whose.LINE)
    assert found.by_category == {"press": {"": (120,)}, "pack": {"": (5,)}}
    assert found.beside == {Beside.IDLE: 0, Beside.UNATTRIBUTED: 11}
    assert found.output("pcs", FACTS) == {"press": 14, "pack": 4}


def test_families_and_products_without_one():
    found = taken(HOUR, whose=Whose.FAMILY)
    assert found.by_category == {"bolt": {"": (104,)}, "small": {"": (16,)}}


def test_what_goes_on_is_made_once():
    assert taken(HOUR).output("pcs", FACTS) == {"bolt": 10, "nut": 4}
    assert taken(HOUR).output("kg", FACTS) == {"bolt": 5, "nut": 1}


def test_co2_by_carrier_which_a_part_has_from_its_whole():
    found = taken(HOUR, indicator=Indicator.CO2_LOCATION)
    assert found.by_category["bolt"] == {"electricity": (84, 10), "gas": (20, 0)}
    assert found.by_category["nut"] == {"electricity": (16, 2)}
    assert (found.used.total, whole(found), found.factors) == (14, 14, (7,))
    # Of 136 kWh the boiler's 20 and the idle of the second line had no factor.
    assert found.known == Fraction(111, 136)
    assert taken(HOUR, indicator=Indicator.CO2_MARKET).known == 0


def test_one_resource_alone():
    found = taken(HOUR, indicator=Indicator.WATER)
    assert (found.by_category, found.known, found.factors) == ({"bolt": {"": (500,)}}, None, ())


def test_coverage_is_the_mean_of_the_meters():
    assert taken(HOUR).coverage == Fraction(9, 12)
    assert taken(HOUR, indicator=Indicator.WASTE).coverage is None


def test_months_together_are_as_one_period():
    other = attribution(
        [part("power", "press", Phase.PROCESSING, "nut", 50), part("power", "press", Phase.IDLE, measured=7)],
        made=[good("press", "nut", 3)],
        occupied={("press", "nut"): 4000},
        covered={"power": 4},
    )
    found = taken(HOUR, other)
    # Idle of both months, by the hours of both.
    assert found.by_category == {"bolt": {"": (84 + 10,)}, "nut": {"": (56 + 27,)}}
    assert (whole(found), found.coverage) == (193, Fraction(13, 24))


@pytest.mark.parametrize("whose", [Whose.PRODUCT, Whose.FAMILY])
def test_co_products_take_their_share(whose):
    products = {**PRODUCTS, "chip": ProductUnit(unit="pcs", mass_kg=0.5)}
    products["bolt"] = ProductUnit(unit="pcs", mass_kg=0.5, co_products=CoProducts(by=ShareBy.MASS, products=("chip",)))
    meters = {**METERS, "chips": MeterFacts(resource=Resource.PRODUCTION, product="chip")}
    facts = Facts(products=products, meters=meters, onward=FACTS.onward)
    chips = replace(HOUR.production[0], meter="chips", slot=Slot(Phase.PROCESSING, "chip"), amount=Amount(10 * SCALE))
    with_chips = attribution(
        HOUR.parts, made=[*HOUR.production, chips], occupied={("press", "bolt"): 2000, ("press", "nut"): 1000}
    )
    found = taken(with_chips, whose=whose, facts=facts)
    assert found.by_category["bolt"] == found.by_category["chip"] == {"": (52,)}
    assert whole(found) == 136
