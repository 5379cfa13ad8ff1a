"""What a site model may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.site import SiteModel

MODEL: dict[str, Any] = {
    "organisation": {"id": "acme"},
    "site": {"id": "odense", "time_zone": "Europe/Copenhagen"},
    "lines": [{"id": "press"}],
    "agents": [{"id": "cabinet"}],
}
METER: dict[str, Any] = {"id": "m", "agent": "cabinet", "resource": "energy", "unit": "kWh", "kind": "counter"}


def model(**parts) -> SiteModel:
    return SiteModel.model_validate({**MODEL, **parts})


def meters(*changes) -> SiteModel:
    return model(meters=[{**METER, **change} for change in changes])


class TestSpans:
    @pytest.mark.parametrize("change", [{"max_gap": "366d"}, {"max_gap": 31_622_400_000}, {"interval": "31d"}])
    def test_up_to_the_longest(self, change):
        assert meters(change).meters[0].id == "m"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"max_gap": "367d"}, "longer than 366d"),
            ({"max_gap": 31_622_400_001}, "longer than 366d"),
            ({"interval": "32d"}, "longer than 31d"),
            ({"interval": 2_678_400_001}, "longer than 31d"),
            ({"max_gap": "99999999999999999999999d"}, "longer than a hundred years"),
            ({"max_gap": "9" * 400 + "d"}, "longer than a hundred years"),
            ({"max_gap": 10**30}, "longer than 366d"),
            ({"max_gap": "0s"}, "greater than or equal to 1"),
        ],
    )
    def test_no_longer(self, change, words):
        with pytest.raises(ValidationError, match=words):
            meters(change)


class TestTimeZones:
    @pytest.mark.parametrize("name", ["Europe/Copenhagen", "UTC", "America/Argentina/Buenos_Aires"])
    def test_of_people(self, name):
        assert model(site={"id": "s", "time_zone": name}).site.time_zone == name

    @pytest.mark.parametrize(
        "name",
        [
            "right/Europe/Copenhagen",
            "posix/Europe/Copenhagen",
            "posixrules",
            "localtime",
            "Factory",
            "Europe",
            "europe/copenhagen",
            "Europe/Copenhagen\n",
            "../../etc/passwd",
            "\0",
            "",
        ],
    )
    def test_of_nobody(self, name):
        with pytest.raises(ValidationError, match="is not a time zone"):
            model(site={"id": "s", "time_zone": name})


@pytest.mark.parametrize("name", ["nul\0", "bell\a", "line\nbreak", "delete\x7f", "\u2028"])
def test_names_hold_what_can_be_shown(name):
    with pytest.raises(ValidationError, match=r"can't be shown, U\+"):
        model(lines=[{"id": "press", "name": name}])
    with pytest.raises(ValidationError, match="can't be shown"):
        meters({"carrier": name})
    assert model(lines=[{"id": "press", "name": "Presse ÆØÅ 压 🏭"}]).lines


@pytest.mark.parametrize("mass", [float("inf"), float("nan"), 1e300, 1_000_001, 0, -1, 1e-320])
def test_no_piece_has_such_a_mass(mass):
    with pytest.raises(ValidationError, match="mass_kg"):
        model(products=[{"id": "p", "mass_kg": mass}])


@pytest.mark.parametrize("mass", [1e-9, 0.4, 1e6])
def test_pieces_from_a_crumb_to_a_ship(mass):
    assert model(products=[{"id": "p", "mass_kg": mass}]).products[0].mass_kg == mass


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1])
def test_weights_are_finite(weight):
    with pytest.raises(ValidationError, match="weights"):
        meters({"share": {"by": "fixed", "weights": {"press": weight}}})


class TestKeyMeters:
    SHARED = {"share": {"by": "measured", "keys": {"press": "key"}}}  # noqa: RUF012 - a constant

    def test_that_are_parts_of_the_shared_one(self):
        assert meters(self.SHARED, {"id": "key", "parent": "m"}).problems() == []

    def test_that_measure_another_resource(self):
        other = {"id": "key", "resource": "water", "unit": "m3"}
        assert meters(self.SHARED, other).problems() == []

    @pytest.mark.parametrize("parent", [None, "main"])
    def test_that_count_for_themselves_too(self, parent):
        """A line's own electricity, by which the lighting is shared."""
        assert meters(self.SHARED, {"id": "key", "parent": parent}, {"id": "main"}).problems() == []

    def test_that_are_the_shared_one_itself(self):
        (problem,) = meters({**self.SHARED, "id": "key"}).problems()
        assert "itself" in problem.message

    def test_that_are_not_there_are_told_once(self):
        (problem,) = meters(self.SHARED).problems()
        assert "there is no meter 'key'" in problem.message


def test_a_large_model_is_gone_through_at_once():
    parts = [{"id": f"m{i}", "parent": f"m{i - 1}" if i % 50 else None} for i in range(20_000)]
    assert meters(*parts).problems() == []
