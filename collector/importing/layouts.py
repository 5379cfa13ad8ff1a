"""Times of one layout, such as %d/%m/%Y %H:%M, read from a whole column of text at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.importing.clock import Flags, Micros

_MOST_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6}
_TOKENS = re.compile(r"%(.)|([^%])")
_ZERO, _NINE = ord("0"), ord("9")
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A field or a sign of a layout. `is_fixed`: the field has all its digits, as digits follow."""

    field: str | None
    sign: int
    is_fixed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOut:
    """What the clock showed in microseconds; where not `is_good` the text is not plainly of the layout."""

    micros: Micros
    is_good: Flags


def parse_layout(cells: pa.Array, form: str) -> LaidOut | None:
    """Times of text that is plainly of that form; None for a form with more than numbers in it.

    It takes less than strptime does, and what it takes it takes as strptime.
    """
    tokens = _tokens(form)
    if tokens is None:
        return None
    _, offsets, data = cells.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[cells.offset : cells.offset + len(cells) + 1]
    text = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8)
    reader = _Reader(text, ends[:-1].astype(np.int64), ends[1:].astype(np.int64))
    fields: dict[str, Ints] = {}
    for token in tokens:
        if token.field is None:
            reader.sign(token.sign)
        else:
            fields[token.field] = reader.number(_MOST_DIGITS[token.field], is_fixed=token.is_fixed)
            if token.field == "f":
                fields["f"] *= 10 ** (6 - reader.digits)
    is_good = reader.is_good & (reader.at == reader.end) & cells.is_valid().to_numpy(zero_copy_only=False)
    return _put_together(fields, is_good)


class _Reader:
    """Reads all rows at once, each from its own place."""

    def __init__(self, text: NDArray[np.uint8], at: Ints, end: Ints) -> None:
        self._text = text
        self.at = at
        self.end = end
        self.is_good = np.ones(len(at), dtype=np.bool_)
        self.digits: Any = 0

    def sign(self, wanted: int) -> None:
        self.is_good &= self._here() == wanted
        self.at = self.at + 1

    def number(self, most: int, *, is_fixed: bool) -> Ints:
        """The digits from here on, `most` of them at most, or exactly."""
        value = np.zeros(len(self.at), dtype=np.int64)
        goes_on = np.ones(len(self.at), dtype=np.bool_)
        self.digits = np.zeros(len(self.at), dtype=np.int64)
        for _ in range(most):
            here = self._here()
            goes_on = goes_on & (here >= _ZERO) & (here <= _NINE)
            value = np.where(goes_on, value * 10 + (here - _ZERO), value)
            self.digits += goes_on
            self.at = self.at + goes_on
        self.is_good &= (self.digits == most) if is_fixed else (self.digits > 0)
        return value

    def _here(self) -> Ints:
        # Behind a row's end is the next one's text, which is not its own.
        here = self._text[np.minimum(self.at, len(self._text) - 1)].astype(np.int64)
        return np.where(self.at < self.end, here, -1)


def _put_together(fields: dict[str, Ints], is_good: Flags) -> LaidOut:
    year = fields["Y"] if "Y" in fields else fields["y"] + np.where(fields["y"] <= 68, 2000, 1900)
    month, day = fields["m"], fields["d"]
    zero = np.zeros(len(year), dtype=np.int64)
    hour, minute, second, micro = (fields.get(name, zero) for name in "HMSf")
    is_good = is_good & (year >= 1) & (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    safe_month = np.where(is_good, month, 1)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = _MONTH_DAYS[safe_month] + (is_leap & (safe_month == 2))
    is_good &= (day >= 1) & (day <= longest)
    months = (np.where(is_good, year, 1970) - 1970) * 12 + safe_month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return LaidOut(micros=np.where(is_good, seconds * 1_000_000 + micro, 0), is_good=is_good)


@lru_cache(maxsize=64)
def _tokens(form: str) -> tuple[Token, ...] | None:
    """The parts of a form; None where a part is not a number, a day is not told whole, or something stands twice."""
    found = [(match[1], match[2]) for match in _TOKENS.finditer(form)]
    if "".join(f"%{field}" if field else sign for field, sign in found) != form:
        return None
    fields = [field for field, _ in found if field and field != "%"]
    if len(set(fields)) < len(fields) or not set(fields) <= set(_MOST_DIGITS):
        return None
    if not {"m", "d"} <= set(fields) or len({"Y", "y"} & set(fields)) != 1:
        return None
    tokens = []
    for i, (field, sign) in enumerate(found):
        if field and field != "%":
            follows = found[i + 1] if i + 1 < len(found) else (None, "")
            digits_follow = follows[1].isdigit() if follows[1] else follows[0] is not None and follows[0] != "%"
            tokens.append(Token(field=field, sign=0, is_fixed=field == "Y" or digits_follow))
        else:
            character = sign or "%"
            if not character.isascii() or (character.isspace() and character != " "):
                return None
            tokens.append(Token(field=None, sign=ord(character), is_fixed=True))
    return tuple(tokens)
