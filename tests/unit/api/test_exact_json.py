"""JSON numbers, digit by digit."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest

from api.exact_json import encode, quantity, ratio
from schemas.resources import Resource


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("8999999999.999999999"), "8999999999.999999999"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-9"), "0.000000001"),
        (Decimal("-0.500"), "-0.5"),
        (Decimal("0E-9"), "0"),
        (Decimal("100"), "100"),
        (Decimal("NaN"), "null"),
        (float("inf"), "null"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        (2**70, str(2**70)),
        (Resource.ENERGY, '"energy"'),
        ('"\n\u00e6', '"\\"\\n\u00e6"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00Z"'),
        (datetime(2026, 1, 2, 1, 0, 0, 5000, tzinfo=timezone(timedelta(hours=1))), '"2026-01-02T00:00:00.005Z"'),
        ({"a": [1, {"b": ()}], "c": {}}, '{"a":[1,{"b":[]}],"c":{}}'),
    ],
)
def test_values(value, text):
    assert encode(value) == text
    json.loads(text)


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="Fraction"):
        encode(Fraction(1, 3))


def test_quantities_and_ratios():
    assert quantity(9 * 10**18 + 1) == Decimal("9000000000.000000001")
    assert ratio(Fraction(1, 3)) == Decimal("0.333333333333")
    assert ratio(Fraction("1.3488")) == Decimal("1.3488")
    assert ratio(None) is None
