"""COPY's text format: what would be taken for something else is escaped."""

from __future__ import annotations

from datetime import date

import pytest

from api.copy_text import to_text
from api.indicators.lines import Phase


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (None, r"\N"),
        (True, "t"),
        (False, "f"),
        (0, "0"),
        (-(2**63), "-9223372036854775808"),
        (date(2026, 2, 1), "2026-02-01"),
        (Phase.IDLE, "idle"),
        ("", ""),
        (r"\N", r"\\N"),
        ("a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
        ((), "{}"),
        ((3, 17), "{3,17}"),
        (("air", "share:fixed", "NULL"), '{"air","share:fixed","NULL"}'),
        (('say "a,b}"', "\\"), r'{"say \\"a,b}\\"","\\\\"}'),
    ],
)
def test_fields(field, text):
    assert to_text([[field]]) == f"{text}\n"


def test_whole_numbers_and_truths_are_told_apart():
    assert to_text([[1, True], [0, False]]) == "1\tt\n0\tf\n"
