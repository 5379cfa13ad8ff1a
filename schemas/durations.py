"""Spans of time as people write them in a configuration: `500ms`, `10s`, `15min`, `2h`, `7d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*$")


def parse_span_ms(text: object) -> int:
    """Milliseconds in a span such as `15min`. Raises ValueError; a bare number is refused, as its unit is unclear."""
    match = _SPAN.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a span of time; write a number with ms, s, min, h or d, as in 15min")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def _span_or_milliseconds(value: object) -> object:
    # Programs (the API, the store) give whole milliseconds under a name that ends in _ms.
    return parse_span_ms(value) if isinstance(value, str) else value


SpanMs = Annotated[int, BeforeValidator(parse_span_ms), Field(ge=1)]
"""A span as a person writes it in a configuration file, in milliseconds inside."""

StoredSpanMs = Annotated[int, BeforeValidator(_span_or_milliseconds), Field(ge=1)]
"""The same, but whole milliseconds are accepted too."""
