"""What the cells of a table say: times and numbers as people and programs write them. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated

from pydantic import AfterValidator

ISO = "iso"
"""A time format: ISO 8601, with its offset, or without one where a zone is told."""
UNIX_SECONDS = {"unix_s": Decimal(1), "unix_ms": Decimal("0.001")}
"""Time formats that count since 1970 (UTC), and how many seconds one of each is."""
_MOST_SECONDS = 10**12
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def _encoding(name: str) -> str:
    try:
        "a".encode(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"{name!r} is no encoding of text; utf-8, cp1252 and iso-8859-1 are usual") from error
    return name


Encoding = Annotated[str, AfterValidator(_encoding)]
"""The name of a text's encoding."""


def parse_time(cell: object, form: str) -> datetime:
    """The time in a cell, `form` as in strptime, `iso`, `unix_s` or `unix_ms`; naive where it has no offset.

    Raises ValueError.
    """
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
        if form in UNIX_SECONDS:
            return _since_1970(Decimal(text) * UNIX_SECONDS[form])
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is put on later, with its folds
    except (ValueError, ArithmeticError):
        raise ValueError(f"time {text!r} is not of the form {form}") from None


def _since_1970(seconds: Decimal) -> datetime:
    # Of 1e999999999 no whole number should be made.
    if not abs(seconds) < _MOST_SECONDS:
        raise ValueError
    return _1970 + timedelta(microseconds=math.floor(seconds * 1_000_000))


def parse_number(cell: object, decimal: str, thousands: str | None = None) -> float:
    """The number in a cell with this decimal sign, its digits in groups of three where there is a sign for thousands.

    Raises ValueError.
    """
    if isinstance(cell, bool) or cell is None or (text := text_of(cell)) is None or not text:
        raise ValueError("there is no value")
    plain = text
    if isinstance(cell, str):
        if thousands is not None and groups_of_three(decimal, thousands).fullmatch(plain):
            plain = re.sub(f"[{re.escape(signs_of(thousands))}]", "", plain)
        if decimal != "." and "." in plain:
            raise ValueError(f"{text!r} is not a number with a decimal {decimal!r}")
        plain = plain.replace(decimal, ".")
    # Python alone would take 1_000, nan and inf.
    try:
        value = float(plain) if "_" not in plain else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number")
    return value


@cache
def groups_of_three(decimal: str, thousands: str) -> re.Pattern[str]:
    """Numbers whose digits stand in groups of three. 1.5 is none where a dot stands between thousands."""
    return re.compile(rf"[+-]?[0-9]{{1,3}}([{re.escape(signs_of(thousands))}][0-9]{{3}})+({re.escape(decimal)}[0-9]*)?")


def signs_of(thousands: str) -> str:
    """All that is written for that sign: of spaces there are some that do not break."""
    return {" ": " \u00a0\u202f", "'": "'’"}.get(thousands, thousands)


def text_of(cell: object) -> str | None:
    """The cell as text, without spaces around it."""
    return None if cell is None else str(cell).strip()
