"""Spans of time as people write them in a configuration: `500ms`, `10s`, `15min`, `2h`, `7d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 36_525 * _UNITS_MS["d"]
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*")


def parse_span_ms(text: object) -> int:
    """Milliseconds in a span such as `15min`. Raises ValueError; a bare number is refused, as its unit is unclear."""
    match = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a span of time; write a number with ms, s, min, h or d, as in 15min")
    milliseconds = float(match[1]) * _UNITS_MS[match[2]]
    if milliseconds > _LONGEST_MS:
        raise ValueError("that is longer than a hundred years, which no span here is; write a shorter one")
    return round(milliseconds)


def span_text(milliseconds: int) -> str:
    """A span as a person writes it: the whole number of the largest unit that it is."""
    unit = max((u for u, ms in _UNITS_MS.items() if milliseconds % ms == 0), key=lambda u: _UNITS_MS[u])
    return f"{milliseconds // _UNITS_MS[unit]}{unit}"


def at_most(span: str) -> AfterValidator:
    """What refuses a span that is longer than this one."""
    longest = parse_span_ms(span)

    def check(milliseconds: int) -> int:
        if milliseconds > longest:
            raise ValueError(f"that is longer than {span}, the most that is allowed here; write a shorter span")
        return milliseconds

    return AfterValidator(check)


def _span_or_milliseconds(value: object) -> object:
    # Programs (the API, the store) give whole milliseconds under a name that ends in _ms.
    return parse_span_ms(value) if isinstance(value, str) else value


SpanMs = Annotated[int, BeforeValidator(parse_span_ms), Field(ge=1)]
"""A span as a person writes it in a configuration file, in milliseconds inside."""

StoredSpanMs = Annotated[int, BeforeValidator(_span_or_milliseconds), Field(ge=1)]
"""The same, but whole milliseconds are accepted too."""
