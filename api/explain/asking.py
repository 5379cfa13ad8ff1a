"""What the name of a figure says, in the words of the answer that it stands in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from api.figures import Figure, FigureError
from api.indicators.takings import Owner, Whose
from api.periods import Days

Kind = TypeVar("Kind", bound=StrEnum)


def one_of(kinds: type[Kind], text: str, told: str) -> Kind:
    """The member that is called so. Raises FigureError, which lists them after `told`."""
    try:
        return kinds(text)
    except ValueError:
        raise FigureError(f"there is no {text!r} here; {told} {', '.join(kinds)}") from None


def days_of(figure: Figure) -> tuple[Days, Days]:
    """The base period and the period of a comparison, which is of whole days. Raises FigureError."""
    if figure.base is None:
        raise FigureError("the period that it is compared with is missing; add base=2024-01-01..2025-01-01")
    (base_first, base_end), (first, end) = figure.base, (figure.start, figure.end)
    if isinstance(base_first, datetime) or isinstance(first, datetime):
        raise FigureError(f"a figure of {figure.kind} is of whole days; write its periods as dates")
    return Days(first=base_first, end=base_end), Days(first=first, end=end)


def owner_of(by: str, key: str | None) -> tuple[Whose, Owner]:
    """Whose parts a figure of a site, line, family or product is made of."""
    match by:
        case "line":
            return Whose.LINE, Owner(line=key)
        case "family":
            return Whose.FAMILY, Owner(family=key)
        case "product":
            return Whose.PRODUCT, Owner(product=key)
        case _:
            return Whose.SITE, Owner()
