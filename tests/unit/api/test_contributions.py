"""What figures are made of: the worked example of METHODS §2, part by part, and sums to the last billionth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.indicators.contributions import Contribution, Role, Sharing, contributions, merge_parts
from api.indicators.flows import Amount
from api.indicators.lines import Phase, Slot
from api.indicators.outputs import Batch
from api.indicators.parts import LineHours, Part
from api.indicators.products import CoProducts, ProductUnit, ShareBy
from api.indicators.sharing import Rule
from api.indicators.takings import Owner, Whose, gather
from schemas.quantities import SCALE
from schemas.resources import Resource

HOUR = 3_600_000


def part(meter, amount, phase=Phase.PROCESSING, product=None, **place) -> Part:
    values = {"line": "line-1", "rule": Rule.LINE_METER, "carrier": "electricity", "otherwise": round(amount * SCALE)}
    return Part(
        meter=meter,
        resource=Resource.ENERGY,
        unit="kWh",
        slot=Slot(phase, product),
        amount=Amount(round(amount * SCALE)),
        **{**values, **place},
    )


def hours(product, count, line="line-1", phase=Phase.PROCESSING) -> LineHours:
    return LineHours(line=line, slot=Slot(phase, product), milliseconds=round(count * HOUR))


PARTS = [
    part("power", 600, product="a"),
    part("power", 300, product="b"),
    part("power", 10, Phase.CHANGEOVER, "b"),
    part("power", 90, Phase.IDLE),
    part("compressor", 14.4, product="a", rule=Rule.SHARE_MEASURED, via=("air",)),
    part("compressor", 9.6, product="b", rule=Rule.SHARE_MEASURED, via=("air",)),
]
HOURS = [hours("a", 6), hours("b", 2.5), hours("b", 0.5, phase=Phase.CHANGEOVER), hours(None, 15, phase=Phase.IDLE)]


def total(found: list[Contribution], *roles) -> int:
    return sum(one.part.amount.total for one in found if not roles or one.role in roles)


def test_the_worked_example_part_by_part():
    found = contributions(PARTS, HOURS, whose=Whose.PRODUCT, sharing=Sharing())
    told = [
        (one.role, one.part.meter, one.part.rule, one.part.via, one.part.slot.phase, one.part.amount.total / SCALE)
        for one in found[Owner(product="a")]
    ]
    assert told == [
        ("marginal", "power", "line_meter", (), "processing", 600),
        ("idle", "power", "line_meter", (), "idle", 60),
        ("marginal", "compressor", "share:measured", ("air",), "processing", 14.4),
    ]
    assert total(found[Owner(product="a")]) == 674_400_000_000
    assert total(found[Owner(product="b")]) == 349_600_000_000
    assert total(found[Owner(product="b")], Role.IDLE) == 30_000_000_000


def test_of_a_site_idle_is_its_own():
    found = contributions(
        [*PARTS, part("main", 5, Phase.UNATTRIBUTED, line=None)], HOURS, whose=Whose.SITE, sharing=Sharing()
    )
    (of_site,) = found.values()
    assert total(of_site) == 1_029_000_000_000
    assert total(of_site, Role.UNATTRIBUTED) == 5 * SCALE


def test_parts_of_several_days_become_one():
    twice = merge_parts([*PARTS, *PARTS])
    assert len(twice) == len(PARTS)
    assert twice[0].amount.total == 1_200 * SCALE
    other = replace(PARTS[0], run="r-2")
    assert len(merge_parts([*PARTS, other])) == len(PARTS) + 1


amounts = st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**13), st.booleans()), min_size=1, max_size=6)


@given(amounts, st.lists(st.integers(1, 10**7), min_size=2, max_size=3), st.booleans())
def test_parts_sum_to_what_is_gathered(idle, times, has_co_products):
    parts = [
        replace(
            part("power", 0, Phase.IDLE, rule=rule),
            amount=Amount(measured, estimated),
            otherwise=estimated,
            via=(str(i),),
        )
        for i, (measured, estimated, is_shared) in enumerate(idle)
        for rule in [Rule.SHARE_FIXED if is_shared else Rule.LINE_METER]
    ]
    lines = [
        LineHours(line="line-1", slot=Slot(Phase.PROCESSING, f"p{i}"), milliseconds=ms) for i, ms in enumerate(times)
    ]
    products = {f"p{i}": ProductUnit(unit="kg") for i in range(4)}
    if has_co_products:
        products["p0"] = replace(products["p0"], co_products=CoProducts(by=ShareBy.MASS, products=("p3",)))
    found = [
        Batch(
            meter=f"g{i}",
            line="line-1",
            product=f"p{i}",
            run=None,
            order=None,
            kind="good",
            unit="kg",
            amount=Amount(7 + i),
        )
        for i in (0, 3)
    ]
    sharing = Sharing(products=products, found=found, beside={"g3": "p3"})
    takings = gather(parts, lines, whose=Whose.PRODUCT, found=found, products=products, beside=sharing.beside)
    told = contributions(parts, lines, whose=Whose.PRODUCT, sharing=sharing)
    assert told.keys() == takings.keys()
    for owner, taken in takings.items():
        wanted = taken.idle["power"]
        assert sum(one.part.amount.measured for one in told[owner]) == wanted.amount.measured
        assert sum(one.part.amount.estimated for one in told[owner]) == wanted.amount.estimated
        assert sum(one.part.otherwise for one in told[owner]) == wanted["otherwise"]
    assert sum(total(of) for of in told.values()) == pytest.approx(sum(m + e for m, e, _ in idle), abs=0)
