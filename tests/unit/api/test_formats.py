"""Which format an Accept header asks for."""

from __future__ import annotations

import pytest

from api.tables.formats import Format, choose

PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.JSON),
        ("application/json", Format.JSON),
        ("application/*", Format.JSON),
        ("text/*", Format.CSV),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; charset=utf-8", Format.CSV),
        (PARQUET, Format.PARQUET),
        (f"{ARROW}, */*;q=0.1", Format.ARROW),
        (f"{ARROW}, */*", Format.ARROW),
        (f"text/csv;q=0.5, {PARQUET};q=0.9", Format.PARQUET),
        ("text/csv, application/json;q=0.9", Format.CSV),
        ("text/csv, application/json", Format.JSON),
        ("*/*, application/json;q=0", Format.CSV),
        ("text/html", None),
        ("text/csv;q=0", None),
        ("text/csv;q=high", None),
        (",;,", None),
    ],
)
def test_the_best_that_is_taken(accept, found):
    assert choose(accept) is found
