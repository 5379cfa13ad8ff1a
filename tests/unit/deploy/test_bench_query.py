"""The factory that `afkobling bench query` asks about is one that could be."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from deploy.bench.query_rows import Span, _quantities, _runs
from deploy.bench.query_site import LINES, METERS, PRODUCTS, products_of, site_model

SPAN = Span(first=date(2026, 3, 28), end=date(2026, 3, 31), zone=ZoneInfo("Europe/Copenhagen"))


def test_it_has_what_the_bench_says():
    model = site_model()
    assert (len(model.meters), len(model.products), len(model.lines)) == (METERS, PRODUCTS, LINES) == (100, 20, 8)
    assert model.problems() == []
    assert {meter.resource for meter in model.meters} == {"energy", "water", "material", "waste", "production"}
    assert sorted(product for line in range(LINES) for product in products_of(line)) == [p.id for p in model.products]


def test_a_whole_is_no_less_than_its_parts():
    model = site_model()
    made = _quantities(model, np.arange(96), np.random.default_rng(1))
    parents = {meter.parent for meter in model.meters if meter.parent}
    assert len(parents) > 10
    for parent in parents:
        parts = [made[m.id] for m in model.meters if m.parent == parent and m.direction == "import"]
        assert (made[parent] > np.sum(parts, axis=0)).all()


def test_runs_follow_each_other_over_the_whole_span():
    # A day of 23 hours is in it.
    assert SPAN.end_ms - SPAN.start_ms == (3 * 24 - 1) * 3_600_000
    for line in range(LINES):
        runs = list(_runs(line, SPAN, np.random.default_rng(line)))
        assert round(runs[0][2].timestamp() * 1000) == SPAN.start_ms
        assert round(runs[-1][3].timestamp() * 1000) == SPAN.end_ms
        assert [run[3] for run in runs[:-1]] == [run[2] for run in runs[1:]]
        made = {product for state, product, _, _ in runs if state == "running"}
        assert made <= set(products_of(line))
        assert len(made) > 1
        assert {product for state, product, _, _ in runs if state != "running"} == {None}
