"""What the cells of a table say: times and numbers as people and programs write them. Pure."""

from __future__ import annotations

import math
from datetime import date, datetime

ISO = "iso"
"""A time format: ISO 8601, with its offset, or without one where a zone is told."""


def parse_time(cell: object, form: str) -> datetime:
    """The time in a cell, `form` as in strptime or `iso`; naive where it has no offset. Raises ValueError."""
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - the zone is put on later, with its folds
    text = text_of(cell) or ""
    if not text:
        raise ValueError("the row has no time")
    try:
        if form == ISO:
            return datetime.fromisoformat(text)
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is put on later, with its folds
    except ValueError:
        raise ValueError(f"time {text!r} is not of the form {form}") from None


def parse_number(cell: object, decimal: str) -> float:
    """The number in a cell with this decimal sign. Raises ValueError."""
    if isinstance(cell, bool) or cell is None or (text := text_of(cell)) is None or not text:
        raise ValueError("there is no value")
    # Python alone would take 1_000, nan and inf.
    plain = text.replace(decimal, ".") if decimal != "." and isinstance(cell, str) else text
    if isinstance(cell, str) and decimal != "." and "." in text:
        raise ValueError(f"{text!r} is not a number with a decimal {decimal!r}")
    try:
        value = float(plain) if "_" not in plain else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number")
    return value


def text_of(cell: object) -> str | None:
    """The cell as text, without spaces around it."""
    return None if cell is None else str(cell).strip()
