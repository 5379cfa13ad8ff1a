"""The simulator's truth beside intensities."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api.attribution.balances import QuantityAnswer
from api.indicators.pressures import Indicator
from api.intensity.answers import IntensityAnswer, IntensityItem
from api.intensity.parts import MarginAnswer
from deploy.demo.truth_file import TruthSource
from deploy.intensity_truth import with_truth
from edge.simulation.factory import PRODUCTS
from schemas.resources import Resource

ZONE = ZoneInfo("Europe/Copenhagen")
START, END = datetime(2024, 1, 8, tzinfo=ZONE), datetime(2024, 1, 13, tzinfo=ZONE)
NOTHING = QuantityAnswer(total=Decimal(0), measured=Decimal(0), estimated=Decimal(0))
NULLS = dict.fromkeys(
    (
        "family", "line", "run", "order", "unattributed", "scrap", "rework", "good_error", "value_low", "value_high",
        "comprehensive", "idle_share", "scrap_ratio", "rework_ratio", "coverage", "estimated_share",
        "primary_data_share", "factor_share", "hourly_share", "problem", "against",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def source() -> TruthSource:
    return TruthSource(seed=1, start=START, end=END)


def item(product, indicator, *, loaded, low, high, end=END, unit="pcs", **more) -> IntensityItem:
    settings = {**NULLS, **more}
    return IntensityItem(
        start=START,
        end=end,
        product=product,
        indicator=indicator,
        resource=None if indicator.is_carbon else Resource(indicator.value),
        marginal=NOTHING,
        idle=NOTHING,
        quantity_unit="kWh",
        good=Decimal(1),
        good_unit=unit,
        value=loaded,
        fully_loaded=loaded,
        fully_loaded_low=low,
        fully_loaded_high=high,
        unit="kWh/pcs",
        margin=MarginAnswer(estimates=Decimal(0), accuracy=Decimal(0), sharing=Decimal(0)),
        factors=[],
        rules=[],
        meters=[],
        slices=[],
        figure="",
        **settings,
    )


def told(source, one) -> Any:
    answer = with_truth(IntensityAnswer(items=[one], balance=[], findings=[]), source)
    return answer.items[0].truth


@pytest.mark.parametrize("indicator", [Indicator.ENERGY, Indicator.CO2_LOCATION])
def test_it_is_told_whether_the_truth_lies_within(source, indicator):
    week = source.between(START, END)
    found = []
    for product in PRODUCTS:
        of = (
            week.products[product, Resource.ENERGY]
            if indicator is Indicator.ENERGY
            else week.co2["location"].products[product]
        )
        true = of.fully_loaded_intensity
        if true is None:
            continue
        told_one = told(source, item(product, indicator, loaded=Decimal(true) * 2, low=Decimal(true) / 2, high=None))
        assert (told_one.within, round(told_one.off, 9)) == (True, 1)
        assert float(told_one.fully_loaded) == pytest.approx(true)
        too_high = item(product, indicator, loaded=Decimal(true) * 2, low=Decimal(true) * Decimal("1.5"), high=None)
        found.append(told(source, too_high).within)
    assert found
    assert not any(found)


def test_what_the_simulator_does_not_know_is_null(source):
    known = {"loaded": Decimal(1), "low": Decimal(0), "high": None}
    assert told(source, item("no-such-product", Indicator.ENERGY, **known)) is None
    product = next(iter(PRODUCTS))
    assert told(source, item(product, Indicator.ENERGY, **known, unit="kg")) is None
    assert told(source, item(product, Indicator.ENERGY, **known, run="1")) is None
    assert told(source, item(product, Indicator.ENERGY, **known, end=datetime(2030, 1, 1, tzinfo=ZONE))) is None
