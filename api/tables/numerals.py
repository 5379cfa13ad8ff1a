"""Numbers as people write them: with a decimal point or comma, and with or without marks between thousands.

`1.234` may be a thousand or a little more than one. The mark is that of the whole file, so that one cell is not read
otherwise than its neighbours; where nothing tells, the file is refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

_SPACES = re.compile(r"(?<=\d)[ \u00a0\u202f'’](?=\d{3}(?!\d))")
_SHAPES = {
    mark: re.compile(
        rf"[+-]?(?:[1-9]\d{{0,2}}(?:{re.escape(other)}\d{{3}})+|\d+)(?:{re.escape(mark)}\d*)?(?:[eE][+-]?\d{{1,3}})?"
        rf"|[+-]?{re.escape(mark)}\d+(?:[eE][+-]?\d{{1,3}})?",
        re.ASCII,
    )
    for mark, other in ((".", ","), (",", "."))
}
_LARGEST = 30
"""No quantity of a plain table has more digits before its decimal mark, or zeros behind it."""
_MINUS = str.maketrans({"−": "-", "–": "-"})


class MarkError(ValueError):
    """A file does not say which its decimal mark is, or uses both."""


def decimal_mark(cells: Iterable[str], *, own: str | None) -> str:
    """The decimal mark of all of these cells: "." or ",".

    `own` is the one that a file with this delimiter would have (None: either), and decides where both would do. Raises
    MarkError where a cell could be a thousand times more or less and nothing tells which.
    """
    is_possible = {".": True, ",": True}
    first: dict[str, str] = {}
    doubtful = ""
    for cell in cells:
        text = _plain(cell)
        if "." not in text and "," not in text:
            continue
        fits = [mark for mark, shape in _SHAPES.items() if shape.fullmatch(text)]
        if len(fits) == 1:
            first.setdefault(fits[0], cell)
        elif fits and (own is None or own not in text):
            doubtful = doubtful or cell
        for mark in is_possible:
            # What fits neither is a bad cell of its own, told by its line.
            is_possible[mark] &= not fits or mark in fits
    if not any(is_possible.values()):
        raise MarkError(
            f"{first['.']} has a decimal point and {first[',']} a decimal comma; write all of them in one way"
        )
    if all(is_possible.values()) and doubtful:
        raise MarkError(
            f"{doubtful} may have a decimal mark or one between thousands, and no other number tells which; write it "
            "without marks between thousands, and with another number of decimals, as in "
            f"{_plain(doubtful)}0 or {_plain(doubtful).replace('.', '').replace(',', '')}"
        )
    if all(is_possible.values()):
        return own or "."
    return "." if is_possible["."] else ","


def parse_numeral(text: str, mark: str) -> Decimal:
    """The number, exactly. Raises ValueError that says what is wrong with it."""
    plain = _plain(text)
    if not _SHAPES[mark].fullmatch(plain):
        raise ValueError(f"{text!r} is not a number; write digits with {_NAMES[mark]}, without a unit")
    value = Decimal(plain.replace("." if mark == "," else ",", "").replace(mark, "."))
    if value and abs(value.adjusted()) > _LARGEST:
        raise ValueError(f"{text!r} is beyond all measure; check the digits")
    return value


_NAMES = {".": "a decimal point", ",": "a decimal comma"}


def _plain(cell: str) -> str:
    return _SPACES.sub("", cell.strip().translate(_MINUS))
