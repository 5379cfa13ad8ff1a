"""Utilities: places of their own, in chains, with rules that hold from a day on; and what they emit."""

from __future__ import annotations

import numpy as np
import pytest

from api.indicators.attribution import attribute
from api.indicators.carbon import Matched
from api.indicators.flows import Ruled
from api.indicators.lines import Grid, Phase
from api.indicators.sharing import Rule
from schemas.carriers import Scope
from schemas.configuration import ConfigurationError, parse_configuration
from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import Direction
from schemas.sharing import Share, ShareBy
from schemas.site import SiteModel
from tests.unit.api.test_attribution import FIRST, assert_balanced, flow, grid, run

LINES = ("press", "paint")
RUNNING = [run("press", "running", 0, 4, "A"), run("paint", "running", 0, 4, "B")]
AIR = {"press": "air-press", "paint": "air-paint"}


def fixed(**weights) -> Share:
    return Share(by=ShareBy.FIXED, weights={key.replace("_", "-"): float(n) for key, n in weights.items()})


def always(share) -> tuple[Ruled, ...]:
    return (Ruled(since=0, share=share),)


def went(attribution, meter) -> dict[tuple[str | None, str | None, tuple[str, ...]], float]:
    return {
        (part.line, part.slot.product, part.via): part.amount.total / SCALE
        for part in attribution.parts
        if part.meter == meter
    }


def test_electricity_of_a_compressor_goes_by_air_to_lines():
    # METHODS §2: 200 Nm3 of air at 0.12 kWh, 120 and 80 of them: 14.4 and 9.6 kWh.
    flows = [
        flow("compressor", [24, 0, 0, 0], utility="air"),
        flow("air-press", [120, 0, 0, 0], parent="compressor"),
        flow("air-paint", [80, 0, 0, 0], parent="compressor"),
    ]
    utilities = {"air": always(Share(by=ShareBy.MEASURED, keys=AIR))}
    found = attribute(grid(4), flows, RUNNING, lines=LINES, mass_kg={}, utilities=utilities)
    assert went(found, "compressor") == {("press", "A", ("air",)): 14.4, ("paint", "B", ("air",)): 9.6}
    assert {(part.rule, part.hops) for part in found.parts} == {(Rule.SHARE_MEASURED, (Rule.UTILITY_METER,))}
    assert_balanced(found)


def test_cooling_serves_the_compressors_and_they_the_lines():
    flows = [
        flow("chiller", [100, 0, 0, 0], utility="cooling"),
        flow("compressor", [24, 0, 0, 0], utility="air"),
        flow("air-press", [3, 0, 0, 0], parent="compressor"),
        flow("air-paint", [1, 0, 0, 0], parent="compressor"),
    ]
    utilities = {
        "cooling": always(fixed(air=2, paint=8)),
        "air": always(Share(by=ShareBy.MEASURED, keys=AIR)),
    }
    found = attribute(grid(4), flows, RUNNING, lines=LINES, mass_kg={}, utilities=utilities)
    assert went(found, "chiller") == {
        ("paint", "B", ("cooling",)): 80,
        ("press", "A", ("cooling", "air")): 15,
        ("paint", "B", ("cooling", "air")): 5,
    }
    hops = {part.via: part.hops for part in found.parts if part.meter == "chiller"}
    assert hops["cooling", "air"] == (Rule.UTILITY_METER, Rule.SHARE_FIXED)
    assert_balanced(found)


def test_a_rule_holds_from_its_quarter_on_and_before_the_first_nothing_is_shared():
    rules = (Ruled(since=FIRST + 1, share=fixed(press=1)), Ruled(since=FIRST + 3, share=fixed(paint=1)))
    found = attribute(grid(4), [flow("light", [1, 2, 4, 8], rules=rules)], RUNNING, lines=LINES, mass_kg={})
    assert went(found, "light") == {(None, None, ()): 1, ("press", "A", ()): 6, ("paint", "B", ()): 8}
    assert {part.rule for part in found.parts if part.line is None} == {Rule.NO_SHARE}


def test_a_utility_that_nobody_shares_out_is_told():
    found = attribute(grid(4), [flow("boiler", [1, 1, 1, 1], utility="steam")], RUNNING, lines=LINES, mass_kg={})
    assert [(part.slot.phase, part.amount.total) for part in found.parts] == [(Phase.UNATTRIBUTED, 4 * SCALE)]


class TestOtherwise:
    """What another admissible rule would have given."""

    def test_a_dedicated_meter_with_one_run_leaves_no_doubt(self):
        found = attribute(grid(4), [flow("saw", [5, 5, 5, 5], line="press")], RUNNING, lines=LINES, mass_kg={})
        assert [part.otherwise for part in found.parts] == [part.amount.total for part in found.parts]

    def test_a_quarter_of_two_runs_by_what_each_takes_elsewhere(self):
        # A takes 9 a quarter, B takes 1; they share the third quarter in halves.
        runs = [run("press", "running", 0, 2.5, "A"), run("press", "running", 2.5, 4, "B")]
        found = attribute(grid(4), [flow("saw", [9, 9, 5, 1], line="press")], runs, lines=("press",), mass_kg={})
        by = {p.slot.product: (p.amount.total / SCALE, p.otherwise / SCALE) for p in found.parts}
        assert by == {"A": (20.5, 22.5), "B": (3.5, 1.5)}

    def test_shares_by_area_could_have_been_by_run_time(self):
        runs = [run("press", "running", 0, 1, "A"), run("paint", "running", 0, 4, "B")]
        light = flow("light", [8, 8, 8, 8], share=fixed(press=1, paint=1))
        found = attribute(grid(4), [light], runs, lines=LINES, mass_kg={})
        press = [p for p in found.parts if p.line == "press"]
        assert sum(p.amount.total for p in press) == 16 * SCALE
        assert sum(p.otherwise for p in press) == 4 * SCALE

    def test_a_measured_key_leaves_no_doubt(self):
        air = Share(by=ShareBy.MEASURED, keys=AIR)
        flows = [flow("air", [8] * 4, share=air), flow("air-press", [3] * 4), flow("air-paint", [1] * 4)]
        found = attribute(grid(4), flows, RUNNING, lines=LINES, mass_kg={})
        assert all(part.otherwise == part.amount.total for part in found.parts if part.meter == "air")


def matched(*kg_per_unit, hourly=True) -> Matched:
    kg = np.array([np.nan if kg is None else kg for kg in kg_per_unit], np.float64)
    known = ~np.isnan(kg)
    return Matched(
        kg_per_unit=kg,
        hourly=known & hourly,
        by_location=np.zeros(len(kg), np.bool_),
        factor=np.where(known, 3, 0),
        ids=(3,),
        scope=Scope.SCOPE_2,
    )


class TestEmissions:
    def test_parts_carry_what_their_root_emits(self):
        # METHODS §3: 1234, 242, 654, 1800 Wh at 124, 234, 85, 120 g/kWh are 481.234 g.
        grams = matched(0.124, 0.234, 0.085, 0.12)
        flows = [
            flow("main", [1.234, 0.242, 0.654, 1.8], location=grams, market=matched(0.1, 0.1, 0.1, 0.1)),
            flow("saw", [1.0, 0.1, 0.1, 0.9], line="press", parent="main"),
        ]
        found = attribute(grid(4), flows, RUNNING, lines=LINES, mass_kg={})
        assert sum(p.carbon.location for p in found.parts) == 481_234_000
        assert sum(p.carbon.market for p in found.parts) == 393_000_000
        (saw,) = [p for p in found.parts if p.meter == "saw"]
        assert saw.carbon.location == 124_000_000 + 23_400_000 + 8_500_000 + 108_000_000
        assert (saw.factors, saw.scope) == ((3,), Scope.SCOPE_2)

    def test_what_has_no_factor_is_unknown_and_not_zero(self):
        half = matched(0.2, None, None, 0.2, hourly=False)
        found = attribute(
            grid(4),
            [flow("saw", [1, 1, 1, 1], line="press", location=half, market=half)],
            RUNNING,
            lines=LINES,
            mass_kg={},
        )
        (part,) = found.parts
        assert part.carbon.location == 400_000_000
        assert part.carbon.location_known == 2 * SCALE
        assert part.carbon.location_hourly == 0

    def test_sunshine_thins_what_was_bought_and_exports_lower_nothing(self):
        # 10 bought, 30 generated, 20 sold: 20 are used by press and paint and carry what the 10 emit.
        tenth = matched(0.1)
        flows = [
            flow("main", [10], location=tenth, market=tenth),
            flow("solar", [30], parent="main", direction=Direction.GENERATION),
            flow("sold", [20], parent="main", direction=Direction.EXPORT),
            flow("saw", [15], line="press", parent="main"),
            flow("oven", [5], line="paint", parent="main"),
        ]
        found = attribute(grid(1), flows, RUNNING, lines=LINES, mass_kg={})
        assert {p.meter: p.carbon.location / SCALE for p in found.parts} == {"saw": 0.75, "oven": 0.25}
        assert_balanced(found)


MODEL = """
organisation: {id: acme}
site: {id: hall, time_zone: Europe/Copenhagen}
lines: [{id: press}, {id: paint}]
utilities:
  - {id: cooling, share: {by: fixed, weights: {air: 1, press: 1}}}
  - {id: air, share: {by: run_time}}
agents: [{id: cabinet}]
meters:
  - {id: chiller, agent: cabinet, resource: energy, unit: kWh, kind: counter, utility: cooling}
"""


def check(text) -> None:
    parse_configuration(text, name="site.yaml", model=SiteModel)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("{air: 1, press: 1}", "{steam: 1}", "no line or utility 'steam'"),
        ("{by: run_time}", "{by: fixed, weights: {cooling: 1}}", "serve each other in a loop"),
        ("id: air,", "id: press,", "'press' is a line"),
        ("utility: cooling", "utility: cooling, line: press", "shared out by its rule"),
        ("utility: cooling", "utility: steam", "no utility 'steam'"),
        ("share: {by: run_time}", "share: [{by: run_time, from: 2025-02-01}, {by: run_time}]", "needs `from`"),
        ("utility: cooling", "utility: cooling, waste_code: '12 01 01'", "only a meter of waste"),
        ("{id: press}", "{id: press, next: paint}, {id: mill, next: pres}", "no line 'pres'"),
        ("[{id: press}, {id: paint}]", "[{id: press, next: paint}, {id: paint, next: press}]", "break the loop"),
    ],
)
def test_a_model_that_does_not_hold_is_refused_with_its_line(before, after, said):
    check(MODEL)
    with pytest.raises(ConfigurationError, match=said):
        check(MODEL.replace(before, after))


def test_the_grid_tells_its_spans():
    assert Grid(first=0, count=5, starts=(0, 2, 3)).span.tolist() == [0, 0, 1, 2, 2]
    assert Grid(first=0, count=5).length_ms == 5 * QUARTER_MS
