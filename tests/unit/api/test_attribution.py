"""Attribution: the worked example of METHODS §2, and each rule on its own."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from api.indicators.attribution import attribute
from api.indicators.balances import balances
from api.indicators.flows import Amount, FindingKind, Flow
from api.indicators.intensity import Facts, intensities
from api.indicators.lines import Grid, Phase, Run, Slot, lay_out
from api.indicators.outputs import outputs
from api.indicators.parts import Attribution
from api.indicators.products import ProductUnit
from api.indicators.sharing import Rule
from schemas.quantities import QUARTER_MS, SCALE
from schemas.resources import Resource, RunState
from schemas.sharing import Share, ShareBy

HOUR = 4
FIRST = 2_000_000
PROCESSING, CHANGEOVER, IDLE, NONE = Phase.PROCESSING, Phase.CHANGEOVER, Phase.IDLE, Phase.UNATTRIBUTED


def flow(meter, quantities, *, resource=Resource.ENERGY, unit="kWh", estimated=None, **place) -> Flow:
    """A flow from whole canonical quantities a quarter; None where there is no row."""
    present = np.array([q is not None for q in quantities])
    return Flow(
        meter=meter,
        resource=resource,
        unit=unit,
        measured=np.array([round((q or 0) * SCALE) for q in quantities], np.int64),
        estimated=np.array([round(q * SCALE) for q in estimated or [0] * len(quantities)], np.int64),
        covered_ms=np.where(present, QUARTER_MS, 0).astype(np.int64),
        present=present,
        **place,
    )


def good(meter, quantities, line, carrier="good", unit="pcs") -> Flow:
    return flow(meter, quantities, resource=Resource.PRODUCTION, unit=unit, carrier=carrier, line=line)


def run(line, state, start, end, product=None) -> Run:
    """A run from quarter `start` to quarter `end` of the grid; halves and thirds of quarters are fine."""
    return Run(
        line=line,
        state=RunState(state),
        product=product,
        start_ms=round((FIRST + start) * QUARTER_MS),
        end_ms=round((FIRST + end) * QUARTER_MS),
    )


def grid(count) -> Grid:
    return Grid(first=FIRST, count=count)


def share(flows, runs, *, lines=("line-1",), mass_kg=None, count=None) -> Attribution:
    count = count or len(flows[0].measured)
    return attribute(grid(count), flows, runs, lines=lines, mass_kg=mass_kg or {})


def table(attribution, meter) -> dict[tuple[Any, ...], float]:
    """(line, phase, product, rule) -> canonical quantity, for one meter."""
    found = {}
    for part in attribution.parts:
        if part.meter == meter:
            key = (part.line, part.slot.phase, part.slot.product, part.rule)
            assert key not in found
            found[key] = part.amount.total / SCALE
    return found


def assert_balanced(attribution) -> None:
    for balance in balances(attribution):
        assert balance.difference == 0


def test_worked_example_of_methods_2():
    # One line. A runs 6 h with 600 kWh; an hour of changeover takes 10 kWh; B runs 2 h with 300 kWh;
    # then the line idles for 9 h with 90 kWh. Compressed air: 24 kWh by 120/80 Nm3.
    hours = {"A": 6, "change": 1, "B": 2, "idle": 9}
    power = [600 / 24] * 24 + [10 / 4] * 4 + [300 / 8] * 8 + [90 / 36] * 36
    count = sum(hours.values()) * HOUR
    runs = [
        run("line-1", "running", 0, 24, "A"),
        run("line-1", "changeover", 24, 28),
        run("line-1", "running", 28, 36, "B"),
        run("line-1", "idle", 36, count),
        run("air-a", "running", 0, count, "A"),
        run("air-b", "running", 0, count, "B"),
    ]
    flows = [
        flow("power", power, line="line-1"),
        flow(
            "air",
            [24] + [0] * (count - 1),
            share=Share(by=ShareBy.MEASURED, keys={"air-a": "air-to-a", "air-b": "air-to-b"}),
        ),
        flow("air-to-a", [120] + [0] * (count - 1), parent="air"),
        flow("air-to-b", [80] + [0] * (count - 1), parent="air"),
        good("pieces", [20] * 23 + [40] + [0] * 4 + [25] * 8 + [0] * 36, "line-1"),
    ]
    attribution = share(flows, runs, lines=("line-1", "air-a", "air-b"))
    assert_balanced(attribution)
    units = {"A": ProductUnit(unit="pcs"), "B": ProductUnit(unit="pcs")}
    found = {i.owner.product: i for i in intensities(attribution, Facts(products=units))}
    totals = {product: i.loaded.total for product, i in found.items()}
    assert totals == {"A": 674_400_000_000, "B": 349_600_000_000}
    assert sum(totals.values()) == 1024 * SCALE
    assert [found[p].fully_loaded.value for p in "AB"] == [Fraction("1.3488"), Fraction("1.748")]
    assert found["A"].marginal.total == 614_400_000_000
    assert found["B"].marginal.total == 319_600_000_000
    assert found["B"].loaded.rules == (Rule.LINE_METER, Rule.SHARE_MEASURED)


def test_a_quarter_with_two_runs_is_split_by_time():
    runs = [run("line-1", "running", 0, 1 / 3, "A"), run("line-1", "running", 1 / 3, 1, "B")]
    attribution = share([flow("m", [9], line="line-1")], runs)
    assert table(attribution, "m") == {
        ("line-1", PROCESSING, "A", Rule.LINE_METER): 3,
        ("line-1", PROCESSING, "B", Rule.LINE_METER): 6,
    }


def test_time_without_a_run_is_unattributed_and_down_is_idle():
    runs = [run("line-1", "down", 0, 0.5)]
    attribution = share([flow("m", [4], line="line-1")], runs)
    assert table(attribution, "m") == {
        ("line-1", IDLE, None, Rule.LINE_METER): 2,
        ("line-1", NONE, None, Rule.LINE_METER): 2,
    }


def test_changeover_belongs_to_the_run_that_follows_even_beyond_the_period():
    runs = [
        run("line-1", "running", -1, 0, "A"),
        run("line-1", "changeover", 0, 1),
        run("line-1", "idle", 1, 2),
        run("line-1", "running", 5, 6, "B"),
        run("line-1", "running", 7, 8, "C"),
    ]
    attribution = share([flow("m", [4, 1], line="line-1")], runs)
    assert table(attribution, "m")["line-1", CHANGEOVER, "B", Rule.LINE_METER] == 4


def test_changeover_with_a_product_keeps_it_and_without_a_run_after_it_goes_nowhere():
    runs = [run("line-1", "changeover", 0, 1, "A"), run("line-1", "changeover", 1, 2)]
    attribution = share([flow("m", [4, 3], line="line-1")], runs)
    assert table(attribution, "m") == {
        ("line-1", CHANGEOVER, "A", Rule.LINE_METER): 4,
        ("line-1", NONE, None, Rule.LINE_METER): 3,
    }


def test_overlapping_runs_share_the_time_they_both_claim():
    runs = [run("line-1", "running", 0, 1, "A"), run("line-1", "running", 0, 1, "B")]
    attribution = share([flow("m", [4], line="line-1")], runs)
    assert set(table(attribution, "m").values()) == {2}


def test_what_only_one_of_two_runs_claims_is_its_own_and_what_none_does_nobodys():
    runs = [run("line-1", "running", 0, 2 / 3, "A"), run("line-1", "running", 1 / 3, 2 / 3, "B")]
    attribution = share([flow("m", [6], line="line-1")], runs)
    assert table(attribution, "m") == {
        ("line-1", PROCESSING, "A", Rule.LINE_METER): 3,
        ("line-1", PROCESSING, "B", Rule.LINE_METER): 1,
        ("line-1", NONE, None, Rule.LINE_METER): 2,
    }
    hours = {one.slot.product: one.milliseconds for one in attribution.hours}
    assert hours == {"A": QUARTER_MS // 2, "B": QUARTER_MS // 6, None: QUARTER_MS // 3}


def test_a_changeover_belongs_to_the_run_that_begins_before_it_is_over():
    runs = [
        run("line-1", "changeover", 0, 2),
        run("line-1", "running", 1, 3, "A"),
        run("line-1", "running", 3, 4, "B"),
    ]
    attribution = share([flow("m", [4, 4, 4, 4], line="line-1")], runs)
    assert table(attribution, "m")["line-1", CHANGEOVER, "A", Rule.LINE_METER] == 6


def test_measured_and_estimated_travel_apart():
    runs = [run("line-1", "running", 0, 1 / 3, "A")]
    attribution = share([flow("m", [9], estimated=[3], line="line-1")], runs)
    amounts = {part.slot.product: part.amount for part in attribution.parts}
    assert amounts == {"A": Amount(3 * SCALE, SCALE), None: Amount(6 * SCALE, 2 * SCALE)}


class TestParts:
    def test_a_parent_is_left_with_what_its_parts_did_not_take(self):
        flows = [flow("main", [10, 10]), flow("a", [4, 4], parent="main", line="line-1")]
        attribution = share(flows, [run("line-1", "running", 0, 2, "A")])
        assert table(attribution, "main") == {(None, NONE, None, Rule.NO_SHARE): 12}
        assert balances(attribution)[0].consumed.total == 20 * SCALE
        assert_balanced(attribution)
        assert attribution.findings == ()

    def test_a_negative_rest_is_kept_and_found(self):
        flows = [flow("main", [10, 3]), flow("a", [4, 4], parent="main", line="line-1")]
        attribution = share(flows, [])
        assert table(attribution, "main") == {(None, NONE, None, Rule.NO_SHARE): 5}
        (finding,) = attribution.findings
        assert (finding.kind, finding.meter, finding.quarters, finding.amount) == (
            FindingKind.NEGATIVE_REST,
            "main",
            1,
            -SCALE,
        )
        assert_balanced(attribution)

    def test_a_rest_of_estimates_is_estimated(self):
        flows = [flow("main", [10]), flow("a", [1], estimated=[3], parent="main", line="line-1")]
        attribution = share(flows, [])
        assert [p.amount for p in attribution.parts if p.meter == "main"] == [Amount(3 * SCALE, 3 * SCALE)]
        assert_balanced(attribution)

    def test_a_silent_part_hides_in_the_rest_which_is_then_estimated(self):
        flows = [flow("main", [10, 10]), flow("a", [None, 4], parent="main", line="line-1")]
        attribution = share(flows, [])
        assert [p.amount for p in attribution.parts if p.meter == "main"] == [Amount(6 * SCALE, 10 * SCALE)]
        assert [f.kind for f in attribution.findings] == [FindingKind.SILENT_PART]
        assert_balanced(attribution)

    def test_a_silent_parent_counts_as_the_sum_of_its_parts(self):
        flows = [flow("main", [None, 10]), flow("a", [4, 4], parent="main", line="line-1")]
        attribution = share(flows, [])
        assert balances(attribution)[0].consumed.total == 14 * SCALE
        assert [f.kind for f in attribution.findings] == [FindingKind.SILENT_WHOLE]
        assert_balanced(attribution)

    def test_parts_below_a_key_meter_are_taken_off_the_shared_one(self):
        flows = [
            flow("air", [10], share=Share(by=ShareBy.MEASURED, keys={"line-1": "key"})),
            flow("key", [8], parent="air"),
            flow("below", [3], parent="key", line="line-1"),
        ]
        attribution = share(flows, [run("line-1", "running", 0, 1, "A")])
        assert table(attribution, "air") == {("line-1", PROCESSING, "A", Rule.SHARE_MEASURED): 7}
        assert table(attribution, "below") == {("line-1", PROCESSING, "A", Rule.LINE_METER): 3}
        assert_balanced(attribution)


class TestSharing:
    LINES = ("line-1", "line-2")

    def shared(self, rule, quantities, runs=(), others=(), **weights) -> Attribution:
        flows = [flow("air", quantities, share=Share(by=rule, **weights)), *others]
        attribution = share(flows, runs, lines=self.LINES, mass_kg={"A": 0.5, "B": 2.0}, count=len(quantities))
        assert_balanced(attribution)
        return attribution

    def test_fixed(self):
        attribution = self.shared(ShareBy.FIXED, [10], weights={"line-1": 0.3, "line-2": 0.7})
        assert table(attribution, "air") == {
            ("line-1", NONE, None, Rule.SHARE_FIXED): 3,
            ("line-2", NONE, None, Rule.SHARE_FIXED): 7,
        }

    def test_run_time_and_a_quarter_in_which_no_line_ran(self):
        runs = [run("line-1", "running", 0, 1, "A"), run("line-2", "running", 0.5, 1, "B"), run("line-2", "idle", 1, 2)]
        attribution = self.shared(ShareBy.RUN_TIME, [3, 5], runs)
        assert table(attribution, "air") == {
            ("line-1", PROCESSING, "A", Rule.SHARE_RUN_TIME): 2,
            # The part of a line is spread over all of its quarter, of which it ran half.
            ("line-2", PROCESSING, "B", Rule.SHARE_RUN_TIME): 0.5,
            ("line-2", NONE, None, Rule.SHARE_RUN_TIME): 0.5,
            (None, NONE, None, Rule.RUN_TIME_NONE): 5,
        }

    def test_measured_falls_to_run_time_and_then_to_nobody(self):
        others = [flow("key-1", [1, 0, 0, None]), flow("key-2", [3, 0, 0, 5])]
        runs = [run("line-2", "running", 1, 2, "B"), run("line-1", "running", 3, 4, "A")]
        attribution = self.shared(
            ShareBy.MEASURED, [4, 8, 16, 32], runs, others, keys={"line-1": "key-1", "line-2": "key-2"}
        )
        assert table(attribution, "air") == {
            ("line-1", NONE, None, Rule.SHARE_MEASURED): 1,
            ("line-2", NONE, None, Rule.SHARE_MEASURED): 3,
            ("line-2", PROCESSING, "B", Rule.MEASURED_RUN_TIME): 8,
            (None, NONE, None, Rule.MEASURED_NONE): 16,
            ("line-1", PROCESSING, "A", Rule.MEASURED_RUN_TIME): 32,
        }
        assert [(f.kind, f.quarters) for f in attribution.findings] == [(FindingKind.KEY_MISSING, 1)]

    def test_mass(self):
        runs = [run("line-1", "running", 0, 2, "A"), run("line-2", "running", 0, 2, "B")]
        others = [good("good-1", [8, 0], "line-1"), good("good-2", [1, 0], "line-2")]
        attribution = self.shared(ShareBy.MASS, [6, 2], runs, others)
        assert table(attribution, "air") == {
            ("line-1", PROCESSING, "A", Rule.SHARE_MASS): 4,
            ("line-2", PROCESSING, "B", Rule.SHARE_MASS): 2,
            ("line-1", PROCESSING, "A", Rule.MASS_RUN_TIME): 1,
            ("line-2", PROCESSING, "B", Rule.MASS_RUN_TIME): 1,
        }

    def test_mass_of_a_meter_with_a_product_of_its_own_is_that_products(self):
        runs = [run("line-1", "running", 0, 1, "A"), run("line-2", "running", 0, 1, "B")]
        whey = replace(good("whey", [3], "line-1"), product="B")
        others = [good("good-1", [4], "line-1"), whey, good("good-2", [4], "line-2")]
        assert table(self.shared(ShareBy.MASS, [8], runs, others), "air") == {
            ("line-1", PROCESSING, "A", Rule.SHARE_MASS): 4,
            ("line-2", PROCESSING, "B", Rule.SHARE_MASS): 4,
        }

    def test_mass_of_a_part_counts_once(self):
        runs = [run("line-1", "running", 0, 1, "A"), run("line-2", "running", 0, 1, "A")]
        part = replace(good("lane", [6], "line-1"), parent="good-1")
        others = [good("good-1", [8], "line-1"), part, good("good-2", [8], "line-2")]
        assert table(self.shared(ShareBy.MASS, [8], runs, others), "air") == {
            ("line-1", PROCESSING, "A", Rule.SHARE_MASS): 4,
            ("line-2", PROCESSING, "A", Rule.SHARE_MASS): 4,
        }

    def test_weights_of_lines_that_are_gone_are_given_to_nobody(self):
        attribution = self.shared(ShareBy.AREA, [4], weights={"old-line": 1})
        assert table(attribution, "air") == {(None, NONE, None, Rule.NO_SHARE): 4}

    @pytest.mark.parametrize(
        ("rule", "told"),
        [
            (Share(by=ShareBy.RUN_TIME), Rule.RUN_TIME_NONE),
            (Share(by=ShareBy.MASS), Rule.MASS_NONE),
            (Share(by=ShareBy.MEASURED, keys={"old-line": "key"}), Rule.MEASURED_NONE),
            (Share(by=ShareBy.FIXED, weights={"old-line": 1}), Rule.NO_SHARE),
            (Share(by=ShareBy.AREA, weights={"old-line": 1}), Rule.NO_SHARE),
        ],
    )
    def test_a_site_without_lines_gives_to_nobody(self, rule, told):
        attribution = share([flow("air", [4, 3], share=rule)], [], lines=())
        assert table(attribution, "air") == {(None, NONE, None, told): 7}
        assert_balanced(attribution)


UNITS = {"A": ProductUnit(unit="pcs", mass_kg=0.5), "B": ProductUnit(unit="kg")}


class TestProduction:
    def test_pieces_come_from_the_time_in_which_the_line_ran(self):
        runs = [run("line-1", "running", 0, 1 / 3, "A"), run("line-1", "idle", 1 / 3, 1)]
        attribution = share([good("good", [90], "line-1"), good("scrap", [9], "line-1", "scrap")], runs)
        (output,) = outputs(attribution, UNITS)
        assert (output.product, output.good.total, output.scrap.total) == ("A", 90 * SCALE, 9 * SCALE)

    def test_pieces_of_no_run_are_told_apart(self):
        (output,) = outputs(share([good("good", [7], "line-1")], []), UNITS)
        assert (output.line, output.product, output.good.total) == ("line-1", None, 7 * SCALE)

    def test_kilograms_become_pieces_by_the_mass_of_a_product(self):
        attribution = share([good("good", [10], "line-1", unit="kg")], [run("line-1", "running", 0, 1, "A")])
        (output,) = outputs(attribution, UNITS)
        assert (output.unit, output.good.total) == ("pcs", 20 * SCALE)

    def test_scrap_burdens_the_good_units(self):
        flows = [flow("m", [100], line="line-1"), good("good", [80], "line-1"), good("scrap", [20], "line-1", "scrap")]
        (found,) = intensities(share(flows, [run("line-1", "running", 0, 1, "A")]), Facts(products=UNITS))
        assert found.value.value == Fraction(100, 80)

    def test_without_good_units_there_is_no_intensity(self):
        (found,) = intensities(share([flow("m", [1], line="line-1")], [run("line-1", "running", 0, 1, "A")]), Facts())
        assert found.value.value is found.fully_loaded.value is None


def test_idle_of_a_line_that_made_nothing_stays_idle():
    attribution = share([flow("m", [4], line="line-1")], [run("line-1", "idle", 0, 1)])
    (balance,) = balances(attribution)
    assert (balance.idle.total, balance.products.total, balance.difference) == (4 * SCALE, 0, 0)


def test_the_sum_of_a_line_s_time_is_the_grid():
    time_of_line = lay_out(grid(10), [run("line-1", "running", -3, 4.25, "A"), run("line-1", "idle", 8.5, 20)])
    by_slot = dict(zip(time_of_line.slots, time_of_line.milliseconds().tolist(), strict=True))
    assert by_slot == {
        Slot(PROCESSING, "A"): 4.25 * QUARTER_MS,
        Slot(IDLE): 1.5 * QUARTER_MS,
        Slot(NONE): 4.25 * QUARTER_MS,
    }


def test_two_years_of_fifteen_meters_and_ten_thousand_runs_take_less_than_two_seconds():
    count, lines = 2 * 35_040, ("a", "b", "c")
    random = np.random.default_rng(7)

    def busy(meter, *, resource=Resource.ENERGY, unit="kWh", **place) -> Flow:
        return Flow(
            meter=meter,
            resource=resource,
            unit=unit,
            measured=random.integers(0, 10**12, count),
            estimated=random.integers(0, 10**12, count),
            covered_ms=np.full(count, QUARTER_MS, np.int64),
            present=np.ones(count, np.bool_),
            **place,
        )

    flows = [
        busy("main"),
        busy("air", parent="main", share=Share(by=ShareBy.MEASURED, keys={at: f"key-{at}" for at in lines})),
        *(busy(f"key-{line}", parent="air") for line in lines),
        *(busy(f"power-{line}", parent="main", line=line) for line in lines),
        *(busy(f"good-{line}", line=line, resource=Resource.PRODUCTION, unit="pcs", carrier="good") for line in lines),
        *(busy(f"water-{by}", share=Share(by=by, weights={"a": 1})) for by in ShareBy if by is not ShareBy.MEASURED),
    ]
    assert len(flows) == 15
    states = list(RunState)
    runs = [
        run(line, states[i % 4], i * 21, i * 21 + 20.9, f"p{i % 25}" if states[i % 4] is RunState.RUNNING else None)
        for line in lines
        for i in range(3_334)
    ]
    started = time.perf_counter()
    attribution = attribute(grid(count), flows, runs, lines=lines, mass_kg={"p1": 1.0})
    assert time.perf_counter() - started < 2
    assert_balanced(attribution)
