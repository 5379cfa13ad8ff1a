"""What virtual meters may be sums of, and which way a meter may count."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.configuration import ConfigurationError, parse_configuration
from schemas.site import SiteModel
from schemas.virtual_meters import DEEPEST

METER = {"agent": "cabinet", "resource": "energy", "unit": "kWh", "kind": "counter"}


def model(*meters, virtual=()) -> SiteModel:
    return SiteModel.model_validate(
        {
            "organisation": {"id": "acme"},
            "site": {"id": "odense", "time_zone": "UTC"},
            "lines": [{"id": "press"}],
            "agents": [{"id": "cabinet"}],
            "meters": [{**METER, **meter} for meter in meters],
            "virtual_meters": list(virtual),
        }
    )


def virtual(key, terms, **others) -> dict[str, Any]:
    return {"id": key, "resource": "energy", "unit": "kWh", "terms": terms, **others}


MAIN, PV, SOLD = {"id": "main"}, {"id": "pv", "direction": "generation"}, {"id": "sold", "direction": "export"}


def messages(found: SiteModel) -> list[str]:
    return [f"{'.'.join(map(str, problem.location))}: {problem.message}" for problem in found.problems()]


def test_import_generation_and_export():
    use = virtual("use", {"main": 1, "pv": 1, "sold": -1}, line="press")
    half = virtual("half", {"use": 0.5}, parent="use")
    assert model(MAIN, PV, SOLD, virtual=[half, use]).problems() == []


@pytest.mark.parametrize("coefficient", [0, float("nan"), float("inf"), 1e-10, -1e7, "x"])
def test_coefficients_are_numbers_that_count(coefficient):
    with pytest.raises(ValidationError, match=r"terms\.main"):
        model(MAIN, virtual=[virtual("v", {"main": coefficient})])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"terms": {}}, "at least 1"),
        ({"unit": "MWh"}, "is told in kWh"),
        ({"unit": "m3"}, "is told in kWh"),
        ({"resource": "water"}, "not a unit for water"),
        ({"agent": "cabinet"}, "Extra inputs"),
    ],
)
def test_what_one_can_not_be(change, words):
    with pytest.raises(ValidationError, match=words):
        model(MAIN, virtual=[{**virtual("v", {"main": 1}), **change}])


@pytest.mark.parametrize(
    ("virtuals", "words"),
    [
        ([virtual("main", {"pv": 1})], r"virtual_meters.0.id: 'main' is a meter already"),
        ([virtual("v", {"main": 1}), virtual("v", {"pv": 1})], r"virtual_meters.1.id: 'v' stands twice"),
        ([virtual("v", {"gone": 1})], r"virtual_meters.0.terms.gone: there is no meter and no virtual meter 'gone'"),
        ([virtual("v", {"main": 1}, parent="gone")], r"virtual_meters.0.parent: there is no meter"),
        ([virtual("v", {"main": 1}, line="gone")], r"virtual_meters.0.line: there is no line 'gone'"),
        ([virtual("v", {"main": 1, "water": 1})], r"terms.water: v is energy in kWh, water water in m3"),
        ([virtual("v", {"main": 1}, parent="water")], r"parent: v is energy in kWh, water water in m3"),
        ([virtual("v", {"v": 1})], r"virtual_meters.0.terms: v is a term of itself \(v → v\)"),
        (
            [virtual("a", {"main": 1, "b": 1}), virtual("b", {"c": 1}), virtual("c", {"a": -1})],
            r"virtual_meters.\d.terms: . is a term of itself \(. → . → . → .\); break the loop",
        ),
        (
            [virtual("a", {"main": 1}, parent="b"), virtual("b", {"pv": 1}, parent="a")],
            r"virtual_meters.\d.parent: . is a part of itself",
        ),
    ],
)
def test_what_they_may_not_name(virtuals, words):
    water = {"id": "water", "resource": "water", "unit": "m3"}
    (message,) = messages(model(MAIN, PV, water, virtual=virtuals))
    assert re.search(words, message), message


def test_that_stand_too_deep_in_each_other():
    chain = [virtual("v1", {"main": 1}), *(virtual(f"v{i}", {f"v{i - 1}": 1}) for i in range(2, 200))]
    assert model(MAIN, virtual=chain[:DEEPEST]).problems() == []
    (message,) = messages(model(MAIN, virtual=chain))
    assert f"{DEEPEST} deep" in message


def test_many_ways_to_one_meter_are_gone_through_at_once():
    layers = [virtual("a0", {"main": 1}), virtual("b0", {"main": 1})]
    for i in range(1, DEEPEST):
        layers += [virtual(f"{key}{i}", {f"a{i - 1}": 1, f"b{i - 1}": -1}, parent="main") for key in "ab"]
    assert model(MAIN, virtual=layers).problems() == []


class TestParts:
    """A part counts once in its parent."""

    SUB = ({"id": "sub-1", "parent": "main"}, {"id": "sub-2"}, {"id": "sub-1a", "parent": "sub-1"})

    @pytest.mark.parametrize(
        "virtuals",
        [
            [virtual("v", {"sub-2": 1}, parent="main")],
            [virtual("v", {"main": 1, "sub-1": -1}, parent="main")],
            [virtual("v", {"sub-2": 0.5}, parent="main"), virtual("w", {"sub-2": 0.5}, parent="main")],
        ],
    )
    def test_that_are_apart(self, virtuals):
        assert model(MAIN, *self.SUB, virtual=virtuals).problems() == []

    @pytest.mark.parametrize(
        ("virtuals", "twice"),
        [
            ([virtual("v", {"sub-1": 1, "sub-2": 1}, parent="main")], "sub-1"),
            ([virtual("v", {"sub-1a": 1}, parent="main")], "sub-1a"),
            ([virtual("v", {"sub-2": 1}, parent="main"), virtual("w", {"sub-2": 1}, parent="main")], "sub-2"),
        ],
    )
    def test_that_overlap(self, virtuals, twice):
        (message,) = messages(model(MAIN, *self.SUB, virtual=virtuals))
        assert f"{twice} would count twice in main" in message


class TestDirections:
    @pytest.mark.parametrize("direction", ["import", "export", "generation"])
    def test_of_energy(self, direction):
        assert model({"id": "m", "direction": direction}).meters[0].direction == direction

    def test_of_nothing_else(self):
        with pytest.raises(ValidationError, match="only energy is exported or generated"):
            model({"id": "m", "resource": "water", "unit": "m3", "direction": "export"})

    @pytest.mark.parametrize("parent", ["pv", "sold"])
    def test_a_meter_is_no_part_of_what_flows_another_way(self, parent):
        (message,) = messages(model(MAIN, PV, SOLD, {"id": "m", "parent": parent}))
        assert "name the import meter that it lies behind" in message

    def test_parts_may_flow_the_same_way_and_feeds_any_way(self):
        inverter = {"id": "inverter", "direction": "generation", "parent": "pv"}
        assert model(MAIN, {**PV, "parent": "main"}, {**SOLD, "parent": "main"}, inverter).problems() == []


def test_a_meter_is_part_of_a_real_one():
    (message,) = messages(model(MAIN, {"id": "m", "parent": "v"}, virtual=[virtual("v", {"main": 1})]))
    assert message.startswith("meters.1.parent: v is virtual")


def test_problems_are_told_by_line():
    text = """
organisation: {id: acme}
site: {id: hall, time_zone: UTC}
agents: [{id: a}]
meters:
  - {id: main, agent: a, resource: energy, unit: kWh, kind: counter}
virtual_meters:
  - id: use
    resource: energy
    unit: kWh
    terms:
      main: 1
      sold: -1
"""
    with pytest.raises(ConfigurationError, match=r"^site.yaml:13: virtual_meters.0.terms.sold: there is no meter"):
        parse_configuration(text, name="site.yaml", model=SiteModel)
