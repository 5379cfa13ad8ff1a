"""A site with exports and generation of its own uses import + generation − export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from api.indicators.balances import balances
from api.indicators.flows import FindingKind
from api.indicators.lines import Phase
from api.indicators.sharing import Rule
from api.series import READY, counted, ready
from schemas.quantities import SCALE
from schemas.resources import Direction
from schemas.sharing import Share, ShareBy
from tests.unit.api.test_attribution import assert_balanced, flow, run, share, table

EXPORT, GENERATION = Direction.EXPORT, Direction.GENERATION


def consumed(attribution) -> float:
    (balance,) = balances(attribution)
    assert balance.difference == 0
    return balance.consumed.total / SCALE


@pytest.mark.parametrize("parent", [None, "main"])
def test_a_site_with_a_roof_of_solar_cells(parent):
    """Wherever they are put in the model: the total is the same."""
    found = share(
        [
            flow("main", [100, 20]),
            flow("pv", [50, 200], direction=GENERATION, parent=parent),
            flow("sold", [30, 150], direction=EXPORT, parent=parent),
        ],
        [],
    )
    assert consumed(found) == 190


def test_what_is_generated_reaches_the_lines_behind_the_meter():
    """Parts of 110 where 100 are bought: the rest is 10, and no finding."""
    found = share(
        [
            flow("main", [100]),
            flow("pv", [50], direction=GENERATION, parent="main"),
            flow("sold", [30], direction=EXPORT, parent="main"),
            flow("press", [110], parent="main", line="line-1"),
        ],
        [run("line-1", "running", 0, 1, "bolt")],
    )
    assert_balanced(found)
    assert found.findings == ()
    assert table(found, "main") == {(None, Phase.UNATTRIBUTED, None, Rule.NO_SHARE): 10}
    assert table(found, "press") == {("line-1", Phase.PROCESSING, "bolt", Rule.LINE_METER): 110}
    assert consumed(found) == 120


def test_what_is_left_is_shared_as_the_meter_is():
    found = share(
        [
            flow("main", [100], share=Share(by=ShareBy.FIXED, weights={"line-1": 1})),
            flow("pv", [50], direction=GENERATION, parent="main"),
            flow("inverter-1", [20], direction=GENERATION, parent="pv"),
        ],
        [run("line-1", "running", 0, 1, "bolt")],
    )
    assert table(found, "main") == {("line-1", Phase.PROCESSING, "bolt", Rule.SHARE_FIXED): 150}
    assert table(found, "pv") == table(found, "inverter-1") == {}
    assert consumed(found) == 150


def test_what_leaves_a_sub_meter_stays_on_the_site():
    """Hall 2 takes 40 and gives 70 from its own 60 back to hall 1: nobody sold anything."""
    found = share(
        [
            flow("main", [100]),
            flow("hall-2", [40], parent="main"),
            flow("pv", [60], direction=GENERATION, parent="hall-2"),
            flow("back", [70], direction=EXPORT, parent="hall-2"),
        ],
        [],
    )
    assert table(found, "hall-2") == {(None, Phase.UNATTRIBUTED, None, Rule.NO_SHARE): 30}
    assert table(found, "main") == {(None, Phase.UNATTRIBUTED, None, Rule.NO_SHARE): 130}
    assert consumed(found) == 160


def test_generation_that_is_silent_makes_the_rest_estimated():
    found = share([flow("main", [100, 100]), flow("pv", [50, None], direction=GENERATION, parent="main")], [])
    (finding,) = found.findings
    assert (finding.kind, finding.meter, finding.quarters) == (FindingKind.SILENT_PART, "main", 1)
    (balance,) = balances(found)
    assert (balance.unattributed.measured / SCALE, balance.unattributed.estimated / SCALE) == (150, 100)


def test_where_the_import_is_silent_its_parts_are_what_is_used():
    found = share(
        [
            flow("main", [None, None]),
            flow("pv", [50, 50], direction=GENERATION, parent="main"),
            flow("press", [70, None], parent="main", line="line-1"),
        ],
        [],
    )
    assert consumed(found) == 70
    (finding,) = found.findings
    assert (finding.kind, finding.quarters) == (FindingKind.SILENT_WHOLE, 2)


def test_what_is_exported_by_parts_is_counted_once():
    found = share(
        [
            flow("sold", [30], direction=EXPORT),
            flow("sold-1", [20], direction=EXPORT, parent="sold"),
            flow("main", [100]),
        ],
        [],
    )
    assert table(found, "sold") == {(None, Phase.UNATTRIBUTED, None, Rule.NO_SHARE): -10}
    assert consumed(found) == 70


def test_estimates_of_an_export_do_not_cancel_those_of_the_import():
    found = share(
        [
            flow("main", [60], estimated=[40]),
            flow("sold", [10], estimated=[40], direction=EXPORT, parent="main"),
        ],
        [],
    )
    (balance,) = balances(found)
    assert (balance.unattributed.total / SCALE, balance.unattributed.estimated / SCALE) == (50, 50)


def row(key, direction="import", parent=None, resource="energy") -> dict[str, Any]:
    return {"id": key, "direction": direction, "parent": parent, "resource": resource}


class TestCounted:
    def test_by_place_and_direction(self):
        rows = [
            row("main"),
            row("press", parent="main"),
            row("pv", "generation", "press"),
            row("inverter", "generation", "pv"),
            row("sold", "export", "main"),
            row("sold-1", "export", "sold"),
            row("back", "export", "press"),
            row("gas"),
        ]
        assert [(meter["id"], sign) for meter, sign in counted(rows)] == [
            ("main", 1),
            ("pv", 1),
            ("sold", -1),
            ("gas", 1),
        ]

    def test_makes_the_virtual_meter_that_is_ready(self):
        rows = [row("main"), row("pv", "generation"), row("sold", "export", "main"), row("water", resource="water")]
        found = ready(rows)
        assert found is not None
        assert (found["id"], found["terms"]) == (READY, {"main": 1.0, "pv": 1.0, "sold": -1.0})
        assert ready([row("main"), row("water", resource="water")]) is None


def test_a_site_of_imports_alone_is_as_it_was():
    """Directions change nothing where there are none: the same arrays come through."""
    flows = [flow("main", [100, 80]), flow("press", [110, 20], parent="main", line="line-1")]
    found = share(flows, [run("line-1", "running", 0, 2, "bolt")])
    (finding,) = found.findings
    assert (finding.kind, finding.amount) == (FindingKind.NEGATIVE_REST, -10 * SCALE)
    assert np.array_equal(flows[0].measured, np.array([100, 80]) * SCALE)
    assert consumed(found) == 180
