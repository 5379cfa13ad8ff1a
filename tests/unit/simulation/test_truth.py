from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.simulation.factory import PRODUCTS
from edge.simulation.truth import USED, Driver, Truth, state_of, true_states
from edge.simulation.workshop import Workshop, build_workshop
from schemas.quantities import QUARTER_MS
from schemas.resources import Resource, RunState
from tests.unit.simulation.conftest import ZONE

DRIVERS: tuple[Driver, ...] = ("revenue", "production_volume")
EXPECTED = {
    Resource.ENERGY: "absolute",
    Resource.WATER: "relative",
    Resource.MATERIAL: "relative",
    Resource.WASTE: "none",
}


def new_year(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=ZONE).timestamp() * 1000)


def two_years(seed: int, base_year: int) -> tuple[Truth, Truth]:
    edges = [datetime(base_year + years, 1, 1, tzinfo=ZONE) for years in range(3)]
    workshop = build_workshop(seed=seed, start=edges[0], end=edges[2])
    middle = new_year(base_year + 1)
    return workshop.truth(workshop.start_ms, middle), workshop.truth(middle, workshop.end_ms)


@pytest.mark.parametrize("days", [1, 6, 31, 366])
def test_what_goes_in_comes_out(workshop: Workshop, days: int) -> None:
    for start in (new_year(2024), new_year(2025), new_year(2024) + 77 * QUARTER_MS):
        truth = workshop.truth(start, start + days * 96 * QUARTER_MS)
        for resource in USED:
            marginal = sum(truth.products[product, resource].marginal for product in PRODUCTS)
            whole = marginal + truth.idle[resource] + truth.unattributed[resource]
            assert whole == pytest.approx(truth.totals[resource], rel=1e-9)


def test_fully_loaded_adds_all_idle_use_and_nothing_else(workshop: Workshop) -> None:
    truth = workshop.truth(new_year(2024), new_year(2025))
    for resource in USED:
        of_products = [truth.products[product, resource] for product in PRODUCTS]
        added = sum(product.fully_loaded - product.marginal for product in of_products)
        assert added == pytest.approx(truth.idle[resource], rel=1e-9)
        assert all(product.fully_loaded >= product.marginal > 0 for product in of_products)


def test_idle_stays_idle_where_nothing_was_made(workshop: Workshop) -> None:
    truth = workshop.truth(new_year(2024), new_year(2024) + 20 * QUARTER_MS)
    product = truth.products["bracket", Resource.ENERGY]
    assert (product.marginal, product.fully_loaded, product.good_pcs) == (0, 0, 0)
    assert product.marginal_intensity is None
    assert product.fully_loaded_intensity is None
    assert truth.idle[Resource.ENERGY] > 0


def test_parts_of_a_span_add_up_to_the_whole(workshop: Workshop) -> None:
    start, middle, end = new_year(2024), new_year(2024) + 12345 * QUARTER_MS, new_year(2025)
    whole, one, other = workshop.truth(start, end), workshop.truth(start, middle), workshop.truth(middle, end)
    for key, product in whole.products.items():
        assert one.products[key].marginal + other.products[key].marginal == pytest.approx(product.marginal)
    for meter, quantity in whole.consumption.items():
        assert one.consumption[meter] + other.consumption[meter] == pytest.approx(quantity)


def test_steel_is_in_good_pieces_or_in_scrap(workshop: Workshop) -> None:
    truth = workshop.truth(new_year(2024), new_year(2025))
    net_kg = {"bracket": 0.55, "hinge": 0.33, "shaft": 2.15}
    in_pieces_kg = sum(kg * truth.products[product, Resource.MATERIAL].good_pcs for product, kg in net_kg.items())
    scrap_kg = truth.consumption["press-scrap-metal"] + truth.consumption["furnace-scrap-metal"]
    assert in_pieces_kg + scrap_kg == pytest.approx(truth.totals[Resource.MATERIAL], rel=1e-9)


def test_attribution_from_registers_and_runs_finds_the_truth(workshop: Workshop) -> None:
    """The rules of METHODS §2 in their plainest form, on nothing but what meters and lines say."""
    start, end = new_year(2024) + 200 * 96 * QUARTER_MS, new_year(2024) + 290 * 96 * QUARTER_MS
    times = np.arange(start, end + 1, QUARTER_MS)

    def used(meter: str) -> NDArray[np.float64]:
        return np.diff(workshop.registers(meter, times))

    compressor_kwh = used("compressor-electricity")
    air = {line: used(f"{line}-air") for line in ("press", "furnace")}
    by_line = {
        (line, Resource.ENERGY): used(f"{line}-electricity") + compressor_kwh * air[line] / sum(air.values())
        for line in air
    }
    by_line["furnace", Resource.ENERGY] += 11.0 * used("furnace-gas")
    for line in air:
        by_line[line, Resource.WATER] = used(f"{line}-water")
        by_line[line, Resource.MATERIAL] = used(f"{line}-steel")
        by_line[line, Resource.WASTE] = used(f"{line}-scrap-metal")
        by_line[line, Resource.PRODUCTION] = used(f"{line}-good")
    found: dict[tuple[str, Resource], float] = defaultdict(float)
    loaded: dict[tuple[str, Resource], float] = defaultdict(float)
    for line in air:
        hours: dict[str, float] = defaultdict(float)
        idle: dict[Resource, float] = defaultdict(float)
        for run in workshop.runs_between(start, end):
            if run.line != line:
                continue
            first, after = max(run.start, start), run.end or end
            span = slice((first - start) // QUARTER_MS, (after - start) // QUARTER_MS)
            for resource in Resource:
                quantity = float(by_line[line, resource][span].sum())
                if run.state in {RunState.RUNNING, RunState.CHANGEOVER}:
                    assert run.product is not None
                    found[run.product, resource] += quantity
                else:
                    idle[resource] += quantity
            if run.product is not None:
                hours[run.product] += span.stop - span.start
        for product, quarters_made in hours.items():
            for resource in USED:
                loaded[product, resource] += idle[resource] * quarters_made / sum(hours.values())
    truth = workshop.truth(start, end)
    for key, product_truth in truth.products.items():
        assert found[key] == pytest.approx(product_truth.marginal, rel=5e-4)
        assert found[key] + loaded[key] == pytest.approx(product_truth.fully_loaded, rel=5e-4)
        assert found[key[0], Resource.PRODUCTION] == pytest.approx(product_truth.good_pcs, rel=5e-4)


@pytest.mark.parametrize(
    ("pressure", "driver", "state"),
    [
        (-0.01, 0.05, "absolute"),
        (0.0, 0.05, "relative"),
        (0.04, 0.05, "relative"),
        (0.05, 0.05, "none"),
        (0.06, 0.05, "none"),
        (-0.1, 0.0, "not_assessable"),
        (-0.1, -0.05, "not_assessable"),
    ],
)
def test_states_by_their_definition(pressure: float, driver: float, state: str) -> None:
    assert state_of(pressure, driver) == state


@pytest.mark.parametrize("seed", range(24))
def test_each_seed_has_the_same_verdict_with_room_to_spare(seed: int) -> None:
    _assert_verdict(seed, 2024)


@pytest.mark.parametrize("base_year", [2019, 2020, 2021, 2022, 2023, 2025, 2026])
def test_each_base_year_has_the_same_verdict_with_room_to_spare(base_year: int) -> None:
    _assert_verdict(100 + base_year, base_year)


def _assert_verdict(seed: int, base_year: int) -> None:
    base, period = two_years(seed, base_year)
    growth = {resource: period.totals[resource] / base.totals[resource] - 1 for resource in USED}
    for driver in DRIVERS:
        assert true_states(base, period, driver) == EXPECTED
        driver_growth = period.driver(driver) / base.driver(driver) - 1
        assert 0.06 < driver_growth < 0.12
        assert growth[Resource.ENERGY] < -0.05
        for resource in (Resource.WATER, Resource.MATERIAL):
            assert 0.02 < growth[resource] < driver_growth - 0.02
        assert growth[Resource.WASTE] > driver_growth + 0.05
