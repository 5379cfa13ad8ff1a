"""Balances: whole, parts and rest; what accuracy and estimates explain; virtual meters behind their terms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from api.balance import DEFAULT_CLASS, Balance, Counted, Place, add_up, balance, places
from api.series import expand


def meter(key, number, parent=None, **others) -> dict[str, Any]:
    return {
        "id": key,
        "number": number,
        "resource": "energy",
        "canonical_unit": "kWh",
        "carrier": None,
        "parent": parent,
        "direction": "import",
        "share": None,
        "accuracy_class": None,
        **others,
    }


def virtual(key, terms, parent=None) -> dict[str, Any]:
    return {"id": key, "resource": "energy", "canonical_unit": "kWh", "parent": parent, "terms": terms}


def sides(place: Place) -> Any:
    """(in the whole, in the parts) by meter, without what does not count."""
    return (
        {m.meter: m.in_whole for m in place.members if m.in_whole},
        {m.meter: m.in_parts for m in place.members if m.in_parts},
    )


class TestPlaces:
    def test_a_meter_and_its_parts(self):
        (place,) = places([meter("main", 1), meter("a", 2, "main"), meter("b", 3, "main"), meter("alone", 4)], [])
        assert (place.parent, place.parts) == ("main", ("a", "b"))
        assert sides(place) == ({"main": 1}, {"a": 1, "b": 1})

    def test_each_level_by_itself(self):
        found = places([meter("main", 1), meter("a", 2, "main"), meter("a1", 3, "a")], [])
        assert [(place.parent, place.parts) for place in found] == [("a", ("a1",)), ("main", ("a",))]

    def test_generation_and_export_behind_them(self):
        main, hall = places(
            [
                meter("main", 1),
                meter("pv", 2, "main", direction="generation"),
                meter("sold", 3, "main", direction="export"),
                meter("z-hall", 4, "main"),
                meter("back", 5, "z-hall", direction="export"),
                meter("chp", 6, "z-hall", direction="generation"),
                meter("oven", 7, "z-hall"),
            ],
            [],
        )
        assert sides(main) == ({"main": 1, "pv": 1, "sold": -1}, {"z-hall": 1, "back": -1})
        assert sides(hall) == ({"z-hall": 1, "chp": 1, "back": -1}, {"oven": 1})

    def test_feeds_alone_are_no_parts(self):
        assert places([meter("main", 1), meter("pv", 2, "main", direction="generation")], []) == []

    def test_parts_of_generation(self):
        (place,) = places(
            [meter("pv", 1, direction="generation"), meter("inverter", 2, "pv", direction="generation")], []
        )
        assert sides(place) == ({"pv": 1}, {"inverter": 1})

    def test_key_meters_only_divide(self):
        share = {"by": "measured", "keys": {"line-1": "key"}}
        (place,) = places([meter("air", 1, share=share), meter("key", 2, "air"), meter("below", 3, "key")], [])[:1]
        assert (place.parent, place.parts) == ("air", ("below",))

    def test_scrap_is_no_part_of_what_was_good(self):
        good = meter("good", 1, resource="production", carrier="good")
        assert places([good, meter("scrap", 2, "good", resource="production", carrier="scrap")], []) == []

    def test_virtual_parts_and_wholes(self):
        meters = [meter("main", 1), meter("pv", 2), meter("a", 3), meter("b", 4)]
        found = places(
            meters,
            [
                virtual("halls", {"a": 1, "b": 0.5}, "use"),
                virtual("use", {"main": 1, "pv": 1}),
                virtual("rest", {"main": 1, "a": -1}, "main"),
            ],
        )
        assert [place.parent for place in found] == ["main", "use"]
        assert sides(found[0]) == ({"main": 1}, {"main": 1, "a": -1})
        assert sides(found[1]) == ({"main": 1, "pv": 1}, {"a": 1, "b": Decimal("0.5")})


def counted(place, totals, estimated=None) -> dict[int, Counted]:
    return {
        m.number: Counted(
            in_whole=round(totals[m.meter] * m.in_whole),
            in_parts=round(totals[m.meter] * m.in_parts),
            total=totals[m.meter],
            estimated=(estimated or {}).get(m.meter, 0),
        )
        for m in place.members
    }


class TestBalance:
    def place(self, main=0.5, part=2.0) -> Place:
        (found,) = places(
            [
                meter("main", 1, accuracy_class=main),
                meter("a", 2, "main", accuracy_class=part),
                meter("b", 3, "main", accuracy_class=part),
            ],
            [],
        )
        return found

    def test_the_tolerance_is_the_root_of_the_sum_of_squares(self):
        found = balance(self.place(), counted(self.place(), {"main": 100_000, "a": 60_000, "b": 40_000}))
        assert (found.whole, found.parts, found.rest) == (100_000, 100_000, 0)
        # 0.5 % of 100,000; 2 % of 60,000 and of 40,000.
        assert found.tolerance == round((500**2 + 1200**2 + 800**2) ** 0.5)

    @pytest.mark.parametrize(("b", "is_finding"), [(41_000, False), (41_520, False), (41_560, True), (50_000, True)])
    def test_a_rest_below_it_is_a_finding(self, b, is_finding):
        found = balance(self.place(), counted(self.place(), {"main": 100_000, "a": 60_000, "b": b}))
        assert found.is_finding is is_finding

    def test_estimates_may_explain_it(self):
        totals = {"main": 100_000, "a": 60_000, "b": 50_000}
        place = self.place()
        assert not balance(place, counted(place, totals, {"main": -5_000, "a": 5_000})).is_finding
        assert balance(place, counted(place, totals, {"b": 2_000})).is_finding

    def test_a_meter_without_a_class_is_taken_as_a_wide_one(self):
        place = self.place(main=None)
        assert place.without_class == ["main"]
        found = balance(place, counted(place, {"main": 100_000, "a": 0, "b": 0}))
        assert found.tolerance == round(100_000 * DEFAULT_CLASS / 100)

    def test_a_meter_on_both_sides_moves_no_rest(self):
        (place,) = places([meter("main", 1), meter("a", 2)], [virtual("rest", {"main": 1, "a": -1}, "main")])
        found = balance(place, counted(place, {"main": 100_000, "a": 30_000}, {"main": 9_000}))
        assert (found.rest, found.doubt, found.tolerance) == (30_000, 0, 600)

    def test_buckets_add_up(self):
        one = Balance(whole=10, parts=12, tolerance=1, doubt=0)
        assert add_up([one, one]) == Balance(whole=20, parts=24, tolerance=2, doubt=0)


class TestExpand:
    METERS = {key: meter(key, i) for i, key in enumerate("abc")}  # noqa: RUF012

    def terms(self, *virtuals) -> Any:
        by_key = {v["id"]: v for v in virtuals}
        found = expand(virtuals[-1], meters=self.METERS, virtuals=by_key)
        return {term.meter: term.coefficient for term in found.terms}

    def test_through_each_other_exactly(self):
        inner = virtual("v", {"a": 1, "b": -1})
        assert self.terms(inner, virtual("w", {"v": -0.1, "c": 3, "b": 1})) == {
            "a": Decimal("-0.1"),
            "b": Decimal("1.1"),
            "c": 3,
        }

    def test_what_cancels_out_stays_with_zero(self):
        assert self.terms(virtual("v", {"a": 1, "b": 1}), virtual("w", {"v": 1, "b": -1})) == {"a": 1, "b": 0}
