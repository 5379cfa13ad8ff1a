"""Which device ids to look at, as a person writes them."""

from __future__ import annotations

import re

from edge.errors import EdgePermanentError

_PART = re.compile(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*")


def parse_ids(text: str, *, most: int = 247) -> list[int]:
    """`1-247`, `3`, `1,5,10-20`, in rising order. Raises EdgePermanentError."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if not 1 <= first <= last <= most:
            raise EdgePermanentError(
                f"{part.strip()!r} are no device ids; write 1-{most}, or 1,5,10-20 (from 1 to {most})"
            )
        found.update(range(first, last + 1))
    return sorted(found)
