"""What a period made: sums that cover each day once, money at one year's prices, measured production."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from api.indicators.drivers import Driver, DriverSpan, Made, PriceIndex, PriceLevel, add_up, main_year
from api.indicators.flows import Amount
from api.indicators.outputs import Batch
from api.indicators.products import ProductUnit
from api.indicators.volume import volume, volume_unit
from api.indicators.wording import Text
from schemas.quantities import SCALE

INDEX = PriceIndex(key="ppi", values={2024: Decimal(80), 2025: Decimal(100), 2026: Decimal(110)})
YEAR = date(2025, 1, 1), date(2026, 1, 1)


def span(first, end, value, year: int | None = 2025, unit="DKK") -> DriverSpan:
    return DriverSpan(
        first=date.fromisoformat(first), end=date.fromisoformat(end), value=Decimal(value), unit=unit, price_year=year
    )


def made(*spans, level=PriceLevel(year=2025, index=INDEX)) -> Made:  # noqa: B008 - it is frozen
    return add_up(*YEAR, spans, Driver.REVENUE, level=level)


def problem(found: Made) -> Text:
    assert found.value is None
    assert found.problem is not None
    return found.problem


def test_constant_prices_stay_what_they_are():
    found = made(span("2025-01-01", "2026-01-01", "12.5"))
    assert (found.value, found.nominal, found.price_year) == (Fraction(25, 2), None, 2025)


def test_each_price_year_is_deflated_by_itself():
    found = made(span("2025-01-01", "2025-07-01", 80, 2024), span("2025-07-01", "2026-01-01", 55, 2026))
    assert (found.value, found.nominal) == (Fraction(100 + 50), Fraction(135))


def test_the_year_that_the_index_lacks_is_named():
    told = problem(made(span("2025-01-01", "2026-01-01", 80, 2020)))
    assert "ppi has no value for 2020" in told.en
    assert "ppi har ingen værdi for 2020" in told.da
    told = problem(made(span("2025-01-01", "2026-01-01", 80, 2024), level=PriceLevel(year=2030, index=INDEX)))
    assert "2030" in told.en


def test_without_an_index_the_trouble_is_told():
    trouble = Text("give one", "giv et")
    assert (
        problem(made(span("2025-01-01", "2026-01-01", 8, 2024), level=PriceLevel(year=2025, trouble=trouble)))
        == trouble
    )
    assert "2024" in problem(made(span("2025-01-01", "2026-01-01", 8, 2024), level=PriceLevel(year=2025))).en


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ((), "2025-01-01 – 2026-01-01"),
        ((span("2025-02-01", "2025-03-01", 1),), "2025-01-01 – 2025-02-01, 2025-03-01 – 2026-01-01"),
        ((span("2025-01-01", "2026-01-01", 1), span("2025-03-01", "2025-04-01", 1)), "overlap"),
        (
            (
                span("2025-01-01", "2025-07-01", 1, None, "pcs"),
                span("2025-07-01", "2026-01-01", 1, None, "kg"),
            ),
            "different units",
        ),
    ],
)
def test_holes_overlaps_and_mixtures(spans, words):
    assert words in problem(made(*spans, level=None)).en


def test_whole_months_are_told_where_other_days_lack():
    found = made(span("2025-02-01", "2025-03-01", 88, 2026), span("2025-03-01", "2025-03-15", 1))
    assert found.months == {date(2025, 2, 1): 80}


@pytest.mark.parametrize(
    ("first", "end", "year"),
    [
        ("2025-01-01", "2026-01-01", 2025),
        ("2024-07-01", "2025-07-01", 2024),
        ("2024-10-01", "2025-10-01", 2025),
        ("2025-03-01", "2025-03-02", 2025),
    ],
)
def test_the_year_of_most_days(first, end, year):
    assert main_year(date.fromisoformat(first), date.fromisoformat(end)) == year


PRODUCTS = {"bolt": ProductUnit(unit="pcs", mass_kg=0.5), "nut": ProductUnit(unit="pcs"), "oil": ProductUnit(unit="kg")}


def batch(product, quantity, *, unit="pcs", kind="good", estimated=0) -> Batch:
    return Batch(
        meter="m",
        line="l",
        product=product,
        run=None,
        order=None,
        kind=kind,
        unit=unit,
        amount=Amount((quantity - estimated) * SCALE, estimated * SCALE),
    )


class TestVolume:
    def test_a_single_product_is_told_in_its_own_unit(self):
        found = [batch("bolt", 10, estimated=4), batch("bolt", 3, unit="kg"), batch("bolt", 5, kind="scrap")]
        assert volume_unit(found, PRODUCTS).unit == "pcs"
        assert volume(found, "pcs", PRODUCTS) == (Fraction(16), Fraction(4))

    def test_several_are_told_in_kg_where_masses_are_known(self):
        found = [batch("bolt", 10), batch("oil", 3, unit="kg")]
        assert volume_unit(found, PRODUCTS).unit == "kg"
        assert volume(found, "kg", PRODUCTS) == (Fraction(8), Fraction(0))

    def test_pieces_alone_are_added_up_and_said_so(self):
        told = volume_unit([batch("bolt", 10), batch("nut", 1)], PRODUCTS)
        assert told.unit == "pcs"
        assert told.note is not None
        assert "mass_kg" in told.note.en

    def test_pieces_and_kilograms_without_a_mass(self):
        told = volume_unit([batch("nut", 10), batch("oil", 1, unit="kg")], PRODUCTS)
        assert told.unit is None
        assert told.problem is not None
        assert "the mass of nut is not known; give mass_kg" in told.problem.en

    def test_nothing_made_is_nothing(self):
        assert volume([], volume_unit([], PRODUCTS).unit or "", PRODUCTS) == (Fraction(0), Fraction(0))
