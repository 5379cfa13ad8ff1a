"""Quantities of consumption as whole billionths of the canonical unit.

Whole numbers add up to the same sum in any order and any grouping; that is what makes incremental roll-ups equal
rebuilt ones and attribution balance to the last digit (docs/adr/0002).
"""

from __future__ import annotations

from decimal import Decimal

SCALE = 1_000_000_000
"""Parts of a canonical unit (kWh, m3, kg, pcs) that a quantity counts."""
MAX_CANONICAL = 4.5e9
"""Largest register in canonical units whose differences a quantity can hold; a reading beyond goes to quarantine."""
QUARTER_MS = 900_000


def to_decimal(quantity: int) -> Decimal:
    """The exact amount in canonical units."""
    return Decimal(quantity).scaleb(-9)


def to_canonical(quantity: int) -> float:
    """The amount in canonical units, as the nearest float."""
    return quantity / SCALE
