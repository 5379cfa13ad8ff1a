"""Decompositions of plain tables."""

from __future__ import annotations

from typing import Any

import pytest

from api.decomposition.columns import NUMBERS, TEXTS
from api.decomposition.table import Method, decompose_table
from api.tables.plain import PlainTableError, read_plain_table

WORKED = """period,category,activity,mix,intensity
1971,a,1,10,2
1971,b,4,5,3
1972,a,4,5,3
1972,b,5,6,4
1973,a,8,2,4
1973,b,5,7,5
"""


def taken(text: str) -> Any:
    return decompose_table(read_plain_table(text.encode(), name="t.csv", texts=TEXTS, numbers=NUMBERS))


def effects(answer: Any, method: Method = Method.STEP, period: str | None = None) -> dict[str, Any]:
    return {i.effect: i.quantity for i in answer.items if i.method is method and period in {None, i.period}}


def terms(answer: Any, **wanted: Any) -> dict[tuple[str | None, str], Any]:
    return {
        (row.category, row.effect): row.quantity
        for row in answer.categories
        if row.quantity and all(getattr(row, name) == value for name, value in wanted.items())
    }


def test_the_worked_numbers():
    answer = taken(WORKED)
    first = effects(answer, period="1972")
    assert list(first) == ["activity", "mix", "intensity"]
    assert [float(q) for q in first.values()] == pytest.approx([69.79006598, -9.455125793, 39.66505981], rel=1e-9)
    multipliers = [float(i.multiplier or 0) for i in answer.items[:3]]
    assert multipliers == pytest.approx([1.761117821, 0.926191306, 1.379410116], rel=1e-9)
    second = effects(answer, period="1973", method=Method.STEP)
    assert [float(q) for q in second.values()] == pytest.approx([42.96021467, -34.31902656, 50.3588119], rel=1e-9)


def test_what_is_written_adds_up_to_the_last_digit():
    answer = taken(WORKED)
    for change in answer.changes:
        rows = [i for i in answer.items if (i.method, i.period) == (change.method, change.period)]
        assert sum(row.quantity for row in rows) == change.change == change.after - change.before
        of_categories = [r for r in answer.categories if (r.method, r.period) == (change.method, change.period)]
        assert sum(row.quantity for row in of_categories) == change.change


def test_steps_then_the_chain_and_first_against_last():
    answer = taken(WORKED)
    assert [(c.method, c.base, c.period, c.change) for c in answer.changes] == [
        ("step", "1971", "1972", 100),
        ("step", "1972", "1973", 59),
        ("chain", "1971", "1973", 159),
        ("direct", "1971", "1973", 159),
    ]
    steps = [effects(answer, period=period) for period in ("1972", "1973")]
    chained = effects(answer, Method.CHAIN)
    assert chained == {name: steps[0][name] + steps[1][name] for name in chained}
    assert chained != effects(answer, Method.DIRECT)


def test_the_sentence():
    change = taken(WORKED).changes[0]
    assert change.sentence == (
        "The quantity grew 125.0 %: activity added 87.2 % and intensity 49.6 %; mix took off 11.8 %."
    )
    assert change.sentence_da == (
        "Mængden steg 125,0 %: activity lagde 87,2 % til og intensity 49,6 %; mix trak 11,8 % fra."
    )


def test_periods_by_time_whatever_the_order_of_rows():
    lines = WORKED.splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])])
    assert taken(turned).changes == taken(WORKED).changes


def test_names_that_tell_no_time_stay_in_the_order_of_the_file():
    answer = taken("periode;x;y\nefter;2;3\nfør;2;4\n")
    assert [(c.base, c.period, c.change) for c in answer.changes] == [("efter", "før", 2)]
    assert answer.categories[0].category is None


def test_activity_and_quantity_give_mix_and_intensity():
    answer = taken("period;category;activity;quantity\n2024;a;60;120\n2024;b;40;160\n2025;a;40;80\n2025;b;60;240\n")
    told = effects(answer)
    assert list(told) == ["activity", "mix", "intensity", "unattributed"]
    assert float(told["mix"]) == pytest.approx(40)
    assert told["activity"] == told["intensity"] == 0


@pytest.mark.parametrize("header", ["output;energy", "Produktion;Energiforbrug", "gdp;co2", "activity;emissions"])
def test_what_was_made_and_what_it_took_are_no_factors(header):
    rows = "2024;a;60;120\n2024;b;40;160\n2025;a;40;80\n2025;b;60;240\n"
    assert taken(f"år;sektor;{header}\n{rows}") == taken(f"period;category;activity;quantity\n{rows}")


def test_the_quantity_beside_its_factors_is_no_factor():
    text = "period,category,activity,mix,intensity,energy\n2020,x,3,1,0.3334,1.00\n2021,x,2,1,2,4\n"
    with pytest.raises(PlainTableError, match="energy is the product of the other columns in every row"):
        taken(text)
    # Where two columns are alike, and the third is 1, nothing tells.
    assert len(taken("period,a,b,c\n2020,2,1,2\n2021,3,1,3\n").changes) == 1


@pytest.mark.parametrize(("base", "period"), [("FY2024", "FY2025"), ("2023/24", "2024/25"), ("2019K4", "2020K1")])
def test_the_newest_may_stand_first(base, period):
    (change,) = taken(f"period,x,y\n{period},2,3\n{base},2,4\n").changes
    assert (change.base, change.period) == (base, period)


def test_a_quantity_without_activity_is_unattributed():
    answer = taken("period,category,activity,quantity\n2024,a,5,10\n2024,b,1,1\n2025,a,5,10\n2025,b,0,3\n")
    told = terms(answer)
    assert (told["b", "mix"], told[None, "unattributed"]) == (-1, 3)
    assert [row.beside for row in answer.categories if row.effect == "unattributed" and row.quantity] == ["no_output"]


def test_a_category_that_a_period_lacks_was_launched():
    answer = taken(
        "period,category,Q,S,I\n2024,a,100,1,3\n2024,b,100,0,\n2025,a,120,0.5,3\n2025,b,120,0.25,2\n2025,c,120,0.25,4\n"
    )
    assert terms(answer, category="b") == {("b", "S"): 60}
    # Its activity is everybody's, so that is not what vanished.
    assert terms(answer, category="c") == {("c", "S"): 120}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("category,x,y\na,1,2\n", "has no column `period`"),
        ("period,x\n2024,1\n2025,2\n", r"two columns of numbers or more.*it has x"),
        ("period\n2024\n", "it has none"),
        ("period,x,y\n2024,1,2\n", "has one period"),
        ("period,x,y\n2024,1,2\n2024,3,4\n2025,1,1\n", r"t\.csv:3: 2024 stands at t\.csv:2 already"),
        ("period,category,x,y\n2024,,1,2\n2025,a,1,1\n", r"t\.csv:2: category is empty"),
        ("period,x,y\n,1,2\n2025,1,1\n", r"t\.csv:2: period is empty"),
        ("period,x,y\n2024,1,\n2025,1,1\n", r"t\.csv:2: y is empty"),
        ("period,activity,quantity\n2024,0,\n2025,1,1\n", r"t\.csv:2: quantity is empty"),
        ("period,x,y\n2024,1,-2\n2025,1,1\n", r"t\.csv:2: y is -2; a decomposition takes logarithms"),
        ("period,x,unattributed\n2024,1,2\n2025,1,1\n", "no factor can be called unattributed"),
    ],
)
def test_faults_by_file_and_line(text, message):
    with pytest.raises(PlainTableError, match=message):
        taken(text)


def test_from_and_to_nothing():
    answer = taken("period,x,y\n2024,0,2\n2025,3,4\n2026,0,1\n")
    assert [(c.no_multiplier, c.growth) for c in answer.changes] == [
        ("no_base", None),
        ("nothing_left", -1),
        ("no_base", None),
        ("no_base", None),
    ]
    assert answer.changes[0].sentence == (
        "The quantity was nothing in the base period and 12.0 in the period, so no percentage can be told."
    )
