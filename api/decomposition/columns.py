"""The columns of a plain table that is taken apart: factors, or what was made and what that used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from api.indicators.activity import Effect
from api.tables.names import DRIVERS, PERIODS, PRESSURES, spelt
from api.tables.plain import PlainRow, PlainTable, PlainTableError

TEXTS: Mapping[str, Sequence[str]] = {
    "period": PERIODS,
    "category": ("kategori", "product", "produkt", "sector", "sektor", "industry", "branche", "group", "gruppe"),
}
NUMBERS = {"activity": ("aktivitet",), "quantity": ("mængde", "forbrug")}
"""The columns with names of their own, each with other spellings; every other one is a factor."""
_ROUNDED = Fraction(1, 1000)
"""A quantity that a table tells beside its factors may be rounded by as much."""


def check_columns(table: PlainTable) -> None:
    """Whether there is enough to take apart. Raises PlainTableError."""
    if "period" not in table.texts:
        raise PlainTableError(
            [f"{table.name} has no column `period`; name the one with years or months so, and that of parts `category`"]
        )
    if len(table.numbers) < 2:
        has = ", ".join(table.numbers) or "none"
        wanted = "two columns of numbers or more: factors, or `activity` and `quantity`"
        raise PlainTableError([f"{table.name} needs {wanted}; it has {has}"])
    taken = [name for name in table.numbers if name == Effect.UNATTRIBUTED]
    if taken:
        raise PlainTableError([f"{table.name}: no factor can be called {taken[0]}; give it another name"])


def with_usual_names(table: PlainTable) -> PlainTable:
    """`output` and `energy` are no factors of each other: what was made and what it took are called as we do."""
    usual = {
        column: name
        for name, others in (("activity", DRIVERS), ("quantity", PRESSURES))
        for column in table.numbers
        if spelt(column) in {spelt(other) for other in others}
    }
    if len(table.numbers) != 2 or sorted(usual.values()) != sorted(NUMBERS):
        return table
    rows = (
        replace(row, numbers={usual[column]: number for column, number in row.numbers.items()}) for row in table.rows
    )
    return replace(table, numbers=tuple(usual[column] for column in table.numbers), rows=tuple(rows))


def check_product(table: PlainTable) -> None:
    """Whether all columns are factors: one that is the product of all others in each row is what they explain.

    Raises PlainTableError.
    """
    if len(table.numbers) < 3:
        return
    products = [name for name in table.numbers if all(_is_product(name, row) for row in table.rows)]
    if len(products) == 1:
        raise PlainTableError(
            [
                f"{table.name}: {products[0]} is the product of the other columns in every row, so it is what they "
                "explain and no factor; leave it out"
            ]
        )


def _is_product(name: str, row: PlainRow) -> bool:
    own, others = row.numbers[name], [number for column, number in row.numbers.items() if column != name]
    if own is None or None in others:
        return False
    product = math.prod((Fraction(number) for number in others if number is not None), start=Fraction(1))
    return abs(product - Fraction(own)) <= abs(product) * _ROUNDED
